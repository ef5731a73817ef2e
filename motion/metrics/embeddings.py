"""Embedded clips, and scores that say by which evaluator, on how many clips, with which seed."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.metrics.evaluator import Evaluator
from motion.metrics.interval import Interval, clustered_interval
from motion.metrics.retrieval import Direction, ranked_batches, require_batch
from motion.models.evaluator.features import Features


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of a table, with all that it takes to compare it."""

    name: str
    interval: Interval
    """The value with its 95 % interval; its bounds are NaN where there is none."""
    chance: float
    """What a random order gives; NaN for metrics without one."""
    n: int
    """Clips."""
    seed: int
    """Of batches, pairs and resamples."""
    evaluator_hash: str
    statistics_hash: str

    def __str__(self) -> str:
        value, low, high, _ = self.interval
        chance = "" if self.chance != self.chance else f", chance {self.chance:.3f}"
        return (
            f"{self.name} {value:.4g} [{low:.4g}, {high:.4g}]{chance} (n={self.n}, seed "
            f"{self.seed}, evaluator {self.evaluator_hash[:8]}, statistics "
            f"{self.statistics_hash[:8]})"
        )


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Clips and their captions in an evaluator's space, row by row."""

    text: Float[Tensor, "n e"]
    motion: Float[Tensor, "n e"]
    caption_ids: Int[Tensor, "n"]
    """Equal numbers mark equal captions."""
    groups: Int[Tensor, "n"]
    """Equal numbers mark clips of one source, such as windows of a take: they are drawn together
    in intervals."""
    evaluator_hash: str
    statistics_hash: str

    def score(
        self,
        name: str,
        interval: Interval,
        *,
        seed: int,
        chance: float = float("nan"),
    ) -> Score:
        """A number of these embeddings, labeled."""
        return Score(
            name=name,
            interval=interval,
            chance=chance,
            n=len(self.motion),
            seed=seed,
            evaluator_hash=self.evaluator_hash,
            statistics_hash=self.statistics_hash,
        )


def embed(
    evaluator: Evaluator,
    features: Features,
    captions: Sequence[str],
    *,
    groups: Int[Tensor, "n"] | None = None,
) -> Embeddings:
    """Clips and one caption each, by the evaluator's own text encoder.

    Args:
        evaluator: of `load_evaluator`.
        features: of the clips, made by `evaluator.features`.
        captions: one per clip.
        groups: sources of the clips; each clip its own by default.

    Raises:
        ValueError: another number of captions than clips, or a published evaluator (its tokens are
            not made of captions).
    """
    if len(captions) != len(features.values):
        raise ValueError(
            f"{len(captions)} captions for {len(features.values)} clips: give one each"
        )
    return Embeddings(
        text=evaluator.embed_text(*evaluator.encode_text(captions)),
        motion=evaluator.embed_motion(*features),
        caption_ids=ids_of(captions),
        groups=torch.arange(len(captions)) if groups is None else groups,
        evaluator_hash=evaluator.hash,
        statistics_hash=evaluator.statistics_hash,
    )


def ids_of(names: Sequence[str]) -> Int[Tensor, "n"]:
    """Equal numbers for equal names."""
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([known[name] for name in names], dtype=torch.long)


def hit_rates(
    text: Float[Tensor, "n e"],
    motion: Float[Tensor, "n e"],
    *,
    batch_size: int = 32,
    top_k: int = 3,
    direction: Direction = "text_to_motion",
    caption_ids: Int[Tensor, "n"] | None = None,
    repeats: int = 20,
    seed: int = 0,
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """R-precision of each clip: its share of hits over random batches, and what chance gives there.

    Their means are those of `retrieval` over as many passes; per clip, they allow an interval over
    clips or takes. Arguments and definitions as in `retrieval`.

    Raises:
        ValueError: fewer clips than a batch, or a clip that was in no batch.
    """
    n = len(text)
    require_batch(n, batch_size, top_k)
    generator = torch.Generator().manual_seed(seed)
    hits, chance = torch.zeros(n, top_k).double(), torch.zeros(n, top_k).double()
    drawn = torch.zeros(n).double()
    for _ in range(repeats):
        order = torch.randperm(n, generator=generator)
        rows = order[: n // batch_size * batch_size].reshape(-1, batch_size)
        found = ranked_batches(text, motion, rows, top_k, direction, caption_ids)
        flat = rows.flatten()
        hits[flat] += found.hits.flatten(0, 1)
        chance[flat] += found.chance.flatten(0, 1)
        drawn[flat] += 1
    if not bool(drawn.all()):
        raise ValueError(
            f"{int((drawn == 0).sum())} of {n} clips were in no batch of {repeats} passes: "
            "raise repeats"
        )
    return hits / drawn[:, None], chance / drawn[:, None]


def retrieval_scores(
    embeddings: Embeddings,
    *,
    batch_size: int = 32,
    top_k: int = 3,
    direction: Direction = "text_to_motion",
    repeats: int = 20,
    seed: int = 0,
) -> list[Score]:
    """R@1 to R@k with intervals over clips (or their groups). Equal captions count as hits, and
    chance is that of the same batches."""
    hits, chance = hit_rates(
        embeddings.text,
        embeddings.motion,
        batch_size=batch_size,
        top_k=top_k,
        direction=direction,
        caption_ids=embeddings.caption_ids,
        repeats=repeats,
        seed=seed,
    )
    return [
        embeddings.score(
            f"R@{k + 1}",
            clustered_interval(hits[:, k], embeddings.groups, seed=seed),
            chance=float(chance[:, k].mean()),
            seed=seed,
        )
        for k in range(top_k)
    ]


def rises(values: Sequence[float]) -> bool:
    """Does every value exceed the one before?"""
    return all(after > before for before, after in itertools.pairwise(values))
