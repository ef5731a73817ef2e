"""Which clips make up optimizer step k: pure functions of the seed, without Ray and without I/O.

The global batch of a step depends on the seed and the global batch size alone, never on how many
ranks share it, and the position in the data is one integer. So a run resumes exactly, and on
another number of ranks it sees the same global batches.
"""

import hashlib
import itertools
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from motion.data.manifest import ManifestRow
from motion.diffusion.noise import noise_key

MODALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "motion": ("smpl_rotvec",),
    "path": ("smpl_translation",),
    "text": ("text_embedding",),
    "camera": ("T_camera_world",),
    "keypoints": ("keypoints", "keypoints_detected"),
    "rgb": ("latent_rgb", "rgb"),
    "map": ("latent_map", "motion_map"),
    "image": ("image_features",),
    "music": ("music",),
    "speech": ("speech",),
    "tokens": ("motion_tokens",),
}
"""A clip carries a modality when it has any of these columns."""


def carries(present: Collection[str], modality: str) -> bool:
    """Does a clip with these payload columns carry a modality?"""
    return any(column in present for column in MODALITIES[modality])


@dataclass(frozen=True)
class ClipRef:
    """Where one clip lies."""

    clip_id: str
    file: str
    """Shard file, relative to the dataset root."""
    row_group: int
    row: int
    """Index within the row group."""
    bucket: str
    """Shape class, frames x height x width."""
    source: str
    present: tuple[str, ...]
    """Payload columns that are not null."""
    turn: int = 0
    """How often the clip was already shown in its epoch, where a source weighs more than once."""

    @property
    def name(self) -> str:
        """The clip's id, different at every turn."""
        return f"{self.clip_id}#{self.turn}" if self.turn else self.clip_id

    @staticmethod
    def of(row: ManifestRow) -> "ClipRef":
        return ClipRef(
            row.clip_id, row.file, row.row_group, row.row, row.bucket, row.source, row.present
        )


@dataclass(frozen=True)
class MicroBatch:
    """What one rank computes in one forward pass; its clips share a bucket."""

    step: int
    """Optimizer step, from 0."""
    epoch: int
    clips: tuple[ClipRef, ...]
    noise_keys: tuple[int, ...]
    """hash(seed, epoch, clip id) per clip."""
    counts: Mapping[str, int]
    """Clips of the whole global batch ("clips") and how many carry each modality."""
    num_micro_batches: int
    """Of the global batch: world x accumulation."""


