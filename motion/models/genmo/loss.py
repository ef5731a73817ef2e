"""GENMO's losses per clip; the same in both modes (release's terms, in the units stated)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.camera import to_camera
from motion.losses import mean_over_valid
from motion.models.genmo.augment import has_path, world_points
from motion.models.genmo.decoding import (
    Posed,
    in_box,
    pelvis_in_camera,
    posed_in_camera,
    standardized_camera,
    to_box,
)
from motion.models.genmo.network import Prediction
from motion.models.genmo.observed import Observed
from motion.representations.gravity_view import GravityView
from motion.sequence import Motion
from motion.skeleton import joint

STATIC_JOINTS = tuple(
    joint(name)
    for name in (
        "left_ankle", "left_foot", "right_ankle", "right_foot", "left_wrist", "right_wrist",
    )
)  # fmt: skip
STATIC_SPEED = 0.15
"""Metres per second below which a joint stands still."""
COUNTED_BY = {"camera": "path", "path": "path", "static": "path", "reprojection": "clips"}
"""What of the global batch a term is counted by; the others by "motion"."""


class Truth(NamedTuple):
    """What is known of each clip."""

    features: Float[Tensor, "b t 151"]
    """Not normalized; root_gravity and velocity mean nothing without a path."""
    motion: Bool[Tensor, "b"]
    """Clips with a true pose."""
    path: Bool[Tensor, "b"]
    """Clips whose motion lies in the world."""
    posed: Posed | None
    pelvis: Float[Tensor, "b t 3"]
    """In the camera's frame."""
    image: Float[Tensor, "b t 17 2"]
    """Keypoints in units of the box: projected where the path is known, else as detected."""
    image_mask: Bool[Tensor, "b t 17"]
    like: Motion
    """Betas, body and frame rate of the batch."""
    R_world_root: Float[Tensor, "b t 3 3"]
    static: Bool[Tensor, "b t 6"]


def truth_of(
    batch: Batch, observed: Observed, body: BodyModel, representation: GravityView
) -> Truth:
    """The targets, as the chosen cameras see them.

    Raises:
        ValueError: a clip has neither motion nor keypoints.
    """
    like = _like(batch, body)
    R, camera = like.R_parent_child, observed.T_camera_world[..., :3, :3]
    known = _has_motion(batch)
    world = has_path(batch)
    # A pose of a camera alone is its root as the camera sees it; no world of its own exists.
    R_camera_world = torch.where(world[:, None, None, None], camera, torch.eye(3).to(camera))
    features = representation.encode(like, R_camera_world)
    pelvis, points = world_points(body, batch)
    seen = to_camera(points, observed.T_camera_world)
    projected, before = in_box(seen, observed)
    clip = world[:, None, None]
    image = torch.where(clip[..., None], projected, to_box(observed.keypoints, observed))
    mask = torch.where(clip, before & (projected.abs() <= 1).all(-1), observed.visible)
    mask = mask & (batch.frame_mask & observed.boxed)[..., None]
    if not bool((known | mask.flatten(1).any(1) | observed.visible.flatten(1).any(1)).all()):
        raise ValueError(
            "a clip has neither motion nor visible keypoints: it cannot train anything; take it "
            "out of the data set, or read its columns"
        )
    return Truth(
        features=features,
        motion=known,
        path=world,
        posed=posed_in_camera(body, representation, features, like),
        pelvis=to_camera(pelvis[:, :, None], observed.T_camera_world)[:, :, 0],
        image=image,
        image_mask=mask,
        like=like,
        R_world_root=R[:, :, 0],
        static=_static(batch, body),
    )


def _has_motion(batch: Batch) -> Bool[Tensor, "b"]:
    known = torch.full(
        (batch.size,), batch.R_parent_child is not None, device=batch.frame_mask.device
    )
    return known if batch.has_motion is None else known & batch.has_motion


def _like(batch: Batch, body: BodyModel) -> Motion:
    """The batch's motion, at rest where it has none."""
    b, t = batch.frame_mask.shape
    device = batch.frame_mask.device
    poses, path, betas = batch.R_parent_child, batch.translation, batch.betas
    if poses is None:
        poses = torch.eye(3, device=device).expand(b, t, 24, 3, 3)
    return Motion(
        R_parent_child=poses.float(),
        translation=torch.zeros(b, t, 3, device=device) if path is None else path.float(),
        betas=torch.zeros(b, 10, device=device) if betas is None else betas.float(),
        body_id=body.body_id,
        fps=float(batch.fps[0]),
    )


