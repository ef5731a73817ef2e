"""Least-squares alignment of point sets (Umeyama 1991), batched and masked."""

from typing import cast

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.metrics.frames import finite


def aligned(
    source: Float[Tensor, "*b n 3"],
    target: Float[Tensor, "*b n 3"],
    mask: Bool[Tensor, "*b n"] | None = None,
    *,
    scale: bool,
    apply_to: Float[Tensor, "*b m 3"] | None = None,
) -> Float[Tensor, "*b m 3"]:
    """Source points (or `apply_to`) after the rotation, translation and scale that fit the target.

    Args:
        source: points that move, in metres.
        target: where they should be.
        mask: points that take part in the fit; all unless given.
        scale: a similarity transform, else a rigid one.
        apply_to: other points that move with the source.

    Returns:
        Moved points. NaN where no point takes part; source points that all coincide are only
        translated (their scale is undefined).

    Raises:
        ValueError: a point that takes part is not finite.
    """
    moving = source if apply_to is None else apply_to
    dtype = torch.float64  # cancellation in the covariances costs half of float32's digits
    valid = torch.ones(source.shape[:-1], dtype=torch.bool) if mask is None else mask
    wide = valid.to(source.device)[..., None]
    x = torch.where(wide, finite(source, valid), source.new_zeros(())).to(dtype)
    y = torch.where(wide, finite(target, valid), target.new_zeros(())).to(dtype)
    weight = wide[..., 0].to(dtype)
    count = weight.sum(-1)[..., None, None].clamp(min=1)
    center_x, center_y = x.sum(-2, keepdim=True) / count, y.sum(-2, keepdim=True) / count
    x, y = (x - center_x) * wide, (y - center_y) * wide
    covariance = y.mT @ x / count
    R = cast(Tensor, roma.special_procrustes(covariance))
    variance = (x.square().sum((-1, -2)) / count[..., 0, 0])[..., None, None]
    if scale:
        correlation = (R * covariance).sum((-1, -2))[..., None, None]  # tr(D S) of Umeyama, eq. 42
        rounding = torch.finfo(source.dtype).eps * center_x.norm(dim=-1, keepdim=True)
        spread = variance > rounding**2
        factor = torch.where(spread, correlation / variance, torch.ones_like(variance))
    else:
        factor = torch.ones_like(variance)
    moved = factor * ((moving.to(dtype) - center_x) @ R.mT) + center_y
    found = wide.any(-2, keepdim=True)
    return torch.where(found, moved, moved.new_full((), torch.nan)).to(source.dtype)
