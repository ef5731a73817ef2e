import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.metrics.frames import pooled
from motion.metrics.physics import (
    FEET,
    floating_mm,
    foot_sliding_mm,
    jitter,
    penetration_mm,
    pfc,
)
from motion.rotations import matrix_from_rotvec
from motion.skeleton import SMPL_JOINTS

NAN = float("nan")


def walk(b: int = 2, t: int = 20, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, t, 24, 3, generator=generator, dtype=torch.float64).cumsum(1) / 30


def test_jitter_of_polynomials() -> None:
    t = torch.arange(12, dtype=torch.float64)[None, :, None, None] / 30
    rest = walk(1, 1)
    assert float(jitter(rest + 3 * t.square(), fps=30.0).max()) < 1e-6
    cubic = jitter(rest + torch.tensor([0.0, 5.0, 0.0]) * t**3, fps=30.0)
    torch.testing.assert_close(cubic, torch.full((1, 9), 3.0).double())  # 6 x 5 m/s^3, in tens
    assert math.isnan(pooled(jitter(rest.expand(1, 3, 24, 3), fps=30.0)))


def test_a_planted_slide_of_one_centimeter() -> None:
    truth = torch.zeros(1, 10, 4, 3, dtype=torch.float64)
    truth[0, :, 3, 0] = torch.arange(10) * 0.05  # this point does not rest
    predicted = truth.clone()
    predicted[0, :, :, 2] += torch.arange(10)[:, None] * 0.01
    sliding = foot_sliding_mm(predicted, truth)
    assert pooled(sliding) == pytest.approx(10)
    assert bool(sliding[..., 3].isnan().all())
    assert math.isnan(pooled(foot_sliding_mm(predicted[..., 3:, :], truth[..., 3:, :])))


def test_gaps_are_joined_or_respected() -> None:
    truth = torch.zeros(1, 8, 1, 3, dtype=torch.float64)
    predicted = truth.clone()
    predicted[0, 4:, 0, 0] = 0.6
    mask = torch.tensor([[True, True, True, False, False, True, True, True]])
    assert pooled(foot_sliding_mm(predicted, truth, mask)) == pytest.approx(120)
    honest = foot_sliding_mm(predicted, truth, mask, convention="corrected")
    assert pooled(honest) == 0
    assert int(honest.isfinite().sum()) == 4


def test_penetration_and_floating() -> None:
    points = torch.zeros(1, 3, 5, 3)
    points[..., 1] = torch.tensor([[-0.03], [0.0], [0.045]])
    torch.testing.assert_close(penetration_mm(points), torch.tensor([[25.0, 0.0, 0.0]]))
    torch.testing.assert_close(floating_mm(points), torch.tensor([[0.0, 0.0, 40.0]]))
    mask = torch.tensor([[False, True, True]])
    points[0, 0] = NAN
    torch.testing.assert_close(
        penetration_mm(points, mask, ground_m=0.1, tolerance_m=0.0),
        torch.tensor([[NAN, 100.0, 55.0]]),
        equal_nan=True,
    )


def pfc_loop(clip: torch.Tensor) -> float:
    """EDGE's score of one y-up clip, frame by frame."""
    left, right = (7, 10), (8, 11)
    accelerations, products = [], []
    for i in range(len(clip) - 2):
        a = clip[i + 2, 0] - 2 * clip[i + 1, 0] + clip[i, 0]
        accelerations.append(math.hypot(a[0], max(a[1], 0), a[2]) * 900)
        step = (clip[i + 2] - clip[i + 1])[:, [0, 2]].norm(dim=1)
        products.append(min(step[j] for j in left) * min(step[j] for j in right))
    largest = max(accelerations)
    pairs = zip(products, accelerations, strict=True)
    return float(sum(p * a / largest for p, a in pairs) / len(products) * 10_000)


def test_feet_are_named() -> None:
    assert [SMPL_JOINTS[j] for j in FEET] == [
        "left_ankle", "left_foot", "right_ankle", "right_foot",
    ]  # fmt: skip


def test_pfc_equals_the_loop_in_each_convention() -> None:
    clips = walk(3)
    expected = torch.tensor([pfc_loop(clip) for clip in clips], dtype=torch.float64)
    torch.testing.assert_close(pfc(clips), expected)
    torch.testing.assert_close(pfc(clips, convention="corrected"), expected)
    fast = pfc(clips, fps=60.0, convention="corrected")
    torch.testing.assert_close(fast, 4 * expected)
    torch.testing.assert_close(pfc(clips, fps=60.0), expected)
    rising = clips.clone()
    rising[..., 0, 1] = torch.arange(20) ** 2 * 0.01  # accelerates upward only
    torch.testing.assert_close(1e4 * pfc(rising, convention="motion_critic"), pfc(rising))
    assert bool((1e4 * pfc(clips, convention="motion_critic") != pfc(clips)).all())


def test_pfc_of_a_planted_foot_and_a_static_root() -> None:
    clips = walk(2)
    clips[0, :, [8, 11]] = 0.0  # the right foot is planted
    clips[1, :, 0] = 0.0  # the root never accelerates
    found = pfc(clips)
    assert found[0] == 0
    assert bool(found[1].isnan())
    assert pfc(clips, convention="corrected")[1] == 0
    assert bool(pfc(clips[:, :2]).isnan().all())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), turn=st.floats(-3, 3), length=st.integers(4, 20))
def test_invariances(seed: int, turn: float, length: int) -> None:
    made, truth = walk(seed=seed), 0.1 * walk(seed=seed + 1)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[1, length:] = False
    padded = torch.where(mask[..., None, None], made, NAN)
    R = matrix_from_rotvec(torch.tensor([0.0, turn, 0.0], dtype=torch.float64))
    shift = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64)
    order = torch.tensor([1, 0])

    def same(found: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-6, rtol=1e-6)

    for metric in (
        lambda p, q, m=None: jitter(p, m, fps=30.0),
        lambda p, q, m=None: foot_sliding_mm(p, q, m),
        lambda p, q, m=None: penetration_mm(p, m),
        lambda p, q, m=None: floating_mm(p, m),
        lambda p, q, m=None: pfc(p, m)[:, None],
        lambda p, q, m=None: pfc(p, m, convention="corrected")[:, None],
    ):
        value = metric(padded, truth, mask)
        same(metric(padded[order], truth[order], mask[order]), value[order])
        alone = metric(made[1:, :length], truth[1:, :length])
        same(value[1:, : alone.shape[1]], alone)
        same(metric(padded @ R.T + shift, truth @ R.T + shift, mask), value)
