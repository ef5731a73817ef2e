"""A training in this process: the one loop, one worker, no checkpoints."""

import errno
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from training_toy import ToyConfig, batches, toy_train_config

from motion.batch import Batch
from motion.training import console, loop
from motion.training.alone import train_alone
from motion.training.config import DataConfig, ProfileConfig, TrainConfig
from motion.training.recorder import Profiler
from motion.training.step import NonFiniteLossError
from motion.training.tracking import Tracker

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


def test_a_failure_within_the_profile_window_stops_the_profiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    stop = torch.profiler.profile.stop
    monkeypatch.setattr(
        torch.profiler.profile, "stop", lambda self: (stopped.append(1), stop(self))
    )
    config = one_worker(tmp_path, profile=ProfileConfig(start=1, steps=3))

    def failing() -> None:
        with Profiler(config, MagicMock(spec=Tracker), 0) as profiler:
            profiler.before(1)
            raise NonFiniteLossError("within the window")

    with pytest.raises(NonFiniteLossError):
        failing()
    assert stopped == [1]
    assert not (config.run_dir / "profile").exists(), "half a window is no profile"


@pytest.mark.parametrize("writer", ["attempt", "outcome"])
def test_what_the_driver_reads_is_whole_or_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    config = one_worker(tmp_path)
    train(config)
    before = {p: p.read_bytes() for p in config.run_dir.iterdir() if p.is_file()}
    write = Path.write_text

    def torn(self: Path, text: str) -> None:
        write(self, text[: len(text) // 2])
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(Path, "write_text", torn)
    monkeypatch.setattr(loop.dist, "get_rank", lambda: 0)
    outcome = console.Outcome(
        resumed_at=0, last_loss=None, best_loss=None, best_step=0, clips_per_s=0.0,
        phases_s={}, finished_s=0.0,
    )  # fmt: skip
    write_it = {
        "attempt": partial(loop._next_attempt, config),
        "outcome": partial(console.write_outcome, config.run_dir, outcome),
    }
    with pytest.raises(OSError, match="the disk is gone"):
        write_it[writer]()
    assert {p: p.read_bytes() for p in config.run_dir.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("changes", [{"num_workers": 2}, {"data": DataConfig(root=Path("data"))}])
def test_refuses_what_needs_a_cluster(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"set num_workers=1.*or train through launch\.fit"):
        train(one_worker(tmp_path, **changes))
