import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelextrema

from motion.metrics.dance import beat_alignment, dance_scores, kinematic_beats
from motion.metrics.dance_features import geometric_features, kinetic_features
from motion.rotations import matrix_from_rotvec

LOOPS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks/dance_loops.py"))


def dancers(b: int = 2, t: int = 40, seed: int = 0) -> torch.Tensor:
    """A standing figure whose joints swing, fast enough for every kind of relation."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.tensor(
        [[0, 0.95, 0], [0.06, 0.87, 0], [-0.06, 0.87, 0], [0, 1.05, 0], [0.1, 0.5, 0],
         [-0.1, 0.5, 0], [0, 1.2, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0], [0, 1.3, 0], [0.1, 0.02, 0.1],
         [-0.1, 0.02, 0.1], [0, 1.5, 0], [0.1, 1.4, 0], [-0.1, 1.4, 0], [0, 1.65, 0],
         [0.2, 1.4, 0], [-0.2, 1.4, 0], [0.45, 1.4, 0], [-0.45, 1.4, 0], [0.7, 1.4, 0],
         [-0.7, 1.4, 0], [0.8, 1.4, 0], [-0.8, 1.4, 0]], dtype=torch.float64
    )  # fmt: skip
    time = torch.arange(t, dtype=torch.float64)[:, None, None] / 30
    phase = 6 * torch.rand(b, 1, 24, 3, generator=generator, dtype=torch.float64)
    size = 0.25 * torch.rand(b, 1, 24, 3, generator=generator, dtype=torch.float64)
    return rest + size * torch.sin(2 * math.pi * time + phase)


@pytest.mark.parametrize("t", [3, 4, 6, 40])
@pytest.mark.parametrize("convention", ["reference", "corrected"])
def test_kinetic_features_equal_the_per_frame_loops(t: int, convention: str) -> None:
    clip = dancers(1, t)
    expected = LOOPS["kinetic"](clip[0].numpy(), faulty=convention == "reference")
    found = kinetic_features(clip, convention=convention, fps=60.0)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_geometric_features_equal_the_per_frame_loops(seed: int) -> None:
    clip = dancers(1, 30, seed)
    expected = LOOPS["geometric"](clip[0].numpy())
    found = geometric_features(clip)[0].numpy()
    np.testing.assert_array_equal(found, expected)
    assert found[4] == found[5], "the wrist is ignored in the reference"
    assert ((found > 0) & (found < 1)).sum() >= 8, "the clip decides few relations"


def test_corrected_features_differ_where_the_reference_is_wrong() -> None:
    clip = dancers(1)
    shifted = clip + torch.tensor([5.0, 0.0, 0.0])
    faulty, moved = kinetic_features(clip), kinetic_features(shifted)
    assert float((moved - faulty).abs().max()) > 1
    fair = kinetic_features(clip, convention="corrected")
    torch.testing.assert_close(kinetic_features(shifted, convention="corrected"), fair)
    wrists = geometric_features(clip, convention="corrected", fps=30.0)[0, 4:6]
    assert wrists[0] != wrists[1]


def test_analytic_motions() -> None:
    time = torch.arange(30, dtype=torch.float64)[None, :, None, None] / 60
    velocity = torch.tensor([3.0, 2.0, 4.0], dtype=torch.float64)
    steady = dancers(1, 1)[:, :1] + velocity * time
    features = kinetic_features(steady, convention="corrected").reshape(24, 3)
    torch.testing.assert_close(
        features, torch.tensor([25.0, 4.0, 0.0], dtype=torch.float64).expand(24, 3), atol=1e-8,
        rtol=0,
    )  # fmt: skip
    parabola = dancers(1, 1)[:, :1] + 0.5 * velocity * time.square()
    acceleration = kinetic_features(parabola, convention="corrected").reshape(24, 3)[:, 2]
    torch.testing.assert_close(acceleration, velocity.norm().expand(24), atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(
    shift=st.floats(-4, 4),
    turn=st.floats(-3, 3),
    length=st.integers(4, 20),
    fps=st.sampled_from([20.0, 60.0]),
)
def test_invariances(shift: float, turn: float, length: int, fps: int) -> None:
    clips = dancers(3, 20)
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[1, length:] = False
    padded = torch.where(mask[..., None, None], clips, torch.nan)
    R = matrix_from_rotvec(torch.tensor([0.0, turn, 0.0], dtype=torch.float64))
    moved = padded @ R.T + torch.tensor([shift, 0.0, -shift])
    order = torch.tensor([2, 0, 1])
    for features in (kinetic_features, geometric_features):
        found = features(padded, mask, fps=fps, convention="corrected")
        alone = features(clips[1:2, :length], fps=fps, convention="corrected")
        torch.testing.assert_close(found[1:2], alone)
        torch.testing.assert_close(
            features(moved, mask, fps=fps, convention="corrected"), found, atol=1e-6, rtol=1e-6
        )
        torch.testing.assert_close(
            features(padded[order], mask[order], fps=fps, convention="corrected"), found[order]
        )
    torch.testing.assert_close(kinetic_features(padded, mask)[1:2],
                               kinetic_features(clips[1:2, :length]))  # fmt: skip


def test_refuses_gaps_and_what_is_too_short() -> None:
    clips = dancers(1, 5)
    gap = torch.tensor([[True, True, False, True, True]])
    with pytest.raises(ValueError, match="gap"):
        kinetic_features(clips, gap)
    with pytest.raises(ValueError, match="3 frames or more"):
        kinetic_features(clips[:, :2])
    clips[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        geometric_features(clips)


def test_scores_standardize_with_the_real_side() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    made = 1.2 * torch.randn(40, 6, generator=generator, dtype=torch.float64) + 0.1
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0, 1000.0, 5.0])
    plain, scaled = dance_scores(real, made), dance_scores(scale * real + 7, scale * made + 7)
    torch.testing.assert_close(torch.tensor(plain), torch.tensor(scaled), rtol=1e-5, atol=1e-5)
    assert dance_scores(real, real).fid == pytest.approx(0, abs=1e-9)
    assert plain.real_diversity == pytest.approx(math.sqrt(2 * 6), rel=0.1)
    real[:, 0] = 0
    assert dance_scores(real, made).fid > 1e15
    assert dance_scores(real, made, convention="corrected").fid < 10


def test_kinematic_beats_equal_scipy_and_ignore_padding() -> None:
    clips = dancers(3, 90) + 0.3 * torch.sin(torch.arange(90) / 4)[None, :, None, None]
    mask = torch.ones(3, 90, dtype=torch.bool)
    mask[2, 33:] = False
    found = kinematic_beats(torch.where(mask[..., None, None], clips, torch.nan), mask)
    for clip, length, beats in zip(clips.numpy(), (90, 90, 33), found, strict=True):
        speed = np.linalg.norm(np.diff(clip[:length], axis=0), axis=2).mean(1)
        expected = argrelextrema(gaussian_filter1d(speed, 5), np.less)[0]
        assert len(expected)
        assert beats.nonzero()[:, 0].tolist() == expected.tolist()


def test_beat_alignment_in_both_conventions() -> None:
    music, kinematic = torch.zeros(4, 100, dtype=torch.bool), torch.zeros(4, 100, dtype=torch.bool)
    music[0, [10, 50]] = True
    kinematic[0, [10, 53, 90]] = True
    music[1, 5] = True
    kinematic[2, 5] = True
    near, far = math.exp(-0.5), math.exp(-(40**2) / 18)
    expected = torch.tensor([(1 + near) / 2, 0.0, torch.nan, torch.nan])
    torch.testing.assert_close(beat_alignment(kinematic, music), expected, equal_nan=True)
    expected = torch.tensor([(1 + near + far) / 3, torch.nan, 0.0, torch.nan])
    found = beat_alignment(kinematic, music, convention="kinematic")
    torch.testing.assert_close(found, expected, equal_nan=True)
