"""Which real clips a protocol is run on, and their batches: the same for every export."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from motion.batch import Batch
from motion.data.collate import chosen_captions, collate
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef, MicroBatch, Plan, carries, noise_key
from motion.data.reading import Reader
from motion.data.storage import read_rows

COLUMNS: Final = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "smpl_rotvec", "smpl_translation",
    "smpl_betas", "intrinsics", "T_camera_world", "keypoints_detected", "keypoints_confidence",
    "keypoints_size", "keypoints_intrinsics", "image_features", "music", "speech",
)  # fmt: skip
"""Columns that conditions and truth are read from, where a dataset has them."""
KEYPOINTS: Final = (
    *COLUMNS, "keypoints", "keypoints_visible",
)  # fmt: skip
"""The same with exact 2D keypoints."""


@dataclass(frozen=True)
class Clips:
    """Real clips of one split, in chunks that share a shape."""

    root: Path
    """Dataset."""
    refs: tuple[ClipRef, ...]
    """Sorted by bucket, then clip id."""
    batch_size: int
    """Most clips of a chunk."""
    seed: int
    """Of captions and noise."""

    @staticmethod
    def select(
        manifest: Manifest,
        split: str,
        *,
        num_clips: int | None,
        batch_size: int,
        seed: int,
        flagged: bool = False,
    ) -> "Clips":
        """Clips with motion and text, all of them or a random `num_clips`.

        Args:
            flagged: those under a restrictive licence instead of all the others.

        Raises:
            ValueError: no such clip, or fewer than `num_clips`.
        """
        rows = [row for row in manifest.select(split) if row.flagged == flagged]
        refs = [ClipRef.of(row) for row in rows]
        refs = [r for r in refs if carries(r.present, "motion") and carries(r.present, "text")]
        if not refs or (num_clips is not None and num_clips > len(refs)):
            raise ValueError(
                f"{manifest.root} has {len(refs)} clips of split {split!r} with motion and text"
                f"{' under a restrictive licence' if flagged else ''}; {num_clips or 1} asked for: "
                "name another split, lower num_clips, or prepare more clips"
            )
        if num_clips is not None:
            order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(refs))
            refs = [refs[i] for i in order[:num_clips]]
        refs.sort(key=lambda ref: (ref.bucket, ref.clip_id))
        return Clips(manifest.root, tuple(refs), batch_size, seed)

    @cached_property
    def hash(self) -> str:
        """Of the clips' ids and their order in chunks."""
        names = "\n".join(ref.clip_id for ref in self.refs)
        return hashlib.sha256(f"{self.batch_size}\n{names}".encode()).hexdigest()

    def kept(self, keep: Sequence[bool]) -> "Clips":
        """Those of the clips that are marked."""
        refs = tuple(ref for ref, good in zip(self.refs, keep, strict=True) if good)
        return Clips(self.root, refs, self.batch_size, self.seed)

    def first(self, count: int) -> "Clips":
        """The first clips by a shuffle, so that they are spread over shapes and sources."""
        order = np.random.default_rng(np.random.SeedSequence((self.seed, 1)))
        chosen = set(order.permutation(len(self.refs))[:count].tolist())
        return self.kept([index in chosen for index in range(len(self.refs))])

    def chunks(self) -> list[tuple[ClipRef, ...]]:
        """Clips that are sampled together; the last chunk of a shape may be smaller."""
        size = self.batch_size
        return [
            shape[start : start + size]
            for _, group in groupby(self.refs, key=lambda ref: ref.bucket)
            for shape in [tuple(group)]
            for start in range(0, len(shape), size)
        ]

    def pairable(self) -> list[tuple[ClipRef, ...]]:
        """The chunks, but that a last one of a single clip joins the one before it.

        Where clips of a chunk swap conditions, a clip alone would be swapped with itself. A shape
        of one clip has no neighbor and stays alone.
        """
        found: list[tuple[ClipRef, ...]] = []
        for chunk in self.chunks():
            if len(chunk) == 1 and found and found[-1][0].bucket == chunk[0].bucket:
                found[-1] += chunk
            else:
                found.append(chunk)
        return found

    def captions(self, chunk: Sequence[ClipRef], draw: int) -> list[str]:
        """The caption that each clip of `batch(chunk, draw)` shows, in words."""
        found: list[str] = []
        for ref in chunk:
            (row,) = read_rows(self.root / ref.file, ref.row_group, [ref.row], ["captions"])
            key = noise_key(self.seed, draw, ref.clip_id)
            (place,) = chosen_captions(key, len(row["captions"]), 1)
            found.append(row["captions"][place])
        return found

    def batch(self, chunk: Sequence[ClipRef], draw: int, columns: Sequence[str] = COLUMNS) -> Batch:
        """The clips of a chunk; `draw` decides which of its captions each of them shows.

        Raises:
            ValueError: a clip cannot be read; none is replaced here.
        """
        present = {column for ref in chunk for column in ref.present}
        plan = Plan(chunk, seed=self.seed, micro_batch=1, accumulation=1, world=1)
        reader = Reader(plan, self.root, tuple(c for c in columns if c in present))
        keys = tuple(plan.noise_key(draw, ref) for ref in chunk)
        micro = MicroBatch(
            step=0,
            epoch=draw,
            clips=tuple(chunk),
            noise_keys=keys,
            counts={"clips": len(chunk)},
            num_micro_batches=1,
        )
        found, replaced = reader.read(micro)
        if replaced:
            raise ValueError(f"held-out clips cannot be read: {'; '.join(replaced)}")
        return Batch.from_columns(collate(found))
