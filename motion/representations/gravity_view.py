"""GENMO's motion vector: pose, shape, and the root as seen from the camera and from gravity.

Li et al. 2025, "GENMO: A Generalist Model for Human Motion"; the gravity-view frame is that of
Shen et al. 2024 (GVHMR): one axis along gravity, one across the camera's view.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.representations.smoothing import gaussian_smooth
from motion.rotations import (
    half_turn,
    matrix_from_rotation6d,
    matrix_from_rotvec,
    rotation6d_from_matrix,
)
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS

NUM_BODY_JOINTS = 21
"""Joints 1 to 21; the hands (22, 23) are not part of the vector."""


@dataclass(frozen=True)
class GravityView:
    """(*b, t, 151): 6D rotations are the first two rows of the matrix."""

    gravity_axis: Literal["up", "down"] = "up"
    """Whether the y axis of the gravity-view frame points up, like our world's, or down, as in
    GVHMR; the two differ by half a turn about z. The z axis always leads away from the camera."""
    dim: int = 151

    @property
    def slices(self) -> Mapping[str, slice]:
        """Where each feature lies, in the order of the vector."""
        return {
            "body": slice(0, 126),  # joints 1 to 21
            "betas": slice(126, 136),
            "root_camera": slice(136, 142),  # root in the camera's frame
            "root_gravity": slice(142, 148),  # root in the gravity-view frame of the same frame
            "velocity": slice(148, 151),  # of the translation, in the root's frame, metres/frame
        }

    def encode(
        self, motion: Motion, R_camera_world: Float[Tensor, "*b t 3 3"]
    ) -> Float[Tensor, "*b t 151"]:
        """Features of a motion in the world, seen by a camera; its position does not matter.

        The velocity of the last frame repeats the one before it.

        Raises:
            ValueError: the motion is in the camera's frame, lacks a path, or has one frame.
        """
        translation = motion.require_translation()
        if motion.frame != "world" or motion.num_frames < 2:
            raise ValueError(
                f"a motion of {motion.num_frames} frame(s) in the {motion.frame} frame; expected "
                "two or more in the world: gravity and velocity are defined there"
            )
        R_world_root = motion.R_parent_child[..., 0, :, :]
        R_camera_root = R_camera_world @ R_world_root
        R_gravity_camera = self.camera_to_gravity(R_camera_world)
        step = translation[..., 1:, :] - translation[..., :-1, :]
        step = torch.cat([step, step[..., -1:, :]], -2)
        velocity = (R_world_root.mT @ step[..., None])[..., 0]
        betas = motion.betas[..., None, :].expand(*translation.shape[:-1], -1)
        parts = [
            rotation6d_from_matrix(
                motion.R_parent_child[..., 1 : NUM_BODY_JOINTS + 1, :, :]
            ).flatten(-2),
            betas,
            rotation6d_from_matrix(R_camera_root),
            rotation6d_from_matrix(R_gravity_camera @ R_camera_root),
            velocity,
        ]
        return torch.cat(parts, -1)

    def decode(
        self,
        features: Float[Tensor, "*b t 151"],
        R_camera_world: Float[Tensor, "*b t 3 3"],
        *,
        like: Motion,
        smooth: bool = False,
        num_frames: Int[Tensor, "*b"] | None = None,
    ) -> Motion:
        """Motion in a world with y up, whose z axis is camera 0's heading; the path starts at 0.

        The headings of the gravity-view frames differ by the camera's turns about gravity, which
        are the angles between consecutive view axes on the ground; their sum gives each frame's.
        Betas are their mean over the frames.

        Args:
            R_camera_world: only the turn from each frame to the next enters.
            like: gives body and frame rate.
            smooth: filter the turns over time (Gaussian, 3 frames), for estimated features.
            num_frames: real frames of padded clips, whose padding then does not blur into them.
        """
        parts = {name: features[..., where] for name, where in self.slices.items()}
        R_gravity_root = matrix_from_rotation6d(parts["root_gravity"])
        R_camera_root = matrix_from_rotation6d(parts["root_camera"])
        turns = self.heading_steps(R_gravity_root @ R_camera_root.mT, R_camera_world)
        if smooth and turns.shape[-1]:
            if num_frames is not None:
                place = torch.arange(turns.shape[-1], device=turns.device)
                last = (num_frames[..., None] - 2).clamp(min=0)
                turns = turns.gather(-1, torch.minimum(place, last).expand_as(turns))
            turns = gaussian_smooth(turns, sigma=3.0, radius=12)
        heading = torch.nn.functional.pad(turns.cumsum(-1), (1, 0))
        zero = torch.zeros_like(heading)
        R_first_gravity = matrix_from_rotvec(torch.stack([zero, heading, zero], -1))
        R_world_root = self.to_world_up(R_first_gravity @ R_gravity_root)
        step = (R_world_root @ parts["velocity"][..., None])[..., 0][..., :-1, :]
        path = torch.nn.functional.pad(step.cumsum(-2), (0, 0, 1, 0))
        return replace(
            like,
            R_parent_child=self.pose(parts["body"], R_world_root),
            translation=path,
            betas=parts["betas"].mean(-2),
            frame="world",
        )

    def decode_camera(self, features: Float[Tensor, "*b t 151"], *, like: Motion) -> Motion:
        """Motion in the camera's frame, without path (see `weak_camera_translation`)."""
        R_camera_root = matrix_from_rotation6d(features[..., self.slices["root_camera"]])
        return replace(
            like,
            R_parent_child=self.pose(features[..., self.slices["body"]], R_camera_root),
            translation=None,
            betas=features[..., self.slices["betas"]].mean(-2),
            frame="camera",
        )

    def camera_to_gravity(self, R_camera_world: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3 3"]:
        """R_gravity_camera: y along gravity, x across the view, z = x cross y (away from the
        camera). A camera that looks straight up or down gives its own x axis instead."""
        y = R_camera_world[..., :, 1] * (1 if self.gravity_axis == "up" else -1)
        axes = torch.eye(3, dtype=y.dtype, device=y.device)
        x = torch.linalg.cross(y, axes[2].expand_as(y))
        plumb = x.norm(dim=-1, keepdim=True) < 1e-5
        level = axes[0] - y * y[..., :1]  # the camera's x axis without its part along gravity
        x = torch.nn.functional.normalize(torch.where(plumb, level, x), dim=-1)
        return torch.stack([x, y, torch.linalg.cross(x, y)], -2)

    def to_world_up(self, R_gravity_root: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3 3"]:
        """A root in a gravity-view frame, in the same frame with its y axis up."""
        if self.gravity_axis == "up":
            return R_gravity_root
        return _flip(R_gravity_root) @ R_gravity_root

    def heading_steps(
        self, R_gravity_camera: Float[Tensor, "*b t 3 3"], R_camera_world: Float[Tensor, "*b t 3 3"]
    ) -> Float[Tensor, "*b t_less_1"]:
        """Yaw about the frame's y axis from the gravity-view frame t to that of t + 1."""
        R_next_this = R_camera_world[..., 1:, :, :] @ R_camera_world[..., :-1, :, :].mT
        this = R_gravity_camera[..., :-1, :, 2]
        following = (R_gravity_camera[..., :-1, :, :] @ R_next_this.mT)[..., 2]
        yaw = torch.atan2(following[..., 0], following[..., 2]) - torch.atan2(
            this[..., 0], this[..., 2]
        )
        return yaw - 2 * math.pi * torch.round(yaw / (2 * math.pi))

    def pose(
        self, body: Float[Tensor, "*b t 126"], root: Float[Tensor, "*b t 3 3"]
    ) -> Float[Tensor, "*b t 24 3 3"]:
        """All 24 rotations from those of the body joints and the root's; hands are at rest."""
        joints = matrix_from_rotation6d(body.unflatten(-1, (NUM_BODY_JOINTS, 6)))
        hands = torch.eye(3, dtype=root.dtype, device=root.device)
        count = NUM_JOINTS - 1 - NUM_BODY_JOINTS
        hands = hands.expand(*root.shape[:-2], count, 3, 3)
        return torch.cat([root[..., None, :, :], joints, hands], -3)


def weak_camera_translation(
    weak: Float[Tensor, "*n 3"], box: Float[Tensor, "*n 3"], intrinsics: Float[Tensor, "*#n 3 3"]
) -> Float[Tensor, "*n 3"]:
    """Camera-frame position from scale and offset (s, tx, ty) relative to a person's square box.

    Args:
        weak: s is the box's scale, tx and ty metres.
        box: center x, center y and size, pixels.
    """
    focal = intrinsics[..., 0, 0, None]
    center = intrinsics[..., :2, 2]
    scale = weak[..., :1] * box[..., 2:]
    offset = weak[..., 1:] + 2 * (box[..., :2] - center) / scale
    return torch.cat([offset, 2 * focal / scale], -1)


def weak_camera_from_translation(
    position: Float[Tensor, "*n 3"],
    box: Float[Tensor, "*n 3"],
    intrinsics: Float[Tensor, "*#n 3 3"],
) -> Float[Tensor, "*n 3"]:
    """The inverse of `weak_camera_translation`."""
    focal = intrinsics[..., 0, 0, None]
    center = intrinsics[..., :2, 2]
    depth = position[..., 2:]
    offset = position[..., :2] - depth * (box[..., :2] - center) / focal
    return torch.cat([2 * focal / (depth * box[..., 2:]), offset], -1)


def _flip(like: Tensor) -> Float[Tensor, "3 3"]:
    """Half a turn about z: from y down to y up."""
    return half_turn(torch.tensor([0.0, 0.0, 1.0], dtype=like.dtype, device=like.device))
