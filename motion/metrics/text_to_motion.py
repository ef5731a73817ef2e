"""A row of a text-to-motion table: FID, R-precision, MM-Dist, Diversity, MultiModality.

Evaluated as Guo et al. (2022): in each repeat, batches and pairs are drawn anew, and clips of an
incomplete last batch are left out of every metric. Embeddings are given; they may differ from
repeat to repeat, as they do where crops, captions or samples are drawn anew.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from motion.metrics.distribution import Gaussian, diversity, frechet_distance, multimodality
from motion.metrics.interval import Interval, repeat_interval
from motion.metrics.retrieval import Direction, retrieval


class TextToMotionConfig(BaseModel):
    """How a row is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    repeats: int = Field(default=20, ge=1)
    """Passes with other batches and pairs. Published: 20; 5 with MultiModality in MDM; 5 in
    GENMO."""
    batch_size: int = Field(default=32, ge=2)
    """Clips that compete in R-precision."""
    top_k: int = Field(default=3, ge=1)
    """Largest rank of R-precision."""
    direction: Direction = "text_to_motion"
    """What is ranked for what."""
    diversity_pairs: int = Field(default=300, ge=1)
    """Pairs of Diversity; MoMask takes 100 for small sets."""
    multimodality_pairs: int = Field(default=10, ge=1)
    """Pairs per prompt of MultiModality."""
    convention: Literal["reference", "corrected"] = "reference"
    """`corrected`: Diversity and MultiModality over all pairs of different clips, and equal
    captions count as hits where their ids are given."""
    seed: int = 0
    """Seed of batches and pairs."""


def text_to_motion(
    text: Float[Tensor, "q n d"],
    made: Float[Tensor, "r n d"],
    real: Float[Tensor, "s m d"],
    *,
    config: TextToMotionConfig,
    multimodal: Float[Tensor, "u p g d"] | None = None,
    caption_ids: Int[Tensor, "n"] | None = None,
) -> dict[str, Interval]:
    """Metrics of a set of motions with the interval of their mean over the repeats.

    Args:
        text: text embeddings: one set, or one per repeat.
        made: embeddings of the motions of the same rows; for the table's first row, those of a
            second pass over the real clips.
        real: embeddings of real motions.
        config: the protocol.
        multimodal: g motions for each of p prompts; MultiModality is left out without them.
        caption_ids: equal numbers mark equal captions; only `corrected` looks at them.

    Returns:
        `fid`, `r_precision_1` to `_k`, `mm_dist`, `diversity` and `multimodality`.

    Raises:
        ValueError: a tensor has neither one set nor one per repeat, or too few clips.
    """
    _require_sets(config.repeats, text=text, made=made, real=real, multimodal=multimodal)
    ids = caption_ids if config.convention == "corrected" else None
    values: dict[str, list[float]] = {}
    real_side: Gaussian | None = None
    fid: float | None = None
    for repeat in range(config.repeats):
        state = np.random.SeedSequence((config.seed, repeat)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        order = torch.randperm(text.shape[1], generator=generator)
        kept = order[: len(order) // config.batch_size * config.batch_size].to(made.device)
        words, motions = _set(text, repeat), _set(made, repeat)
        if real_side is None or len(real) > 1:
            real_side, fid = Gaussian.of(_set(real, repeat)), None
        if fid is None or len(made) > 1 or len(kept) < len(order):
            fid = frechet_distance(real_side, motions[kept])
        found = retrieval(
            words,
            motions,
            batch_size=config.batch_size,
            top_k=config.top_k,
            direction=config.direction,
            caption_ids=ids,
            order=order,
        )
        row = {"fid": fid, "mm_dist": found.mm_dist}
        row |= {f"r_precision_{k}": share for k, share in enumerate(found.r_precision, 1)}
        if config.convention == "reference" or "diversity" not in values or len(made) > 1:
            row["diversity"] = diversity(
                motions[kept],
                num_pairs=config.diversity_pairs,
                generator=generator,
                convention=config.convention,
            )
        if multimodal is not None:
            row["multimodality"] = multimodality(
                _set(multimodal, repeat),
                num_pairs=config.multimodality_pairs,
                generator=generator,
                convention=config.convention,
            )
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return {name: repeat_interval(column) for name, column in values.items()}


def _set(sets: Float[Tensor, "q *rows"], repeat: int) -> Float[Tensor, "*rows"]:
    return sets[repeat if len(sets) > 1 else 0]


def _require_sets(repeats: int, **sets: Tensor | None) -> None:
    for name, tensor in sets.items():
        if tensor is not None and len(tensor) not in (1, repeats):
            raise ValueError(
                f"{name} holds {len(tensor)} sets of embeddings for {repeats} repeats: "
                "give one set, or one per repeat"
            )
