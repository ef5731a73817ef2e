"""Where a training continues: the newest intact checkpoint, at whatever world size it now has.

The ladder: same world size -> native shards, after their SHA-256 matched; another world size ->
DeepSpeed's universal format, converted on the spot; a damaged or missing checkpoint -> the one
before, and the user is told.
"""

import argparse
import contextlib
import importlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from motion.training.checkpoint import (
    NATIVE_TAG,
    DamagedCheckpointError,
    load_average,
    read_state,
    set_rng_state,
    verify,
)
from motion.training.config import TrainConfig
from motion.training.engine import Engine
from motion.training.shards import MovingAverage, fragments

SNAPSHOT = "checkpoint_manager_snapshot.json"
PREFIX = "checkpoint_"
Say = Callable[[str], None]


def listed(run_dir: Path) -> list[Path]:
    """Checkpoint folders of a run, newest first: names sort by step, then attempt."""
    return sorted((p for p in run_dir.glob(f"{PREFIX}0*") if p.is_dir()), reverse=True)


def folder_name(step: int, attempt: int) -> str:
    """Name of a checkpoint after `step` completed steps.

    The attempt makes it unique: a step that is reached again after a restart must not write into
    a folder that Ray may be about to delete.
    """
    return f"{PREFIX}{step:08d}_{attempt:03d}"


def choose(run_dir: Path, newest: Path | None, say: Say) -> Path | None:
    """The newest intact checkpoint, agreed upon by all ranks; a collective call.

    Args:
        run_dir: the run's folder.
        newest: the last committed one as Ray knows it; None considers all that lie there.
        say: told about every checkpoint that is passed over.

    Raises:
        RuntimeError: there are checkpoints, but none is intact.
    """
    found: list[Any] = [None]
    if dist.get_rank() == 0:
        found[0] = [p for p in listed(run_dir) if newest is None or p.name <= newest.name]
    dist.broadcast_object_list(found)
    candidates = cast("list[Path]", found[0])
    for folder in candidates:
        reason = _damage(folder)
        if reason is None:
            return folder
        say(f"checkpoint passed over, falling back to the one before: {reason}")
    if candidates or newest is not None:
        raise RuntimeError(_no_intact(run_dir, max(len(candidates), 1)))
    return None


def _no_intact(run_dir: Path, count: int) -> str:
    return (
        f"none of the {count} checkpoints in {run_dir} is intact; choose another name to start "
        "afresh, or delete that folder"
    )


