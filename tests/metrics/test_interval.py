import pytest
import torch

from motion.metrics.interval import paired_interval


def test_interval_covers_the_mean_at_its_rate() -> None:
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for trial in range(200):
        sample = 0.3 + torch.randn(80, generator=generator)
        interval = paired_interval(sample, resamples=400, seed=trial)
        covered += interval.low <= 0.3 <= interval.high
    assert 180 <= covered <= 198  # 95 % of 200 is 190, sd 3


def test_clear_difference_excludes_zero_and_none_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(256, generator=generator)
    assert paired_interval(noise + 1).excludes_zero
    assert not paired_interval(noise - noise.mean()).excludes_zero


@pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")]])
def test_refuses_what_has_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least 2|not finite"):
        paired_interval(torch.tensor(values))
