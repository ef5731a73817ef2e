"""Intervals on means: of paired differences, and of repeated evaluations."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Interval(NamedTuple):
    """A mean with its 95 % interval over `n` paired clips, or `n` repeats."""

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


def clustered_interval(
    values: Float[Tensor, "n"],
    groups: Int[Tensor, "n"],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile-bootstrap 95 % interval of a mean whose values come in groups, such as windows of
    one take: whole groups are drawn, since their members say much the same (Davison & Hinkley 1997,
    section 3.8). `n` is the number of groups.

    Raises:
        ValueError: fewer than two groups, or a value that is not finite.
    """
    _, group = groups.unique(return_inverse=True)
    count = torch.bincount(group.cpu()).double()
    if len(count) < 2 or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"no interval from {len(values)} values in {len(count)} groups: give finite values of "
            "at least 2 groups"
        )
    total = torch.zeros_like(count).index_add(0, group.cpu(), values.double().cpu())
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(count), (resamples, len(count)), generator=generator)
    means = total[draws].sum(1) / count[draws].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(total.sum() / count.sum()), low, high, len(count))


def repeat_interval(values: Sequence[float]) -> Interval:
    """Mean of repeats with 1.96 standard deviations over the root of their number (ddof 0).

    The interval of the text-to-motion tables (Guo et al. 2022): how much the mean of these repeats
    would change, not how much other clips would. Its bounds are NaN for a single repeat.

    Raises:
        ValueError: no value.
    """
    n = len(values)
    if not n:
        raise ValueError("no repeat to average: evaluate at least once")
    repeats = torch.tensor(values, dtype=torch.float64)
    mean = float(repeats.mean())
    half = float(1.96 * repeats.std(correction=0) / n**0.5) if n > 1 else float("nan")
    return Interval(mean, mean - half, mean + half, n)
