"""A motion's place: camera frame and world frame, and the place that a motion map shows."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.map_moments import NUM_PARTS, Moments
from motion.body.model import BodyModel
from motion.camera import to_camera, to_world
from motion.sequence import Frame, Motion

_ROUNDS = 3
"""Solutions of the linear equations, each weighted with the depth of the one before."""
_START_DEPTH_M = 3.0
_SPEED_M_S = 1.0
"""Usual speed of the root: where the map says nothing, people stay where they are."""


def motion_in_camera(
    body: BodyModel, motion: Motion, T_camera_world: Float[Tensor, "*#b 4 4"]
) -> Motion:
    """A world motion as a static camera sees it: the root turns about the pelvis, which moves."""
    R_camera_world = T_camera_world[..., :3, :3]
    place = None
    if motion.translation is not None:
        pelvis = body.rest_joints(motion.betas)[..., None, 0, :]
        place = to_camera(motion.translation + pelvis, T_camera_world) - pelvis
    return _turned(motion, R_camera_world, place, "camera")


def motion_in_world(
    body: BodyModel, motion: Motion, T_camera_world: Float[Tensor, "*#b 4 4"]
) -> Motion:
    """A motion in a static camera's frame, in the world."""
    place = None
    if motion.translation is not None:
        pelvis = body.rest_joints(motion.betas)[..., None, 0, :]
        place = to_world(motion.translation + pelvis, T_camera_world) - pelvis
    return _turned(motion, T_camera_world[..., :3, :3].mT, place, "world")


def _turned(
    motion: Motion, R: Float[Tensor, "*#b 3 3"], place: Tensor | None, frame: Frame
) -> Motion:
    turned = motion.R_parent_child.clone()
    turned[..., 0, :, :] = R[..., None, :, :] @ turned[..., 0, :, :]
    return replace(motion, R_parent_child=turned, translation=place, frame=frame)


def place_in_map(
    body: BodyModel,
    motion: Motion,
    seen: Moments,
    intrinsics: Float[Tensor, "3 3"],
    *,
    first: Float[Tensor, "3"] | None = None,
    rise: Float[Tensor, "t 3"] | None = None,
    acceleration_m_s2: float = 8.0,
    noise_m: float = 0.05,
) -> Float[Tensor, "t 3"]:
    """Translations that bring the parts of posed bodies to where a motion map shows them.

    A point X of a body at T is seen at pixel u where K (X + T) is parallel to (u, 1): linear in
    T. Each part gives two such equations, between its center of mass in the map and that of its
    surface that faces the camera. How far the parts lie apart tells the depth. Small accelerations
    tie the frames, so the whole clip is one linear system.

    Args:
        body: the motion's.
        motion: (t, 24, 3, 3), camera frame; its translation is not read.
        seen: moments of the map's parts, of the motion's frames.
        intrinsics: of the map.
        first: translation of the first frame, where it is known.
        rise: displacements that are expected (see `grounded`); the path is smooth around them.
        acceleration_m_s2: usual acceleration of the root.
        noise_m: standard deviation of a part's center, seen from the side.

    Raises:
        ValueError: the map shows no person.
    """
    if not bool((seen.pixels > 0).any()):
        raise ValueError("the motion map shows no person: the motion cannot be placed in it")
    frames = motion.num_frames
    start = motion.R_parent_child.new_tensor([0.0, 0.0, _START_DEPTH_M])
    moved = torch.zeros_like(start).expand(frames, 3) if rise is None else rise
    place = moved + (start if first is None else first)
    stiffness = _stiffness(frames, acceleration_m_s2 / motion.fps**2, _SPEED_M_S / motion.fps)
    stiffness = stiffness.to(place)
    for _ in range(_ROUNDS):
        center, area = _facing_centers(body, motion, place)
        rows, right = _equations(center + moved[:, None], seen.mean[..., :2], intrinsics)
        depth = (center[..., 2] + place[:, None, 2]).clamp(min=0.1)
        # A generated map loses parts: those of another size than the body's say nothing.
        pixels = area * intrinsics[0, 0] * intrinsics[1, 1] / depth**2
        like = torch.minimum(pixels, seen.pixels) / torch.maximum(pixels, seen.pixels).clamp(min=1)
        share = like**2 * seen.pixels / seen.pixels.sum(-1, keepdim=True).clamp(min=1)
        weight = share / (noise_m * depth / _START_DEPTH_M) ** 2
        weight = weight / intrinsics[0, 0] ** 2 * NUM_PARTS / 2
        matrix = torch.einsum("tp,tpea,tpeb->tab", weight, rows, rows)
        slope = torch.einsum("tp,tpea,tpe->ta", weight, rows, right)
        system = torch.einsum("st,ab->satb", stiffness, torch.eye(3).to(place))
        index = torch.arange(frames)
        system[index, :, index] += matrix + 1e-6 * torch.eye(3).to(place)
        slope = slope + 1e-6 * (place - moved)
        if first is not None:
            system[0, :, 0] += 1e8 * torch.eye(3).to(place)
            slope[0] += 1e8 * (first - moved[0])
        flat = system.reshape(3 * frames, 3 * frames).double()
        solved = torch.linalg.solve(flat, slope.flatten().double()).to(place)
        place = moved + solved.unflatten(0, (-1, 3))
    return place


def grounded(body: BodyModel, motion: Motion, up: Float[Tensor, "3"]) -> Float[Tensor, "t 3"]:
    """Displacements along `up` that keep the lowest vertex where the first frame has it.

    Args:
        body: the motion's.
        motion: (t, 24, 3, 3); its translation is not read.
        up: unit vector against gravity, in the motion's frame.
    """
    height = body.vertices(motion.R_parent_child, motion.betas) @ up
    lowest = height.amin(1)
    return (lowest[:1] - lowest)[:, None] * up


def _facing_centers(
    body: BodyModel, motion: Motion, place: Float[Tensor, "t 3"]
) -> tuple[Float[Tensor, "t 24 3"], Float[Tensor, "t 24"]]:
    """Center of what each part shows of itself, without translation; and its area, square metres,
    across the ray.

    Pixels count the surface's area times the cosine to the viewing ray.
    """
    vertices = body.vertices(motion.R_parent_child, motion.betas)
    corners = vertices[:, body.faces]
    across = torch.linalg.cross(
        corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    )
    middle = corners.mean(2)
    ray = torch.nn.functional.normalize(middle + place[:, None], dim=-1)
    area = (-(across * ray).sum(-1)).clamp(min=0) / 2
    part = body.part_of_vertex[body.faces[:, 0]]
    total = area.new_zeros(len(area), NUM_PARTS).index_add(1, part, area)
    center = area.new_zeros(len(area), NUM_PARTS, 3).index_add(1, part, area[..., None] * middle)
    return center / total.clamp(min=1e-9)[..., None], total


def _equations(
    center: Float[Tensor, "t 24 3"], pixel: Float[Tensor, "t 24 2"], K: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "t 24 2 3"], Float[Tensor, "t 24 2"]]:
    """Rows and right sides of (K_i - u_i K_3) (X + T) = 0 for both axes i, in pixels x metres."""
    rows = K[None, None, :2] - pixel[..., None] * K[None, None, 2:]
    return rows, -(rows @ center[..., None])[..., 0]


def _stiffness(frames: int, bend_m: float, step_m: float) -> Float[Tensor, "t t"]:
    """Matrix of the squared second and first differences over their variances."""
    identity = torch.eye(frames)
    step = identity[1:] - identity[:-1]
    bend = step[1:] - step[:-1]
    return bend.T @ bend / bend_m**2 + step.T @ step / step_m**2
