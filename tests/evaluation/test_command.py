"""`motion evaluate`: options reach the comparison, defaults stay its own."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from motion import cli
from motion.evaluation.protocols import PROTOCOLS
from motion.evaluation.tables import Row, Table
from motion.metrics.interval import Interval


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the comparison and records what it is asked for."""
    found = SimpleNamespace(options={})
    row = Row(name="a", kind="ours", values={"mpjpe": Interval(50.0, 49.0, 51.0, 8)})
    table = Table(
        title="genmo-estimation", columns=PROTOCOLS["genmo-estimation"].columns, rows=(row,)
    )

    def config(**options: object) -> SimpleNamespace:
        found.options = options
        return SimpleNamespace()

    module = SimpleNamespace(
        ComparisonConfig=config,
        compare=lambda config: (table, [Path("x.md")]),
    )
    shown = SimpleNamespace(show=lambda table: print(table.title))
    monkeypatch.setitem(sys.modules, "motion.evaluation.output", shown)
    monkeypatch.setitem(sys.modules, "motion.evaluation.comparison", module)
    return found


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_options_reach_the_comparison(
    seen: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "A", "B", "--protocol", "genmo-estimation", "--root-path", "held") == 0
    assert seen.options["exports"] == (Path("A"), Path("B"))
    assert seen.options["root_path"] == "held"
    assert not {"passes", "num_clips", "output"} & set(seen.options), "the protocol's own"
    assert capsys.readouterr().out.split() == ["genmo-estimation", "x.md"]


def test_json_is_the_table(seen: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "A", "--passes", "2", "--json") == 0
    assert seen.options["passes"] == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["title"] == "genmo-estimation"
    assert printed["rows"][0]["values"]["mpjpe"] == [50.0, 49.0, 51.0, 8]
