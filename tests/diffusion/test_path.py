"""Conversions among data, noise and velocity, on both paths."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from motion.diffusion.path import (
    CosineVP,
    Path,
    RectifiedFlow,
    eps_from_velocity,
    eps_from_x0,
    noised,
    velocity,
    x0_from_eps,
    x0_from_velocity,
)

PATHS = [RectifiedFlow(), CosineVP()]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("t", [torch.tensor(0.37), torch.tensor([0.02, 0.5, 0.97])])
def test_conversions_round_trip(path: Path, t: torch.Tensor) -> None:
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    t = t.double()
    x_t, v = noised(path, x0, eps, t), velocity(path, x0, eps, t)
    torch.testing.assert_close(x0_from_velocity(path, x_t, v, t), x0)
    torch.testing.assert_close(eps_from_velocity(path, x_t, v, t), eps)
    torch.testing.assert_close(eps_from_x0(path, x_t, x0, t), eps)
    torch.testing.assert_close(x0_from_eps(path, x_t, eps, t), x0)


def test_rectified_flow_has_wans_sign() -> None:
    x0, eps, t = torch.tensor([2.0]), torch.tensor([5.0]), torch.tensor([0.25])
    assert noised(RectifiedFlow(), x0, eps, t).item() == 0.75 * 2 + 0.25 * 5
    assert velocity(RectifiedFlow(), x0, eps, t).item() == 5 - 2


def test_velocity_of_rectified_flow_is_the_time_derivative() -> None:
    x0, eps = torch.randn(2, 4, dtype=torch.float64)
    path, t, h = RectifiedFlow(), torch.tensor(0.4).double(), 1e-3
    slope = (noised(path, x0, eps, t + h) - noised(path, x0, eps, t - h)) / (2 * h)
    torch.testing.assert_close(velocity(path, x0, eps, t), slope)


def test_cosine_equals_the_discrete_schedule() -> None:
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    t = torch.arange(1, 1001).double() / 1000
    alpha_bar = CosineVP().alpha(t) ** 2
    torch.testing.assert_close(alpha_bar, scheduler.alphas_cumprod.double(), rtol=2e-3, atol=1e-6)
    assert math.isclose(alpha_bar[-1].item(), 2.43e-9, rel_tol=0.01)
    assert CosineVP().alpha(torch.tensor(0.0)) == 1


def test_cosine_preserves_variance() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    path = CosineVP()
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t))
