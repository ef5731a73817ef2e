import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.metrics.distribution import (
    Gaussian,
    all_pairs_distance,
    diversity,
    frechet_distance,
    multimodality,
    size_bias,
)
from motion.metrics.halves import LOWER_DIMS, UPPER_DIMS


def sample(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(d, dtype=torch.float64)
    mix += 0.3 * torch.randn(d, d, generator=torch.Generator().manual_seed(1)) / d**0.5
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + shift


def sqrtm_fid(a: torch.Tensor, b: torch.Tensor) -> float:
    """The published form: np.cov and scipy's square root of the product."""
    x, y = a.numpy(), b.numpy()
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(s1) + np.trace(s2) - 2 * np.trace(root))


@pytest.mark.parametrize(("n", "m", "d"), [(400, 500, 32), (900, 700, 128), (200, 201, 64)])
def test_fid_equals_the_square_root_form(n: int, m: int, d: int) -> None:
    a, b = sample(n, d, 1), sample(m, d, 2, 1.3, 0.1)
    assert frechet_distance(a, b) == pytest.approx(sqrtm_fid(a, b), rel=1e-8)


def test_fid_is_defined_for_fewer_rows_than_columns() -> None:
    a, b = sample(40, 96, 1), sample(30, 96, 2, 1.2)
    wide = frechet_distance(a, b)
    values = scipy.linalg.eigvals(np.cov(a.numpy(), rowvar=False) @ np.cov(b.numpy(), rowvar=False))
    gap = (a.mean(0) - b.mean(0)).square().sum()
    exact = gap + a.var(0).sum() + b.var(0).sum() - 2 * np.sqrt(values.real.clip(0)).sum()
    assert wide == pytest.approx(float(exact), rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    one_side = frechet_distance(sample(400, 96, 3), a)  # a full and a deficient factor
    assert one_side == pytest.approx(frechet_distance(a, sample(400, 96, 3)), rel=1e-10)


def test_fid_of_singular_covariances() -> None:
    a, b = sample(300, 16, 1), sample(300, 16, 2, 1.5)
    full = frechet_distance(a, b)
    constant = torch.full((300, 3), 2.0, dtype=torch.float64)
    padded = [torch.cat((x, constant, x[:, :1]), 1) for x in (a, b)]
    assert not Gaussian.of(padded[0]).conditioned
    without = [torch.cat((x, x[:, :1]), 1) for x in (a, b)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(*without), rel=1e-9)
    assert frechet_distance(*padded) > full


def test_fid_of_one_dimension_is_closed_form() -> None:
    a, b = sample(500, 1, 1), sample(400, 1, 2, 3.0, 2.0)
    expected = (a.mean() - b.mean()).square() + (a.std() - b.std()).square()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-10)


def whitened(n: int, d: int, seed: int) -> torch.Tensor:
    """Rows with mean 0 and covariance 1 exactly."""
    rows = torch.linalg.qr(sample(n, d, seed) - sample(n, d, seed).mean(0)).Q * (n - 1) ** 0.5
    return rows - rows.mean(0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), shift=st.floats(-3, 3), stretch=st.floats(0.3, 3))
def test_fid_matches_closed_form_of_diagonal_gaussians(
    seed: int, shift: float, stretch: float
) -> None:
    a, b = whitened(60, 5, seed), whitened(70, 5, seed + 1)
    s = torch.tensor([1.0, 2.0, 0.5, 1.0, 4.0]).double()
    expected = 5 * shift**2 + float((s - stretch * s.flip(0)).square().sum())
    assert frechet_distance(a * s, b * stretch * s.flip(0) + shift) == pytest.approx(
        expected, rel=1e-8, abs=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), shift=st.floats(-5, 5), rows=st.sampled_from([9, 40]))
def test_fid_invariances(seed: int, shift: float, rows: int) -> None:
    a, b = sample(rows, 12, seed), sample(30, 12, seed + 1, 1.4, 0.2)
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    value = frechet_distance(a, b)
    assert value >= -1e-9
    assert frechet_distance(b, a) == pytest.approx(value, rel=1e-8)
    order = torch.randperm(rows, generator=generator)
    assert frechet_distance(a[order] @ Q + shift, b @ Q + shift) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.randn(1, 4), torch.randn(9, 4), "at least 2"),
        (torch.randn(9, 4), torch.randn(9, 5), "one evaluator"),
        (torch.full((9, 4), torch.nan), torch.randn(9, 4), "NaN"),
    ],
)
def test_fid_refuses(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_size_bias_is_found_and_removed() -> None:
    a, b = sample(1200, 48, 1), sample(900, 48, 2)
    found = size_bias(a, b)
    assert found.num_real[-1] == 1200
    assert found.num_generated[-1] == 900
    assert list(found.fid) == sorted(found.fid, reverse=True)
    assert abs(found.fid_inf) < 0.15 * found.fid[-1], "two samples of one Gaussian: the truth is 0"
    assert found.bias == found.fid[-1] - found.fid_inf
    assert found.residual < 0.1 * found.fid[-1]
    apart = size_bias(a, b + 1)
    assert apart.fid_inf == pytest.approx(48, rel=0.02)
    assert size_bias(a, b) == found
    with pytest.raises(ValueError, match="no extrapolation"):
        size_bias(a, b, num_sizes=1)


def test_diversity() -> None:
    rows = sample(500, 64, 0)
    exact = all_pairs_distance(rows)
    assert exact == pytest.approx(float(torch.pdist(rows).mean()), rel=1e-10)
    assert diversity(rows, convention="corrected") == exact
    assert diversity(rows) == pytest.approx(exact, rel=0.02)
    assert diversity(rows) == diversity(rows + 3)
    pair = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert diversity(pair, convention="corrected") == pytest.approx(5)
    with pytest.raises(ValueError, match="num_pairs=100"):
        diversity(rows[:300])


def test_multimodality() -> None:
    same = sample(4, 8, 0)[:, None].expand(4, 30, 8)
    assert multimodality(same) == 0
    rows = sample(120, 8, 0).reshape(4, 30, 8)
    exact = torch.stack([torch.pdist(group).mean() for group in rows]).mean()
    assert multimodality(rows, convention="corrected") == pytest.approx(float(exact), rel=1e-10)
    draws = [
        multimodality(rows, generator=torch.Generator().manual_seed(seed)) for seed in range(200)
    ]
    # A generation meets itself in 1 of 30 pairs of the reference.
    assert np.mean(draws) == pytest.approx(float(exact) * 29 / 30, rel=0.02)
    with pytest.raises(ValueError, match="generations per prompt"):
        multimodality(rows[:, :10])
    with pytest.raises(ValueError, match="at least one"):
        multimodality(rows[:0])


def test_halves_cover_the_layout_but_for_contacts() -> None:
    assert (len(LOWER_DIMS), len(UPPER_DIMS)) == (103, 156)
    assert sorted(LOWER_DIMS + UPPER_DIMS) == list(range(259))
    left_foot_height = 4 + 3 * (10 - 1) + 1
    assert left_foot_height in LOWER_DIMS
    assert set(range(67 + 6 * (16 - 1), 67 + 6 * 16)) <= set(UPPER_DIMS)
    assert set(range(193, 196)) <= set(LOWER_DIMS), "the root's velocity"
    assert math.isclose(sum(LOWER_DIMS) + sum(UPPER_DIMS), 259 * 258 / 2)
