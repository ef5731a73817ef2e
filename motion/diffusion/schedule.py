"""Where on a path to train, and at which times to sample."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def shifted(u: Float[Tensor, "*n"], shift: float) -> Float[Tensor, "*n"]:
    """s = shift u / (1 + (shift - 1) u): moves times towards noise (Esser et al. 2024, eq. 23).

    Long videos need more noise for the same loss of signal; Wan 2.2 uses shift 5.
    """
    if not shift > 0:
        raise ValueError(f"shift is {shift}; expected a positive number (1 shifts nothing)")
    return shift * u / (1 + (shift - 1) * u)


def training_times(
    uniform: Float[Tensor, "b"], shift: float, *, num_levels: int = 1000
) -> Float[Tensor, "b"]:
    """Noise levels in (0, 1] from uniform numbers in [0, 1): one of `num_levels`, equally likely.

    The table is diffusers' FlowMatchEulerDiscreteScheduler: shifted(k / num_levels), k = 1 ....
    """
    level = (uniform * num_levels).floor().clamp(max=num_levels - 1) + 1
    return shifted(level / num_levels, shift)


def sampling_times(num_steps: int, shift: float) -> Float[Tensor, "n"]:
    """num_steps + 1 falling times, from almost 1 to 0: Wan's reference grid.

    linspace(0.999, 0, n + 1) without its last entry, shifted, and then 0. It starts below 1,
    where a multistep solver in log-SNR would divide by zero.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected at least one sampling step")
    levels = torch.from_numpy(np.linspace(0.999, 0.0, num_steps + 1))
    return shifted(levels, shift).float()


def uniform_times(num_steps: int) -> Float[Tensor, "n"]:
    """num_steps + 1 equally spaced times from 1 to 0, the usual grid of a cosine schedule."""
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected at least one sampling step")
    return torch.linspace(1.0, 0.0, num_steps + 1)
