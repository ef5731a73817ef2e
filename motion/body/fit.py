"""SMPL pose, shape and translation from 3D joints or 2D keypoints (joint2smpl).

Both kinds of observation go through one solver: joint limits and a Gaussian pose prior, small
accelerations, one shape per clip. Every weight is the inverse variance of something with a unit,
so that the defaults serve other cameras and frame rates.
"""

import math
import time
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor

from motion.body.fit_input import checked, joint_indices, require_shape
from motion.body.fit_markers import NUM_POSE, Markers, Pose
from motion.body.fit_solver import Problem, minimize
from motion.body.fit_start import (
    NUM_YAWS,
    best_path,
    nearest_seen,
    start_from_joints,
    start_from_keypoints,
)
from motion.body.model import BodyModel
from motion.body.placement import motion_in_world
from motion.body.pose_prior import PosePrior
from motion.rotations import geodesic_rad
from motion.sequence import Motion
from motion.skeleton import COCO_17, NUM_JOINTS

_CHUNK = 256
"""Frames whose starts are compared at once: about 100 MB."""


class FitConfig(BaseModel):
    """What a fit expects of observations and of people."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    joint_noise_m: PositiveFloat = 0.005
    """Standard deviation of an observed joint, metres."""
    keypoint_noise_px: PositiveFloat = 3.0
    """Standard deviation of a keypoint of confidence 1, pixels."""
    outlier: PositiveFloat = 10.0
    """Residual, in standard deviations, from which an observation loses its influence."""
    acceleration_rad_s2: PositiveFloat = 40.0
    """Usual acceleration of a joint's rotation, radians per second squared."""
    acceleration_m_s2: PositiveFloat = 8.0
    """Usual acceleration of the root, metres per second squared."""
    iterations: PositiveInt = 25
    """Levenberg-Marquardt steps over the whole clip."""
    start_iterations: PositiveInt = 12
    """Steps per frame and direction that choose the start of a 2D fit."""


class Fit(NamedTuple):
    """A fitted motion and what is left between it and the observations."""

    motion: Motion
    error: Float[Tensor, "*batch t"]
    """Mean distance over the frame's observed points; NaN where nothing is observed."""
    unit: Literal["mm", "px"]
    """Of `error`."""
    seconds_per_frame: float
    """Wall-clock time of the fit over its number of frames."""

    @property
    def mean_error(self) -> float:
        """Over all frames with an observation."""
        return float(self.error.nanmean())


@torch.no_grad()
def fit_joints(
    body: BodyModel,
    joints: Float[Tensor, "*shape"],
    *,
    fps: float,
    names: tuple[str, ...] | None = None,
    confidence: Float[Tensor, "*points"] | None = None,
    config: FitConfig | None = None,
) -> Fit:
    """Poses, one shape per clip and translations whose joints lie at given places.

    Args:
        joints: (..., t, j, 3) in metres, in the frame that the motion shall have (world: y up).
        fps: frames per second, for the accelerations.
        names: SMPL names of the j joints; by default the first j of `SMPL_JOINTS` (22 and 24).
        confidence: (..., t, j) in [0, 1]; a joint of confidence 0 is missing and may be NaN.

    Raises:
        ValueError: empty or wrongly shaped input, an unknown name, or NaN in a joint that counts.
    """
    started, config = time.perf_counter(), config or FitConfig()
    require_shape(joints, 3, "joints")
    named = joint_indices(names, joints.shape[-2])
    target, weight = checked(body, joints, confidence, fps, "joints")
    index = torch.tensor(named, device=target.device)
    placed = target.new_zeros(*target.shape[:2], NUM_JOINTS, 3)
    placed[..., index, :] = target
    seen = torch.zeros(placed.shape[:-1], dtype=torch.bool, device=target.device)
    seen[..., index] = weight > 0
    problem = _problem(body, Markers(body, index), target, weight, None, fps, config)
    pose, _ = minimize(problem, start_from_joints(body, placed, seen), config.iterations)
    motion = _motion(body, pose, fps, "world", joints.shape[:-3])
    return _fit(motion, 1e3 * _distance(problem, pose), "mm", started)


@torch.no_grad()
def fit_keypoints(
    body: BodyModel,
    keypoints: Float[Tensor, "*shape"],
    intrinsics: Float[Tensor, "3 3"],
    *,
    fps: float,
    confidence: Float[Tensor, "*points"] | None = None,
    T_camera_world: Float[Tensor, "4 4"] | None = None,
    config: FitConfig | None = None,
) -> Fit:
    """Poses, one shape per clip and translations that project onto COCO-17 keypoints.

    Depth follows from the size of the person, so a child and an adult further away look alike:
    the mean shape decides. Every frame is first fitted alone, from four directions; the cheapest
    sequence of these starts the fit of the clip.

    Args:
        keypoints: (..., t, 17, 2) in pixels from the image's corner.
        intrinsics: camera matrix of that image.
        confidence: (..., t, 17) in [0, 1]; a keypoint of confidence 0 is missing and may be NaN.
        T_camera_world: with it the motion is in the world frame, else in the camera's.

    Raises:
        ValueError: empty or wrongly shaped input, or NaN in a keypoint that counts.
    """
    started, config = time.perf_counter(), config or FitConfig()
    require_shape(keypoints, 2, "keypoints")
    if keypoints.shape[-2] != len(COCO_17):
        raise ValueError(
            f"{keypoints.shape[-2]} keypoints per frame; expected the 17 of COCO: pick them from "
            "the detector's"
        )
    target, weight = checked(body, keypoints, confidence, fps, "keypoints")
    matrix = intrinsics.to(target).expand(len(target), 3, 3)
    pose, error = _follow_keypoints(body, target, weight, matrix, fps, config)
    motion = _motion(body, pose, fps, "camera", keypoints.shape[:-3])
    if T_camera_world is not None:
        motion = motion_in_world(body, motion, T_camera_world.to(target))
    return _fit(motion, error, "px", started)


