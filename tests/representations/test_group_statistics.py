"""Group means of deviations and the feature bias, without touching what was given."""

from pathlib import Path

import numpy as np
import pytest
import torch

from motion.data.statistics import Statistics
from motion.representations.group_statistics import (
    BIASED_FEATURES,
    FEATURE_BIAS,
    FEATURE_BIAS_EFFECTIVE,
    with_feature_bias,
    with_group_deviation,
    with_least_deviation,
)
from motion.representations.humanml import HumanML

SLICES = HumanML().slices
BIASED = [SLICES[name] for name in BIASED_FEATURES]


def statistics() -> Statistics:
    generator = torch.Generator().manual_seed(0)
    return Statistics(torch.randn(263, generator=generator), torch.rand(263, generator=generator))


def test_groups_share_the_mean_deviation() -> None:
    original = statistics()
    grouped = with_group_deviation(original, SLICES.values())
    for group in SLICES.values():
        expected = original.std[group].mean().expand_as(grouped.std[group])
        torch.testing.assert_close(grouped.std[group], expected)
    assert torch.equal(grouped.mean, original.mean)


def test_nothing_is_shared_with_the_original() -> None:
    original = statistics()
    before = original.std.clone()
    for changed in (
        with_group_deviation(original, SLICES.values()),
        with_feature_bias(original, BIASED, bias=FEATURE_BIAS),
        with_least_deviation(original, 1.0),
    ):
        changed.std.zero_()
        changed.mean.zero_()
        assert torch.equal(original.std, before)
        assert original.mean.abs().sum() > 0


def test_the_bias_applied_twice_is_the_effective_one() -> None:
    once = with_feature_bias(statistics(), BIASED, bias=FEATURE_BIAS)
    twice = with_feature_bias(once, BIASED, bias=FEATURE_BIAS)
    effective = with_feature_bias(statistics(), BIASED, bias=FEATURE_BIAS_EFFECTIVE)
    torch.testing.assert_close(twice.std, effective.std)
    assert torch.equal(effective.std[4:259], statistics().std[4:259])
    with pytest.raises(ValueError, match="positive"):
        with_feature_bias(statistics(), BIASED, bias=0.0)


def test_least_deviation() -> None:
    floored = with_least_deviation(statistics(), 0.5)
    assert floored.std.min() == 0.5
    assert floored.std.max() == statistics().std.max()


def test_published_deviations(real_data: Path) -> None:
    """The training set's are constant in each group; the evaluator's are a 25th of them on root
    and contacts, and equal within half a percent elsewhere."""
    folder = real_data / "humanml3d"
    mean, std = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("Mean", "Std"))
    published = Statistics(mean, std)
    grouped = with_group_deviation(published, SLICES.values())
    torch.testing.assert_close(grouped.std, std, rtol=1e-5, atol=0)
    evaluator = torch.from_numpy(np.load(folder / "stats_mdm/t2m_std.npy"))
    biased = with_feature_bias(published, BIASED, bias=FEATURE_BIAS_EFFECTIVE)
    ratio = biased.std / evaluator
    assert (ratio - 1).abs().max() < 0.011
    assert (ratio[4:259] - 1).abs().max() < 0.005
