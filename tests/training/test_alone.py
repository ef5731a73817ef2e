"""A training in this process: the one loop, one worker, no checkpoints."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from training_toy import ToyConfig, batches, toy_train_config

from motion.batch import Batch
from motion.training.alone import train_alone
from motion.training.config import DataConfig, TrainConfig
from motion.training.step import NonFiniteLossError

FACTS = {"encoders": {}, "body": "free", "hash": "toy", "licences": ["CC0-1.0"]}
train = partial(train_alone, open_batches=batches, facts=lambda _: FACTS)


def none(config: TrainConfig, rank: int, start: int) -> Iterator[Batch]:
    raise AssertionError("the export is there: nothing is left to train")


def one_worker(storage: Path, **changes: object) -> TrainConfig:
    fields = {"steps": 5, "num_workers": 1, "accumulation": 1, "micro_batch": 2, **changes}
    return toy_train_config(storage, **fields)


def test_the_export_is_a_trained_one_and_is_made_once(tmp_path: Path) -> None:
    config = one_worker(tmp_path)
    export = train(config)
    assert export == config.export_dir
    weights = load_file(export / "model.safetensors")
    torch.manual_seed(config.seed)
    start = config.build_system().state_dict()
    assert not torch.equal(weights["leave.weight"], start["leave.weight"])
    assert torch.equal(weights["gate.weight"], start["gate.weight"]), "frozen"
    assert not list(config.run_dir.glob("checkpoint_*"))
    assert not dist.is_initialized()
    assert train(config, open_batches=none) == export
    again = load_file(train(one_worker(tmp_path / "again")) / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in weights.items()), "bitwise"
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        train(one_worker(tmp_path, seed=1))


def test_a_failure_leaves_no_process_group(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match="step 2"):
        train(one_worker(tmp_path, system=ToyConfig(nan_at=2)))
    assert not dist.is_initialized()


@pytest.mark.parametrize("changes", [{"num_workers": 2}, {"data": DataConfig(root=Path("data"))}])
def test_refuses_what_needs_a_cluster(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"set num_workers=1.*or train through launch\.fit"):
        train(one_worker(tmp_path, **changes))
