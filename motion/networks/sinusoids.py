"""Positions as sines and cosines (Vaswani et al. 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoids(num: int, width: int, like: Tensor) -> Float[Tensor, "num width"]:
    """The first `num` positions, in the dtype and on the device of a tensor; width is even."""
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-9.21 / width))
    phase = torch.arange(num, device=like.device)[:, None] * rate
    return torch.cat([phase.sin(), phase.cos()], -1).to(like)
