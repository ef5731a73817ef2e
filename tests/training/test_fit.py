"""`fit` on a Ray cluster: death of a worker, damage, reruns. Compared with a run without Ray."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file
from training_direct import records, run
from training_toy import ToyConfig, batches, toy_train_config, write_toy_dataset

from motion.data.pipeline import StreamConfig
from motion.training import export
from motion.training.config import OptimizerConfig, TrainConfig, ValidateConfig
from motion.training.console import read_events
from motion.training.dataset import plan_of
from motion.training.launch import fit
from motion.training.restore import SNAPSHOT
from motion.training.step import NonFiniteLossError
from motion.training.validation import EvaluationFailedError

pytestmark = pytest.mark.slow


def _same_results(config: TrainConfig, reference: TrainConfig) -> None:
    assert records(config) == records(reference)
    for name in ("model", "ema"):
        found = load_file(config.export_dir / f"{name}.safetensors")
        expected = load_file(reference.export_dir / f"{name}.safetensors")
        assert all(found[key].equal(expected[key]) for key in expected)


def test_death_damage_and_reruns_leave_no_trace_in_the_results(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_dataset(tmp_path / "data")
    reference = toy_train_config(tmp_path / "reference", zero_stage=3, steps=16)
    run(2, [reference], tmp_path)
    config = toy_train_config(
        tmp_path,
        zero_stage=3,
        steps=16,
        # Slow steps: the checkpoint of step 8 is committed before the death in step 10.
        system=ToyConfig(kill_at=10, kill_mark=str(tmp_path / "killed"), delay_s=0.3),
        profile={"start": 1, "steps": 2},
        validate_with={"function": "training_toy:evaluate", "arguments": {"scale": 2.0}},
    )
    fit(config, open_batches=batches)
    assert (tmp_path / "killed").exists()
    assert (config.run_dir / "attempts").read_text() == "2"
    _same_results(config, reference)
    _check_mlflow(config)
    kept = sorted(path.name for path in config.run_dir.glob("checkpoint_0*"))
    assert kept == ["checkpoint_00000012_002", "checkpoint_00000016_002"]
    trace = json.loads((config.run_dir / "profile" / "trace_step1.json").read_text())
    assert trace["traceEvents"]

    capsys.readouterr()
    assert fit(config, open_batches=batches) == config.export_dir
    assert "already committed; nothing to do" in capsys.readouterr().out
    other = config.model_copy(update={"optimizer": OptimizerConfig(learning_rate=0.5)})
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate: 0\.01 there, 0\.5 now"):
        fit(other, open_batches=batches)

    shutil.rmtree(config.export_dir)
    shutil.rmtree(config.run_dir / "checkpoint_00000016_002")
    with pytest.raises(ValueError, match="another config"):
        fit(other, open_batches=batches)
    fit(config, open_batches=batches)
    assert "falling back to the one before: checkpoint_00000016_002" in capsys.readouterr().out
    assert (config.run_dir / "attempts").read_text() == "3"
    _same_results(config, reference)
    assert len(_runs(config)) == 1, "one MLflow run per training"
    snapshot = json.loads((config.run_dir / SNAPSHOT).read_text())
    assert snapshot["latest_checkpoint_result"]["checkpoint_dir_name"].endswith("16_003")


DRIVER = """
import sys
import ray
from pathlib import Path
import training_toy
from motion.training.config import TrainConfig
from motion.training.launch import fit
ray.init(address=sys.argv[1], log_to_driver=False)
fit(TrainConfig.model_validate_json(sys.stdin.read()), open_batches=training_toy.batches)
"""


def test_an_interrupted_or_failed_evaluation_is_made_up_for_once(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_toy_dataset(tmp_path / "data")
    trouble = tmp_path / "trouble"
    config = toy_train_config(
        tmp_path,
        steps=4,
        num_workers=1,
        accumulation=4,
        validate_with={
            "function": "training_toy:evaluate",
            "arguments": {"trouble": str(trouble)},
        },
    )
    assert not config.validates_on_the_way
    trouble.write_text("wait")
    address = ray.get_runtime_context().gcs_address
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, address], stdin=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin is not None
        driver.stdin.write(config.model_dump_json())
        driver.stdin.close()
        while trouble.exists():  # until the evaluation runs
            assert driver.poll() is None
            time.sleep(0.1)
        driver.kill()
    assert export.committed(config.export_dir) is not None
    (run_id,) = _runs(config)
    assert _status(config, run_id) == "RUNNING"

    trouble.write_text("raise")
    with pytest.raises(EvaluationFailedError, match=r"its evaluation failed .*trouble was asked"):
        fit(config, open_batches=batches)
    assert "its evaluation is left to do" in capsys.readouterr().out
    assert _status(config, run_id) == "FAILED"
    assert fit(config, open_batches=batches) == config.export_dir
    assert _status(config, run_id) == "FINISHED"
    assert _runs(config) == [run_id]
    assert (config.run_dir / "attempts").read_text() == "1", "nothing was trained again"
    fit(config, open_batches=batches)
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    assert len(client.get_metric_history(run_id, "toy_norm")) == 1, "it is not repeated"
    other = {"function": "training_toy:evaluate", "arguments": {"scale": 3.0}}
    changed = ValidateConfig.model_validate(other)
    fit(config.model_copy(update={"validate_with": changed}), open_batches=batches)
    first, second = (m.value for m in client.get_metric_history(run_id, "toy_norm"))
    assert second == pytest.approx(3 * first)


def _status(config: TrainConfig, run_id: str) -> str:
    return MlflowClient(tracking_uri=config.mlflow_uri).get_run(run_id).info.status


def _runs(config: TrainConfig) -> list[str]:
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    assert experiment is not None
    return [found.info.run_id for found in client.search_runs([experiment.experiment_id])]


def _check_mlflow(config: TrainConfig) -> None:
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    (run_id,) = _runs(config)
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["attempt"] == "2"
    assert found.data.params["optimizer.learning_rate"] == "0.01"
    assert {"loss", "loss/map", "data_wait", "clips_per_s", "memory_gib"} <= set(found.data.metrics)
    validated = [metric.step for metric in client.get_metric_history(run_id, "toy_norm")]
    assert sorted(validated) == [4, 8, 12, 16]
    events = [event["kind"] for event in read_events(config.run_dir)]
    assert events.count("validation") == 4
    assert events.count("restart") == 1
    assert not any((config.run_dir / "exports").iterdir()), "validated exports are temporary"
    assert client.list_artifacts(run_id, "profile")


def test_nan_ends_a_streamed_run_without_retries(ray_cluster: None, tmp_path: Path) -> None:
    write_toy_dataset(tmp_path / "data")
    config = toy_train_config(tmp_path, system=ToyConfig(nan_at=7), zero_stage=1)
    streamed = config.data.model_copy(update={"stream": StreamConfig(use_ray=True)})
    config = config.model_copy(update={"data": streamed})
    with pytest.raises(NonFiniteLossError, match=r"step 7: .* term text of clips clip"):
        fit(config)
    dealt = [plan_of(config).step(step) for step in range(7)]
    expected = [
        [clip.clip_id for micro in rank for clip in micro.clips] for step in dealt for rank in step
    ]
    found = records(config)
    assert [found[step][1] for step in range(7)] == [
        expected[2 * step] + expected[2 * step + 1] for step in range(7)
    ]
    assert (config.run_dir / "attempts").read_text() == "1"
    assert not config.export_dir.exists()
    (run_id,) = _runs(config)
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    assert client.get_run(run_id).info.status == "FAILED"


def test_infeasible_requests_fail_at_once_and_a_dry_run_starts_nothing(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(toy_train_config(tmp_path), dry_run=True, open_batches=batches)
    assert "not there yet: data and shapes were not checked" in capsys.readouterr().out
    write_toy_dataset(tmp_path / "data")
    with pytest.raises(ValueError, match="64 workers of 1 CPU do not fit this cluster"):
        fit(toy_train_config(tmp_path, num_workers=64, accumulation=1), open_batches=batches)
    config = toy_train_config(tmp_path)
    fit(config, dry_run=True, open_batches=batches)
    table = capsys.readouterr().out
    for title in ("resources", "storage", "dataset", "memory", "one batch"):
        assert f"\n{title} " in table
    assert not config.export_dir.exists()
    assert not (config.run_dir / "run.json").exists()
