"""The value that every system emits."""

from typing import Any

import pytest
import torch

from motion.sequence import Motion


def motion(*batch: int, frames: int = 8, **changes: Any) -> Motion:
    values: dict[str, Any] = {
        "R_parent_child": torch.eye(3).repeat(*batch, frames, 24, 1, 1),
        "translation": torch.randn(*batch, frames, 3),
        "betas": torch.zeros(*batch, 10),
        "body_id": "free-0",
        "fps": 16.0,
    }
    return Motion(**(values | changes))


def test_frames_and_duration() -> None:
    assert motion(2).num_frames == 8
    assert motion().duration_s == 0.5


def test_indexing_takes_a_clip_of_the_batch() -> None:
    whole = motion(3)
    one = whole[1]
    assert one.R_parent_child.shape == (8, 24, 3, 3)
    assert torch.equal(one.require_translation(), whole.require_translation()[1])
    assert one.betas.shape == (10,)
    assert whole[1:].betas.shape == (2, 10)
    assert motion(3, translation=None)[0].translation is None


def test_casting_keeps_what_is_no_tensor() -> None:
    double = motion(2, frame="camera").to(torch.float64)
    assert double.R_parent_child.dtype == double.betas.dtype == torch.float64
    assert double.require_translation().dtype == torch.float64
    assert (double.frame, double.fps, double.body_id) == ("camera", 16.0, "free-0")


def test_a_missing_translation_is_demanded_with_its_remedy() -> None:
    with pytest.raises(ValueError, match="give a motion with a trajectory"):
        motion(translation=None).require_translation()


def test_wrong_values_are_named() -> None:
    with pytest.raises(ValueError, match="fps is 0"):
        motion(fps=0.0)
    with pytest.raises(ValueError, match="translation has 7 frames, the rotations have 8"):
        Motion.__post_init__(_unchecked(motion(), translation=torch.zeros(7, 3)))
    with pytest.raises(ValueError, match="22, 3, 3"):
        Motion.__post_init__(_unchecked(motion(), R_parent_child=torch.eye(3).repeat(8, 22, 1, 1)))


def _unchecked(value: Motion, **changes: Any) -> Motion:
    """A motion whose shapes the type checker of the tests has not already refused."""
    copy = object.__new__(Motion)
    for name, item in (value.__dict__ | changes).items():
        object.__setattr__(copy, name, item)
    return copy


def test_a_batch_and_a_camera_s_motion_are_no_world_clip() -> None:
    one = motion()
    assert one.require_world_clip() is one
    with pytest.raises(ValueError, match="camera's frame"):
        motion(frame="camera").require_world_clip()
    with pytest.raises(ValueError, match="one by one"):
        motion(2).require_world_clip()
