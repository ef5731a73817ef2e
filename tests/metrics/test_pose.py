import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.metrics.frames import per_clip, pooled
from motion.metrics.inbetween import keyframe_errors, keyframes
from motion.metrics.pose import (
    LSP_HIPS,
    ROOT,
    accel_error,
    keypoint_error_px,
    mpjpe_mm,
    pa_mpjpe_mm,
    pck,
    pve_mm,
)
from motion.metrics.trajectory import rte_percent, world_mpjpe_mm
from motion.rotations import matrix_from_rotvec

NAN = float("nan")


def clips(b: int = 2, t: int = 12, j: int = 24, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, t, j, 3, generator=generator, dtype=torch.float64)


def rotation(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return matrix_from_rotvec(2 * torch.randn(3, generator=generator, dtype=torch.float64))


def test_joint_error_ignores_a_common_shift_and_padding() -> None:
    truth = torch.randn(3, 5, 24, 3)
    predicted = truth + torch.tensor([1.0, 2.0, 3.0])
    predicted[0, :, 5] += torch.tensor([0.0, 0.24, 0.0])
    predicted[1, 3:] = NAN
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [False] * 5])
    error = per_clip(mpjpe_mm(predicted, truth, mask, hips=ROOT))
    expected = torch.tensor([10.0, 0.0, NAN])  # nothing was seen of the last: no perfect clip
    torch.testing.assert_close(error, expected, atol=1e-3, rtol=0, equal_nan=True)


def test_planted_errors() -> None:
    truth = clips()
    predicted = truth + 5.0
    predicted[:, :, 20, 1] += 0.24  # one of 24 joints by 240 mm
    torch.testing.assert_close(mpjpe_mm(predicted, truth), torch.full((2, 12), 10.0).double())
    predicted[:, :, 1, 0] += 0.2  # a hip moves the pelvis by half of it
    expected = (23 * 0.1 + math.hypot(0.1, 0.24) - 0.1 + 0.1) / 24 * 1000
    torch.testing.assert_close(mpjpe_mm(predicted, truth), torch.full((2, 12), expected).double())
    vertices = clips(j=50)
    moved = vertices + 7.0
    moved[:, :, :10, 2] += 0.005
    found = pve_mm(moved, vertices, truth + 7.0, truth)
    torch.testing.assert_close(found, torch.ones(2, 12).double())
    lsp = mpjpe_mm(truth[:, :, :14] + 1, truth[:, :, :14], hips=LSP_HIPS)
    assert float(lsp.max()) < 1e-9


def test_pa_mpjpe_is_never_above_mpjpe_of_the_best_rigid_fit() -> None:
    truth, predicted = clips(seed=1), clips(seed=2)
    mm = pa_mpjpe_mm(predicted, truth)
    assert bool((mm < mpjpe_mm(predicted, truth)).all())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), factor=st.floats(0.5, 2), length=st.integers(3, 12))
def test_invariances(seed: int, factor: float, length: int) -> None:
    truth, predicted = clips(seed=seed), clips(seed=seed + 1)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, length:] = False
    padded = torch.where(mask[..., None, None], predicted, NAN)
    R, shift = rotation(seed), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    order = torch.tensor([1, 0])

    def same(found: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-6, rtol=1e-6)

    for metric in (
        mpjpe_mm,
        pa_mpjpe_mm,
        lambda p, q, m=None: accel_error(p, q, m, fps=30.0),
        lambda p, q, m=None: accel_error(p, q, m, fps=30.0, convention="wham"),
        lambda p, q, m=None: world_mpjpe_mm(p, q, m, align="all", chunk=5),
        lambda p, q, m=None: world_mpjpe_mm(p, q, m, align="start", chunk=5),
        lambda p, q, m=None: rte_percent(p[:, :, 0], q[:, :, 0], m),
    ):
        value = metric(padded, truth, mask)
        same(metric(padded[order], truth[order], mask[order]), value[order])
        alone = metric(predicted[1:, :length], truth[1:, :length])
        same(value[1:, : alone.shape[1]], alone)
        assert bool(value[1:, alone.shape[1] :].isnan().all())
        same(metric(padded @ R.T + shift, truth @ R.T + shift, mask), value)
    for similar in (pa_mpjpe_mm, lambda p, q, m: world_mpjpe_mm(p, q, m, align="all")):
        same(similar(factor * padded @ R.T + shift, truth, mask), similar(padded, truth, mask))
    rigid = rte_percent((predicted @ R.T + shift)[:, :, 0], truth[:, :, 0])
    same(rigid, rte_percent(predicted[:, :, 0], truth[:, :, 0]))


def test_rigid_transform_costs_nothing_in_world_metrics() -> None:
    truth = clips(t=230)
    predicted = truth @ rotation(3).T + 4
    for align in ("start", "all"):
        assert float(world_mpjpe_mm(1.7 * predicted, truth, align=align).max()) < 1e-6
    assert float(rte_percent(predicted[:, :, 0], truth[:, :, 0]).max()) < 1e-7


def test_world_chunks_have_alignments_of_their_own() -> None:
    truth = clips(b=1, t=250)
    predicted = truth.clone()
    predicted[:, 100:200] += 3.0  # a jump between chunks
    assert float(world_mpjpe_mm(predicted, truth, align="start").max()) < 1e-9
    predicted[:, 202:] += torch.tensor([0.03, 0.0, 0.0])  # drift after the first two frames
    start = world_mpjpe_mm(predicted, truth, align="start")[0]
    torch.testing.assert_close(start[202:], torch.full((48,), 30.0).double())
    assert float(start[:202].max()) < 1e-9
    assert float(world_mpjpe_mm(predicted, truth, align="all")[0, 200:].mean()) < 5


