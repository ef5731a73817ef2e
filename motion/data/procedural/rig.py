"""From what a person does (feet on the floor, pelvis, torso, arm angles) to joint rotations.

The legs follow the feet by analytic two-bone inverse kinematics, so a planted foot stays where it
is; the pelvis sinks where a leg would be too short. Angles are radians. World: y up, the person
starts at the origin and faces +z, so left is +x and a positive yaw turns left.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from motion.body.model import BodyModel
from motion.data.procedural.curves import peak_hold, smooth
from motion.rotations import matrix_from_euler
from motion.skeleton import NUM_JOINTS, joint

SIDES: Final = ("left", "right")
SIGN: Final = {"left": 1.0, "right": -1.0}
"""x axis of the body's side."""

MAX_STRETCH: Final = 0.995
"""Longest leg, as a share of its bones' length: a knee is never quite straight."""
CONTACT_PITCH_RAD: Final = 0.02
"""A foot pitched less than this has both heel and toe on the floor (4 mm at the heel)."""


class Figure(NamedTuple):
    """The measures of one body shape that the rig needs, in metres; the floor is y = 0."""

    joints: Float[np.ndarray, "24 3"]
    """Rest joints with the soles on the floor."""
    floor_y: float
    """Lowest rest vertex before that shift."""
    heel: Float[np.ndarray, "2 3"]
    """Left and right heel in rest, soles on the floor."""

    @property
    def leg(self) -> float:
        """Hip to ankle along the bones."""
        hip, knee, ankle = (self.joints[joint(f"left_{n}")] for n in ("hip", "knee", "ankle"))
        return float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))


def measure(body: BodyModel, betas: Float[Tensor, "10"]) -> Figure:
    """Rest measures of a body shape."""
    rest = torch.eye(3).expand(1, NUM_JOINTS, 3, 3)
    vertices = body.vertices(rest, betas)[0]
    floor_y = float(vertices[:, 1].min())
    shift = torch.tensor([0.0, -floor_y, 0.0])
    joints = (body.rest_joints(betas) + shift).numpy().astype(np.float64)
    heel = (vertices[body.contact_vertices[[0, 2]]] + shift).numpy().astype(np.float64)
    return Figure(joints, floor_y, heel)


@dataclass
class Arm:
    """Arm angles relative to the chest; all zero is a straight arm hanging down."""

    forward: Float[np.ndarray, "t"]
    """Swing about the lateral axis: pi/2 points forward, pi up."""
    out: Float[np.ndarray, "t"]
    """Away from the body: pi/2 is the T-pose."""
    twist: Float[np.ndarray, "t"]
    """About the upper arm; positive turns the forearm's bending outward."""
    elbow: Float[np.ndarray, "t"]
    """Flexion."""
    wrist: Float[np.ndarray, "t"]
    """Extension: the back of the hand towards the forearm."""


@dataclass
class Foot:
    """A foot's place: its flat print moves over the floor, then lifts and pitches."""

    position: Float[np.ndarray, "t 2"]
    """x and z of the point below the ankle when flat, in metres."""
    lift: Float[np.ndarray, "t"]
    """Height of the sole, in metres."""
    yaw: Float[np.ndarray, "t"]
    pitch: Float[np.ndarray, "t"]
    """Positive: heel up, about the ball; negative: toes up, about the heel."""
    roll: Float[np.ndarray, "t"]
    """About the ankle, for a foot in the air; positive turns the sole towards +x."""
    planted: Bool[np.ndarray, "t"]


@dataclass
class Controls:
    """What the rig follows, over t frames."""

    pelvis: Float[np.ndarray, "t 3"]
    """Offset from standing at the origin, in metres."""
    hips: Float[np.ndarray, "t 3"]
    """Yaw, pitch (forward), roll of the pelvis."""
    spine: Float[np.ndarray, "t 3"]
    """Yaw, pitch, roll of the chest relative to the pelvis."""
    head: Float[np.ndarray, "t 3"]
    """Yaw, pitch, roll of the head relative to the chest."""
    arms: dict[str, Arm] = field(default_factory=dict[str, Arm])
    feet: dict[str, Foot] = field(default_factory=dict[str, Foot])


