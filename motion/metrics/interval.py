"""Intervals on means of paired differences."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Interval(NamedTuple):
    """A mean with its 95 % interval over `n` paired clips."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}] (n={self.n})"


def paired_interval(
    differences: Float[Tensor, "n"], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile-bootstrap 95 % interval of the mean difference (Efron & Tibshirani 1993, ch. 13).

    Raises:
        ValueError: fewer than two differences, or one of them is not finite.
    """
    n = differences.numel()
    if n < 2:
        raise ValueError(f"an interval needs at least 2 paired clips, got {n}: evaluate more clips")
    values = differences.double().cpu()
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise ValueError(f"{bad} of {n} differences are not finite; look at the clips' losses")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(n, (resamples, n), generator=generator)
    means = values[draws].mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.mean()), low, high, n)
