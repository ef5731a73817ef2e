"""COCO-17 keypoints in a large camera, and a simulated detector's view of them."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from motion.camera import project, to_camera
from motion.data.procedural.view import View

KEYPOINT_SIZE: Final = (1920, 1080)
"""Width and height of the keypoint image, in pixels."""
OCCLUSION_DEPTH_M: Final = 0.13
"""A keypoint lies inside the body; deeper than this below the seen surface, it is hidden."""


class Keypoints(NamedTuple):
    """Keypoints over t frames, in pixels of the keypoint image."""

    exact: Float[np.ndarray, "t 17 2"]
    visible: Bool[np.ndarray, "t 17"]
    detected: Float[np.ndarray, "t 17 2"]
    confidence: Float[np.ndarray, "t 17"]
    intrinsics: Float[np.ndarray, "3 3"]


def keypoint_view(view: View, video_height: int, video_width: int) -> View:
    """The video's camera with the keypoint image's pixels: same height of the view, wider."""
    width, height = KEYPOINT_SIZE
    scale = height / video_height
    camera = view.intrinsics.clone()
    camera[:2] *= scale
    camera[0, 2] += (width - scale * video_width) / 2
    return View(camera, view.T_camera_world)


def observe_keypoints(
    points: Float[Tensor, "t 17 3"],
    view: View,
    depth: Float[np.ndarray, "t h w"],
    rng: np.random.Generator,
) -> Keypoints:
    """Exact projections, visibility from the video's depth buffer, and simulated detections.

    Args:
        points: COCO-17 keypoints in the world, metres.
        view: the video's camera.
        depth: the video's depth buffer in metres, infinite where there is no person.
        rng: the detector's noise.
    """
    large = keypoint_view(view, *depth.shape[1:])
    in_camera = to_camera(points, view.T_camera_world)
    exact = project(in_camera, large.intrinsics).numpy()
    small = project(in_camera, view.intrinsics).numpy()
    inside = ((exact >= 0) & (exact < np.array(KEYPOINT_SIZE))).all(-1)
    row = np.clip(small[..., 1].astype(int), 0, depth.shape[1] - 1)
    column = np.clip(small[..., 0].astype(int), 0, depth.shape[2] - 1)
    surface = depth[np.arange(depth.shape[0])[:, None], row, column]
    visible = inside & (in_camera[..., 2].numpy() < surface + OCCLUSION_DEPTH_M)
    detected, confidence = simulate_detector(exact, visible, rng)
    return Keypoints(exact, visible, detected, confidence, large.intrinsics.numpy())


def simulate_detector(
    exact: Float[np.ndarray, "t 17 2"], visible: Bool[np.ndarray, "t 17"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "t 17 2"], Float[np.ndarray, "t 17"]]:
    """Keypoints as a 2D detector would give them, with its confidence in [0, 1].

    The error grows with speed (motion blur) and occlusion; now and then a keypoint is lost for a
    few frames: it is then far off and its confidence says so.
    """
    size = np.ptp(exact[..., 1], axis=1, keepdims=True)  # height of the person, px
    speed = np.linalg.norm(np.gradient(exact, axis=0), axis=-1) / size
    lost = rng.random(exact.shape[:2]) < np.where(visible, 0.004, 0.08)
    lost[1:] |= lost[:-1] & (rng.random(lost[1:].shape) < 0.6)
    sigma = size * (0.004 + 0.06 * speed) * np.where(visible, 1.0, 3.0)
    sigma = np.where(lost, 0.06 * size, sigma)
    detected = exact + sigma[..., None] * rng.normal(size=exact.shape)
    confidence = np.exp(-22 * sigma / size) + rng.normal(scale=0.03, size=sigma.shape)
    confidence = np.clip(np.where(lost, 0.15, confidence), 0.01, 1.0)
    return detected.astype(np.float32), confidence.astype(np.float32)
