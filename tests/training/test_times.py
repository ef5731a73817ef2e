"""Reports on the time of trainings."""

import json
import os
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from torch.profiler import ProfilerActivity, profile, record_function

from motion import paths
from motion.training.times import SPANS, TimesConfig, dataset_seconds, main, split, waited


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two data sets and a training of 40 steps with a profile, as runs leave them."""
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path))
    for name, claim, times in (("b", "encode.json", (60, 90)), ("a", "prepare.json", (10, 50))):
        folder = paths.data() / name
        folder.mkdir(parents=True)
        for file, time in zip((claim, "dataset.json"), times, strict=True):
            (folder / file).write_text("{}")
            os.utime(folder / file, (time, time))
    run = paths.runs() / "tiny"
    (run / "profile").mkdir(parents=True)
    phases = {"workers": 2.0, "steps": 6.0}
    (run / "outcome.json").write_text(json.dumps({"phases_s": phases, "finished_s": 100.0}))
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for name in SPANS:
            with record_function(name):
                torch.ones(2000, 2000).sum()
    recorded.export_chrome_trace(str(run / "profile" / "trace_step20.json"))
    client = MlflowClient(tracking_uri=paths.mlflow_uri())
    run_id = client.create_run(client.create_experiment("e"), run_name="tiny").info.run_id
    for end, share, step_s in ((10, 0.9, 5.0), (20, 0.5, 1.0), (30, 0.01, 0.2), (40, 0.03, 0.6)):
        client.log_metric(run_id, "data_wait", share, step=end)
        client.log_metric(run_id, "step_s", step_s, step=end)
    return tmp_path


def test_data_sets_take_from_claim_to_commit(outputs: Path) -> None:
    assert list(dataset_seconds(outputs / "data").items()) == [("a", 40.0), ("b", 30.0)]


def test_wait_counts_whole_intervals_from_a_step_on(outputs: Path) -> None:
    client = MlflowClient(tracking_uri=paths.mlflow_uri())
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    found = waited(client, run.info.run_id, 20)
    assert found.steps == 20
    assert found.of_seconds == pytest.approx(8.0)
    assert found.seconds == pytest.approx(0.01 * 2 + 0.03 * 6)
    assert waited(client, run.info.run_id, 11).steps == 20, "no interval begins at 11"


def test_everything_is_printed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(TimesConfig())
    printed = capsys.readouterr().out
    assert "| a | 40 | 57.1 |" in printed
    assert "| steps | 6 | 75.0 |" in printed
    assert "waited for data from step 20 on: 2.50 % of 8.0 s in 20 steps" in printed
    assert all(f"| {name.removeprefix('train/')} |" in printed for name in SPANS)
    with pytest.raises(ValueError, match=r"no training large finished in .*there are: tiny"):
        main(TimesConfig(names=("large",)))


def test_parts_of_a_step_and_the_rest() -> None:
    def event(name: str, begin: float, length: float) -> dict[str, object]:
        return {"name": name, "cat": "user_annotation", "ts": begin, "dur": length}

    parts = [("train/data", 0, 1e6), ("train/forward", 2e6, 3e6), ("train/backward", 5e6, 4e6)]
    found = split([event(*part) for part in parts] + [{"name": "aten::add", "ts": 0, "dur": 1e9}])
    expected = {"data": 1.0, "forward": 3.0, "backward": 4.0, "optimizer": 0.0, "rest": 1.0}
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="none of train/data"):
        split([])