def _follow_keypoints(
    body: BodyModel,
    target: Float[Tensor, "b t 17 2"],
    weight: Float[Tensor, "b t 17"],
    intrinsics: Float[Tensor, "b 3 3"],
    fps: float,
    config: FitConfig,
) -> tuple[Pose, Float[Tensor, "b t"]]:
    """The poses of whole clips, and the pixels that are left in every frame."""
    markers = Markers(body, None)
    pose = _keypoint_start(body, markers, target, weight, intrinsics, config)
    for patience in (10.0, 1.0):  # first with far outliers, which may only be badly started
        patient = config.model_copy(update={"outlier": config.outlier * patience})
        problem = _problem(body, markers, target, weight, intrinsics, fps, patient)
        pose, _ = minimize(problem, pose, math.ceil(config.iterations / 2))
    return pose, _distance(problem, pose)


def _problem(
    body: BodyModel,
    markers: Markers,
    target: Float[Tensor, "b t m _"],
    weight: Float[Tensor, "b t m"],
    intrinsics: Float[Tensor, "b 3 3"] | None,
    fps: float,
    config: FitConfig,
) -> Problem:
    smooth = target.new_full((NUM_POSE,), config.acceleration_rad_s2**-2)
    smooth[-3:] = config.acceleration_m_s2**-2
    return Problem(
        markers=markers,
        prior=PosePrior.anatomical().to(target),
        target=target,
        weight=weight,
        intrinsics=intrinsics,
        noise=config.joint_noise_m if intrinsics is None else config.keypoint_noise_px,
        outlier=config.outlier,
        smooth=smooth * fps**4,
    )


def _keypoint_start(
    body: BodyModel,
    markers: Markers,
    target: Float[Tensor, "b t 17 2"],
    weight: Float[Tensor, "b t 17"],
    intrinsics: Float[Tensor, "b 3 3"],
    config: FitConfig,
) -> Pose:
    """Every frame fitted alone from every direction; then the cheapest sequence per clip."""
    b, t = weight.shape[:2]
    # Far outliers keep their pull: a start is far from everything.
    patient = config.model_copy(update={"outlier": 30 * config.outlier})
    matrices = intrinsics.repeat_interleave(t, 0)
    found: list[tuple[Pose, Tensor]] = []
    for place in torch.arange(b * t, device=target.device).split(_CHUNK):
        pixels, share = (value.flatten(0, 1)[place] for value in (target, weight))
        matrix = matrices[place]
        relaxed = PosePrior.anatomical().to(target).relaxed()
        pose = start_from_keypoints(markers, relaxed, pixels, share, matrix)
        again = [value.repeat_interleave(NUM_YAWS, 0) for value in (pixels, share, matrix)]
        problem = _problem(
            body, markers, again[0][:, None], again[1][:, None], again[2], 1.0, patient
        )
        found.append(minimize(problem, pose, config.start_iterations))
    poses = [torch.cat(parts) for parts in zip(*(pose for pose, _ in found), strict=True)]
    turns, places, betas = (part.unflatten(0, (b, t, NUM_YAWS)) for part in poses)
    energy = torch.cat([value for _, value in found]).unflatten(0, (b, t, NUM_YAWS))
    clips, frames = torch.arange(b)[:, None], torch.arange(t)
    near = nearest_seen(weight)  # where nobody is seen, a start of its own would be a jump
    turns, places, betas, energy = (part[clips, near] for part in (turns, places, betas, energy))
    root = turns[..., 0, 0, :, :]
    turn = geodesic_rad(
        root[:, :-1, :, None].expand(-1, -1, -1, NUM_YAWS, -1, -1).contiguous(),
        root[:, 1:, None].expand(-1, -1, NUM_YAWS, -1, -1, -1).contiguous(),
    )
    chosen = best_path(energy, (turn / 0.2).square())
    shape = betas[clips, frames, chosen].mean(1)
    return Pose(turns[clips, frames, chosen, 0], places[clips, frames, chosen, 0], shape)


def _distance(problem: Problem, pose: Pose) -> Float[Tensor, "b t"]:
    """Mean over the observed points, in their unit; NaN where there is none."""
    distance = problem.residual(problem.markers.points(pose)).norm(dim=-1)
    return torch.where(problem.weight > 0, distance, torch.nan).nanmean(-1)


def _motion(
    body: BodyModel, pose: Pose, fps: float, frame: Literal["world", "camera"], batch: torch.Size
) -> Motion:
    shape = pose.translation.shape[1:]
    return Motion(
        R_parent_child=pose.R_parent_child.reshape(*batch, shape[0], NUM_JOINTS, 3, 3),
        translation=pose.translation.reshape(*batch, *shape),
        betas=pose.betas.reshape(*batch, -1),
        body_id=body.body_id,
        fps=fps,
        frame=frame,
    )


def _fit(
    motion: Motion, error: Float[Tensor, "b t"], unit: Literal["mm", "px"], started: float
) -> Fit:
    seconds = (time.perf_counter() - started) / error.numel()
    return Fit(motion, error.reshape(motion.R_parent_child.shape[:-3]), unit, seconds)
