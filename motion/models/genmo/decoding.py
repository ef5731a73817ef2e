"""From the network's numbers to bodies: in the camera's frame, in pixels, and in the world."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.data.statistics import Statistics
from motion.models.genmo.observed import Observed
from motion.representations.gravity_view import (
    GravityView,
    weak_camera_from_translation,
    weak_camera_translation,
)
from motion.sequence import Motion

CAMERA_MEAN = (1.06, 0.0, 0.0)
CAMERA_STD = (0.18, 0.1, 0.1)
"""Standardization of scale and offset of the pelvis in its box."""
LEAST_SCALE = 0.25
LEAST_DEPTH_M = 0.3


@dataclass(frozen=True)
class Posed:
    """Bodies in the camera's frame around their pelvis, metres."""

    joints: Float[Tensor, "b t 24 3"]
    vertices: Float[Tensor, "b t v 3"]
    keypoints: Float[Tensor, "b t 17 3"]


def tidy(
    features: Float[Tensor, "b t 151"], frame_mask: Bool[Tensor, "b t"], betas: slice
) -> Float[Tensor, "b t 151"]:
    """One shape per clip, its mean over the real frames; padding holds the last real frame.

    So nothing downstream depends on the padding.
    """
    weight = frame_mask[..., None].to(features)
    shape = (features[..., betas] * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    frame = torch.arange(features.shape[1], device=features.device)
    last = torch.minimum(frame, frame_mask.sum(1, keepdim=True) - 1).clamp(min=0)
    held = features.gather(1, last[..., None].expand_as(features))
    parts = [held[..., : betas.start], shape.expand(-1, features.shape[1], -1)]
    return torch.cat([*parts, held[..., betas.stop :]], -1)


def posed_in_camera(
    body: BodyModel, representation: GravityView, features: Float[Tensor, "b t 151"], like: Motion
) -> Posed:
    """Joints, loss vertices and keypoints around the pelvis, as the camera sees them."""
    seen = representation.decode_camera(features, like=like)
    R, betas = seen.R_parent_child, seen.betas
    joints = body.joints(R, betas)
    # One call for both: what a keypoint takes from the surface is few vertices more.
    index = torch.cat([body.loss_vertices, body.keypoint_vertices])
    surface = body.vertices(R, betas, index=index)
    of_joint, of_vertex, _ = body.keypoint_weights
    vertices, chosen = surface.split([len(body.loss_vertices), len(body.keypoint_vertices)], 2)
    keypoints = of_joint @ joints + of_vertex @ chosen
    pelvis = joints[:, :, :1]
    return Posed(joints - pelvis, vertices - pelvis, keypoints - pelvis)


def standardized_camera(
    pelvis: Float[Tensor, "b t 3"], observed: Observed
) -> Float[Tensor, "b t 3"]:
    """What the camera head should say of a pelvis in the camera's frame."""
    weak = weak_camera_from_translation(pelvis, observed.box, observed.intrinsics[:, None])
    return _camera_statistics(pelvis).normalize(weak)


def pelvis_in_camera(camera: Float[Tensor, "b t 3"], observed: Observed) -> Float[Tensor, "b t 3"]:
    """Position of the pelvis from the camera head's output; its depth is finite."""
    weak = _camera_statistics(camera).denormalize(camera)
    weak = torch.cat([weak[..., :1].clamp(min=LEAST_SCALE), weak[..., 1:]], -1)
    return weak_camera_translation(weak, observed.box, observed.intrinsics[:, None])


def _camera_statistics(like: Tensor) -> Statistics:
    return Statistics(torch.tensor(CAMERA_MEAN).to(like), torch.tensor(CAMERA_STD).to(like))


def in_box(
    points: Float[Tensor, "b t n 3"], observed: Observed
) -> tuple[Float[Tensor, "b t n 2"], Bool[Tensor, "b t n"]]:
    """Projections in units of the box, its center at zero, and which points lie before the camera.

    Points nearer than 0.3 m are projected as if they lay there, so that no gradient is infinite.
    """
    focal = observed.intrinsics[:, None, None, :1, 0]
    center = observed.intrinsics[:, None, None, :2, 2]
    depth = points[..., 2:]
    image = focal * points[..., :2] / depth.clamp(min=LEAST_DEPTH_M) + center
    return to_box(image, observed), depth[..., 0] > LEAST_DEPTH_M


def to_box(image: Float[Tensor, "b t n 2"], observed: Observed) -> Float[Tensor, "b t n 2"]:
    """Pixels in units of the box, its center at zero."""
    box = observed.box[:, :, None]
    return (image - box[..., :2]) / box[..., 2:]


def in_world(
    representation: GravityView,
    features: Float[Tensor, "b t 151"],
    camera: Float[Tensor, "b t 3"],
    observed: Observed,
    frame_mask: Bool[Tensor, "b t"],
    *,
    like: Motion,
    body: BodyModel,
    smooth: bool,
) -> Motion:
    """Motion in the world of the batch's cameras, or where these are unknown in a level camera's.

    The path is rolled out from the velocity. A clip with a known camera and boxes is moved as a
    whole to where its camera sees it, on average over the frames; any other one starts at the
    origin, with its lowest point of heels and toes on the floor.
    """
    R_camera_world = observed.T_camera_world[..., :3, :3]
    made = representation.decode(
        features, R_camera_world, like=like, smooth=smooth, num_frames=frame_mask.sum(1)
    )
    R_world_start = _heading(representation, R_camera_world[:, :1])
    root = R_world_start @ made.R_parent_child[:, :, 0]
    R = torch.cat([root[:, :, None], made.R_parent_child[:, :, 1:]], 2)
    path = (R_world_start @ made.require_translation()[..., None])[..., 0]
    rest = body.rest_joints(made.betas)[:, None, 0]
    seen = pelvis_in_camera(camera, observed)
    R_world_camera, offset = R_camera_world.mT, observed.T_camera_world[..., :3, 3]
    place = (R_world_camera @ (seen - offset)[..., None])[..., 0] - rest - path
    known = observed.boxed & observed.turning & frame_mask
    weight = known[..., None].to(place)
    mean = (place * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
    floor = floor_height(body, replace(made, R_parent_child=R, translation=path), frame_mask)
    level = torch.nn.functional.pad(-floor[:, None, None], (1, 1))
    shift = torch.where(known.any(1)[:, None, None], mean, level)
    return replace(made, R_parent_child=R, translation=path + shift)


def _heading(
    representation: GravityView, R_camera_world: Float[Tensor, "b 1 3 3"]
) -> Float[Tensor, "b 1 3 3"]:
    """R_world_start: from the decoded world, whose z axis is the first camera's heading."""
    up = GravityView("up")
    return R_camera_world.mT @ up.camera_to_gravity(R_camera_world).mT


def floor_height(
    body: BodyModel, motion: Motion, frame_mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b"]:
    """Height of the lowest heel or toe over the real frames."""
    feet = body.vertices(
        motion.R_parent_child,
        motion.betas,
        motion.require_translation(),
        index=body.contact_vertices,
    )[..., 1].amin(-1)
    return torch.where(frame_mask, feet, torch.inf).amin(1)
