"""Rules that hold for the whole tree: who may import what, sizes, no traces of one machine."""

import ast
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "motion"
MAX_LINES = 350

RAY = ("data", "training", "evaluation")
DEEPSPEED = ("training", "networks/attention.py")

LAYERS = (
    ("rotations.py", "skeleton.py", "sequence.py", "batch.py", "losses.py", "camera.py"),
    ("body",),
    ("diffusion", "networks", "representations"),
    ("models",),
    ("inference.py",),
    ("training", "evaluation"),
)
"""A file imports from its own layer and from those before it. Parts of the library that are named
in no layer (data, encoders, export, view, metrics, paths) are held by the rules below."""


def tracked(*patterns: str) -> list[Path]:
    """Committed and newly added files; those that are deleted in the working tree left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it, types included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import; write the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in imports(path))


def within(path: Path, places: tuple[str, ...]) -> bool:
    relative = path.relative_to(LIBRARY).as_posix()
    return any(relative == place or relative.startswith(place + "/") for place in places)


def library() -> list[Path]:
    files = tracked("motion/*.py")
    assert len(files) > 20
    return files


def layer(name: str) -> int | None:
    """Layer of a file's path or a module's dotted name inside the library."""
    first = name.replace("/", ".").removesuffix(".py").split(".")[0]
    for number, members in enumerate(LAYERS):
        if first in {member.removesuffix(".py") for member in members}:
            return number
    return None


def test_only_the_distributed_parts_import_ray() -> None:
    assert [p for p in library() if uses(p, "ray") and not within(p, RAY)] == []


def test_only_training_imports_deepspeed() -> None:
    assert [p for p in library() if uses(p, "deepspeed") and not within(p, DEEPSPEED)] == []


@pytest.mark.parametrize("package", ["rayjobs", "tuning", "cluster"])
def test_the_library_knows_nothing_of_what_is_built_on_it(package: str) -> None:
    assert [p for p in library() if uses(p, package)] == []


def test_dependencies_point_one_way() -> None:
    upwards: list[str] = []
    for path in library():
        own = layer(path.relative_to(LIBRARY).as_posix())
        if own is None:
            continue
        for name in imports(path):
            other = layer(name.removeprefix("motion.")) if name.startswith("motion.") else None
            if other is not None and other > own:
                upwards.append(f"{path.relative_to(ROOT)} imports {name}")
    assert upwards == []


def test_files_stay_small() -> None:
    sources = tracked("motion/*.py", "cluster/*.py", "rayjobs/*.py", "tuning/*.py")
    lengths = {path: len(path.read_text().splitlines()) for path in sources}
    long = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MAX_LINES}
    assert long == {}, f"over {MAX_LINES} lines: one file is one idea"


def test_no_catch_all_modules() -> None:
    names = {"utils.py", "helpers.py", "misc.py", "common.py"}
    assert [p for p in tracked("*.py") if p.name in names] == []


def test_nothing_unfinished_is_committed() -> None:
    unfinished = re.compile("|".join(["NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME"]))
    found = [p for p in tracked("*.py") if p != Path(__file__) and unfinished.search(p.read_text())]
    assert found == []


def test_no_path_of_one_machine_is_committed() -> None:
    # Home and work folders of whoever wrote it; /dev, /tmp and /usr mean the same everywhere.
    personal = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt)/\w")
    texts = tracked("*.py", "*.md", "*.toml", "*.txt", "*.yaml", "Makefile", ".ci/*", "*.json")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if personal.search(line)
    ]
    assert found == []


def test_data_beside_the_checkout_is_named_in_one_place_only() -> None:
    name = "shared" + "/data"
    naming = [p for p in tracked() if p.suffix != ".png" and name.encode() in p.read_bytes()]
    assert naming == [ROOT / ".ci/run"]


def test_no_large_file_is_committed() -> None:
    assert [p for p in tracked() if p.stat().st_size > 1 << 20] == []


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))

    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in asked}
    assert names - {canonical(pin) for pin in pins} <= {project["name"]}, "dev asks for extras"
    assert pins["torch"] == "2.13.0", "no local version: one line fits CPU and CUDA builds"


def test_continuous_integration_runs_the_readme_s_test_command() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith("exec make test")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
