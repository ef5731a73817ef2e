from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from training_toy import ToyConfig, batches, toy_train_config, write_toy_dataset

from motion.data.storage import write_shard
from motion.training import console, dataset, export, preflight, validation
from motion.training.config import DataConfig, InitConfig, TrainConfig, ValidateConfig
from motion.training.tracking import Tracker, git_state

NODE = {"CPU": 4.0, "GPU": 2.0}


def test_infeasible_requests_are_refused_with_what_would_fit(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path, num_workers=4, accumulation=1, cpus_per_worker=3)
    with pytest.raises(ValueError, match=r"4 workers of 3 CPU do not fit .*8 CPU.*: 2 do\. Lower"):
        preflight.check_resources(config, [NODE, NODE])
    assert "4 x (3 CPU) of 5 nodes" in preflight.check_resources(config, [NODE] * 5)
    gpus = config.model_copy(update={"use_gpu": True, "cpus_per_worker": 1.0})
    assert preflight.check_resources(gpus, [NODE, NODE])
    with pytest.raises(ValueError, match="3 do"):
        preflight.check_resources(gpus, [NODE, {"CPU": 4.0, "GPU": 1.0}])
    check = ValidateConfig(function="training_toy:evaluate", num_gpus=1)
    validated = gpus.model_copy(update={"validate_with": check})
    assert validated.validates_on_the_way
    with pytest.raises(ValueError, match="asks for 1 GPUs, the cluster has 0 left"):
        preflight.check_resources(validated, [NODE, NODE])


def test_an_evaluation_takes_the_gpu_that_is_left(tmp_path: Path) -> None:
    """Chosen from config and cluster: on the way beside the workers, at the end with theirs."""
    config = toy_train_config(
        tmp_path, use_gpu=True, num_workers=2, validate_with={"function": "training_toy:evaluate"}
    )
    assert preflight.check_resources(config, [NODE])
    on_the_way = validation.task_resources(None, [NODE], taken=2.0)
    assert (on_the_way["num_gpus"], validation.device_of(on_the_way)) == (0, "cpu")
    at_the_end = validation.task_resources(None, [NODE])
    assert (at_the_end["num_gpus"], validation.device_of(at_the_end)) == (1, "cuda")
    asked = {"function": "training_toy:evaluate", "num_gpus": 1, "every": 3}
    last_only = config.model_copy(update={"validate_with": ValidateConfig.model_validate(asked)})
    assert not last_only.validates_on_the_way
    assert preflight.check_resources(last_only, [NODE])
    with pytest.raises(ValueError, match=r"1 evaluation of 1 CPU do not fit"):
        validation.task_resources(0.0, [{"CPU": 0.5}])


def test_workers_must_leave_cpus_to_the_pipeline(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path, num_workers=2, cpus_per_worker=2)
    assert preflight.check_resources(config, [NODE])
    streamed = config.model_copy(update={"data": DataConfig(root=tmp_path)})
    with pytest.raises(ValueError, match=r"take 4 of 4 CPUs and leave 0.*stream\.use_ray=False"):
        preflight.check_resources(streamed, [NODE])


def test_storage_must_be_writable_and_large_enough(tmp_path: Path) -> None:
    assert "GiB free" in preflight.check_storage(toy_train_config(tmp_path), 1000, 1000)
    with pytest.raises(ValueError, match="lower keep_checkpoints"):
        preflight.check_storage(toy_train_config(tmp_path), 10**14, 10**14)
    with pytest.raises(ValueError, match="lower keep_checkpoints"):
        preflight.check_storage(toy_train_config(tmp_path), 10**14, 0)  # frozen ones are kept too
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is not writable"):
        preflight.check_storage(toy_train_config(tmp_path / "file"), 1000, 1000)


def test_memory_shrinks_with_stage_and_workers(tmp_path: Path) -> None:
    def gib(stage: int, workers: int) -> float:
        config = toy_train_config(tmp_path, zero_stage=stage, num_workers=workers, ema_decay=None)
        return preflight.model_state_gib(config, 2**30, 2**30)

    assert [gib(stage, 1) for stage in (0, 3)] == [16, 16]
    assert [gib(stage, 8) for stage in range(4)] == [16, 9.5, 6, 2]


def test_a_trial_shows_shapes_and_loss(tmp_path: Path) -> None:
    text = preflight.trial(toy_train_config(tmp_path), batches)
    assert "latent_map 1x3x4x2x2" in text
    assert "; loss " in text


def test_validation_function_must_exist(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path, validate_with={"function": "training_toy:evalute"})
    with pytest.raises(ValueError, match=r"cannot be imported: .*evalute"):
        preflight.check_validation(config)


def test_dataset_facts_and_refusals(tmp_path: Path) -> None:
    write_toy_dataset(tmp_path / "data")
    config = toy_train_config(tmp_path)
    facts = dataset.facts(config)
    assert (facts["num_clips"], facts["body"], facts["fps"]) == (20, "free", 16.0)
    assert facts["licences"] == ["CC0-1.0"]

    def refused(message: str, **changes: object) -> None:
        data = config.data.model_copy(update=changes)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            dataset.facts(config.model_copy(update={"data": data}))

    assert facts["map_mode"] == "flat"
    refused("text encoder abc, the config expects abd", encoders={"text": "abd"})
    assert dataset.pinned(config).data.encoders == {"text": "abc"}
    pinned = config.data.model_copy(update={"encoders": {"text": "abd"}})
    other = dataset.pinned(config.model_copy(update={"data": pinned}))
    with pytest.raises(ValueError, match="text encoder abc, the config expects abd"):
        next(dataset.stream_batches(other, 0, 0))  # as workers do that start again
    refused(r"no clip of .* has the columns \['latent_rgb'\]", columns=("latent_rgb",))
    refused("no clip of split 'test'", split="test")
    refused("holds no committed dataset", root=tmp_path / "elsewhere")
    write_toy_dataset(tmp_path / "flagged", flagged=7)
    refused(
        r"1 of 20 clips .* are flagged \(CC-BY-NC-4.0\), e.g. clip007.*forbids an export",
        root=tmp_path / "flagged",
    )


