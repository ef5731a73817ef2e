"""A motion refined by a 2D motion map: part ids, normals and silhouette (Zhao et al. 2026, 3.2).

Each round renders the body as it stands, compares the parts of this map with those of the given one
(`map_moments`: the transport of each part's Gaussian in place and normal) and moves the body by
Levenberg-Marquardt such that some hundred vertices and pins go where the transport sends them. The
solver, the joint limits and the price of accelerations are those of `motion.body.fit`; the pose
prior stands around the given poses instead of the relaxed one.
"""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from torch import Tensor

from motion.body.fit import Fit
from motion.body.fit_markers import NUM_POSE, Pose, SurfacePins
from motion.body.fit_solver import Problem, minimize
from motion.body.layout import spread_vertices
from motion.body.map_drawing import agreement, draw, shown
from motion.body.map_moments import Moments, likeness, moments, transport
from motion.body.model import BodyModel
from motion.body.placement import grounded, motion_in_camera, motion_in_world, place_in_map
from motion.body.pose_prior import PosePrior
from motion.body.render import decode_motion_map
from motion.camera import project
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS


class MapFitConfig(BaseModel):
    """What a refinement expects of the map and of the given poses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    vertices: PositiveInt = 240
    """Vertices of the sparse body, spread over the surface."""
    rounds: NonNegativeInt = 6
    """Comparisons of the rendered body with the map."""
    iterations: PositiveInt = 3
    """Levenberg-Marquardt steps after each."""
    noise: PositiveFloat = 0.02
    """Standard deviation of where a vertex should lie, as a share of the person's height in
    pixels: of a generated map, not of a rendered one."""
    normal_noise_rad: PositiveFloat = 0.4
    """Standard deviation of a surface's direction, radians."""
    pose_std_rad: PositiveFloat = 0.15
    """Standard deviation of the given poses' rotations, per axis."""
    shape_std: NonNegativeFloat = 0.0
    """Standard deviation of the given betas; 0 holds them."""
    outlier: PositiveFloat = 6.0
    """Residual, in standard deviations, from which a vertex loses its influence."""
    acceleration_rad_s2: PositiveFloat = 40.0
    """Usual acceleration of a joint's rotation, radians per second squared."""
    acceleration_m_s2: PositiveFloat = 8.0
    """Usual acceleration of the root, metres per second squared."""
    first_std_m: PositiveFloat = 0.01
    """Standard deviation of a known place of the first frame, metres."""


_HELD = 1e-3
"""Standard deviation of betas that are held: theirs are units of the body's own spread."""
_PIN_M = 0.1
_HIDDEN = 0.3
_PLACE_M = 0.3
"""Standard deviation of the path around the spot where it begins, with the feet on the ground:
where the map says nothing, people stay there."""


class _Scene(NamedTuple):
    """What a clip's rounds share."""

    body: BodyModel
    markers: SurfacePins
    seen: Moments
    intrinsics: Float[Tensor, "3 3"]
    part: Int[np.ndarray, "t h w"]
    """Of the map."""
    scale_px: float
    """Pixels of a normal of length 1: so scaled, place and normal are equally certain."""

    def noise_px(self, config: MapFitConfig) -> float:
        """Standard deviation of a vertex's place, pixels."""
        return self.scale_px * config.normal_noise_rad


@torch.no_grad()
def fit_map(
    body: BodyModel,
    motion: Motion,
    motion_map: UInt8[np.ndarray, "t h w 3"],
    intrinsics: Float[Tensor, "3 3"],
    T_camera_world: Float[Tensor, "4 4"],
    *,
    first: Float[Tensor, "3"] | None = None,
    config: MapFitConfig | None = None,
) -> Fit:
    """One clip's poses, path and, where it is asked for, shape, such that the body looks like the
    map.

    Args:
        body: the motion's.
        motion: (t, 24, 3, 3), world frame; without translation it is first placed in the map.
        motion_map: flat map of these frames.
        intrinsics: of the map; the camera is static.
        T_camera_world: of that camera.
        first: translation of the first frame in the world, where it is known: with it the depth
            does not depend on the person's size.
        config: what to expect.

    Returns:
        The motion in the world; the error is the mean distance per frame, in pixels, between the
        vertices and where the last comparison sends them.

    Raises:
        ValueError: another number of frames, or a map without a person.
    """
    started, config = time.perf_counter(), config or MapFitConfig()
    if len(motion_map) != motion.num_frames:
        raise ValueError(
            f"the motion map has {len(motion_map)} frames, the motion {motion.num_frames}: "
            "give the map of the same frames"
        )
    scene = _scene(body, motion_map, intrinsics, config)
    seen, anchor = motion_in_camera(body, motion, T_camera_world), None
    if first is not None:
        alone = replace(motion, R_parent_child=motion.R_parent_child[:1], translation=first[None])
        anchor = motion_in_camera(body, alone, T_camera_world).require_translation()[0]
    place, up = seen.translation, T_camera_world[:3, 1].to(seen.R_parent_child)
    rise = grounded(body, seen, up)
    if place is None:
        place = place_in_map(
            body, seen, scene.seen, intrinsics, first=anchor, rise=rise,
            acceleration_m_s2=config.acceleration_m_s2,
        )  # fmt: skip
    given = Pose(seen.R_parent_child[None], place[None], motion.betas[None])
    expected = rise + ((place - rise).median(0).values if anchor is None else anchor)
    pose, error = given, torch.zeros(1, motion.num_frames)
    for count in range(config.rounds):
        judge = 2 * count >= config.rounds
        targets = _targets(scene, pose, config, judge=judge)
        problem = _problem(
            scene, given, targets, expected, motion.fps, config, anchored=anchor is not None
        )
        error = _distance(problem, pose)
        pose, _ = minimize(problem, pose, config.iterations)
    found = replace(
        seen, R_parent_child=pose.R_parent_child[0], translation=pose.translation[0],
        betas=pose.betas[0],
    )  # fmt: skip
    seconds = (time.perf_counter() - started) / motion.num_frames
    return Fit(motion_in_world(body, found, T_camera_world), error[0], "px", seconds)


