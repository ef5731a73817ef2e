"""Agreement of texts and motions in a shared space: R-precision in both directions, MM-Dist.

Definitions: text-to-motion (Guo et al. 2022). Each row of `text` belongs to the same row of
`motion`. Batches of 32 are drawn at random and an incomplete last batch is dropped, so a clip
competes with 31 others.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Direction = Literal["text_to_motion", "motion_to_text"]
"""`text_to_motion` ranks motions for each text, as all published code does; `motion_to_text` is
what some papers describe. They can differ widely."""


@dataclass(frozen=True)
class Retrieval:
    """R-precision and MM-Dist of one pass over the batches."""

    r_precision: tuple[float, ...]
    """Share of clips whose partner is among the first 1, 2, ... k."""
    mm_dist: float
    """Mean Euclidean distance of partners."""
    n: int
    """Clips that took part."""
    chance: tuple[float, ...]
    """R-precision of a random order, with equal captions counted as in `r_precision`."""


def retrieval(
    text: Float[Tensor, "n d"],
    motion: Float[Tensor, "n d"],
    *,
    batch_size: int = 32,
    top_k: int = 3,
    direction: Direction = "text_to_motion",
    caption_ids: Int[Tensor, "n"] | None = None,
    generator: torch.Generator | None = None,
    order: Int[Tensor, "n"] | None = None,
) -> Retrieval:
    """R-precision and MM-Dist over random batches.

    Equal distances rank in the order of the columns, so that collapsed embeddings score chance.

    Args:
        text: text embeddings.
        motion: motion embeddings.
        batch_size: clips that compete.
        top_k: largest rank that counts as a hit.
        direction: what is ranked for what.
        caption_ids: equal numbers mark equal captions. If given, any clip of a batch with the
            right caption is a hit (the corrected convention); the reference counts them as errors.
        generator: of the batches; seed 0 unless given.
        order: rows of the batches instead, such as a loader's own.

    Returns:
        Shares and mean distance over all complete batches.

    Raises:
        ValueError: fewer clips than a batch, or `top_k` is not below its size.
    """
    require_batch(len(text), batch_size, top_k)
    if order is None:
        order = torch.randperm(len(text), generator=generator or torch.Generator().manual_seed(0))
    rows = order[: len(text) // batch_size * batch_size].to(text.device).reshape(-1, batch_size)
    found = ranked_batches(text, motion, rows, top_k, direction, caption_ids)
    return Retrieval(
        r_precision=tuple(found.hits.mean((0, 1)).tolist()),
        mm_dist=float(found.squared.sqrt().double().mean()),
        n=rows.numel(),
        chance=tuple(found.chance.mean((0, 1)).tolist()),
    )


def require_batch(n: int, batch_size: int, top_k: int) -> None:
    """Refuse fewer clips than a batch, and a `top_k` that is not below its size.

    Raises:
        ValueError: with the remedy.
    """
    if n < batch_size or not 0 < top_k < batch_size:
        raise ValueError(
            f"no batch of {batch_size} with top {top_k} from {n} clips: give at least "
            "batch_size clips and a smaller top_k"
        )


class Ranked(NamedTuple):
    """What is known of each clip of each batch."""

    hits: Float[Tensor, "b n k"]
    """1 where its partner is among the first 1 to k."""
    chance: Float[Tensor, "b n k"]
    """What a random order gives."""
    squared: Float[Tensor, "b n"]
    """Squared distance of its partner."""


def ranked_batches(
    text: Float[Tensor, "n d"],
    motion: Float[Tensor, "n d"],
    rows: Int[Tensor, "b size"],
    top_k: int,
    direction: Direction,
    caption_ids: Int[Tensor, "n"] | None,
) -> Ranked:
    """Batches of given rows; arguments as in `retrieval`."""
    size = rows.shape[1]
    squared = squared_distances(text[rows], motion[rows])
    if caption_ids is None:
        same = torch.eye(size, dtype=torch.bool, device=text.device).expand_as(squared)
    else:
        ids = caption_ids.to(text.device)[rows]
        same = ids[:, :, None] == ids[:, None, :]
    rank = best_rank(squared if direction == "text_to_motion" else squared.mT, same)
    k = torch.arange(1, top_k + 1, device=text.device)
    return Ranked(
        hits=(rank[..., None] < k).double(),
        chance=chance_precision(same.sum(-1), size, top_k),
        squared=squared.diagonal(dim1=1, dim2=2),
    )


def squared_distances(
    a: Float[Tensor, "*b n d"], b: Float[Tensor, "*b m d"]
) -> Float[Tensor, "*b n m"]:
    """Squared Euclidean distances by the expanded square, not below zero.

    The reference takes the square root unclamped: a pair that nearly coincides can become NaN,
    which it ranks last.
    """
    square = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    return (square - 2 * (a @ b.mT)).clamp(min=0)


def best_rank(ranked: Float[Tensor, "b n n"], same: Bool[Tensor, "b n n"]) -> Int[Tensor, "b n"]:
    """Place of the nearest right column in a stable sort of each row."""
    order = ranked.argsort(dim=-1, stable=True)
    return same.gather(-1, order).to(torch.uint8).argmax(-1)


def chance_precision(
    right: Int[Tensor, "b n"], batch_size: int, top_k: int
) -> Float[Tensor, "b n k"]:
    """Probability that one of `right` columns is among the first 1 to k of a random order."""
    wrong = (batch_size - right).double()
    steps = torch.arange(top_k, device=right.device, dtype=torch.float64)
    miss = ((wrong[..., None] - steps).clamp(min=0) / (batch_size - steps)).cumprod(-1)
    return 1 - miss