class Posed(NamedTuple):
    """A solved motion in the world."""

    R_parent_child: Float[Tensor, "t 24 3 3"]
    translation: Float[Tensor, "t 3"]
    contacts: UInt8[np.ndarray, "t 4"]


def mirrored(controls: Controls) -> Controls:
    """The same action with left and right exchanged."""
    turn = np.array([-1.0, 1.0, -1.0])
    swap = {"left": "right", "right": "left"}
    feet = {
        side: Foot(
            controls.feet[swap[side]].position * [-1.0, 1.0],
            controls.feet[swap[side]].lift,
            -controls.feet[swap[side]].yaw,
            controls.feet[swap[side]].pitch,
            -controls.feet[swap[side]].roll,
            controls.feet[swap[side]].planted,
        )
        for side in SIDES
    }
    return Controls(
        pelvis=controls.pelvis * [-1.0, 1.0, 1.0],
        hips=controls.hips * turn,
        spine=controls.spine * turn,
        head=controls.head * turn,
        arms={side: controls.arms[swap[side]] for side in SIDES},
        feet=feet,
    )


def solve(controls: Controls, figure: Figure) -> Posed:
    """Joint rotations, root translation and contacts that follow the controls."""
    local = np.tile(np.eye(3), (controls.pelvis.shape[0], NUM_JOINTS, 1, 1))
    root = _euler(controls.hips)
    local[:, 0] = root
    for name in ("spine1", "spine2", "spine3"):
        local[:, joint(name)] = _euler(controls.spine / 3)
    for name in ("neck", "head"):
        local[:, joint(name)] = _euler(controls.head / 2)
    for side in SIDES:
        _set_arm(local, side, controls.arms[side])
    rest_pelvis = figure.joints[0]
    pelvis = rest_pelvis + controls.pelvis
    ankles = {side: _ankle(controls.feet[side], figure, side) for side in SIDES}
    pelvis[:, 1] -= _sink(pelvis, root, ankles, figure)
    for side in SIDES:
        _set_leg(local, side, controls, figure, pelvis, ankles[side])
    translation = pelvis - rest_pelvis
    translation[:, 1] -= figure.floor_y
    contacts = np.stack(
        [
            controls.feet[side].planted & (sign * controls.feet[side].pitch < CONTACT_PITCH_RAD)
            for side in SIDES
            for sign in (1, -1)
        ],
        axis=-1,
    )
    return Posed(
        torch.from_numpy(local).float(),
        torch.from_numpy(translation).float(),
        contacts.astype(np.uint8),
    )


