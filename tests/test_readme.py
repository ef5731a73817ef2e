"""The README and the docs say what is: commands exist, links lead somewhere."""

import functools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from motion import cli, models

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PAGES += sorted(ROOT.glob("cluster/**/*.md"))


def blocks(text: str) -> list[str]:
    """Lines of all bash blocks, without comments, continuation lines joined."""
    joined = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in joined.splitlines() if line.strip()]


def commands() -> list[str]:
    found = [line for page in PAGES for line in blocks(page.read_text())]
    found += re.findall(r"\| `([^`]+)` \|", README.split("## On a cluster")[1].split("## Tree")[0])
    assert len(found) > 15
    return sorted(set(found))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`|\$[^$\n]*\$", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)]+)\)", prose)
    local = [target.split("#")[0] for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command: str) -> None:
    words = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command).split()
    if words[0] == "make":
        assert set(words[1:2]) <= make_targets(), f"no such target: {command}"
    scripts = [word for word in words if word.startswith(("rayjobs/", "cluster/"))]
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    if "-m" in words:
        module = words[words.index("-m") + 1]
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


@pytest.mark.parametrize(
    "verb", sorted({line.split()[1] for line in blocks(README) if line.startswith("motion ")})
)
def test_command_line_verbs_answer(verb: str) -> None:
    command = [sys.executable, "-m", "motion.cli", verb, "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("motion ")])
def test_options_of_the_command_line_are_understood(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, *rest = shlex.split(line)[1:]
    called: list[str] = []

    @functools.wraps(cli.VERBS[verb])
    def recorded(*_: object, **__: object) -> int:
        called.append(verb)
        return 0

    monkeypatch.setattr(cli, "VERBS", {**cli.VERBS, verb: recorded})
    with pytest.raises(SystemExit) as end:
        cli.main([verb, *rest])
    assert end.value.code == 0
    assert called == [verb]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_make_target_is_listed_and_expands(monkeypatch: pytest.MonkeyPatch) -> None:
    # `make test` hands its own flags down; a make that knows of them prints its directory.
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    monkeypatch.delenv("MAKELEVEL", raising=False)
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in listed.stdout.splitlines()} == make_targets()
    for target in make_targets() - {"help"}:
        dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr
        script = dry.stdout.replace("\n\t", "\n")
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_clean_asks_first() -> None:
    run = subprocess.run(["make", "clean"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert "CONFIRM=yes" in run.stdout


def test_the_table_lists_the_systems_that_exist() -> None:
    table = README.split("## Systems")[1].split("## ")[0]
    systems = set(models.SYSTEMS) - {"toy"}  # tests/training adds one of its own
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == systems


def test_the_tree_lists_what_exists() -> None:
    tree = README.split("## Tree")[1].split("```")[1]
    top = re.findall(r"^(\w+)/", tree, re.MULTILINE)
    inner = re.findall(r"(?:^  |   |  )(\w+(?:\.py|/))(?= )", tree, re.MULTILINE)
    assert [name for name in top if not (ROOT / name).is_dir()] == []
    assert len(inner) > 10
    assert [name for name in inner if not (ROOT / "motion" / name).exists()] == []