def _static(batch: Batch, body: BodyModel) -> Bool[Tensor, "b t 6"]:
    """Joints slower than 0.15 m/s; the last frame is like the one before it."""
    b, t = batch.frame_mask.shape
    like = _like(batch, body)
    joints = body.joints(like.R_parent_child, like.betas, like.translation)
    chosen = joints[:, :, list(STATIC_JOINTS)]
    if t < 2:
        return torch.ones(b, t, len(STATIC_JOINTS), dtype=torch.bool, device=joints.device)
    speed = chosen.diff(dim=1).norm(dim=-1) * batch.fps[:, None, None]
    return torch.cat([speed, speed[:, -1:]], 1) < STATIC_SPEED


def motion_losses(
    prediction: Prediction,
    features: Float[Tensor, "b t 151"],
    posed: Posed,
    truth: Truth,
    target: Float[Tensor, "b t 151"],
    observed: Observed,
    frame_mask: Bool[Tensor, "b t"],
    representation: GravityView,
) -> dict[str, Float[Tensor, "b"]]:
    """The terms of clips with a true motion.

    Args:
        prediction: of the network.
        features: its motion vector, not normalized, one shape per clip.
        posed: its bodies.
        truth: of the clips.
        target: true motion vector, normalized.
        observed: the cameras.
        frame_mask: real frames.
        representation: of the vectors.
    """
    assert truth.posed is not None
    slices = representation.slices
    square = (prediction.x0 - target) ** 2
    world = torch.zeros(square.shape[-1], dtype=torch.bool, device=square.device)
    world[slices["root_gravity"]] = world[slices["velocity"]] = True
    counted = frame_mask[..., None] & (truth.path[:, None, None] | ~world)
    return {
        "simple": mean_over_valid(square, counted),
        "joints": mean_over_valid((posed.joints - truth.posed.joints) ** 2, frame_mask),
        "vertices": mean_over_valid((posed.vertices - truth.posed.vertices) ** 2, frame_mask),
        "camera": _camera_loss(prediction, truth, observed, frame_mask),
        "path": _path_loss(features[..., slices["velocity"]], truth, frame_mask),
        "static": mean_over_valid(
            F.binary_cross_entropy_with_logits(
                prediction.static, truth.static.float(), reduction="none"
            ),
            frame_mask,
        ),
    }


def _camera_loss(
    prediction: Prediction,
    truth: Truth,
    observed: Observed,
    frame_mask: Bool[Tensor, "b t"],
) -> Float[Tensor, "b"]:
    """Where the box is known and the person well before the camera."""
    depth = truth.pelvis[..., 2]
    sane = (depth > LEAST_PELVIS_DEPTH_M) & observed.boxed & frame_mask
    pelvis = torch.where(sane[..., None], truth.pelvis, torch.ones_like(truth.pelvis))
    target = standardized_camera(pelvis, observed)
    sane = sane & (target.abs() < 10).all(-1)
    return mean_over_valid((prediction.camera - target) ** 2, sane)


LEAST_PELVIS_DEPTH_M = 0.5


def _path_loss(
    velocity: Float[Tensor, "b t 3"], truth: Truth, frame_mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b"]:
    """Distance of the path that the velocity gives under the true orientation."""
    step = (truth.R_world_root @ velocity[..., None])[..., 0]
    path = F.pad(step.cumsum(1)[:, :-1], (0, 0, 1, 0))
    true = truth.like.require_translation()
    return mean_over_valid((path - (true - true[:, :1])).abs(), frame_mask)


def reprojection_loss(
    posed: Posed, pelvis: Float[Tensor, "b t 3"], truth: Truth, observed: Observed
) -> Float[Tensor, "b"]:
    """Squared distance of the projected keypoints, in units of the box (paper eq. 6).

    Args:
        posed: predicted bodies around the pelvis.
        pelvis: predicted, in the camera's frame.
        truth: where the keypoints are.
        observed: the cameras.
    """
    image, before = in_box(posed.keypoints + pelvis[:, :, None], observed)
    error = F.huber_loss(image, truth.image, reduction="none", delta=0.5)
    return mean_over_valid(error, truth.image_mask & before)


def predicted_pelvis(
    prediction: Prediction,
    observed: Observed,
    boxed: Bool[Tensor, "b t"],
    fallback: Float[Tensor, "b t 3"] | None,
) -> Float[Tensor, "b t 3"]:
    """The predicted pelvis; the fallback where the network saw no box to speak of."""
    own = pelvis_in_camera(prediction.camera, observed)
    return own if fallback is None else torch.where(boxed[..., None], own, fallback)
