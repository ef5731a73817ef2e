"""Kinetic and geometric features of dance clips (fairmotion; AIST++, Li et al. 2021).

Positions of SMPL's 24 joints, y up, in metres. `reference` repeats the published numbers, with the
faults that are named below; `corrected` mends them.
"""

from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.metrics.frames import finite
from motion.skeleton import NUM_JOINTS, joint

Convention = Literal["reference", "corrected"]

WINDOW: Final[int] = 2
"""Frames to each side that velocities and accelerations are averaged over."""
REFERENCE_FPS: Final[float] = 60.0
"""Frame rate that kinetic features assume, whatever the data's."""
REFERENCE_SPEED_FPS: Final[float] = 120.0
"""Frame rate that geometric features assume."""


def clip_lengths(
    joints: Float[Tensor, "b t j 3"], frame_mask: Bool[Tensor, "b t"] | None, least: int
) -> Int[Tensor, "b"]:
    """Frames of each clip.

    Raises:
        ValueError: a mask with a gap, fewer than `least` frames, or values that are not finite.
    """
    finite(joints, frame_mask)
    if frame_mask is None:
        lengths = torch.full((len(joints),), joints.shape[1], device=joints.device)
    else:
        lengths = frame_mask.sum(1)
        if bool((frame_mask[:, 1:] & ~frame_mask[:, :-1]).any() | (~frame_mask[:, 0]).any()):
            raise ValueError(
                "a frame mask has a gap; dance features need whole clips: cut them at the gaps"
            )
    if bool((lengths < least).any()):
        raise ValueError(
            f"the shortest clip has {int(lengths.min())} frames; give {least} frames or more"
        )
    return lengths


