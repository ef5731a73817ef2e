"""SMPL pose, shape and translation from 3D joints or 2D keypoints (joint2smpl).

Both kinds of observation go through one solver: joint limits and a Gaussian pose prior, small
accelerations, one shape per clip. Every weight is the inverse variance of something with a unit,
so that the defaults serve other cameras and frame rates.
"""

import math
import time
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor

from motion.body.fit_markers import NUM_POSE, Markers, Pose
from motion.body.fit_solver import Problem, minimize
from motion.body.fit_start import NUM_YAWS, best_path, start_from_joints, start_from_keypoints
from motion.body.model import BodyModel
from motion.body.pose_prior import PosePrior
from motion.camera import to_world
from motion.rotations import geodesic_rad
from motion.sequence import Motion
from motion.skeleton import COCO_17, NUM_JOINTS, SMPL_JOINTS

_CHUNK = 256
"""Frames whose starts are compared at once: about 100 MB."""


class FitConfig(BaseModel):
    """What a fit expects of observations and of people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    _require_shape(joints, 3, "joints")
    if names is None and joints.shape[-2] not in (22, NUM_JOINTS):
        raise ValueError(
            f"{joints.shape[-2]} joints without names; expected SMPL's first 22 or all 24: "
            "give names for others"
        )
    names = SMPL_JOINTS[: joints.shape[-2]] if names is None else names
    unknown = sorted(set(names) - set(SMPL_JOINTS))
    if unknown or len(names) != joints.shape[-2] or len(set(names)) != len(names):
        raise ValueError(
            f"{joints.shape[-2]} joints are named {', '.join(names)}; expected as many different "
            f"names of SMPL joints{f', not {unknown[0]!r}' if unknown else ''}"
        )
    target, weight = _checked(body, joints, confidence, fps, "joints")
    index = torch.tensor([SMPL_JOINTS.index(name) for name in names], device=target.device)
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
    _require_shape(keypoints, 2, "keypoints")
    if keypoints.shape[-2] != len(COCO_17):
        raise ValueError(
            f"{keypoints.shape[-2]} keypoints per frame; expected the 17 of COCO: pick them from "
            "the detector's"
        )
    target, weight = _checked(body, keypoints, confidence, fps, "keypoints")
    matrix = intrinsics.to(target).expand(len(target), 3, 3)
    markers = Markers(body, None)
    start = _keypoint_start(body, markers, target, weight, matrix, config)
    for patience in (10.0, 1.0):  # first with far outliers, which may only be badly started
        patient = config.model_copy(update={"outlier": config.outlier * patience})
        problem = _problem(body, markers, target, weight, matrix, fps, patient)
        start, _ = minimize(problem, start, math.ceil(config.iterations / 2))
    motion = _motion(body, start, fps, "camera", keypoints.shape[:-3])
    error = _distance(problem, start)
    if T_camera_world is not None:
        motion = _to_world(body, motion, T_camera_world.to(target))
    return _fit(motion, error, "px", started)


def _require_shape(observed: Float[Tensor, "*shape"], columns: int, what: str) -> None:
    shape = tuple(observed.shape)
    if len(shape) < 3 or shape[-1] != columns:
        raise ValueError(f"{what} of shape {shape}; expected (..., frames, points, {columns})")
    if not observed.numel():
        raise ValueError(f"{what} of shape {shape} are empty: give a frame or more")


def _checked(
    body: BodyModel,
    observed: Float[Tensor, "*batch t m _"],
    confidence: Float[Tensor, "*points"] | None,
    fps: float,
    what: str,
) -> tuple[Float[Tensor, "b t m _"], Float[Tensor, "b t m"]]:
    """Observations and weights with one batch axis, in the body's precision, without NaN."""
    if not fps > 0:
        raise ValueError(f"fps is {fps}; expected a positive number of frames per second")
    target = observed.reshape(-1, *observed.shape[-3:]).to(body.rest_joints(torch.zeros(10)))
    weight = target.new_ones(target.shape[:-1])
    if confidence is not None:
        if confidence.shape != observed.shape[:-1]:
            raise ValueError(
                f"confidence of shape {tuple(confidence.shape)}; expected one number per point: "
                f"{tuple(observed.shape[:-1])}"
            )
        weight = confidence.reshape(weight.shape).to(weight)
    if not bool(((weight >= 0) & (weight <= 1)).all()):
        raise ValueError("confidence lies outside of 0 to 1 or is NaN: scale it, or clamp it")
    broken = ~torch.isfinite(target).all(-1) & (weight > 0)
    if bool(broken.any()):
        clip, frame, point = broken.nonzero()[0].tolist()
        raise ValueError(
            f"{int(broken.sum())} {what} are not finite, the first in clip {clip}, frame {frame}, "
            f"point {point}: give missing ones the confidence 0"
        )
    if not bool((weight > 0).any(-1).any(-1).all()):
        raise ValueError(f"a clip has no {what} of confidence above 0: leave it out")
    return torch.where(weight[..., None] > 0, target, 0.0), weight


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
    root = turns[..., 0, 0, :, :]
    turn = geodesic_rad(
        root[:, :-1, :, None].expand(-1, -1, -1, NUM_YAWS, -1, -1).contiguous(),
        root[:, 1:, None].expand(-1, -1, NUM_YAWS, -1, -1, -1).contiguous(),
    )
    chosen = best_path(energy, (turn / 0.2).square())
    clips, frames = torch.arange(b)[:, None], torch.arange(t)
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


def _to_world(body: BodyModel, motion: Motion, T_camera_world: Float[Tensor, "4 4"]) -> Motion:
    """The same bodies in the world: the root turns about the pelvis, which moves."""
    pelvis = body.rest_joints(motion.betas)[..., None, 0, :]
    place = to_world(motion.require_translation() + pelvis, T_camera_world) - pelvis
    R = motion.R_parent_child.clone()
    R[..., 0, :, :] = T_camera_world[:3, :3].mT @ R[..., 0, :, :]
    return replace(motion, R_parent_child=R, translation=place, frame="world")


def _fit(
    motion: Motion, error: Float[Tensor, "b t"], unit: Literal["mm", "px"], started: float
) -> Fit:
    seconds = (time.perf_counter() - started) / error.numel()
    return Fit(motion, error.reshape(motion.R_parent_child.shape[:-3]), unit, seconds)
