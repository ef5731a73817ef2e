"""How many tokens are masked, which, and by what: training and decoding (MoMask, section 3.3)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.diffusion.noise import clip_uniform

RANDOM_SHARE = 0.1
"""Of the chosen tokens, how many become a random code ..."""
MASK_SHARE = 0.88
"""... and how many of the others the mask; the rest keep their code and are predicted as well."""


def num_masked(length: Int[Tensor, "b"], time: Float[Tensor, "b"]) -> Int[Tensor, "b"]:
    """max(1, round(length cos(pi t / 2))): all at time 0, one at time 1; never more than there are.

    Args:
        length: tokens that may be masked.
        time: in [0, 1].
    """
    share = torch.cos(time.double() * (torch.pi / 2))
    return (length * share).round().long().clamp(min=1).minimum(length)


def lowest(scores: Float[Tensor, "b n"], count: Int[Tensor, "b"]) -> Bool[Tensor, "b n"]:
    """The `count` positions of the lowest scores of each row."""
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return rank < count[:, None]


def corrupted(
    ids: Int[Tensor, "b n"],
    valid: Bool[Tensor, "b n"],
    noise_key: Int[Tensor, "b"],
    *,
    num_codes: int,
    count_padding: bool = False,
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Tokens of a training step with the mask `num_codes`, and the positions to be predicted.

    A clip's draw does not depend on the batch it is in, unless padding counts.
    """
    device = ids.device
    length = valid.sum(1)
    drawn = torch.full_like(length, valid.shape[1]) if count_padding else length
    time = clip_uniform(noise_key, "masked/time").to(device)
    # Tokens first: a clip's numbers are the same in a longer batch.
    lots = clip_uniform(noise_key, "masked/lots", (valid.shape[1], 4)).mT.to(device)
    order = lots[:, 0]
    if not count_padding:
        order = order.masked_fill(~valid, torch.inf)
    chosen = lowest(order, num_masked(drawn, time)) & valid
    random = chosen & (lots[:, 1] < RANDOM_SHARE)
    masked = chosen & ~random & (lots[:, 2] < MASK_SHARE)
    codes = (lots[:, 3] * num_codes).long().clamp(max=num_codes - 1)
    seen = torch.where(random, codes, ids)
    return torch.where(masked, num_codes, seen), chosen


def residual_level(uniform: Float[Tensor, "b"], num_levels: int) -> Int[Tensor, "b"]:
    """The level that a clip trains: round((1 - cos(pi u / 2)) (Q - 2)) + 1, low ones more often."""
    share = 1 - torch.cos(uniform.double() * (torch.pi / 2))
    return (share * (num_levels - 2)).round().long() + 1
