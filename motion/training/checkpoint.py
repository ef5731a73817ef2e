"""Resumable checkpoints: what a directory holds, how it is written, how damage is found.

    native/             DeepSpeed's shards, one or two files per rank
    ema_rank<r>.safetensors   this rank's fragments of the moving average
    rng_rank<r>.json    torch, CUDA, NumPy and Python generators
    state.json          step, world size, ZeRO stage, identity of the run, versions
    manifest_rank<r>.json     size and SHA-256 of every file that rank r wrote

Every rank writes into a folder of its own; the folders are merged into one, so no name may occur
twice. DeepSpeed's shards are torch pickles: `restore` opens them only after `verify`.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from motion.training.config import TrainConfig
from motion.training.engine import Engine
from motion.training.shards import Fragment, MovingAverage

FORMAT = 1
NATIVE_TAG = "native"


class DamagedCheckpointError(ValueError):
    """A checkpoint that must not be read: what is wrong, and with which file."""


def save(
    folder: Path, engine: Engine, average: MovingAverage | None, state: dict[str, Any]
) -> None:
    """Write this rank's part of a checkpoint; a collective call.

    Args:
        folder: empty, of this rank alone.
        engine: model and optimizer.
        average: moving average of the weights.
        state: written to state.json by rank 0.

    Raises:
        RuntimeError: the folder cannot be written, e.g. because the disk is full.
    """
    rank = dist.get_rank()
    try:
        engine.deepspeed.save_checkpoint(str(folder), tag=NATIVE_TAG, save_latest=False)
        if average is not None:
            save_average(folder / f"ema_rank{rank}.safetensors", average)
        (folder / f"rng_rank{rank}.json").write_text(json.dumps(rng_state()))
        if rank == 0:
            (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
        manifest = {
            path.relative_to(folder).as_posix(): [path.stat().st_size, sha256(path)]
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        (folder / f"manifest_rank{rank}.json").write_text(json.dumps(manifest, indent=2))
    except OSError as error:
        raise RuntimeError(
            f"rank {rank} cannot write a checkpoint to {folder}: {error}; free space there "
            "(TMPDIR chooses the place), or lower keep_checkpoints"
        ) from error


def describe(config: TrainConfig, *, step: int, identity: str, git: str) -> dict[str, Any]:
    """Contents of state.json after `step` completed steps."""
    import deepspeed
    import ray

    return {
        "format": FORMAT,
        "step": step,
        "clips_seen": step * config.global_batch,
        "seed": config.seed,
        "world": config.num_workers,
        "zero_stage": config.zero_stage,
        "ema": config.ema_decay is not None,
        "identity": identity,
        "git": git,
        "versions": {
            "torch": torch.__version__,
            "deepspeed": deepspeed.__version__,
            "ray": ray.__version__,
        },
    }


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a checkpoint.

    Raises:
        DamagedCheckpointError: it is missing, unreadable, or of another format.
    """
    state = _read_json(folder / "state.json")
    if state.get("format") != FORMAT:
        raise DamagedCheckpointError(
            f"{folder.name}: checkpoint format {state.get('format')}, this code reads {FORMAT}"
        )
    return state


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; bytes that are no text are damage like any other."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(
            f"{path.parent.name}: {path.name} is unreadable ({error})"
        ) from error
    if not isinstance(value, dict):
        raise DamagedCheckpointError(f"{path.parent.name}: {path.name} is no JSON object")
    return cast("dict[str, Any]", value)


def verify(folder: Path, *, rank: int = 0, world: int = 1, contents: bool = True) -> None:
    """Check a checkpoint against its manifests; rank r of w checks every w-th of them.

    Args:
        folder: the merged checkpoint.
        rank: who checks.
        world: how many check.
        contents: compare SHA-256; False compares existence and size only.

    Raises:
        DamagedCheckpointError: a file is missing, truncated, altered or cannot be read.
    """
    saved_world = int(read_state(folder)["world"])
    for owner in range(rank, saved_world, world):
        manifest = _read_json(folder / f"manifest_rank{owner}.json")
        for name, (size, digest) in manifest.items():
            try:
                _verify_file(folder, name, size, digest if contents else None)
            except OSError as error:
                # Raised on one rank alone, it would leave the others waiting for this one.
                raise DamagedCheckpointError(
                    f"{folder.name}: {name} cannot be read ({error})"
                ) from error


def _verify_file(folder: Path, name: str, size: int, digest: str | None) -> None:
    path = folder / name
    if not path.is_file():
        raise DamagedCheckpointError(f"{folder.name}: {name} is missing")
    found = path.stat().st_size
    if found != size:
        raise DamagedCheckpointError(f"{folder.name}: {name} has {found} bytes, expected {size}")
    if digest is not None and sha256(path) != digest:
        raise DamagedCheckpointError(f"{folder.name}: {name} does not match its SHA-256")


def save_average(path: Path, average: MovingAverage) -> None:
    """Write this rank's fragments of a moving average."""
    tensors = {part.name: part.values.contiguous() for part in average.parts}
    starts = {part.name: part.start for part in average.parts}
    save_file(tensors, path, metadata={"starts": json.dumps(starts)})


def load_average(path: Path, names: set[str]) -> list[Fragment]:
    """The fragments of the named parameters in one rank's file."""
    with safe_open(path, framework="pt") as file:
        starts: dict[str, int] = json.loads(file.metadata()["starts"])
        return [
            Fragment(name, start, file.get_tensor(name))
            for name, start in starts.items()
            if name in names
        ]


def rng_state() -> dict[str, Any]:
    """All generators of this process as JSON values."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "cuda": [state.numpy().tobytes().hex() for state in cuda],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the generators back to a state of `rng_state`."""
    torch.set_rng_state(_bytes(state["torch"]))
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_bytes(text) for text in state["cuda"]])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