def kinetic_features(
    joints: Float[Tensor, "b t 24 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    fps: float = REFERENCE_FPS,
    convention: Convention = "reference",
) -> Float[Tensor, "b 72"]:
    """Per joint: mean horizontal and vertical energy, and mean norm of the acceleration.

    Window means telescope: the sum of velocities is the difference of the window's outer positions.

    Args:
        joints: clips; published numbers subtract the root of frame 0 first (Bailando).
        frame_mask: valid frames, without gaps.
        fps: frames per second; only `corrected` uses it.
        convention: `reference` takes 60 frames per second, and divides only the earlier position
            of the acceleration's first velocity by the frame time (an operator precedence), so
            the third feature depends on where the dancer stands.

    Raises:
        ValueError: fewer than three frames, a gap, or values that are not finite.
    """
    lengths = clip_lengths(joints, frame_mask, 3)
    dt = 1 / (fps if convention == "corrected" else REFERENCE_FPS)
    positions = joints.double()
    frame = torch.arange(1, joints.shape[1], device=joints.device)[None]
    last = lengths[:, None] - 1
    counted = (frame <= last).double()

    def mean(values: Tensor) -> Tensor:
        inside = torch.where(counted[..., None] > 0, values, values.new_zeros(()))
        return inside.sum(1) / counted.sum(1)[:, None]

    low, high = (frame - WINDOW).clamp(min=1), torch.minimum(frame + WINDOW, last).clamp(min=1)
    low = torch.minimum(low, high)
    velocity = _at(positions, high) - _at(positions, low - 1)
    velocity = velocity / ((high - low + 1).double() * dt)[..., None, None]
    high = torch.minimum(high, last - 1)
    low = torch.minimum(low, high)
    count = (high - low + 1).double()[..., None, None]
    forward = _at(positions, high + 1) - _at(positions, low)
    if convention == "corrected":
        backward = _at(positions, high) - _at(positions, low - 1)
        acceleration = (forward - backward) / (count * dt**2)
    else:
        total = torch.nn.functional.pad(positions, (0, 0, 0, 0, 1, 0)).cumsum(1)
        here = _at(total, high + 1) - _at(total, low)
        before = _at(total, high) - _at(total, low - 1)
        acceleration = ((forward + before) / dt - here) / (count * dt)
    features = (
        mean(velocity[..., 0].square() + velocity[..., 2].square()),
        mean(velocity[..., 1].square()),
        mean(torch.linalg.vector_norm(acceleration, dim=-1)),
    )
    return torch.stack(features, -1).flatten(1).to(joints.dtype)


def _at(values: Float[Tensor, "b t j 3"], frames: Int[Tensor, "b s"]) -> Float[Tensor, "b s j 3"]:
    return values[torch.arange(len(values), device=values.device)[:, None], frames]


UPPER_ARM_M: Final[float] = 0.256838
SHOULDERS_M: Final[float] = 0.390848
HIPS_M: Final[float] = 0.119247

_PLACES: Final[dict[str, int]] = {
    "root": joint("pelvis"), "belly": joint("spine1"), "chest": joint("spine3"),
    "neck": joint("neck"), "origin": NUM_JOINTS, "up": NUM_JOINTS + 1, "down": NUM_JOINTS + 2,
    "floor": NUM_JOINTS + 3,
} | {
    f"{side[0]}_{short}": joint(f"{side}_{name}")
    for side in ("left", "right")
    for short, name in {
        "hip": "hip", "knee": "knee", "ankle": "ankle", "toe": "foot", "sho": "shoulder",
        "elbow": "elbow", "wrist": "wrist",
    }.items()
}  # fmt: skip
"""Joints and four points that do not move with the body: origin, (0, 1, 0), (0, -1, 0), and the
height of the lowest joint above or below the origin."""

_HL, _SW, _HW = UPPER_ARM_M, SHOULDERS_M, HIPS_M


class _Relation(NamedTuple):
    """One geometric feature."""

    number: int
    """Place among the published features, from 1."""
    points: str
    """Arguments of its primitive."""
    above: float
    """What the value must exceed: metres, metres per second or degrees."""
    below: float = float("inf")
    """What it must stay below."""


_NMOVE: Final[tuple[_Relation, ...]] = (
    _Relation(1, "neck r_hip l_hip r_wrist", 1.8 * _HL),
    _Relation(2, "neck l_hip r_hip l_wrist", 1.8 * _HL),
)
_MOVE: Final[tuple[_Relation, ...]] = (
    _Relation(5, "belly chest chest r_wrist", 1.8 * _HL),
    _Relation(6, "belly chest chest l_wrist", 1.8 * _HL),
    _Relation(10, "l_wrist r_wrist r_wrist l_wrist", 1.4 * _HL),
    _Relation(11, "r_wrist root l_wrist root", 1.4 * _HL),
    _Relation(12, "l_wrist root r_wrist root", 1.4 * _HL),
)
_PLANE: Final[tuple[_Relation, ...]] = (
    _Relation(15, "root l_hip l_toe r_ankle", 0.38 * _HL),
    _Relation(16, "root r_hip r_toe l_ankle", 0.38 * _HL),
    _Relation(28, "r_ankle neck l_ankle root", 0.5 * _HL),
)
_NPLANE: Final[tuple[_Relation, ...]] = (
    _Relation(3, "chest neck neck r_wrist", 0.2 * _HL),
    _Relation(4, "chest neck neck l_wrist", 0.2 * _HL),
    _Relation(9, "l_sho r_sho l_wrist r_wrist", 2.5 * _SW),
    _Relation(17, "origin up floor r_ankle", 1.2 * _HL),
    _Relation(18, "origin up floor l_ankle", 1.2 * _HL),
    _Relation(19, "l_hip r_hip l_ankle r_ankle", 2.1 * _HW),
    _Relation(30, "origin down floor r_wrist", -1.2 * _HL),
    _Relation(31, "origin down floor l_wrist", -1.2 * _HL),
)
_ANGLE: Final[tuple[_Relation, ...]] = (
    _Relation(7, "r_elbow r_sho r_elbow r_wrist", 0.0, 110.0),
    _Relation(8, "l_elbow l_sho l_elbow l_wrist", 0.0, 110.0),
    _Relation(20, "r_knee r_hip r_knee r_ankle", 0.0, 110.0),
    _Relation(21, "l_knee l_hip l_knee l_ankle", 0.0, 110.0),
    _Relation(24, "neck root r_sho r_elbow", 25.0, 180.0),
    _Relation(25, "neck root l_sho l_elbow", 25.0, 180.0),
    _Relation(26, "neck root r_hip r_knee", 50.0, 180.0),
    _Relation(27, "neck root l_hip l_knee", 50.0, 180.0),
    _Relation(29, "neck root origin up", 70.0, 110.0),
)
_FAST: Final[tuple[_Relation, ...]] = (
    _Relation(13, "r_wrist", 2.5 * _HL),
    _Relation(14, "l_wrist", 2.5 * _HL),
    _Relation(22, "r_ankle", 2.5 * _HL),
    _Relation(23, "l_ankle", 2.5 * _HL),
    _Relation(32, "root", 2.3 * _HL),
)


def _places(rows: tuple[_Relation, ...]) -> list[list[int]]:
    """Per argument of the primitive, the point of every feature."""
    named = [row.points.split() for row in rows]
    return [[_PLACES[names[place]] for names in named] for place in range(len(named[0]))]


_GROUPS: Final = (_NMOVE, _MOVE, _PLANE, _NPLANE, _ANGLE, _FAST)
_ORDER: Final[list[int]] = sorted(
    range(32), key=[row.number for group in _GROUPS for row in group].__getitem__
)
"""From the order of the groups to that of the published features."""
_INDEX: Final[tuple[list[list[int]], ...]] = tuple(_places(group) for group in _GROUPS)


def geometric_features(
    joints: Float[Tensor, "b t 24 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    fps: float = REFERENCE_SPEED_FPS,
    convention: Convention = "reference",
) -> Float[Tensor, "b 32"]:
    """Share of frames in which each of 32 relations between joints holds (Müller et al. 2005).

    AIST++'s `manual` features, which Bailando calls `manual_new`. A degenerate direction (points
    that coincide) makes its relation false.

    Args:
        joints: clips.
        frame_mask: valid frames, without gaps.
        fps: frames per second; only `corrected` uses it.
        convention: `reference` takes 120 frames per second for speeds, and its features 5 and 6
            are equal because the wrist is ignored; `corrected` measures the wrist's velocity
            relative to the chest there.

    Raises:
        ValueError: fewer than two frames, a gap, or values that are not finite.
    """
    lengths = clip_lengths(joints, frame_mask, 2)
    relations = _relations(joints, fps if convention == "corrected" else None)
    counted = torch.arange(1, joints.shape[1], device=joints.device)[None] < lengths[:, None]
    share = (relations & counted[..., None]).to(joints.dtype).sum(1)
    return share / (lengths - 1)[:, None].to(joints.dtype)


def _relations(joints: Float[Tensor, "b t 24 3"], fps: float | None) -> Bool[Tensor, "b s 32"]:
    """Whether each relation holds in frames 1 on; corrected where a frame rate is given."""
    points, moved = _points(joints)
    moved = moved * (fps or REFERENCE_SPEED_FPS)
    nmove, move, plane, nplane, angle, fast = _INDEX
    a, b, c, p = (points[:, :, index] for index in nmove)
    relative = moved[:, :, nmove[3]] - moved[:, :, nmove[0]]
    holds = [_along(relative, torch.linalg.cross(c - a, b - a)) > _bound(_NMOVE, points)]
    relative = moved[:, :, move[2]] - moved[:, :, move[0]]
    if fps is not None:  # features 5 and 6
        wrists = moved[:, :, move[3][:2]] - moved[:, :, move[2][:2]]
        relative = torch.cat((wrists, relative[:, :, 2:]), 2)
    direction = points[:, :, move[1]] - points[:, :, move[0]]
    holds.append(_along(relative, direction) > _bound(_MOVE, points))
    a, b, c, p = (points[:, :, index] for index in plane)
    holds.append(_along(p - a, torch.linalg.cross(c - a, b - a)) > _bound(_PLANE, points))
    a, b, c, p = (points[:, :, index] for index in nplane)
    holds.append(_along(p - c, b - a) > _bound(_NPLANE, points))
    a, b, c, p = (points[:, :, index] for index in angle)
    cosine = _along(p - c, b - a) / torch.linalg.vector_norm(p - c, dim=-1)
    degrees = torch.rad2deg(torch.acos(cosine))
    holds.append((degrees > _bound(_ANGLE, points)) & (degrees < _bound(_ANGLE, points, "below")))
    speed = torch.linalg.vector_norm(moved[:, :, fast[0]], dim=-1)
    holds.append(speed > _bound(_FAST, points))
    return torch.cat(holds, -1)[..., _ORDER]


def _points(joints: Float[Tensor, "b t j 3"]) -> tuple[Tensor, Tensor]:
    """Joints of frames 1 on with the fixed points behind them, and displacements since t - 1."""
    now = joints[:, 1:]
    fixed = now.new_zeros(*now.shape[:2], 4, 3)
    fixed[:, :, 1, 1], fixed[:, :, 2, 1] = 1, -1
    fixed[:, :, 3, 1] = now[..., 1].amin(-1)
    return torch.cat((now, fixed), 2), now - joints[:, :-1]


def _along(vector: Float[Tensor, "*b 3"], direction: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    return (vector * direction).sum(-1) / torch.linalg.vector_norm(direction, dim=-1)


def _bound(
    rows: tuple[_Relation, ...], like: Tensor, side: Literal["above", "below"] = "above"
) -> Tensor:
    return like.new_tensor([row.above if side == "above" else row.below for row in rows])
