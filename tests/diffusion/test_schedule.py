"""Training and sampling times against diffusers' tables and the reference grid."""

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)

from motion.diffusion.schedule import sampling_times, shifted, training_times, uniform_times


def test_shift_closed_form() -> None:
    u = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(shifted(u, 5.0), 5 * u / (1 + 4 * u))
    torch.testing.assert_close(shifted(u, 1.0), u)
    with pytest.raises(ValueError, match="shift is 0"):
        shifted(u, 0.0)


def test_training_times_are_the_flow_match_table() -> None:
    table = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0).sigmas
    centers = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    ours = training_times(centers, 5.0).float().flip(0)
    torch.testing.assert_close(ours, table[:1000].float(), rtol=0, atol=2e-7)
    assert ours.median() == pytest.approx(0.834, abs=1e-3)
    assert (ours > 0.9).float().mean() == pytest.approx(0.36, abs=0.005)
    assert training_times(torch.tensor([0.0, 0.99999999]), 5.0).tolist()[1] == 1.0


def test_sampling_times_are_wans_reference() -> None:
    times = sampling_times(50, 5.0)
    assert len(times) == 51
    assert (times[:-1] * 1000).int()[[0, 1, 2, -1]].tolist() == [999, 995, 991, 92]
    assert times[-1] == 0
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("grid", [lambda n: sampling_times(n, 3.0), uniform_times])
def test_at_least_one_step(grid) -> None:
    assert len(grid(1)) == 2
    with pytest.raises(ValueError, match="num_steps is 0"):
        grid(0)
