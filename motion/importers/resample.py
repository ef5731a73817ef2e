"""Another frame rate, a level floor at y = 0, windows of a clip, and which foot stands."""

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from motion.body.model import BodyModel
from motion.rotations import interpolate, matrix_from_rotvec, shortest_rotation
from motion.sequence import Motion
from motion.skeleton import joint

CONTACT_HEIGHT_M: Final = 0.05
CONTACT_SPEED_M_S: Final = 0.35
FLOOR_QUANTILE: Final = 0.05
"""The floor is where the feet's lowest points of a clip are, but for this share of its frames."""
MIN_PATH_M: Final = 1.0
"""Feet that stand this far apart tell how the floor slopes."""
MAX_SLOPE: Final = 0.03
"""A floor that rises more is a ramp or stairs, not an error of calibration."""
MAX_UNEVEN_M: Final = 0.03
"""Nor is one from which nine tenths of the steps do not lie this near to one slope."""


def resample(motion: Motion, fps: float) -> Motion:
    """The same motion at another frame rate: slerp of rotations, straight lines of the root.

    Raises:
        ValueError: a frame rate that is not positive, or a batch of motions.
    """
    if not fps > 0 or motion.R_parent_child.dim() != 4:
        raise ValueError(
            f"cannot resample {tuple(motion.R_parent_child.shape)} to {fps} frames per second: "
            "give one motion (t, 24, 3, 3) and a positive rate"
        )
    if fps == motion.fps:
        return motion
    last = motion.num_frames - 1
    num_frames = int(last * fps / motion.fps + 1e-6) + 1
    place = torch.arange(num_frames, dtype=torch.float64) * (motion.fps / fps)
    low = place.floor().long().clamp(max=last)
    high = (low + 1).clamp(max=last)
    weight = (place - low).to(motion.R_parent_child)
    turned = motion.R_parent_child
    path = motion.translation
    return replace(
        motion,
        R_parent_child=interpolate(turned[low], turned[high], weight[:, None].expand(-1, 24)),
        translation=None if path is None else torch.lerp(path[low], path[high], weight[:, None]),
        fps=fps,
    )


def level(motion: Motion, body: BodyModel) -> Motion:
    """The motion tilted so that the floor it walks along is level.

    Capture volumes are calibrated to a degree: CMU's floor rises by 1.5 cm per metre, so a walk
    ends as high above y = 0 as contacts are told at. The slope is that of the lowest point of the
    feet while they stand, along their path; what is no straight slope is left as it is.
    """
    points = _foot_points(motion, body)
    height = torch.where(_slow(points, motion.fps), points[..., 1], torch.inf)
    least, lowest = height.min(-1)
    feet = points[torch.arange(len(points)), lowest][least.isfinite()]
    if len(feet) < 2:
        return motion
    feet = feet - feet.mean(0)
    ground = feet[:, [0, 2]]
    along = torch.linalg.svd(ground, full_matrices=False).Vh[0]
    place = ground @ along
    if float(place.max() - place.min()) < MIN_PATH_M:
        return motion
    slope = (place * feet[:, 1]).sum() / place.square().sum()
    uneven = (feet[:, 1] - slope * place).abs().quantile(0.9)
    if abs(float(slope)) > MAX_SLOPE or float(uneven) > MAX_UNEVEN_M:
        return motion
    normal = torch.stack([-slope * along[0], torch.ones_like(slope), -slope * along[1]])
    return _turned(motion, body, shortest_rotation(normal, normal.new_tensor([0.0, 1.0, 0.0])))


def _turned(motion: Motion, body: BodyModel, turn: Float[Tensor, "3 3"]) -> Motion:
    """The motion turned about the origin of the world."""
    rest = body.rest_joints(motion.betas)[joint("pelvis")]
    turned = motion.R_parent_child.clone()
    turned[:, 0] = turn @ turned[:, 0]
    pelvis = (motion.require_translation() + rest) @ turn.mT
    return replace(motion, R_parent_child=turned, translation=pelvis - rest)


def on_floor(motion: Motion, body: BodyModel) -> Motion:
    """The motion moved up or down so that its standing feet are at y = 0."""
    lowest = _foot_points(motion, body)[..., 1].amin(-1)
    shift = torch.quantile(lowest, FLOOR_QUANTILE)
    path = motion.require_translation() - torch.tensor([0.0, 1.0, 0.0]) * shift
    return replace(motion, translation=path)


def facing_forward(motion: Motion, body: BodyModel) -> Motion:
    """The motion turned about the vertical so that it begins at the origin and faces +z."""
    forward = motion.R_parent_child[0, 0, :, 2]
    yaw = torch.atan2(forward[0], forward[2])
    turned = _turned(motion, body, matrix_from_rotvec(-yaw * forward.new_tensor([0.0, 1.0, 0.0])))
    path = turned.require_translation()
    start = path[0] + body.rest_joints(motion.betas)[joint("pelvis")]
    return replace(turned, translation=path - start * torch.tensor([1.0, 0.0, 1.0]))


def contacts(motion: Motion, body: BodyModel) -> UInt8[np.ndarray, "t 4"]:
    """1 where left heel, left toe, right heel, right toe is low and slow: it stands.

    Raises:
        ValueError: fewer than two frames.
    """
    if motion.num_frames < 2:
        raise ValueError("contacts need at least 2 frames: a speed is part of what tells them")
    points = _foot_points(motion, body)
    still = _slow(points, motion.fps) & (points[..., 1] < CONTACT_HEIGHT_M)
    return still.numpy().astype(np.uint8)


def _slow(points: Float[Tensor, "t 4 3"], fps: float) -> Bool[Tensor, "t 4"]:
    """Does a point rest before or after the frame? A single frame always does."""
    step = (points[1:] - points[:-1]).norm(dim=-1) * fps
    speed = torch.cat([step[:1], torch.minimum(step[1:], step[:-1]), step[-1:]])
    return speed < CONTACT_SPEED_M_S if len(step) else torch.ones_like(points[..., 0]) > 0


def _foot_points(motion: Motion, body: BodyModel) -> Float[Tensor, "t 4 3"]:
    return body.vertices(
        motion.R_parent_child, motion.betas, motion.translation, index=body.contact_vertices
    )
