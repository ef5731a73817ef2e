"""From a plan to batches: Ray Data reads ahead, in order, from any step.

Ray Data reads the run window by window, and the next window while the training consumes this one.
One execution for the whole run would be simpler, but its scheduler thread spins in the training
process while its output waits to be consumed, and takes the interpreter lock from the training: it
halved the speed of a small model. Between windows no scheduler runs. The same reading runs without
Ray.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load, save

from motion.batch import Batch
from motion.data.collate import Columns, collate
from motion.data.plan import Plan
from motion.data.reading import Reader

_PLAIN: Final = "plain"


class StreamConfig(BaseModel):
    """How a rank reads its share of the data."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    use_ray: bool = True
    """Read ahead in Ray Data tasks; False reads in the training process, when a batch is asked
    for."""
    captions: int = Field(default=1, ge=1)
    """Captions per clip and step, chosen by the clip's noise key."""
    readers: int = Field(default=2, ge=1)
    """Reading tasks of one rank that run at the same time."""
    reader_cpus: float = Field(default=0.5, gt=0)
    """Logical CPUs of a reading task. The cluster must have some that no worker reserves, or
    nothing is ever read."""
    micro_batches_per_task: int = Field(default=4, ge=1)
    """Micro-batches that one task reads; more of them cost latency, fewer cost overhead."""
    window: int = Field(default=128, ge=1)
    """Micro-batches per execution of Ray Data. Two windows are held in the object store."""


@dataclass(frozen=True)
class Share:
    """What one rank reads: everything a reading task needs to know."""

    reader: Reader
    rank: int
    captions: int

    def columns(self, index: int) -> Columns:
        """Columns of the rank's micro-batch `index`, counted from step 0 of the run."""
        plan = self.reader.plan
        step, turn = divmod(index, plan.accumulation)
        micro = plan.step(step)[self.rank][turn]
        clips, replaced = self.reader.read(micro)
        return collate(clips, captions=self.captions) | {
            "step": micro.step,
            "num_micro_batches": micro.num_micro_batches,
            "counts": dict(micro.counts),
            "seed": plan.seed,
            "replaced": tuple(replaced),
        }


def stream(
    plan: Plan,
    root: str | Path,
    rank: int,
    start_step: int,
    *,
    steps: int,
    columns: tuple[str, ...],
    config: StreamConfig | None = None,
) -> Iterator[Batch]:
    """The rank's micro-batches of steps `start_step` to `steps` - 1, accumulation by accumulation.

    Args:
        plan: of the run.
        root: dataset root that the plan's files lie in.
        rank: data-parallel rank.
        start_step: first optimizer step to read; nothing before it is touched.
        steps: optimizer steps of the whole run.
        columns: payload columns to read.
        config: how to read.

    Raises:
        ValueError: no such rank or step, or columns that the clips do not have.
        RuntimeError: too many broken rows in one micro-batch.
    """
    config = config or StreamConfig()
    if not 0 <= rank < plan.world:
        raise ValueError(f"rank is {rank}; expected 0 to {plan.world - 1}, the plan's world")
    if not 0 <= start_step <= steps:
        raise ValueError(f"start_step is {start_step}; expected 0 to {steps}, the run's steps")
    share = Share(Reader(plan, Path(root), columns), rank, config.captions)
    first, last = start_step * plan.accumulation, steps * plan.accumulation
    if not config.use_ray:
        return (Batch.from_columns(share.columns(index)) for index in range(first, last))
    return _ray_stream(share, np.arange(first, last), config)


def _ray_stream(
    share: Share, indices: Int[np.ndarray, "n"], config: StreamConfig
) -> Iterator[Batch]:
    if len(indices) == 0:
        return
    expected = iter(indices.tolist())
    for block in _blocks(share, indices, config):
        for index, blob in zip(block["index"], block["blob"], strict=True):
            if index.as_py() != next(expected, None):
                raise RuntimeError(
                    f"Ray Data returned micro-batch {index} out of turn: the order of training "
                    "would not be the plan's. Read with use_ray=False, and report the Ray version"
                )
            yield Batch.from_columns(unpack(blob.as_buffer().to_pybytes()))
    missing = next(expected, None)
    if missing is not None:
        raise RuntimeError(
            f"Ray Data ended before micro-batch {missing} of {indices[-1]}: some rows were lost. "
            "Read with use_ray=False, and report the Ray version"
        )


def _blocks(
    share: Share, indices: Int[np.ndarray, "n"], config: StreamConfig
) -> Iterator[pa.Table]:
    """Tables of `index` and `blob` in order; one window is read ahead in a thread."""
    import ray

    read = _Read(ray.put(share))
    windows = [indices[i : i + config.window] for i in range(0, len(indices), config.window)]
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead:
        coming = ahead.submit(_execute, read, windows[0], config)
        for following in [*windows[1:], None]:
            blocks = coming.result()
            if following is not None:
                coming = ahead.submit(_execute, read, following, config)
            for block in blocks:
                yield ray.get(block)


def _execute(read: "_Read", indices: Int[np.ndarray, "n"], config: StreamConfig) -> list[Any]:
    """References to the tables of one window, read by one execution of Ray Data."""
    import ray
    from ray.data import TaskPoolStrategy

    from motion.data.console import quiet

    size = config.micro_batches_per_task
    tables = [
        pa.table({"index": indices[start : start + size]}) for start in range(0, len(indices), size)
    ]
    dataset = quiet(ray.data.from_arrow(tables))
    dataset.context.execution_options.preserve_order = True
    blocks = dataset.map_batches(
        cast(Any, read),
        batch_size=None,
        batch_format="numpy",
        num_cpus=config.reader_cpus,
        compute=TaskPoolStrategy(size=config.readers),
    )
    return blocks.to_arrow_refs()


class _Read:
    """Reads micro-batches in a Ray Data task; the plan travels once, through the object store."""

    def __init__(self, share: Any) -> None:
        self._share = share

    def __call__(self, batch: dict[str, Shaped[np.ndarray, "..."]]) -> dict[str, Any]:
        share = _fetch(self._share)
        indices = [int(index) for index in batch["index"]]
        return {"index": indices, "blob": [pack(share.columns(index)) for index in indices]}


@lru_cache(maxsize=2)
def _fetch(reference: Any) -> Share:
    """The share, fetched once per reading process (it caches the order of its epoch)."""
    import ray

    return ray.get(reference)


def pack(columns: Mapping[str, Any]) -> bytes:
    """Columns as one safetensors blob; what is no array goes into its JSON header."""
    arrays = {k: np.ascontiguousarray(v) for k, v in columns.items() if isinstance(v, np.ndarray)}
    plain = {k: v for k, v in columns.items() if not isinstance(v, np.ndarray)}
    return save(arrays, metadata={_PLAIN: json.dumps(plain)})


def unpack(blob: bytes) -> Columns:
    """What `pack` packed; lists come back as tuples."""
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    plain = json.loads(header["__metadata__"][_PLAIN])
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return {**load(blob), **tuples}
