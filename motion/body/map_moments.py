"""Where the parts of a motion map lie and face: counts, means and covariances per part and frame.

A pixel is a point (x, y, s nx, s ny): its place in pixels and its normal, scaled to pixels. The
pixels of a part are taken as a Gaussian in these four numbers. Between the Gaussian of a rendered
body and that of an observed map there is one optimal transport, an affine map (Dowson and Landau
1982): it says for every point of the part where it should lie and face instead. Where body and map
agree it is the identity, whatever is hidden.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.render import DecodedMap
from motion.skeleton import PART_NAMES

NUM_PARTS = len(PART_NAMES)
_GRAIN_PX = 0.6
"""Standard deviation added to every part: a part of one pixel has no covariance of its own."""

_BROKEN, _SOUND = 0.5, 0.8
"""Ratio of the person's pixels at which a frame counts nothing, and at which it counts in full."""


class Moments(NamedTuple):
    """Of t frames; parts without a pixel have 0 and no meaning else."""

    pixels: Float[Tensor, "t 24"]
    """How many."""
    mean: Float[Tensor, "t 24 4"]
    covariance: Float[Tensor, "t 24 4 4"]


def moments(decoded: DecodedMap, scale_px: float) -> Moments:
    """Moments of the parts of a decoded map.

    Args:
        decoded: t frames.
        scale_px: pixels that stand for a normal of length 1.
    """
    t, i, j = np.nonzero(decoded.part >= 0)
    part = decoded.part[t, i, j].astype(np.int64)
    normal = decoded.normal[t, i, j, :2] * scale_px
    points = np.concatenate([np.stack([j + 0.5, i + 0.5], 1), normal], 1)
    size = len(decoded.part) * NUM_PARTS
    place = torch.from_numpy(t * NUM_PARTS + part)
    x = torch.from_numpy(points)
    count = torch.zeros(size, dtype=x.dtype).index_add(0, place, torch.ones_like(x[:, 0]))
    mean = torch.zeros(size, 4, dtype=x.dtype).index_add(0, place, x)
    mean = mean / count.clamp(min=1)[:, None]
    away = x - mean[place]
    square = away[:, :, None] * away[:, None]
    covariance = torch.zeros(size, 4, 4, dtype=x.dtype).index_add(0, place, square)
    covariance = covariance / count.clamp(min=1)[:, None, None]
    covariance.diagonal(dim1=-2, dim2=-1).add_(_GRAIN_PX**2)
    shape = (len(decoded.part), NUM_PARTS)
    parts = (value.float().unflatten(0, shape) for value in (count, mean, covariance))
    return Moments(*parts)


def transport(
    source: Moments, target: Moments
) -> tuple[Float[Tensor, "t 24 4 4"], Float[Tensor, "t 24 4"]]:
    """A and b of the optimal transport x -> A x + b from each part's source to its target."""
    root, inverse = _roots(source.covariance)
    middle, _ = _roots(root @ target.covariance @ root)
    linear = inverse @ middle @ inverse
    return linear, target.mean - (linear @ source.mean[..., None])[..., 0]


def likeness(a: Moments, b: Moments) -> Float[Tensor, "t 24"]:
    """How far two maps' parts can be the same surface, in [0, 1]: by pixels, by spread, and by the
    pixels of the whole person in that frame. Generated maps lose parts, and blur them together."""

    def ratio(x: Tensor, y: Tensor) -> Tensor:
        return torch.minimum(x, y) / torch.maximum(x, y).clamp(min=1e-6)

    spread = [m.covariance[..., :2, :2].diagonal(dim1=-2, dim2=-1).sum(-1).sqrt() for m in (a, b)]
    person = ratio(a.pixels.sum(-1), b.pixels.sum(-1))[:, None]
    whole = ((person - _BROKEN) / (_SOUND - _BROKEN)).clamp(0, 1)
    return ratio(a.pixels, b.pixels) * ratio(*spread) * whole


def _roots(
    matrix: Float[Tensor, "*n 4 4"],
) -> tuple[Float[Tensor, "*n 4 4"], Float[Tensor, "*n 4 4"]]:
    """Square root of symmetric positive matrices, and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=1e-6).sqrt()
    root = (vectors * values[..., None, :]) @ vectors.mT
    return root, (vectors / values[..., None, :]) @ vectors.mT
