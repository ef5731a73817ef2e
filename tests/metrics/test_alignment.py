import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.metrics.alignment import aligned
from motion.rotations import matrix_from_rotvec


def umeyama(x: torch.Tensor, y: torch.Tensor, scale: bool) -> torch.Tensor:
    """Umeyama 1991 by SVD, one point set at a time: the oracle."""
    mx, my = x.mean(0), y.mean(0)
    U, D, Vt = torch.linalg.svd((y - my).T @ (x - mx) / len(x))
    S = torch.eye(3, dtype=x.dtype)
    S[2, 2] = torch.sign(torch.linalg.det(U) * torch.linalg.det(Vt))
    factor = (D * S.diag()).sum() / (x - mx).square().sum(1).mean() if scale else 1.0
    return factor * (x - mx) @ (U @ S @ Vt).T + my


@pytest.mark.parametrize("scale", [False, True])
def test_equals_umeyama_and_batches(scale: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(6, 9, 3, generator=generator, dtype=torch.float64)
    expected = torch.stack([umeyama(a, b, scale) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(aligned(x, y, scale=scale), expected, atol=1e-9, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.2, 5.0))
def test_undoes_a_similarity_and_never_reflects(seed: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    R = matrix_from_rotvec(3 * torch.randn(3, generator=generator, dtype=torch.float64))
    y = factor * x @ R.T + torch.randn(3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(aligned(x, y, scale=True), y, atol=1e-9, rtol=0)
    mirrored = x * torch.tensor([-1.0, 1.0, 1.0])
    assert float((aligned(x, mirrored, scale=False) - mirrored).norm()) > 1e-3


def test_masked_points_have_no_say_but_move_along() -> None:
    x = torch.randn(2, 8, 3, dtype=torch.float64)
    y = x + 1
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[:, 6:] = False
    y[:, 6:] = float("nan")
    moved = aligned(x, y, mask, scale=True)
    torch.testing.assert_close(moved, x + 1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        aligned(x, y, scale=True)


def test_degenerate_sets() -> None:
    x = torch.ones(1, 4, 3)
    y = torch.randn(1, 4, 3)
    moved = aligned(x, y, scale=True)
    torch.testing.assert_close(moved, y.mean(1, keepdim=True).expand_as(y))
    nothing = aligned(x, y, torch.zeros(1, 4, dtype=torch.bool), scale=True)
    assert bool(nothing.isnan().all())
