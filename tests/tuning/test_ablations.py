"""Ablation tables: seeds, resume after every kind of death, paired intervals, verdicts."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from motion.metrics.interval import Interval
from tuning.ablations import AblationTable, Claim, _Clock, cell_file, run_table
from tuning.verdicts import flat_metrics, outcomes, render, seed_interval, verdict

SEEDS = (0, 1, 2)


def toy(trouble: Path, **changes: Any) -> AblationTable:
    """Gradient descent on a noisy quadratic: momentum helps, and the noise is the seed's."""

    def cell(*, seed: int, folder: Path, momentum: float, steps: int) -> dict[str, float]:
        import random

        assert folder.is_dir()
        (trouble / f"ran-{momentum}-{seed}-{time.time_ns()}").touch()
        for kind in ("kill", "fail", "hang"):
            file = trouble / f"{kind}-{momentum}-{seed}"
            if file.is_file():
                file.unlink()
                if kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "hang":
                    time.sleep(60)
                raise ValueError("trouble was asked for")
        draw = random.Random(seed)
        x, v = 5.0 + draw.gauss(0, 1), 0.0
        for _ in range(steps):
            v = momentum * v - 0.02 * 2 * x
            x += v
        return {"loss": x * x, "constant": float(seed)}

    fields: dict[str, Any] = {
        "name": "toy",
        "presets": {"momentum": {"momentum": 0.8}, "plain": {"momentum": 0.0}},
        "claims": (
            Claim(better="momentum", worse="plain", metric="loss", direction="lower", source="a"),
            Claim(better="momentum", worse="plain", metric="loss", direction="higher", source="b"),
            Claim(
                better="plain", worse="momentum", metric="constant", direction="lower", source="c"
            ),
        ),
        "cell": cell,
        "metrics": {"loss": "loss", "constant": "seed"},
        "settings": {"steps": 20},
    }
    return AblationTable(**(fields | changes))


def runs(trouble: Path) -> int:
    return len(list(trouble.glob("ran-*")))


def test_cells_run_once_and_claims_are_judged(ray_cluster: None, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.mkdir()
    table = toy(trouble)
    results = run_table(table, SEEDS, tmp_path / "table", cpus=1)
    assert runs(trouble) == 6
    assert run_table(table, SEEDS, tmp_path / "table", cpus=1) == results
    assert runs(trouble) == 6, "committed cells are skipped"
    assert [found.verdict for found in outcomes(table, results)] == [
        "reproduced",
        "contrary",
        "undecided",
    ]
    text = render(table, results)
    assert "| momentum over plain (a) | loss |" in text
    assert text.count("reproduced") == 1
    flat = flat_metrics(table, results)
    gain = "gain/momentum_over_plain/loss"
    assert flat[f"{gain}_low"] <= flat[gain] <= flat[f"{gain}_high"]
    assert len(run_table(table, (*SEEDS, 3), tmp_path / "table", cpus=1)["plain"]) == 4
    assert runs(trouble) == 8, "another seed adds its own cells only"


def test_death_and_failure_leave_committed_cells_and_no_trace(
    ray_cluster: None, tmp_path: Path
) -> None:
    trouble, folder = tmp_path / "trouble", tmp_path / "table"
    trouble.mkdir()
    table = toy(trouble)
    calm = tmp_path / "calm"
    calm.mkdir()
    expected = run_table(toy(calm), SEEDS, tmp_path / "reference", cpus=1)
    (trouble / "kill-0.8-1").touch()  # the worker dies; Ray starts the cell again
    (trouble / "fail-0.0-2").touch()  # raises; the next run makes up for it
    with pytest.raises(RuntimeError, match=r"1 of 6 cells .* plain, seed 2: ValueError: trouble"):
        run_table(table, SEEDS, folder, cpus=1)
    done = {path.name: path.read_text() for path in folder.glob("cells/*.json")}
    assert len(done) == 5
    before = runs(trouble)
    # As a driver that was killed leaves it: marks of cells that run no more, and half a file.
    cell_file(table, "plain", 2, folder).with_suffix(".started").touch()
    (folder / "cells" / ".plain-seed2.json.deadbeef.tmp").write_text('{"identity"')
    assert run_table(table, SEEDS, folder, cpus=1) == expected
    assert runs(trouble) == before + 1
    for name, text in done.items():
        assert (folder / "cells" / name).read_text() == text


def test_a_cell_that_takes_too_long_is_ended(ray_cluster: None, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.mkdir()
    (trouble / "hang-0.0-0").touch()
    table = toy(trouble)
    with pytest.raises(RuntimeError, match="plain, seed 0: not done after 5 s"):
        run_table(table, SEEDS, tmp_path / "table", limit_s=5, cpus=1)
    assert len(list((tmp_path / "table" / "cells").glob("*.json"))) == 5


def test_the_limit_counts_from_the_newest_start(tmp_path: Path) -> None:
    mark, clock = tmp_path / "plain-seed0.started", _Clock()
    assert clock.seconds(mark, 1000.0) < 0, "a cell that waits for a core is not late"
    mark.write_text("first start")
    assert clock.seconds(mark, 1100.0) == 0
    assert clock.seconds(mark, 1290.0) == 190
    mark.write_text("started again by Ray")
    assert clock.seconds(mark, 1300.0) == 0
    assert clock.seconds(mark, 1350.0) == 50


def test_a_folder_of_another_definition_is_refused(tmp_path: Path) -> None:
    table = toy(tmp_path)
    file = cell_file(table, "plain", 0, tmp_path)
    file.parent.mkdir()
    identity = table.identity("plain", 0)
    identity["settings"] = {"steps": 7}
    file.write_text(json.dumps({"identity": identity, "metrics": {"loss": 1.0}}))
    with pytest.raises(ValueError, match=r"settings.steps: 7 there, 20 now"):
        run_table(table, SEEDS, tmp_path)


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 1), ()])
def test_fewer_than_three_seeds_are_refused(seeds: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 3 different seeds"):
        run_table(toy(tmp_path), seeds, tmp_path)
    with pytest.raises(ValueError, match="at least 3"):
        seed_interval([1.0, 2.0])


def test_claims_must_name_what_the_table_has(tmp_path: Path) -> None:
    wrong = Claim(better="momentum", worse="adam", metric="loss", direction="lower", source="")
    with pytest.raises(ValueError, match="names what the table lacks"):
        toy(tmp_path, claims=(wrong,))


def test_interval_of_seeds_is_student_s() -> None:
    found = seed_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    # t(0.975, 2) = 4.30265, sd = 1
    assert found.high - found.mean == pytest.approx(4.302652730 / 3**0.5, rel=1e-8)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 1.0, "reproduced"),
        (-1.0, -0.1, "contrary"),
        (-0.1, 0.1, "undecided"),
        (0.0, 0.0, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 3)) == expected