def test_shards_of_other_encoders_or_schema_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written anew after the commit, so that the manifest knows nothing of it."""
    config = toy_train_config(tmp_path)
    write_toy_dataset(tmp_path / "data")
    shard = tmp_path / "data" / "shards" / "0.parquet"
    rows = pq.read_table(shard).to_pylist()
    write_shard(shard, rows, row_group_size=4, encoders={"text": {"id": "words", "hash": "new"}})
    with pytest.raises(ValueError, match=r"made by encoders .*'new'.*encode again"):
        dataset.facts(config)
    monkeypatch.setattr("motion.data.schema.SCHEMA_VERSION", "0")
    write_shard(shard, rows, row_group_size=4, encoders={"text": {"id": "words", "hash": "abc"}})
    with pytest.raises(ValueError, match=r"schema version 0, this code reads .*prepare"):
        dataset.facts(config)


def test_a_real_stream_feeds_the_toy(tmp_path: Path) -> None:
    write_toy_dataset(tmp_path / "data")
    config = toy_train_config(tmp_path, num_workers=1, accumulation=4)
    stream = dataset.stream_batches(config, 0, 2)
    found = [next(stream) for _ in range(4)]
    assert {batch.step for batch in found} == {2}
    assert all(batch.num_micro_batches == 4 and batch.counts["map"] == 4 for batch in found)


def _export(config: TrainConfig, state: dict[str, torch.Tensor]) -> Path:
    write_toy_dataset(config.data.root)
    encoders = {"text": {"id": "words", "hash": "abc"}}
    data = {"encoders": encoders, "body": "free", "licences": ["CC0-1.0"]}
    description = export.describe(
        config, step=3, identity={"a": 1}, identity_hash="h", data=data, run_id=""
    )
    return export.write(
        config.export_dir, description, [state], data_root=config.data.root, git=git_state()
    )


def test_init_from_accepts_fitting_exports_only(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path)
    state = ToyConfig().build().state_dict()
    path = _export(config, state)
    assert (path / "git.txt").read_text().strip()
    assert "CC0-1.0" in (path / "README.md").read_text()

    def check(encoders: dict[str, object] | None = None, **changes: object) -> str:
        init = InitConfig(export=path).model_copy(update=changes)
        started = config.model_copy(update={"init_from": init})
        return preflight.check_init(started, frozenset(), encoders or {})

    assert check({"text": {"hash": "abc"}, "features": {"hash": "new"}}) == str(path)
    with pytest.raises(
        ValueError, match=r"(?s)other encoders.*text: abc there, abd here\nTrain on"
    ):
        check({"text": {"hash": "abd"}})
    with pytest.raises(ValueError, match=r"has no ema\.safetensors"):
        check(weights="ema")
    with pytest.raises(ValueError, match=r"is no export .* resumable checkpoints are not accepted"):
        check(export=tmp_path)
    assert "earlier stage" in preflight.check_init(
        config.model_copy(update={"init_from": InitConfig(export=tmp_path / "later")}),
        frozenset({tmp_path / "later"}),
        {},
    )
    wider = config.model_copy(
        update={"system": ToyConfig(hidden=14), "init_from": InitConfig(export=path)}
    )
    with pytest.raises(
        ValueError, match=r"enter\.weight: \(13, 3\) there, \(14, 3\) in the system"
    ):
        preflight.check_init(wider, frozenset(), {})
    del state["gate.weight"]
    save_file({**state, "extra.bias": torch.zeros(1)}, path / "model.safetensors")
    with pytest.raises(ValueError, match=r"(?s)1 missing.*gate\.weight.*1 unexpected.*extra\.bias"):
        check()
    save_file(state, path / "model.safetensors")
    assert check(allow_missing=("gate.",)) == str(path)


def test_console_lines_are_aligned(tmp_path: Path) -> None:
    values = {
        "loss": 0.5, "learning_rate": 1e-4, "gradient_norm": 1.0, "clips_per_s": 12.0,
        "data_wait": 0.03, "memory_gib": 1.5, "eta_s": 3723.0,
    }  # fmt: skip
    early = console.line(4, 1200, values, {"map": 1.0, "rgb": 2.0})
    late = console.line(
        1200, 1200, {**values, "loss": 12.5, "data_wait": 0.99}, {"map": 1.0, "rgb": 2.0}
    )
    assert early.startswith("step    4/1200  loss  0.50000  (map 1.0000  rgb 2.0000)  lr 1.00e-04")
    assert len(early) == len(late)
    assert late.endswith("eta 1:02:03")
    assert "mfu 41.0%" in console.line(4, 1200, {**values, "mfu": 0.41}, {})
    priced = toy_train_config(tmp_path, price_per_hour=3.6)
    assert console.cost_per_1000_steps(priced, 0.5) == pytest.approx(1.0)


def test_an_unreachable_tracker_does_not_end_a_training(
    tmp_path: Path,
) -> None:
    config = toy_train_config(tmp_path)
    tracker = Tracker(config, "no-such-run")
    tracker.metrics({"loss": 1.0}, 0)
    tracker.tag("a", "b")
    assert tracker.lost == 2
    assert "record 2 lost, training goes on" in (config.run_dir / console.CONSOLE).read_text()
