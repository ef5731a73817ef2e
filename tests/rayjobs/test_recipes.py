"""Every recipe says in its help what it does, how it is started and where its results go."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("rayjobs/*.py"), ROOT / "tuning/tables.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_explains_itself(recipe: str) -> None:
    source = (ROOT / recipe).read_text()
    said = ast.get_docstring(ast.parse(source)) or ""
    first, *rest = said.splitlines()
    assert len(first.split()) >= 6
    assert first.endswith(".")
    assert rest[0] == ""
    assert re.search(rf"^    (ray job submit -- )?python {recipe}", said, re.MULTILINE)
    assert "Results" in said, "where do the results go?"
    assert re.search(r"description=f?\W*__doc__", source), "--help must show it"


def test_help_shows_the_explanation() -> None:
    command = [sys.executable, "rayjobs/prepare_data.py", "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    said = " ".join(ended.stdout.split())
    assert "Prepare a dataset of clips, generated, from motion capture or from videos" in said
    assert "ray job submit -- python rayjobs/prepare_data.py --root" in said
    assert "Results: shards, manifest and dataset.json in `--root`" in said
