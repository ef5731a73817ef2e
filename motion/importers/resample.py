"""Another frame rate, the floor at y = 0, windows of a clip, and which foot stands."""

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body.model import BodyModel
from motion.rotations import interpolate, matrix_from_rotvec
from motion.sequence import Motion
from motion.skeleton import joint

CONTACT_HEIGHT_M: Final = 0.05
CONTACT_SPEED_M_S: Final = 0.35
FLOOR_QUANTILE: Final = 0.05
"""The floor is where the feet's lowest points of a clip are, but for this share of its frames."""


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


def on_floor(motion: Motion, body: BodyModel) -> Motion:
    """The motion moved up or down so that its standing feet are at y = 0."""
    lowest = _foot_points(motion, body)[..., 1].amin(-1)
    shift = torch.quantile(lowest, FLOOR_QUANTILE)
    path = motion.require_translation() - torch.tensor([0.0, 1.0, 0.0]) * shift
    return replace(motion, translation=path)


def facing_forward(motion: Motion, body: BodyModel) -> Motion:
    """The motion turned about the vertical so that it begins at the origin and faces +z."""
    root = motion.R_parent_child[:, 0]
    forward = root[0, :, 2]
    yaw = torch.atan2(forward[0], forward[2])
    turn = matrix_from_rotvec(-yaw * root.new_tensor([0.0, 1.0, 0.0]))
    rest = body.rest_joints(motion.betas)[joint("pelvis")]
    pelvis = (motion.require_translation() + rest) @ turn.mT
    start = pelvis[0] * torch.tensor([1.0, 0.0, 1.0])
    turned = motion.R_parent_child.clone()
    turned[:, 0] = turn @ root
    return replace(motion, R_parent_child=turned, translation=pelvis - start - rest)


def contacts(motion: Motion, body: BodyModel) -> UInt8[np.ndarray, "t 4"]:
    """1 where left heel, left toe, right heel, right toe is low and slow: it stands.

    Raises:
        ValueError: fewer than two frames.
    """
    if motion.num_frames < 2:
        raise ValueError("contacts need at least 2 frames: a speed is part of what tells them")
    points = _foot_points(motion, body)
    step = (points[1:] - points[:-1]).norm(dim=-1) * motion.fps
    speed = torch.cat([step[:1], torch.minimum(step[1:], step[:-1]), step[-1:]])
    still = (speed < CONTACT_SPEED_M_S) & (points[..., 1] < CONTACT_HEIGHT_M)
    return still.numpy().astype(np.uint8)


def _foot_points(motion: Motion, body: BodyModel) -> Float[Tensor, "t 4 3"]:
    return body.vertices(
        motion.R_parent_child, motion.betas, motion.translation, index=body.contact_vertices
    )
