"""The sampler against closed forms and diffusers' own trajectory."""

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from motion.diffusion.guidance import guided
from motion.diffusion.path import CosineVP, RectifiedFlow
from motion.diffusion.sampler import sample
from motion.diffusion.schedule import sampling_times, uniform_times


def gaussian_denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[x0 | x_t] on the rectified flow for data N(2, 0.5^2): the exact denoiser."""
    variance = (1 - t) ** 2 * 0.25 + t**2
    return 2 + 0.25 * (1 - t) / variance * (x - 2 * (1 - t))


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_gaussian_is_transported(solver) -> None:
    x_T = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    times = sampling_times(60, 1.0)
    x = sample(gaussian_denoiser, x_T, RectifiedFlow(), times, solver=solver)
    torch.testing.assert_close(x, 2 + 0.5 * x_T, atol=0.06, rtol=0)


def test_unipc_is_more_accurate_than_euler_at_ten_steps() -> None:
    x_T = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    times = sampling_times(10, 1.0)

    def error(solver) -> float:
        x = sample(gaussian_denoiser, x_T, RectifiedFlow(), times, solver=solver)
        return float((x - (2 + 0.5 * x_T)).abs().mean())

    assert error("unipc") < 0.5 * error("euler")


def test_unipc_follows_the_reference_pipeline() -> None:
    """The velocity-predicting scheduler with the grid and shift of Wan's reference."""
    torch.manual_seed(1)
    x_T = torch.randn(2, 8)

    def flow(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * (1 + s)

    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, flow_shift=5.0, prediction_type="flow_prediction"
    )
    scheduler.set_timesteps(sigmas=np.linspace(0.999, 0, 51)[:-1])  # pyright: ignore
    x = x_T
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(flow(x, scheduler.sigmas[i]), t, x, return_dict=False)[0]

    def denoise(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return x - s * flow(x, s)

    ours = sample(denoise, x_T, RectifiedFlow(), sampling_times(50, 5.0), solver="unipc")
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)


def test_euler_on_cosine_is_ddim() -> None:
    torch.manual_seed(1)
    x_T = torch.randn(3, 5, dtype=torch.float64)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    # DDIM's grid with 20 steps: 950, 900 ... 0, that is t = (k + 1) / 1000 on our axis.
    scheduler.set_timesteps(20)
    x = x_T
    for k in scheduler.timesteps:
        x = scheduler.step(torch.sin(x), int(k), x, eta=0.0).prev_sample
    times = torch.cat(((scheduler.timesteps + 1) / 1000, torch.zeros(1)))
    ours = sample(lambda x, t: torch.sin(x), x_T, CosineVP(), times)
    torch.testing.assert_close(ours, x.float(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_constraint_holds_in_every_call_and_at_the_end(solver) -> None:
    known = torch.tensor([[7.0, -7.0]])
    seen: list[torch.Tensor] = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x[:, :2].clone())
        return torch.zeros_like(x)

    def constrain(x: torch.Tensor) -> torch.Tensor:
        return torch.cat((known, x[:, 2:]), dim=1)

    times, x_T = sampling_times(5, 5.0), torch.ones(1, 4)
    x = sample(denoise, x_T, RectifiedFlow(), times, solver=solver, constrain=constrain)
    assert len(seen) == 5
    assert all(torch.equal(part, known) for part in [*seen, x[:, :2]])
    torch.testing.assert_close(x[:, 2:], torch.zeros(1, 2), atol=1e-5, rtol=0)


def test_guidance_is_a_lerp() -> None:
    def strong(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x + 1

    def weak(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x - 1

    x, t = torch.tensor([3.0]), torch.tensor(0.5)
    assert guided(strong, weak, 6.0)(x, t).item() == 2 + 6 * 2
    assert guided(strong, weak, 0.0)(x, t).item() == 2
    assert guided(strong, weak, 1.0) is strong


def test_bad_times_and_solver_are_refused() -> None:
    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x

    x = torch.ones(2)
    with pytest.raises(ValueError, match="fall strictly"):
        sample(denoise, x, RectifiedFlow(), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="end with 0"):
        sample(denoise, x, RectifiedFlow(), torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match="RectifiedFlow"):
        sample(denoise, x, CosineVP(), uniform_times(4), solver="unipc")
