"""Keypoint files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.importers.keypoints import keypoint_batch, read_keypoints


def write(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "keypoints": np.random.default_rng(0).random((30, 17, 3)).astype(np.float32),
        "size": np.array([640, 480]),
        "fps": 30.0,
    }
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_reads_three_numbers_per_keypoint_and_resamples(tmp_path: Path) -> None:
    clip = read_keypoints(write(tmp_path / "k.npz"))
    assert clip.keypoints.shape == (30, 17, 2)
    assert clip.size == (640, 480)
    batch = keypoint_batch(clip, fps=15.0, body_id="free-0")
    assert batch.keypoints is not None
    assert batch.keypoints.shape == (1, 15, 17, 2)
    np.testing.assert_allclose(batch.keypoints[0, 3].numpy(), clip.keypoints[6])
    assert batch.has_camera is None


def test_reads_a_camera_s_trajectory(tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (30, 1, 1))
    clip = read_keypoints(write(tmp_path / "k.npz", T_camera_world=poses, intrinsics=np.eye(3)))
    batch = keypoint_batch(clip, fps=30.0, body_id="free-0")
    assert batch.T_camera_world is not None
    assert batch.T_camera_world.shape == (1, 30, 4, 4)
    assert batch.keypoints_intrinsics is not None


def test_keypoints_without_confidence_may_be_anything(tmp_path: Path) -> None:
    points = np.zeros((4, 17, 2), np.float32)
    points[0, 0] = np.nan
    trust = np.ones((4, 17), np.float32)
    trust[0, 0] = 0
    clip = read_keypoints(write(tmp_path / "k.npz", keypoints=points, confidence=trust))
    assert np.isfinite(clip.keypoints).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": None}, "lacks"),
        ({"keypoints": np.zeros((4, 18, 2))}, "expected"),
        ({"confidence": np.ones((4, 17))}, "confidence is"),
        ({"keypoints": np.full((4, 17, 2), np.nan)}, "finite"),
    ],
)
def test_refuses_other_arrays(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_keypoints(write(tmp_path / "k.npz", **changes))
