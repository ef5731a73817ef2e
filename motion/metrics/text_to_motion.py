"""A row of a text-to-motion table: FID, R-precision, MM-Dist, Diversity, MultiModality.

Evaluated as Guo et al. (2022): in each repeat, batches and pairs are drawn anew, and clips of an
incomplete last batch are left out of every metric. Embeddings are given; they may differ from
repeat to repeat, as they do where crops, captions or samples are drawn anew.
"""

from collections.abc import Sequence
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
    draws = [_generator(config.seed, repeat) for repeat in range(config.repeats)]
    orders = [torch.randperm(text.shape[1], generator=draw) for draw in draws]
    found = [
        retrieval(
            _set(text, repeat),
            _set(made, repeat),
            batch_size=config.batch_size,
            top_k=config.top_k,
            direction=config.direction,
            caption_ids=ids,
            order=order,
        )
        for repeat, order in enumerate(orders)
    ]
    kept = [order[: one.n] for one, order in zip(found, orders, strict=True)]
    columns = {
        "fid": _fids(made, real, kept),
        **{
            f"r_precision_{k + 1}": [one.r_precision[k] for one in found]
            for k in range(config.top_k)
        },
        "mm_dist": [one.mm_dist for one in found],
        "diversity": _diversities(made, kept, draws, config),
    }
    if multimodal is not None:
        columns["multimodality"] = [
            multimodality(
                _set(multimodal, repeat),
                num_pairs=config.multimodality_pairs,
                generator=draw,
                convention=config.convention,
            )
            for repeat, draw in enumerate(draws)
        ]
    return {name: repeat_interval(column) for name, column in columns.items()}


def _generator(seed: int, repeat: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, repeat)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def _fids(
    made: Float[Tensor, "r n d"], real: Float[Tensor, "s m d"], kept: Sequence[Tensor]
) -> list[float]:
    """FID per repeat; computed once where neither side changes."""
    sides = [Gaussian.of(rows) for rows in real]
    fixed = len(made) == len(real) == 1 and len(kept[0]) == made.shape[1]
    values = [
        frechet_distance(sides[repeat % len(sides)], _set(made, repeat)[rows.to(made.device)])
        for repeat, rows in enumerate(kept[:1] if fixed else kept)
    ]
    return values * (len(kept) // len(values))


def _diversities(
    made: Float[Tensor, "r n d"],
    kept: Sequence[Tensor],
    draws: Sequence[torch.Generator],
    config: TextToMotionConfig,
) -> list[float]:
    """Diversity per repeat; computed once where no pairs are drawn and the set stays."""
    fixed = config.convention == "corrected" and len(made) == 1 and len(kept[0]) == made.shape[1]
    values = [
        diversity(
            _set(made, repeat)[rows.to(made.device)],
            num_pairs=config.diversity_pairs,
            generator=draws[repeat],
            convention=config.convention,
        )
        for repeat, rows in enumerate(kept[:1] if fixed else kept)
    ]
    return values * (len(kept) // len(values))


def _set(sets: Float[Tensor, "q *rows"], repeat: int) -> Float[Tensor, "*rows"]:
    return sets[repeat if len(sets) > 1 else 0]


def _require_sets(repeats: int, **sets: Tensor | None) -> None:
    for name, tensor in sets.items():
        if tensor is not None and len(tensor) not in (1, repeats):
            raise ValueError(
                f"{name} holds {len(tensor)} sets of embeddings for {repeats} repeats: "
                "give one set, or one per repeat"
            )
