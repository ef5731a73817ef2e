"""A training in this process alone: the one loop without Ray Train and MLflow.

For what trains many small models and compares them: cells of ablation tables, benchmarks. There are
no checkpoints, so a training that dies begins anew.
"""

import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch.distributed as dist

from motion.data.claim import require_same
from motion.training import dataset, export
from motion.training.config import TrainConfig, identity_hash
from motion.training.engine import import_deepspeed
from motion.training.loop import Job, OpenBatches, Worker, train
from motion.training.tracking import git_state

_ONE_RANK: Final = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


def train_alone(
    config: TrainConfig,
    *,
    open_batches: OpenBatches = dataset.stream_batches,
    facts: Callable[[TrainConfig], Mapping[str, Any]] = dataset.facts,
) -> Path:
    """Train from the first step to the last, unless the same training's export is there.

    Args:
        config: of one worker; the export is written where it says.
        open_batches: where batches come from.
        facts: of the dataset; its hash stands in the identity.

    Returns:
        The export.

    Raises:
        ValueError: the training needs more than this process, the data do not fit it, or there is
            an export of another training.
        RuntimeError: the process belongs to a process group already.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    if config.num_workers != 1 or config.validate_with is not None or config.data.stream.use_ray:
        raise ValueError(
            f"{config.name}: this process is one worker and has no Ray tasks; set num_workers=1, "
            "validate_with=None and data.stream.use_ray=False, or train through launch.fit"
        )
    data = facts(config)
    origin = export.initial_hash(config.init_from)
    identity = config.identity(dataset_hash=data["hash"], init_hash=origin)
    named = identity_hash(identity)
    done = export.committed(config.export_dir)
    if done is not None:
        place, before = config.export_dir, done["training"]["identity"]
        require_same(before, identity, place=place, what="a training of this name", other="name")
        return place
    job = Job(run_id="", identity=identity, identity_hash=named, data=data, git=git_state())
    with _one_rank(use_gpu=config.use_gpu):
        train(config, job, Worker(newest=None, commit=_discard, tracker=None), open_batches)
    return config.export_dir


@contextmanager
def _one_rank(*, use_gpu: bool) -> Generator[None]:
    """A process group of this process, and the environment that DeepSpeed looks for one in."""
    if dist.is_initialized():
        raise RuntimeError(
            "this process belongs to a process group: a training alone opens its own; call it "
            "outside of Ray Train's workers, or leave the group first"
        )
    before = {name: os.environ.get(name) for name in _ONE_RANK}
    os.environ.update(_ONE_RANK)
    if not use_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when DeepSpeed is first imported
    with tempfile.TemporaryDirectory(prefix="one_rank_") as folder:
        dist.init_process_group(
            "nccl" if use_gpu else "gloo",
            init_method=f"file://{folder}/store",
            rank=0,
            world_size=1,
        )
        try:
            yield
        finally:
            _leave_group()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _leave_group() -> None:
    """Through DeepSpeed where it is in use: else the next training would find its old groups."""
    comm = import_deepspeed().comm
    (comm if comm.is_initialized() else dist).destroy_process_group()


def _discard(*_: Any) -> None:
    """No checkpoint is kept."""
