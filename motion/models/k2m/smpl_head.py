"""From the decoder's numbers to SMPL in front of the camera, and to its keypoints in the image."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.keypoint_map import KeypointMap
from motion.body.model import BodyModel
from motion.models.k2m.config import HeadConfig
from motion.rotations import (
    matrix_from_rotation6d,
    matrix_from_rotvec,
    rotation6d_from_matrix,
    rotvec_from_matrix,
)
from motion.skeleton import NUM_JOINTS

LEAST_DEPTH_M = 0.1
"""Depth that is divided by at least; points behind the camera count in no loss."""
_EPS = 1e-6


class Smpl(NamedTuple):
    """SMPL per frame, in the camera's frame (x right, y down, z forward)."""

    rotvec: Float[Tensor, "b t 24 3"]
    """Axis-angle, radians; joint 0 is the root in the camera's frame."""
    R_parent_child: Float[Tensor, "b t 24 3 3"]
    betas: Float[Tensor, "b t 10"]
    translation: Float[Tensor, "b t 3"]
    """Metres, added to the posed body."""

    def numbers(self) -> Float[Tensor, "b t 85"]:
        """The paper's layout: 72 of pose, 10 of shape, 3 of translation."""
        return torch.cat([self.rotvec.flatten(-2), self.betas, self.translation], -1)


class Projection(NamedTuple):
    """COCO-17 in the image."""

    xy: Float[Tensor, "b t 17 2"]
    """Pixels."""
    depth: Float[Tensor, "b t 17"]
    """Metres."""

    @property
    def seen(self) -> Bool[Tensor, "b t 17"]:
        """In front of the camera."""
        return self.depth > 0


def smpl_of(
    raw: Float[Tensor, "b t c"],
    config: HeadConfig,
    body: BodyModel,
    mask: Bool[Tensor, "b t"],
) -> Smpl:
    """SMPL of the decoder's numbers; zeros are an upright T-pose at the anchor, facing the camera.

    The anchor is a constant: at sampling only tokens are known.
    """
    raw = raw.float()
    pose, betas, place = raw.split([raw.shape[-1] - 13, 10, 3], -1)
    rotvec, rotations = _pose(pose.unflatten(-1, (NUM_JOINTS, -1)), config.rotation_scale)
    if config.shared_betas:
        weight = mask[..., None].to(betas)
        mean = (weight * betas).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        betas = mean.expand_as(betas)
    anchor, scale = raw.new_tensor(config.anchor_m), raw.new_tensor(config.translation_scale_m)
    pelvis = anchor + scale * place
    if config.depth == "exp":
        depth = anchor[2] * torch.exp(scale[2] * place[..., 2:] / anchor[2])
        pelvis = torch.cat([pelvis[..., :2], depth], -1)
    rest = body.rest_joints(raw.new_zeros(10))[0]
    return Smpl(rotvec, rotations, betas, pelvis - rest.to(pelvis))


def _pose(
    raw: Float[Tensor, "b t 24 c"], scale: float
) -> tuple[Float[Tensor, "b t 24 3"], Float[Tensor, "b t 24 3 3"]]:
    """Axis-angles and matrices of three numbers (axis-angle) or six per joint."""
    upright = raw.new_zeros(NUM_JOINTS, 3)
    upright[0, 0] = torch.pi  # y up becomes y down
    if raw.shape[-1] == 3:
        rotvec = scale * raw + upright
        return rotvec, matrix_from_rotvec(rotvec)
    start = rotation6d_from_matrix(matrix_from_rotvec(upright))
    rotations = matrix_from_rotation6d(start + scale * raw)
    return rotvec_from_matrix(rotations), rotations


def points_of(smpl: Smpl, keypoints: KeypointMap) -> Float[Tensor, "b t 17 3"]:
    """COCO-17 in the camera's frame, metres. Every frame has a shape of its own.

    The paper skins all vertices for the same result.
    """
    return keypoints(smpl.R_parent_child, smpl.betas, smpl.translation)


def project(
    points: Float[Tensor, "b t 17 3"], size: Float[Tensor, "b 2"], focal_px: float
) -> Projection:
    """u = f x / z + W / 2, v = f y / z + H / 2 (equation 3), in float32 or better.

    `motion.camera.project` has no image of points behind the camera. Here they keep one, at the
    least depth, because a training step must not see NaN; `seen` leaves them out of the loss.
    """
    depth = points[..., 2]
    near = depth.clamp(min=LEAST_DEPTH_M)[..., None] + _EPS
    return Projection(focal_px * points[..., :2] / near + size[:, None, None] / 2, depth)
