"""Runs trainings in plain gloo processes: many parity checks for one process start, without Ray."""

import json
import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from training_toy import batches

from motion.training.config import TrainConfig, identity_hash
from motion.training.loop import Job, OpenBatches, Worker, train


def job_of(config: TrainConfig) -> Job:
    identity = config.identity(dataset_hash="toy")
    return Job(
        run_id="none",
        identity=identity,
        identity_hash=identity_hash(identity),
        data={"encoders": {}, "body": "free", "hash": "toy", "licences": ["CC0-1.0"]},
        git="0000000\n",
    )


def commit(config: TrainConfig, folder: Path, name: str, *_: Any) -> None:
    """Merge the ranks' folders into one, as Ray Train's storage does."""
    shutil.copytree(folder, config.run_dir / name, dirs_exist_ok=True)
    shutil.rmtree(folder)
    dist.barrier()


def _process(
    rank: int,
    world: int,
    store: str,
    configs: Sequence[TrainConfig],
    open_batches: OpenBatches,
) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    for config in configs:
        worker = Worker(newest=None, commit=partial(commit, config), tracker=None)
        error = config.run_dir / f"error_rank{rank}.txt"
        try:
            train(config, job_of(config), worker, open_batches)
        except (RuntimeError, ValueError) as problem:
            error.parent.mkdir(parents=True, exist_ok=True)
            error.write_text(f"{type(problem).__name__}: {problem}")
    dist.destroy_process_group()


def run(
    world: int,
    configs: Sequence[TrainConfig],
    scratch: Path,
    open_batches: OpenBatches = batches,
) -> None:
    """Run trainings one after the other in `world` processes; errors lie in error_rank<r>.txt."""
    store = scratch / f"store{len(list(scratch.glob('store*')))}"
    mp.spawn(_process, args=(world, str(store), configs, open_batches), nprocs=world)


def errors(config: TrainConfig) -> list[str]:
    return [path.read_text() for path in sorted(config.run_dir.glob("error_rank*.txt"))]


def records(config: TrainConfig) -> dict[int, tuple[float, list[str]]]:
    """Per step: the loss and the clip ids of all ranks; a replayed step must repeat itself."""
    found: dict[int, tuple[float, list[str]]] = {}
    clips: dict[tuple[int, int], list[str]] = {}
    for rank, path in enumerate(sorted((config.run_dir / "steps").glob("rank*.jsonl"))):
        for row in map(json.loads, path.read_text().splitlines()):
            step, loss = row["step"], row["loss"]
            assert found.get(step, (loss, []))[0] == loss, f"step {step} was replayed differently"
            assert clips.setdefault((rank, step), row["clips"]) == row["clips"]
            found[step] = (loss, [])
    for (_, step), names in sorted(clips.items()):
        found[step][1].extend(names)
    return found


def losses(config: TrainConfig) -> list[float]:
    found = records(config)
    return [found[step][0] for step in range(config.steps)]
