"""The common ground of every action: neutral standing, footsteps and a pelvis that follows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from motion.data.procedural.curves import ease, pulse, smooth
from motion.data.procedural.rig import SIDES, SIGN, Arm, Controls, Figure, Foot
from motion.skeleton import joint

SPEEDS = {"slow": 1.4, "normal": 1.0, "fast": 0.7}
"""Duration of an action relative to its normal speed."""

CYCLE_S = 1.4
"""Length of an action that is done once or repeated, at normal speed."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What happens in a clip, as its captions tell it."""

    family: str
    side: str = ""
    """"left", "right", "both" or empty where the action has no side."""
    direction: str = ""
    speed: str = "normal"


class Style(NamedTuple):
    """How this person moves: small differences that no caption tells."""

    tempo: float
    """Duration factor beside the one of the speed word."""
    amplitude: float
    arm_out: float
    """Rest angle of the arms away from the body, in radians."""
    elbow: float
    stance: float
    """Extra distance of each foot from the midline, in metres."""
    toe_out: float
    posture: float
    """Forward pitch of the torso, in radians."""
    sway: float
    """Phase of the idle sway, in radians."""
    first_foot: str
    variant: float
    """In [0, 1): picks between ways of doing the same action."""


def sample_style(rng: np.random.Generator) -> Style:
    """A style from one stream of random numbers."""
    return Style(
        tempo=rng.uniform(0.96, 1.04),
        amplitude=rng.uniform(0.92, 1.08),
        arm_out=np.radians(rng.uniform(11, 17)),
        elbow=np.radians(rng.uniform(10, 22)),
        stance=rng.uniform(0.0, 0.03),
        toe_out=np.radians(rng.uniform(2, 9)),
        posture=np.radians(rng.uniform(-1, 3)),
        sway=rng.uniform(0, 2 * np.pi),
        first_foot=SIDES[int(rng.integers(2))],
        variant=rng.uniform(),
    )


class Step(NamedTuple):
    """One foot's way from where it stands to a new place."""

    side: str
    start_s: float
    end_s: float
    to: tuple[float, float]
    """x and z, in metres."""
    yaw: float
    """Heading of the body there, in radians; the foot keeps its own toe-out."""
    lift: float
    """Height at mid swing, in metres."""
    heel_up: float = 0.5
    """Pitch as the foot leaves the floor, in radians."""
    toes_up: float = 0.2
    """Pitch as it lands, in radians."""