def _damage(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, with the checking shared among the ranks."""
    reason = None
    try:
        verify(folder, rank=dist.get_rank(), world=dist.get_world_size())
    except DamagedCheckpointError as error:
        reason = str(error)
    reasons: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(reasons, reason)
    return next((text for text in reasons if text is not None), None)


def open_engine(config: TrainConfig, module: nn.Module, folder: Path | None) -> Engine:
    """An engine with the weights and optimizer state of a verified checkpoint, if there is one."""
    if folder is None:
        return Engine(config, module)
    state = read_state(folder)
    if state["world"] == config.num_workers or config.zero_stage == 0:
        engine = Engine(config, module)  # at stage 0 every rank saved the same
        _load(engine, folder, NATIVE_TAG)
        return engine
    engine = Engine(config, module, load_universal=True)
    target = config.run_dir / "universal" / folder.name
    if dist.get_rank() == 0:
        convert_to_universal(folder / NATIVE_TAG, target)
    dist.barrier()
    _load(engine, target.parent, target.name)
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(target.parent)
    return engine


def _load(engine: Engine, folder: Path, tag: str) -> None:
    path, _ = engine.deepspeed.load_checkpoint(str(folder), tag=tag)
    if path is None:
        raise RuntimeError(f"DeepSpeed found nothing to load in {folder}/{tag}")


def convert_to_universal(source: Path, target: Path) -> None:
    """DeepSpeed's native shards -> its universal format, readable at any world size.

    Always converted afresh: a converted folder has no manifest that could vouch for it.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    converter = importlib.import_module("deepspeed.checkpoint.ds_to_universal")
    options = argparse.Namespace(
        input_folder=str(source),
        output_folder=str(target),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        converter.main(options)


def restore_average(average: MovingAverage, folder: Path, world: int) -> None:
    """Load this rank's moving average from a checkpoint of any world size and stage."""
    names = {part.name for part in average.parts}
    saved_world = int(read_state(folder)["world"])
    owners: Sequence[int] = [dist.get_rank()] if saved_world == world else range(saved_world)
    paths = [folder / f"ema_rank{owner}.safetensors" for owner in owners]
    average.load([piece for path in paths for piece in load_average(path, names)])


def restore_rng(folder: Path, config: TrainConfig) -> None:
    """Put this rank's generators back; at another world size they are seeded from the step.

    What a system draws from them is then not what it would have drawn before. Systems that draw
    from the clips' noise keys (motion/diffusion/noise.py) are not concerned.
    """
    state = read_state(folder)
    if state["world"] == config.num_workers:
        text = (folder / f"rng_rank{dist.get_rank()}.json").read_text()
        set_rng_state(json.loads(text))
    else:
        torch.manual_seed(config.seed + state["step"])


def start_average(config: TrainConfig, engine: Engine, folder: Path | None) -> MovingAverage | None:
    """The moving average of a fresh or a restored run; None where the config wants none."""
    if config.ema_decay is None:
        return None
    average = MovingAverage(config.ema_decay, fragments(engine))
    if folder is not None:
        restore_average(average, folder, config.num_workers)
    return average


def repair_snapshot(run_dir: Path, say: Say) -> None:
    """Make Ray's list of checkpoints agree with the folders, before `fit()` on the driver.

    Ray's controller dies when a listed checkpoint is missing. Entries whose files are missing or
    truncated are dropped (contents are checked by the workers, in parallel); a damaged folder is
    renamed, and folders that were uploaded but never committed are deleted.

    Raises:
        RuntimeError: no listed checkpoint is left.
    """
    path = run_dir / SNAPSHOT
    if not path.is_file():
        return
    snapshot: dict[str, Any] = json.loads(path.read_text())
    entries: list[dict[str, Any]] = snapshot["checkpoint_results"]
    good = {e["checkpoint_dir_name"] for e in entries if _usable(run_dir, e, say)}
    if entries and not good:
        raise RuntimeError(_no_intact(run_dir, len(entries)))
    names = {e["checkpoint_dir_name"] for e in entries}
    for folder in listed(run_dir):
        if folder.name not in names:
            shutil.rmtree(folder)
    if good != names:
        path.write_text(json.dumps(_without(snapshot, good)))


def _usable(run_dir: Path, entry: dict[str, Any], say: Say) -> bool:
    folder = run_dir / entry["checkpoint_dir_name"]
    try:
        verify(folder, contents=False)
    except DamagedCheckpointError as error:
        say(f"checkpoint passed over, falling back to the one before: {error}")
        if folder.is_dir():
            folder.rename(folder.with_name(f"damaged_{folder.name}"))
        return False
    return True


def _without(snapshot: dict[str, Any], good: set[str]) -> dict[str, Any]:
    """Ray's snapshot reduced to the checkpoints in `good`."""
    kept = [
        (entry, index)
        for entry, index in zip(
            snapshot["checkpoint_results"], snapshot["checkpoint_report_indices"], strict=True
        )
        if entry["checkpoint_dir_name"] in good
    ]
    pending = [
        (entry, spec)
        for entry, spec in zip(
            snapshot["pending_training_results"], snapshot["pending_validation_specs"], strict=True
        )
        if entry["checkpoint_dir_name"] in good
    ]
    return {
        **snapshot,
        "checkpoint_results": [entry for entry, _ in kept],
        "checkpoint_report_indices": [index for _, index in kept],
        "latest_checkpoint_result": max(kept, key=lambda item: item[1])[0] if kept else None,
        "pending_training_results": [entry for entry, _ in pending],
        "pending_validation_specs": [spec for _, spec in pending],
    }