def test_removed_frames_do_not_count_for_chunks() -> None:
    truth, predicted = clips(b=1, t=30, seed=1), clips(b=1, t=30, seed=2)
    mask = torch.arange(30)[None] % 3 != 1
    joined = world_mpjpe_mm(predicted[:, mask[0]], truth[:, mask[0]], align="all", chunk=10)
    found = world_mpjpe_mm(predicted, truth, mask, align="all", chunk=10)
    torch.testing.assert_close(found[:, :20], joined)
    assert bool(found[:, 20:].isnan().all())


def test_rte_is_relative_to_the_path() -> None:
    t = torch.arange(11, dtype=torch.float64)
    truth = torch.stack((t, 0 * t, 0 * t), -1)[None]  # 10 m straight
    predicted = truth.clone()
    predicted[:, 0, 1] += 1.0
    found = rte_percent(predicted, truth)
    assert 1 < float(found[0, 0]) < 10
    still = rte_percent(predicted, torch.zeros_like(truth))
    assert bool(still.isnan().all()), "no path: undefined"
    assert math.isnan(pooled(still))


def test_accel() -> None:
    t = torch.arange(9, dtype=torch.float64)[None, :, None, None] / 30
    truth = clips(b=1, t=1).expand(1, 9, 24, 3)
    swing = torch.zeros(24, 3).double()
    swing[20] = torch.tensor([0.0, 2.4, 0.0])
    assert float(accel_error(truth + swing * t, truth, fps=30.0).max()) < 1e-9
    found = accel_error(truth + 0.5 * swing * t.square(), truth, fps=30.0)
    torch.testing.assert_close(found, torch.full((1, 7), 0.1).double())
    trimmed = accel_error(truth + 0.5 * swing * t.square(), truth, fps=30.0, convention="wham")
    assert trimmed.isnan().tolist() == [[True] + 5 * [False] + [True]]
    assert accel_error(truth[:, :2], truth[:, :2], fps=30.0).shape == (1, 0)


def test_accel_joins_or_respects_gaps() -> None:
    t = torch.arange(10, dtype=torch.float64)[None, :, None, None]
    truth = clips(b=1, t=1).expand(1, 10, 24, 3)
    swing = torch.zeros(24, 3).double()
    swing[5] = 1.0
    mask = torch.ones(1, 10, dtype=torch.bool)
    mask[0, 4:6] = False
    joined = accel_error(truth + swing * t, truth, mask, fps=1.0)
    assert int((joined > 1e-6).sum()) == 2, "the gap looks like a jump"
    honest = accel_error(truth + swing * t, truth, mask, fps=1.0, convention="corrected")
    assert float(honest.nan_to_num(0.0).max()) < 1e-9
    assert int(honest.isfinite().sum()) == 4


def test_pck_and_pixels() -> None:
    truth = torch.zeros(1, 2, 4, 2)
    predicted = truth.clone()
    predicted[0, 0, :2, 0] = torch.tensor([3.0, 10.0])
    scale = torch.tensor([[20.0, 20.0]])
    torch.testing.assert_close(pck(predicted, truth, 0.2, scale=scale), torch.tensor([[0.75, 1.0]]))
    visible = torch.tensor([[[True, True, False, False], [False] * 4]])
    predicted[0, 0, 3] = NAN
    found = pck(predicted, truth, 0.2, scale=scale, visible=visible)
    torch.testing.assert_close(found, torch.tensor([[0.5, NAN]]), equal_nan=True)
    pixels = keypoint_error_px(predicted, truth, visible)
    torch.testing.assert_close(pixels, torch.tensor([[6.5, NAN]]), equal_nan=True)


def test_pooling_weighs_frames_or_clips() -> None:
    values = torch.tensor([[1.0, 1.0, 1.0], [5.0, NAN, NAN], [NAN, NAN, NAN]])
    assert pooled(values) == 2
    torch.testing.assert_close(per_clip(values), torch.tensor([1.0, 5.0, NAN]), equal_nan=True)
    assert math.isnan(pooled(values[:, :0]))


def test_valid_but_broken_frames_are_refused() -> None:
    truth = clips()
    broken = truth.clone()
    broken[1, 3, 2, 0] = NAN
    for metric in (mpjpe_mm, pa_mpjpe_mm):
        with pytest.raises(ValueError, match=r"clips \[1\]"):
            metric(broken, truth)
    with pytest.raises(ValueError, match="mask"):
        accel_error(broken, truth, fps=30.0)


def test_keyframe_errors_take_the_best_sample() -> None:
    truth = clips(t=9)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, 3, 9, 24, 3, generator=generator, dtype=torch.float64)
    samples = truth[:, None] + torch.tensor([0.3, 0.01, 0.1])[:, None, None, None] * noise
    frames = keyframes(9, 3)
    assert frames.tolist() == [0, 4, 8]
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[:, frames] = True
    found = keyframe_errors(samples, truth, mask)
    alone = keyframe_errors(samples[:, 1:2], truth, mask)
    torch.testing.assert_close(torch.stack(found), torch.stack(alone))
    assert bool((found.pa_mm < found.wa_mm).all())
    moved = keyframe_errors(2 * samples @ rotation(1).T + 3, truth, mask)
    torch.testing.assert_close(torch.stack(moved), torch.stack(found))
    samples[:, :, 1] = 100.0  # no keyframe
    torch.testing.assert_close(
        torch.stack(keyframe_errors(samples, truth, mask)), torch.stack(found)
    )
    empty = keyframe_errors(samples, truth, torch.zeros_like(mask))
    assert bool(torch.stack(empty).isnan().all())
    with pytest.raises(ValueError, match="keyframes"):
        keyframes(9, 1)
