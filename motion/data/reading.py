"""Reading clips of a plan: rows become arrays, broken rows are replaced by rule and named."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from motion.data.plan import MODALITIES, ClipRef, MicroBatch, Plan, carries
from motion.data.schema import BINARY_COLUMNS, TENSOR_COLUMNS, decode_tensor
from motion.data.storage import open_shard
from motion.data.video import decode_mp4

MAX_SUBSTITUTES: Final = 8
"""Broken rows replaced per micro-batch before the data set is taken to be at fault."""
_ALWAYS: Final = ("clip_id", "fps", "num_frames", "body_id")


@dataclass(frozen=True)
class Clip:
    """One clip as read: the arrays of the columns that were asked for and that it has."""

    ref: ClipRef
    noise_key: int
    fps: float
    num_frames: int
    body_id: str
    arrays: Mapping[str, Shaped[np.ndarray, "..."]]
    """By column; `rgb` and `motion_map` are decoded to uint8 (t, h, w, 3)."""


@dataclass(frozen=True)
class Reader:
    """Reads the clips of a plan from a dataset root."""

    plan: Plan
    root: Path
    columns: tuple[str, ...]
    """Payload columns to read."""

    def __post_init__(self) -> None:
        known = (*TENSOR_COLUMNS, *BINARY_COLUMNS)
        unknown = sorted(set(self.columns) - set(known))
        if unknown:
            raise ValueError(f"unknown columns {unknown}; expected some of {', '.join(known)}")
        for modality in ("motion", "text", "camera", "rgb", "map"):
            self._require(modality)
        self._require_any("keypoints")

    def _require(self, modality: str) -> None:
        """A requested column of a modality must be there in every clip that carries it: the
        counts of the global batch are made from the manifest, before any row is read."""
        for column in set(MODALITIES[modality]) & set(self.columns):
            for clip in self.plan.clips:
                if carries(clip.present, modality) and column not in clip.present:
                    other = sorted(set(MODALITIES[modality]) & set(clip.present))
                    raise ValueError(
                        f"column {column!r} was asked for, but clip {clip.clip_id!r} carries its "
                        f"{modality} only as {other}"
                        ": ask for that column, or encode the data set with keep_video for this "
                        "split"
                    )

    def _require_any(self, modality: str) -> None:
        """Of a modality whose columns stand in for each other, every clip that carries it must
        have one of those asked for; else its neutral values would be taken for what was seen."""
        asked = sorted(set(MODALITIES[modality]) & set(self.columns))
        for clip in self.plan.clips:
            if asked and carries(clip.present, modality) and not set(asked) & set(clip.present):
                other = sorted(set(MODALITIES[modality]) & set(clip.present))
                raise ValueError(
                    f"of the {modality} {asked} were asked for, but clip {clip.clip_id!r} carries "
                    f"only {other}: ask for these too, or prepare the clips with {asked[0]}"
                )

    def read(self, micro: MicroBatch) -> tuple[list[Clip], list[str]]:
        """The clips of a micro-batch and `bad -> substitute: reason` for each replaced one.

        Raises:
            RuntimeError: more than `MAX_SUBSTITUTES` rows are broken, or there is no substitute.
        """
        clips: list[Clip] = []
        replaced: list[str] = []
        for ref, key in zip(micro.clips, micro.noise_keys, strict=True):
            try:
                clips.append(self._clip(ref, key))
            except (OSError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
                clips.append(self._substitute(ref, micro.epoch, reason, replaced))
        return clips, replaced

    def _substitute(self, ref: ClipRef, epoch: int, reason: str, replaced: list[str]) -> Clip:
        bad = ref
        for other in self.plan.substitutes(ref):
            if len(replaced) == MAX_SUBSTITUTES:
                break
            replaced.append(f"{bad.clip_id} -> {other.clip_id}: {reason}")
            try:
                return self._clip(other, self.plan.noise_key(epoch, other))
            except (OSError, ValueError) as error:
                bad, reason = other, f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"clip {bad.clip_id!r} in {self.root / bad.file}, row group {bad.row_group}, row "
            f"{bad.row} cannot be read ({reason}), and {len(replaced)} rows of its micro-batch "
            "were already replaced: the storage or the data set is at fault. Check that every node "
            "mounts the path, then delete the damaged shard and make the data set again"
        )

    def _clip(self, ref: ClipRef, noise_key: int) -> Clip:
        wanted = [column for column in self.columns if column in ref.present]
        row = _read_row(self.root / ref.file, ref, (*_ALWAYS, *wanted))
        if row["clip_id"] != ref.clip_id:
            raise ValueError(
                f"the row holds clip {row['clip_id']!r}: the shard was rewritten after its manifest"
            )
        frames = int(row["num_frames"])
        arrays = {column: _array(column, row[column], frames) for column in wanted}
        return Clip(
            ref=ref,
            noise_key=noise_key,
            fps=float(row["fps"]),
            num_frames=frames,
            body_id=str(row["body_id"]),
            arrays=arrays,
        )


def bucket_frames(bucket: str) -> int:
    """Frames of a bucket named frames x height x width."""
    return int(bucket.split("x")[0])


def _array(column: str, value: Any, frames: int) -> Shaped[np.ndarray, "..."]:
    """The array of a payload value, checked: null, non-finite and wrongly long ones are refused."""
    if value is None:
        raise ValueError(f"column {column} is null, the manifest says that it is present")
    if column in BINARY_COLUMNS:
        array = decode_mp4(bytes(value))
        timed = True
    else:
        array = decode_tensor(value)
        timed = TENSOR_COLUMNS[column].shape[0] == "t"
    if timed and len(array) != frames:
        raise ValueError(f"column {column} has {len(array)} frames, the clip has {frames}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"column {column} holds NaN or infinity")
    return array


@lru_cache(maxsize=64)
def _shard(path: Path, modified_ns: int, size: int) -> pq.ParquetFile:
    """An open shard. Keyed by its version, so that a rewritten file is opened again."""
    del modified_ns, size
    return open_shard(path)


def _read_row(path: Path, ref: ClipRef, columns: Collection[str]) -> dict[str, Any]:
    """One row; page checksums are verified while it is read."""
    status = path.stat()
    file = _shard(path, status.st_mtime_ns, status.st_size)
    if ref.row_group >= file.num_row_groups:
        raise ValueError(f"{path} has {file.num_row_groups} row groups, the manifest names another")
    table: pa.Table = file.read_row_group(ref.row_group, columns=list(columns))
    rows = table.slice(ref.row, 1).to_pylist()
    if not rows or set(columns) - set(rows[0]):
        raise ValueError(f"{path} lacks row {ref.row} or some of the columns {sorted(columns)}")
    return rows[0]
