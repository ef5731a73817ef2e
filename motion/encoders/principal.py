"""Principal components of patches in closed form, from streamed sums."""

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import eigsh
from torch import Tensor

_DENSE = 1024
"""Matrices up to this size are decomposed whole: that is as fast, and cannot fail to converge."""
_FLOOR = 1e-8
"""Share of the trace added to every eigenvalue: Lanczos stops at a residual relative to the
eigenvalue, which rounding never meets where an eigenvalue is zero (fewer patches than channels)."""


class Moments:
    """Streamed mean and covariance of patches; those that equal `background` cost nothing."""

    def __init__(self, background: float) -> None:
        self.count = 0
        self._background = background
        self._sum = torch.zeros(0, dtype=torch.float64)
        self._square = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, patches: Float[Tensor, "b t h w d"]) -> None:
        rows = patches.flatten(0, 3).float() - self._background
        if self.count == 0:
            self._sum = torch.zeros(rows.shape[1], dtype=torch.float64)
            self._square = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
        self.count += len(rows)
        rows = rows[rows.any(1)]
        # One clip's products fit float32 (values in [-2, 2]); the sum over clips does not.
        self._sum += rows.sum(0).double()
        self._square += (rows.T @ rows).double()

    @property
    def mean(self) -> Float[Tensor, "d"]:
        return self._sum / self.count + self._background

    @property
    def about_background(self) -> Float[Tensor, "d d"]:
        """Second moment about the background."""
        return self._square / self.count

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Second moment about the mean."""
        mean = self._sum / self.count
        return self._square / self.count - torch.outer(mean, mean)


def principal(
    covariance: Float[Tensor, "d d"], channels: int
) -> tuple[Float[Tensor, "d c"], Float[Tensor, "c"]]:
    """Leading principal directions (signs fixed) and their standard deviations."""
    size = len(covariance)
    if size < channels:
        raise ValueError(
            f"patches of {size} numbers cannot have {channels} channels; "
            "lower `channels` or raise the strides"
        )
    if size <= _DENSE or 4 * channels > size or not covariance.any():
        values, vectors = _dense(covariance)
    else:
        values, vectors = _lanczos(covariance, channels)
    values, basis = values[-channels:].flip(-1), vectors[:, -channels:].flip(-1)
    peak = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    basis = basis * torch.where(peak < 0, -1.0, 1.0)
    return basis, values.clamp_min(0).sqrt()


def _dense(covariance: Float[Tensor, "d d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    if not covariance.any():
        size = len(covariance)
        return torch.zeros(size).to(covariance), torch.eye(size).to(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    return values, vectors


def _lanczos(
    covariance: Float[Tensor, "d d"], channels: int
) -> tuple[Float[Tensor, "c"], Float[Tensor, "d c"]]:
    """Implicitly restarted Lanczos (Lehoucq et al. 1998) from a fixed vector; values ascend."""
    size = len(covariance)
    floor = _FLOOR * float(covariance.trace())
    start = np.random.default_rng(0).standard_normal(size)
    raised = covariance.numpy() + floor * np.eye(size)
    values, vectors = cast(Any, eigsh)(raised, k=channels, which="LA", v0=start, tol=1e-6)
    order = np.argsort(values)
    return torch.from_numpy(values[order] - floor), torch.from_numpy(vectors[:, order])


def scale(deviation: Float[Tensor, "c"], whitening: float) -> Float[Tensor, "c"]:
    """What latents are divided by: deviation ** whitening, times a number for unit mean variance.

    A direction that never varies (fewer patches than channels) divides by the largest deviation.
    """
    top = deviation.max().clamp_min(1e-6)
    safe = torch.where(deviation > 1e-6 * top, deviation, top)
    powered = safe**whitening
    return powered * ((deviation / powered) ** 2).mean().sqrt().clamp_min(1e-12)
