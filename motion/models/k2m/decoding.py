"""Drawing tokens: the base level by iterated masking, the others level by level.

The one sampler beside motion/diffusion/sampler.py, because codes have no path from noise to data.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.models.k2m.masking import lowest, num_masked

BaseScores = Callable[[Int[Tensor, "b n"]], Float[Tensor, "b n k"]]
"""Guided logits of the base level, given ids with masks."""
LevelScores = Callable[[Int[Tensor, "b n q"], int], Float[Tensor, "b n k1"]]
"""Guided logits of a level, given the levels before it."""
_FINAL = 1e5
"""Score of a token that is never masked again."""


def generators(count: int, generator: torch.Generator) -> list[torch.Generator]:
    """One generator per clip: a clip's draws do not depend on how many follow it."""
    seeds = [
        int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
        for _ in range(count)
    ]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def drawn(
    logits: Float[Tensor, "b n k"],
    draws: list[torch.Generator],
    *,
    keep: float,
    temperature: float,
) -> Int[Tensor, "b n"]:
    """Codes drawn among the likeliest share `keep`, by Gumbel noise: a categorical draw."""
    kept = max(1, -int(-keep * logits.shape[-1] // 1))
    least = logits.topk(kept, -1).values[..., -1:]
    shape = logits.shape[1:]
    uniform = torch.stack([torch.rand(shape, generator=draw) for draw in draws])
    noise = -(-uniform.clamp(min=1e-20).log()).clamp(min=1e-20).log().to(logits)
    scores = torch.where(logits >= least, logits / temperature + noise, -torch.inf)
    return scores.argmax(-1)


def decode_base(
    scores: BaseScores,
    known: Int[Tensor, "b n"],
    valid: Bool[Tensor, "b n"],
    draws: list[torch.Generator],
    *,
    steps: int,
    mask_id: int,
    keep: float,
    temperature: float,
) -> Int[Tensor, "b n"]:
    """Codes of the base level: known ones stay, the others are drawn in `steps` passes.

    In pass i the num_masked(length, i / (steps - 1)) tokens of the least likely draws are masked
    and drawn again; what is left is final. The last pass draws one token.

    Args:
        scores: guided logits.
        known: codes that are given, -1 where one is to be drawn.
        valid: True where a token is real.
        draws: a generator per clip.
        steps: passes.
        mask_id: id of the mask.
        keep: see `drawn`.
        temperature: see `drawn`.

    Returns:
        Codes; -1 where there is no token.
    """
    free = valid & (known < 0)
    length = free.sum(1)
    ids = torch.where(free, mask_id, known)
    likely = torch.where(free, 0.0, _FINAL)
    for time in torch.linspace(0, 1, steps, device=ids.device):
        masked = lowest(likely, num_masked(length, time.expand(len(length)))) & free
        logits = scores(torch.where(masked, mask_id, ids))
        new = drawn(logits, draws, keep=keep, temperature=temperature)
        chance = logits.softmax(-1).gather(-1, new[..., None])[..., 0]
        ids = torch.where(masked, new, ids)
        likely = torch.where(masked, chance, _FINAL)
    return torch.where(valid, ids, -1)


def decode_residuals(
    scores: LevelScores,
    base: Int[Tensor, "b n"],
    known: Int[Tensor, "b n q"],
    draws: list[torch.Generator],
    *,
    keep: float,
    temperature: float,
) -> Int[Tensor, "b n q"]:
    """All levels of the base level's codes, one pass each.

    Tokens whose base is known keep all their levels. A drawn padding code is a skipped level, -1.
    """
    levels = known.shape[-1]
    fixed = known[..., 0] >= 0
    ids = torch.full_like(known, -1)
    ids[..., 0] = base
    for level in range(1, levels):
        logits = scores(ids, level)
        new = drawn(logits, draws, keep=keep, temperature=temperature)
        new = torch.where(new == logits.shape[-1] - 1, -1, new)
        new = torch.where(fixed, known[..., level], new)
        ids[..., level] = torch.where(base >= 0, new, -1)
    return ids