def _scene(
    body: BodyModel,
    motion_map: UInt8[np.ndarray, "t h w 3"],
    intrinsics: Float[Tensor, "3 3"],
    config: MapFitConfig,
) -> _Scene:
    decoded = decode_motion_map(motion_map)
    rows = np.any(decoded.mask, axis=2)
    if not rows.any():
        raise ValueError("the motion map shows no person: there is nothing to fit the motion to")
    height_px = float(np.median(rows.sum(1)[rows.any(1)]))
    still = torch.eye(3).expand(1, NUM_JOINTS, 3, 3)
    rest = body.vertices(still, torch.zeros(10))[0]
    index = spread_vertices(rest, body.part_of_vertex, config.vertices)
    scale_px = height_px * config.noise / config.normal_noise_rad
    return _Scene(
        body,
        SurfacePins(body, index, _PIN_M),
        moments(decoded, scale_px),
        intrinsics,
        decoded.part,
        scale_px,
    )


def _problem(
    scene: _Scene,
    given: Pose,
    targets: tuple[Float[Tensor, "t m 2"], Float[Tensor, "t m"]],
    expected: Float[Tensor, "t 3"],
    fps: float,
    config: MapFitConfig,
    *,
    anchored: bool,
) -> Problem:
    """Vertices and pins, where the map sends them, and what is known besides."""
    target, weight = targets
    frames = target.shape[0]
    smooth = target.new_full((NUM_POSE,), config.acceleration_rad_s2**-2)
    smooth[-3:] = config.acceleration_m_s2**-2
    std = target.new_full((1, frames, NUM_JOINTS - 1, 3), config.pose_std_rad)
    known = target.new_full((1, frames, 1), _PLACE_M**-2)
    if anchored:
        known[:, 0] = config.first_std_m**-2
    return Problem(
        markers=scene.markers,
        prior=PosePrior.anatomical().to(target).around(given.R_parent_child, std),
        target=target[None],
        weight=weight[None],
        intrinsics=scene.intrinsics[None].to(target),
        noise=scene.noise_px(config),
        outlier=config.outlier,
        smooth=smooth * fps**4,
        shape_mean=given.betas,
        shape_precision=max(config.shape_std, _HELD) ** -2,
        place=expected[None],
        place_precision=known,
    )


def _targets(
    scene: _Scene, pose: Pose, config: MapFitConfig, *, judge: bool
) -> tuple[Float[Tensor, "t m 2"], Float[Tensor, "t m"]]:
    """Pixels of vertices and pins after the transport of their part, and their weights.

    With `judge`, frames in which body and map disagree in most pixels lose their weight: a fit that
    does not come to look like the map has followed what is no person.
    """
    drawn = draw(scene.body, pose, scene.intrinsics, *scene.part.shape[1:])
    now, seen = moments(drawn.map, scene.scale_px), scene.seen
    linear, shift = transport(now, seen)
    surface, pins = scene.markers.points(pose)[0].chunk(2, dim=1)
    part = scene.body.part_of_vertex[scene.markers.vertices]
    pixel, depth = project(surface, scene.intrinsics), surface[..., 2:]
    direction = (pins - surface) / _PIN_M
    x = torch.cat([pixel, scene.scale_px * direction[..., :2]], -1)
    moved = (linear[:, part] @ x[..., None])[..., 0] + shift[:, part]
    ray = torch.cat([moved[..., :2], torch.ones_like(depth)], -1)
    landed = depth * (ray @ torch.linalg.inv(scene.intrinsics).mT)
    turn = torch.cat([(moved - x)[..., 2:] / scene.scale_px, torch.zeros_like(depth)], -1)
    tip = project(landed + (direction + turn) * _PIN_M, scene.intrinsics)
    # A part that the body hides and the map shows has no transport: its middle goes to the map's,
    # and is worth less.
    hidden = ((now.pixels == 0) & (seen.pixels > 0))[:, part]
    like = likeness(now, seen)
    visible = shown(pixel, depth[..., 0], drawn.depth) & ((direction * surface).sum(-1) < 0)
    certain = torch.where((now.pixels > 0)[:, part], like[:, part], 0.0) * visible
    base = certain + _HIDDEN * hidden * like.amax(1, keepdim=True)
    # A pin answers in pixels of _PIN_M: it is as certain as its direction, not as its place.
    reach = _PIN_M * scene.intrinsics[0, 0] / depth[..., 0].clamp(min=0.1)
    pin = (scene.noise_px(config) / (reach * config.normal_noise_rad)).square().clamp(max=1.0)
    target = torch.cat(
        [torch.where(hidden[..., None], seen.mean[:, part, :2], moved[..., :2]), tip], 1
    )
    weight = torch.cat([base, pin * certain], 1)
    if judge:
        weight = weight * agreement(drawn.map.part, scene.part)[:, None]
    finite = torch.isfinite(target).all(-1)
    return torch.where(finite[..., None], target, 0.0), torch.where(finite, weight, 0.0)


def _distance(problem: Problem, pose: Pose) -> Float[Tensor, "b t"]:
    """Mean over the vertices that count, in pixels; NaN where there is none."""
    distance = problem.residual(problem.markers.points(pose)).norm(dim=-1)
    half = distance.shape[-1] // 2
    counts = problem.weight[..., :half] > 0
    return torch.where(counts, distance[..., :half], torch.nan).nanmean(-1)