class Plan:
    """The order of a training run.

    Each epoch shuffles every bucket, cuts it into global batches, drops the remainder (another one
    each epoch) and shuffles the batches. Within a global batch, clips are sorted by source and
    dealt like cards, so that all ranks get the same composition to within one clip per source.
    """

    def __init__(
        self,
        clips: Iterable[ClipRef],
        *,
        seed: int,
        micro_batch: int,
        accumulation: int,
        world: int,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            clips: the clips to train on; their order does not matter.
            seed: of the run.
            micro_batch: clips per forward pass on one rank.
            accumulation: micro-batches per rank and optimizer step.
            world: data-parallel ranks (those of one sequence-parallel group count once and
                share their rank's micro-batches).
            weights: how often an epoch shows the clips of a source, by its name; 1 unless named. At
                0.5 every epoch has another half of them.

        Raises:
            ValueError: a size or weight is not positive, a weight names no source or is so small
                that none of its clips is shown, a clip id occurs twice, or no bucket fills one
                global batch.
        """
        for name, value in [
            ("micro_batch", micro_batch),
            ("accumulation", accumulation),
            ("world", world),
        ]:
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        self.seed, self.micro_batch = seed, micro_batch
        self.accumulation, self.world = accumulation, world
        self.clips = tuple(sorted(clips, key=lambda clip: clip.clip_id))
        for one, two in itertools.pairwise(self.clips):
            if one.clip_id == two.clip_id:
                raise ValueError(f"clip {one.clip_id!r} occurs twice in the plan's clips")
        self.weights = dict(weights or {})
        self._check_weights()
        self._check_buckets()
        self._epoch: tuple[int, list[tuple[ClipRef, ...]]] | None = None

    @property
    def global_batch(self) -> int:
        """Clips per optimizer step over all ranks."""
        return self.micro_batch * self.accumulation * self.world

    @cached_property
    def steps_per_epoch(self) -> int:
        return sum(size // self.global_batch for size in self._shown.values())

    @cached_property
    def _shown(self) -> dict[str, int]:
        """Clips that an epoch shows, by bucket."""
        return {name: len(self._weighted(clips, 0)) for name, clips in self._buckets.items()}

    @cached_property
    def _buckets(self) -> dict[str, list[ClipRef]]:
        buckets: dict[str, list[ClipRef]] = {}
        for clip in self.clips:
            buckets.setdefault(clip.bucket, []).append(clip)
        return dict(sorted(buckets.items()))

    @cached_property
    def _kin(self) -> dict[tuple[str, tuple[str, ...]], list[ClipRef]]:
        kin: dict[tuple[str, tuple[str, ...]], list[ClipRef]] = {}
        for clip in self.clips:
            kin.setdefault((clip.bucket, clip.present), []).append(clip)
        return kin

    def _check_buckets(self) -> None:
        size = self.global_batch
        small = {name: count for name, count in self._shown.items() if count < size}
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"no bucket fills one global batch of {size} clips (micro_batch {self.micro_batch}"
                f" x accumulation {self.accumulation} x world {self.world}); clips per bucket: "
                f"{small or 'none'}. Lower the batch or add data"
            )
        if small:
            warnings.warn(
                f"buckets {small} hold fewer clips than the global batch of {size}: "
                "none of their clips is ever trained on; lower the batch or merge buckets",
                stacklevel=3,
            )

    def _check_weights(self) -> None:
        sources = {clip.source for clip in self.clips}
        wrong = sorted(name for name, weight in self.weights.items() if not weight > 0)
        unknown = sorted(set(self.weights) - sources)
        if wrong or unknown:
            raise ValueError(
                f"weights {self.weights}: expected positive numbers for some of the sources "
                f"{sorted(sources)}; leave a source out of the data set to show none of it"
            )
        for source in sorted(self.weights):
            counts = {
                name: self._count([clip for clip in clips if clip.source == source])
                for name, clips in self._buckets.items()
                if any(clip.source == source for clip in clips)
            }
            self._check_shown(source, counts)

    def _check_shown(self, source: str, counts: Mapping[str, int]) -> None:
        """No source, or bucket of one, may vanish unsaid because its weight rounds to no clip."""
        weight, none = self.weights[source], [name for name, count in counts.items() if not count]
        if len(none) == len(counts):
            raise ValueError(
                f"weight {weight:g} of source {source!r} shows none of its clips, fewer than half "
                "a clip per bucket: raise the weight, or leave the source out of the data set"
            )
        if none:
            warnings.warn(
                f"weight {weight:g} of source {source!r} shows none of its clips in the buckets "
                f"{none}: raise the weight to show some",
                stacklevel=4,
            )

    def step(self, k: int) -> list[list[MicroBatch]]:
        """The micro-batches of optimizer step k, as [rank][accumulation index].

        Raises:
            ValueError: k is negative.
        """
        if k < 0:
            raise ValueError(f"step is {k}; expected 0 or more")
        epoch, index = divmod(k, self.steps_per_epoch)
        clips = sorted(self._order(epoch)[index], key=lambda clip: clip.source)
        counts = {"clips": len(clips)} | {
            name: sum(carries(clip.present, name) for clip in clips) for name in MODALITIES
        }
        slots = self.accumulation * self.world
        dealt = [self._micro(k, epoch, tuple(clips[s::slots]), counts) for s in range(slots)]
        return [dealt[rank :: self.world] for rank in range(self.world)]

    def _micro(
        self, k: int, epoch: int, clips: tuple[ClipRef, ...], counts: Mapping[str, int]
    ) -> MicroBatch:
        keys = tuple(self.noise_key(epoch, clip) for clip in clips)
        return MicroBatch(k, epoch, clips, keys, counts, self.accumulation * self.world)

    def noise_key(self, epoch: int, clip: ClipRef) -> int:
        """hash(seed, epoch, clip id)."""
        return noise_key(self.seed, epoch, clip.name)

    def substitutes(self, clip: ClipRef) -> Iterator[ClipRef]:
        """The clips that replace an unreadable one, in order: those that follow it by clip id
        among the clips of the same bucket with the same modalities (so that the counts of the
        global batch, which other ranks hold too, stay true)."""
        kin = self._kin[clip.bucket, clip.present]
        start = kin.index(replace(clip, turn=0))
        yield from kin[start + 1 :]
        yield from kin[:start]

    def _order(self, epoch: int) -> list[tuple[ClipRef, ...]]:
        """All global batches of an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            size = self.global_batch
            batches = [
                tuple(shuffled[start : start + size])
                for clips in self._buckets.values()
                for shuffled in [self._shuffled(self._weighted(clips, epoch), epoch)]
                for start in range(0, len(shuffled) - size + 1, size)
            ]
            # A batch's place follows from its first clip, so it needs no generator either.
            batches.sort(key=lambda batch: self._lot("batch", epoch, batch[0]))
            self._epoch = (epoch, batches)
        return self._epoch[1]

    def _shuffled(self, clips: list[ClipRef], epoch: int) -> list[ClipRef]:
        return sorted(clips, key=lambda clip: self._lot("clip", epoch, clip))

    def _weighted(self, clips: list[ClipRef], epoch: int) -> list[ClipRef]:
        """The clips of a bucket that an epoch shows; their number is the same in every epoch."""
        if not self.weights:
            return clips
        shown: list[ClipRef] = []
        for source in sorted({clip.source for clip in clips}):
            own = [clip for clip in clips if clip.source == source]
            count = self._count(own)
            for turn in range(-(-count // len(own))):
                again = self._shuffled([replace(clip, turn=turn) for clip in own], epoch)
                shown += again[: count - turn * len(own)]
        return shown

    def _count(self, own: list[ClipRef]) -> int:
        """How many clips an epoch shows of those of one source in a bucket."""
        return round(self.weights.get(own[0].source, 1.0) * len(own))

    def _lot(self, use: str, epoch: int, clip: ClipRef) -> bytes:
        """A sorting key. Hashes give the same order on every machine and library version."""
        text = f"{use}/{self.seed}/{epoch}/{clip.name}".encode()
        return hashlib.blake2b(text, digest_size=16).digest()