class Stage:
    """A person standing at the origin, and the controls that an action changes."""

    def __init__(
        self,
        figure: Figure,
        action: Action,
        style: Style,
        num_frames: int,
        fps: float,
        delay_s: float = 0.0,
    ) -> None:
        self.figure, self.action, self.style = figure, action, style
        self.scale = SPEEDS[action.speed] * style.tempo
        self.time = (np.arange(num_frames) / fps - delay_s) / self.scale
        """Seconds of the action at its normal speed; negative before it begins."""
        self.duration = float(self.time[-1])
        self.frame_s = float(1 / fps / self.scale)
        self.base = {
            side: figure.joints[joint(f"{side}_ankle")][[0, 2]] + [SIGN[side] * style.stance, 0.0]
            for side in SIDES
        }
        """Foot positions of the neutral stance."""
        self.controls = self._neutral(num_frames)

    def _neutral(self, num_frames: int) -> Controls:
        zero = np.zeros(num_frames)
        style, sway = self.style, self.time * 2.0 + self.style.sway
        pelvis = np.stack([0.006 * np.sin(sway), zero - 0.004, 0.004 * np.cos(sway)], -1)
        spine = np.stack([zero, style.posture + 0.012 * np.sin(1.7 * sway), zero], -1)
        controls = Controls(pelvis, np.zeros((num_frames, 3)), spine, np.zeros((num_frames, 3)))
        controls.head[:, 1] = -0.5 * style.posture
        for side in SIDES:
            idle = 0.02 * np.sin(sway + SIGN[side])
            controls.arms[side] = Arm(
                forward=zero + 0.04 + idle,
                out=zero + style.arm_out,
                twist=zero - 0.25,
                elbow=zero + style.elbow,
                wrist=zero.copy(),
            )
            controls.feet[side] = Foot(
                position=np.tile(self.base[side], (num_frames, 1)),
                lift=zero.copy(),
                yaw=zero + SIGN[side] * style.toe_out,
                pitch=zero.copy(),
                roll=zero.copy(),
                planted=np.ones(num_frames, dtype=bool),
            )
        return controls

    def repeats(self, cycle_s: float, start_s: float = 0.06) -> list[float]:
        """Start times of the whole cycles that the clip has room for; at least one."""
        count = max(1, int((self.duration - start_s) / cycle_s + 0.1))
        return [start_s + cycle_s * index for index in range(count)]

    def repeated(
        self, start_s: float, peak_s: float, leave_s: float, end_s: float
    ) -> Float[np.ndarray, "t"]:
        """The pulse of an action that takes `CYCLE_S`, as often as the clip has room for it."""
        pulses = [
            pulse(self.time, at + start_s, at + peak_s, at + leave_s, at + end_s)
            for at in self.repeats(CYCLE_S)
        ]
        return np.sum(pulses, axis=0)

    def place(self, side: str, x: float, z: float, yaw: float) -> tuple[float, float]:
        """Where a foot stands when the body stands at (x, z) with heading `yaw`."""
        sin, cos = np.sin(yaw), np.cos(yaw)
        foot_x, foot_z = self.base[side]
        return float(x + cos * foot_x + sin * foot_z), float(z - sin * foot_x + cos * foot_z)

    def walk(self, steps: Sequence[Step]) -> None:
        """Play footsteps, in order of time; each foot stays planted between its own."""
        for step in steps:
            self._step(step)

    def _step(self, step: Step) -> None:
        foot, length = self.controls.feet[step.side], step.end_s - step.start_s
        progress = np.clip((self.time - step.start_s) / length, 0.0, 1.0)
        moved, swinging = ease(progress), (progress > 0) & (progress < 1)
        foot.position += moved[:, None] * (np.array(step.to) - foot.position)
        foot.yaw += moved * (step.yaw + SIGN[step.side] * self.style.toe_out - foot.yaw)
        foot.lift += step.lift * np.sin(np.pi * progress) ** 2
        lead = min(0.45 * length, step.start_s)  # the first frame stands on both feet
        before = ease((self.time - step.start_s + lead) / lead)
        heel_up = step.heel_up * lead / (0.45 * length) * before * (1 - ease(progress / 0.55))
        toes_up = step.toes_up * ease((progress - 0.45) / 0.5)
        landed = ease((self.time - step.end_s) / max(0.3 * length, 2 * self.frame_s))
        foot.pitch += heel_up - toes_up * (1 - landed)
        foot.planted &= ~swinging

    def follow_feet(self, sigma_s: float = 0.12, sway: float = 0.03) -> None:
        """Carry the pelvis over both feet, leaning over the one that stands."""
        controls, centers = self.controls, []
        for side in SIDES:
            foot = controls.feet[side]
            yaw = foot.yaw - SIGN[side] * self.style.toe_out
            base_x, base_z = self.base[side]
            turned = [
                np.cos(yaw) * base_x + np.sin(yaw) * base_z,
                -np.sin(yaw) * base_x + np.cos(yaw) * base_z,
            ]
            centers.append(np.concatenate([foot.position - np.stack(turned, -1), yaw[:, None]], -1))
        sigma = max(sigma_s / self.frame_s, 0.5)
        middle = smooth(0.5 * (centers[0] + centers[1]), sigma)
        middle -= middle[0]
        standing = {side: controls.feet[side].planted.astype(float) for side in SIDES}
        shift = smooth(sway * (standing["left"] - standing["right"]), sigma)
        shift -= shift[0]
        controls.hips[:, 0] += middle[:, 2]
        controls.pelvis[:, 0] += middle[:, 0] + np.cos(controls.hips[:, 0]) * shift
        controls.pelvis[:, 2] += middle[:, 1] - np.sin(controls.hips[:, 0]) * shift

    def rise_on_toes(self, pitch: Float[np.ndarray, "t"]) -> None:
        """Lift both heels by an angle in radians, and the pelvis as far as the ankles rise."""
        ankle, ball = (self.figure.joints[joint(f"left_{name}")] for name in ("ankle", "foot"))
        arm = ankle - ball
        self.controls.pelvis[:, 1] += arm[1] * (np.cos(pitch) - 1) - arm[2] * np.sin(pitch)
        self.controls.pelvis[:, 2] += 0.6 * (arm[2] * (np.cos(pitch) - 1) + arm[1] * np.sin(pitch))
        for side in SIDES:
            self.controls.feet[side].pitch += pitch

    def shift_weight(self, side: str, weight: Float[np.ndarray, "t"], share: float = 0.8) -> None:
        """Move the pelvis over one foot by `weight` in [0, 1]."""
        self.controls.pelvis[:, 0] += share * self.base[side][0] * weight

    def arm_to(
        self,
        side: str,
        weight: Float[np.ndarray, "t"],
        *,
        forward: float,
        out: float,
        elbow: float,
        twist: float = 0.0,
    ) -> None:
        """Blend an arm from where it is to a pose in degrees by `weight` in [0, 1]."""
        arm = self.controls.arms[side]
        for current, target in (
            (arm.forward, forward), (arm.out, out), (arm.elbow, elbow), (arm.twist, twist),
        ):  # fmt: skip
            current += weight * (np.radians(target) - current)
