"""Noising paths x_t = alpha(t) x0 + sigma(t) eps, t from 0 (data) to 1 (noise).

Every conversion among data, noise and velocity lives here. A path's velocity is
v = w_x x0 + w_eps eps, with weights chosen such that alpha w_eps - sigma w_x = 1; then
x0 = w_eps x_t - sigma v and eps = alpha v - w_x x_t, without division.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Path(Protocol):
    """Signal and noise levels over time t in [0, 1]."""

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Weight of the data."""
        ...

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Weight of the noise."""
        ...

    def velocity_weights(
        self, t: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        """(w_x, w_eps) of the velocity that a network on this path predicts."""
        ...


@dataclass(frozen=True)
class RectifiedFlow:
    """Straight line, alpha = 1 - t, sigma = t; velocity eps - x0 (Wan's sign; Liu et al. 2022).

    The CoMoVi paper writes the same path with time reversed and the opposite sign.
    """

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 1 - t

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return t

    def velocity_weights(
        self, t: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        return -t.new_ones(t.shape), t.new_ones(t.shape)


@dataclass(frozen=True)
class CosineVP:
    """Variance-preserving cosine schedule (Nichol and Dhariwal 2021, eq. 17).

    On the grid t = k / 1000 it equals their discrete 1000-step schedule with beta <= 0.999, whose
    last alpha-bar is 2.4e-9. Velocity: alpha eps - sigma x0 (Salimans and Ho 2022).
    """

    offset: float = 0.008
    """Shift that keeps the first steps from being too small (their s)."""
    alpha_min: float = 4.93e-5
    """Floor of alpha, the effect of clipping beta at 0.999."""

    def alpha(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        quarter = math.pi / 2 / (1 + self.offset)
        start = math.cos(self.offset * quarter)
        return (((t + self.offset) * quarter).cos() / start).clamp(self.alpha_min, 1)

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (1 - self.alpha(t) ** 2).sqrt()

    def velocity_weights(
        self, t: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        return -self.sigma(t), self.alpha(t)


def noised(
    path: Path, x0: Float[Tensor, "*x"], eps: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    """x_t at time t: () for all clips, or (b,), one time per clip."""
    return _over(path.alpha(t), x0) * x0 + _over(path.sigma(t), x0) * eps


def velocity(
    path: Path, x0: Float[Tensor, "*x"], eps: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    """The velocity target at time t."""
    weight_x, weight_eps = path.velocity_weights(t)
    return _over(weight_x, x0) * x0 + _over(weight_eps, x0) * eps


def x0_from_velocity(
    path: Path, x_t: Float[Tensor, "*x"], v: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    _, weight_eps = path.velocity_weights(t)
    return _over(weight_eps, x_t) * x_t - _over(path.sigma(t), x_t) * v


def eps_from_velocity(
    path: Path, x_t: Float[Tensor, "*x"], v: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    weight_x, _ = path.velocity_weights(t)
    return _over(path.alpha(t), x_t) * v - _over(weight_x, x_t) * x_t


def eps_from_x0(
    path: Path, x_t: Float[Tensor, "*x"], x0: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    """Needs sigma(t) > 0: at the clean end the noise is not determined."""
    return (x_t - _over(path.alpha(t), x_t) * x0) / _over(path.sigma(t), x_t)


def x0_from_eps(
    path: Path, x_t: Float[Tensor, "*x"], eps: Float[Tensor, "*x"], t: Float[Tensor, "..."]
) -> Float[Tensor, "*x"]:
    """Needs alpha(t) > 0: at the noisy end the data is not determined."""
    return (x_t - _over(path.sigma(t), x_t) * eps) / _over(path.alpha(t), x_t)


def _over(weight: Float[Tensor, "..."], x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A weight per clip, or one for all, shaped to multiply x."""
    return (
        weight.reshape(weight.shape + (1,) * (x.dim() - weight.dim())) if weight.dim() else weight
    )
