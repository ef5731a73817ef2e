"""What published features do to their standard deviations before they divide by them.

Every function returns new tensors: published code divides one array in place, for the training
and again for the validation set, which is why its evaluator's deviations are a 25th of the
training set's where a factor of 5 was meant.
"""

from collections.abc import Iterable, Sequence

import torch

from motion.data.statistics import Statistics

FEATURE_BIAS = 5.0
"""Factor by which HumanML3D's loaders are meant to emphasize root and contact features."""
FEATURE_BIAS_EFFECTIVE = 25.0
"""Factor in the published evaluator's statistics: `FEATURE_BIAS`, applied twice."""
BIASED_FEATURES = ("root_yaw", "root_velocity", "root_height", "contacts")
"""Slices of `HumanML` that the feature bias touches."""


def with_group_deviation(statistics: Statistics, groups: Iterable[slice]) -> Statistics:
    """Each deviation replaced by the mean of its group's, so that a group keeps its proportions.

    HumanML3D's rule with the groups `HumanML().slices.values()`. Features in no group stay.
    """
    std = statistics.std.clone()
    for group in groups:
        std[group] = statistics.std[group].mean()
    return Statistics(statistics.mean.clone(), std)


def with_feature_bias(
    statistics: Statistics, features: Sequence[slice], *, bias: float
) -> Statistics:
    """Deviations of the given features divided by `bias`: normalized, these count that much more.

    Raises:
        ValueError: the bias is not positive.
    """
    if not bias > 0:
        raise ValueError(f"the feature bias is {bias}; expected a positive factor, as 5 or 25")
    std = statistics.std.clone()
    for feature in features:
        std[feature] = statistics.std[feature] / bias
    return Statistics(statistics.mean.clone(), std)


def with_least_deviation(statistics: Statistics, least: float) -> Statistics:
    """Deviations no smaller than `least`: 1 is GENMO's rule (it only centers), 0.05 a mild one."""
    return Statistics(statistics.mean.clone(), torch.clamp(statistics.std, min=least))


def with_group_floor(
    statistics: Statistics, groups: Iterable[slice], *, share: float
) -> Statistics:
    """Deviations no smaller than a share of the mean one of their group.

    True deviations differ by orders of magnitude within a rotation: an entry that hardly moves,
    divided by its own, would be mostly noise.
    """
    std = statistics.std.clone()
    for group in groups:
        std[group] = torch.clamp(std[group], min=share * float(statistics.std[group].mean()))
    return Statistics(statistics.mean.clone(), std)