def _euler(angles: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3 3"]:
    return matrix_from_euler(torch.from_numpy(angles), "yxz").numpy()


def _about(axis: str, angle: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t 3 3"]:
    return matrix_from_euler(torch.from_numpy(angle)[:, None], axis).numpy()


def _set_arm(local: np.ndarray, side: str, arm: Arm) -> None:
    sign = SIGN[side]
    angles = np.stack([-arm.forward, sign * arm.out, sign * arm.twist], -1)
    hang = np.full_like(arm.out, -sign * np.pi / 2)
    in_chest = matrix_from_euler(torch.from_numpy(angles), "xzy").numpy() @ _about("z", hang)
    # The shoulder girdle takes a share of a raised arm (scapulohumeral rhythm).
    upward = 0.5 - 0.5 * np.cos(arm.forward) * np.cos(arm.out)
    collar = _about("z", sign * np.radians(28) * np.clip(upward - 0.3, 0.0, None))
    local[:, joint(f"{side}_collar")] = collar
    local[:, joint(f"{side}_shoulder")] = collar.mT @ in_chest
    local[:, joint(f"{side}_elbow")] = _about("y", -sign * arm.elbow)
    local[:, joint(f"{side}_wrist")] = _about("z", sign * arm.wrist)


def _ankle(foot: Foot, figure: Figure, side: str) -> Float[np.ndarray, "t 3"]:
    """Ankle position: the foot pitches about its ball (heel up) or its heel (toes up)."""
    ankle = figure.joints[joint(f"{side}_ankle")]
    ball = figure.joints[joint(f"{side}_foot")]
    heel = figure.heel[SIDES.index(side)]
    below = ankle * [1.0, 0.0, 1.0]
    pivot = np.where(foot.pitch[:, None] > 0, ball, heel)
    pitched = pivot + (_about("x", foot.pitch) @ (ankle - pivot)[..., None])[..., 0]
    turned = (_about("y", foot.yaw) @ (pitched - below)[..., None])[..., 0]
    ground = np.stack([foot.position[:, 0], foot.lift, foot.position[:, 1]], -1)
    return ground + turned


def _sink(
    pelvis: np.ndarray, root: np.ndarray, ankles: dict[str, np.ndarray], figure: Figure
) -> Float[np.ndarray, "t"]:
    """How far the pelvis must go down for both legs to reach, smoothly over time."""
    need = np.zeros(pelvis.shape[0])
    for side in SIDES:
        reach = _hip(pelvis, root, figure, side) - ankles[side]
        level = np.sum(reach[:, [0, 2]] ** 2, -1)
        highest = np.sqrt(np.clip((MAX_STRETCH * figure.leg) ** 2 - level, 0.01, None))
        need = np.maximum(need, reach[:, 1] - highest)
    return smooth(peak_hold(need, 3), 1.0)


def _hip(
    pelvis: np.ndarray, root: np.ndarray, figure: Figure, side: str
) -> Float[np.ndarray, "t 3"]:
    return pelvis + root @ (figure.joints[joint(f"{side}_hip")] - figure.joints[0])


def _set_leg(
    local: np.ndarray,
    side: str,
    controls: Controls,
    figure: Figure,
    pelvis: np.ndarray,
    ankle: np.ndarray,
) -> None:
    """Two-bone inverse kinematics from hip to ankle, the knee pointing between hip and foot."""
    foot, root = controls.feet[side], local[:, 0]
    hip, knee, end = (figure.joints[joint(f"{side}_{n}")] for n in ("hip", "knee", "ankle"))
    thigh, shin = np.linalg.norm(knee - hip), np.linalg.norm(end - knee)
    reach = ankle - _hip(pelvis, root, figure, side)
    length = np.linalg.norm(reach, axis=-1, keepdims=True)
    u = reach / length
    length = np.minimum(length, MAX_STRETCH * (thigh + shin) + 1e-4)
    yaw = 0.5 * (controls.hips[:, 0] + foot.yaw) + SIGN[side] * 0.04
    lateral = _about("y", yaw)[:, :, 0]
    hinge = _unit(lateral - np.sum(lateral * u, -1, keepdims=True) * u)
    cosine = (thigh**2 + length**2 - shin**2) / (2 * thigh * length)
    sine = np.sqrt(np.clip(1 - cosine**2, 0.0, 1.0))
    down_thigh = cosine * u + sine * np.cross(u, hinge)
    down_shin = _unit(length * u - thigh * down_thigh)
    upper = _frame(down_thigh, hinge) @ _rest_frame(knee - hip).T
    lower = _frame(down_shin, hinge) @ _rest_frame(end - knee).T
    sole = _euler(np.stack([foot.yaw, foot.pitch, foot.roll], -1))
    local[:, joint(f"{side}_hip")] = root.mT @ upper
    local[:, joint(f"{side}_knee")] = upper.mT @ lower
    local[:, joint(f"{side}_ankle")] = lower.mT @ sole
    # Toes stay flat while the heel is up.
    local[:, joint(f"{side}_foot")] = _about("x", -np.clip(foot.pitch, 0.0, 0.9))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _frame(bone: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    return np.stack([bone, hinge, np.cross(bone, hinge)], -1)


def _rest_frame(bone: np.ndarray) -> Float[np.ndarray, "3 3"]:
    direction = _unit(bone)
    hinge = _unit(np.array([1.0, 0.0, 0.0]) - direction[0] * direction)
    return _frame(direction, hinge)
