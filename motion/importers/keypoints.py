"""2D keypoints of one person from a file, as a detector left them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from motion.batch import Batch


class KeypointClip(NamedTuple):
    """COCO-17 keypoints over time."""

    keypoints: Float[np.ndarray, "t 17 2"]
    """Pixels."""
    confidence: Float[np.ndarray, "t 17"]
    size: tuple[int, int]
    """Width and height of the image."""
    fps: float
    intrinsics: Float[np.ndarray, "3 3"] | None
    T_camera_world: Float[np.ndarray, "t 4 4"] | None
    """Trajectory of the camera, from SLAM for instance; None where it stands still."""


def read_keypoints(path: Path | str) -> KeypointClip:
    """An .npz with `keypoints` (t, 17, 2) or (t, 17, 3) whose third number is the confidence,
    `size` (width, height) and `fps`; `confidence`, `intrinsics` (3, 3) and `T_camera_world`
    (t, 4, 4) are optional.

    Raises:
        ValueError: an array is missing, of another shape, or not finite.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays: dict[str, np.ndarray] = {name: archive[name] for name in archive}
    missing = sorted({"keypoints", "size", "fps"} - set(arrays))
    if missing:
        raise ValueError(f"{path} lacks {missing}; expected keypoints, size and fps in the .npz")
    points = np.asarray(arrays["keypoints"], dtype=np.float32)
    if points.ndim != 3 or points.shape[1] != 17 or points.shape[2] not in (2, 3):
        raise ValueError(f"{path}: keypoints are {points.shape}; expected (t, 17, 2) or (t, 17, 3)")
    trust = points[..., 2] if points.shape[2] == 3 else np.ones(points.shape[:2], np.float32)
    trust = np.asarray(arrays.get("confidence", trust), dtype=np.float32)
    camera = arrays.get("T_camera_world")
    matrix = arrays.get("intrinsics")
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "confidence": (trust, points.shape[:2]),
        "T_camera_world": (camera, (len(points), 4, 4)),
        "intrinsics": (matrix, (3, 3)),
    }
    for name, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{path}: {name} is {array.shape}; expected {shape}")
    seen = trust > 0
    if not np.isfinite(points[..., :2][seen]).all() or not np.isfinite(trust).all():
        raise ValueError(f"{path}: keypoints of positive confidence, and it, must be finite")
    width, height = (int(side) for side in arrays["size"])
    return KeypointClip(
        keypoints=np.where(seen[..., None], points[..., :2], 0.0),
        confidence=trust,
        size=(width, height),
        fps=float(arrays["fps"]),
        intrinsics=None if matrix is None else matrix.astype(np.float32),
        T_camera_world=None if camera is None else camera.astype(np.float32),
    )


def keypoint_batch(clip: KeypointClip, *, fps: float, body_id: str, name: str = "clip") -> Batch:
    """One clip of which only keypoints are known, at another frame rate by the nearest frame.

    Args:
        clip: the keypoints.
        fps: frame rate of the system.
        body_id: of the body that the motion is for.
        name: id of the clip.
    """
    count = max(1, round(len(clip.keypoints) / clip.fps * fps))
    source = np.minimum((np.arange(count) * clip.fps / fps).round(), len(clip.keypoints) - 1)
    frames = source.astype(int)
    here = torch.ones(1, dtype=torch.bool)

    def tensor(array: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))[None].float()

    camera = clip.T_camera_world
    return Batch(
        clip_ids=(name,),
        fps=torch.tensor([fps]),
        frame_mask=torch.ones(1, count, dtype=torch.bool),
        body_id=body_id,
        keypoints=tensor(clip.keypoints[frames]),
        keypoints_confidence=tensor(clip.confidence[frames]),
        keypoints_size=torch.tensor([clip.size], dtype=torch.float32),
        keypoints_intrinsics=None if clip.intrinsics is None else tensor(clip.intrinsics),
        has_keypoints=here,
        T_camera_world=None if camera is None else tensor(camera[frames]),
        has_camera=None if camera is None else here,
        noise_key=torch.zeros(1, dtype=torch.int64),
    )
