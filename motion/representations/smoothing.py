"""Gaussian smoothing along time."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 128


def gaussian_smooth(
    signal: Float[Tensor, "*b t"], *, sigma: float, radius: int
) -> Float[Tensor, "*b t"]:
    """Gaussian of deviation `sigma`, cut at `radius` (both in frames); the ends are held beyond.

    Blocks of frames times one banded matrix: some ten times faster than a convolution with one
    channel.
    """
    time = signal.shape[-1]
    rows = signal.reshape(-1, 1, time)
    ends = (radius, radius + -time % _BLOCK)
    held = torch.nn.functional.pad(rows, ends, mode="replicate")[:, 0]
    blocks = held.unfold(-1, _BLOCK + 2 * radius, _BLOCK)
    band = _band(sigma, radius, signal.dtype, signal.device)
    return (blocks @ band).flatten(-2)[:, :time].reshape(signal.shape)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # else the cached tensor could take no part in a later gradient
def _band(
    sigma: float, radius: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "wide block"]:
    """Column k holds the Gaussian around entry k + radius of the padded block."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    band = torch.zeros(_BLOCK + 2 * radius, _BLOCK, dtype=torch.float64)
    place = torch.arange(_BLOCK)
    band[place + torch.arange(len(kernel))[:, None], place] = (kernel / kernel.sum())[:, None]
    return band.to(device, dtype)
