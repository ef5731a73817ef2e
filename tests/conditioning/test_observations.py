"""What a user gives a system of motion, as one clip."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from motion.body import load_body
from motion.conditioning import observations
from motion.conditioning.observations import Observations, detect
from motion.conditioning.pose_detector import Detection, NobodyFound
from motion.data.clip_reader import read_clip


class Letters:
    """An encoder of one token per text."""

    id, hash, dim, max_tokens = "letters", "0", 2, 1

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.tensor([[[float(len(text)), 1.0]] for text in texts])
        return tokens, torch.ones(len(texts), 1).bool()

    def save(self, folder: object) -> None:
        raise AssertionError(folder)


def batch(prompt: str = "", num_frames: int | None = None, **given: Any) -> Any:
    return Observations(**given).batch(
        prompt, Letters(), load_body("free"), fps=10.0, num_frames=num_frames
    )


def keypoints(folder: Path, frames: int = 20) -> Path:
    path = folder / "k.npz"
    points = np.ones((frames, 17, 2), np.float32)
    np.savez(path, keypoints=points, size=np.array([64, 48]), fps=10.0)
    return path


def test_a_timeline_says_how_long_the_clip_is() -> None:
    clip = batch(timeline="0-4: walks; 3.5-8: sits")
    assert clip.frame_mask.shape == (1, 80)
    assert clip.text.shape[1] == 2
    with_prompt = batch("slowly", timeline="0-4: walks")
    assert with_prompt.text_window_s[0].tolist() == [[0, 4], [0, 4]]


def test_keypoints_end_before_a_longer_clip_and_are_then_unseen(tmp_path: Path) -> None:
    clip = batch(keypoints=keypoints(tmp_path), timeline="2-5: sits")
    assert clip.keypoints.shape[1] == 50
    assert clip.keypoints_confidence[0, :, 0].tolist() == [1.0] * 20 + [0.0] * 30
    assert clip.has_camera is None


def test_key_poses_come_from_a_file_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(
        path, trans=np.zeros((30, 3)), root_orient=np.zeros((30, 3)), pose_body=np.zeros((30, 63)),
        betas=np.zeros(10), mocap_frame_rate=10.0,
    )  # fmt: skip
    clip = batch(key_motion=path, key_times_s=(0.0, 2.5), num_frames=40)
    assert clip.keyframes[0].nonzero().flatten().tolist() == [0, 25]
    assert clip.R_parent_child.shape == (1, 40, 24, 3, 3)
    with pytest.raises(ValueError, match="key_times_s"):
        batch(key_motion=path, key_times_s=(0.0, 3.5), num_frames=40)


@pytest.mark.parametrize(
    "given",
    [
        {"video": "v.mp4"},
        {"key_times_s": (1.0,)},
        {"camera": "c.npz"},
        {"video": "v.mp4", "pose_model": "m", "keypoints": "k.npz"},
    ],
)
def test_refuses_what_does_not_go_together(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"together|not both|give the video"):
        Observations(**given)


def test_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        batch(num_frames=10)
    with pytest.raises(ValueError, match="how long"):
        batch("walks")


def test_a_video_s_frames_without_a_person_have_no_confidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motion.data.video import encode_mp4

    frames = np.zeros((10, 32, 32, 3), np.uint8)
    frames[5:] = 200
    (tmp_path / "v.mp4").write_bytes(encode_mp4(frames, 10.0, lossless=False))

    class Bright:
        def detect(self, image: np.ndarray) -> Detection:
            if image.mean() < 100:
                raise NobodyFound("nobody")
            return Detection(torch.full((17, 2), 7.0), torch.ones(17))

    found = detect(tmp_path / "v.mp4", Bright(), 10.0)
    assert found.size == (32, 32)
    assert found.confidence[:, 0].tolist() == [0.0] * 5 + [1.0] * 5

    held: list[int] = []

    def few(video: Path, times: np.ndarray) -> np.ndarray:
        held.append(len(times))
        return read_clip(video, times)

    monkeypatch.setattr(observations, "read_clip", few)
    monkeypatch.setattr(observations, "_AT_ONCE", 4)
    again = detect(tmp_path / "v.mp4", Bright(), 10.0)
    assert held == [4, 4, 2], "a long video is never held whole"
    assert (again.confidence == found.confidence).all()

    class Broken:
        def detect(self, image: np.ndarray) -> Detection:
            raise ValueError("expected 3 channels")

    with pytest.raises(ValueError, match="3 channels"):
        detect(tmp_path / "v.mp4", Broken(), 10.0)
