"""Dances: three ways of moving to a beat."""

import numpy as np
from jaxtyping import Float

from motion.data.procedural.curves import ramp
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import CYCLE_S, Stage, Step


def dance(stage: Stage) -> None:
    """Dance: step from side to side, twist with bent knees, or point disco style."""
    {"sway": _sway, "twist": _twist, "disco": _disco}[stage.action.direction](stage)


def _beat(stage: Stage, period_s: float) -> Float[np.ndarray, "t"]:
    """A swing between -1 and 1 that starts from rest, once to each side a period."""
    first = SIGN[stage.style.first_foot]
    return first * np.sin(2 * np.pi * (stage.time - 0.1) / period_s) * ramp(stage.time, 0.1, 0.4)


def _sway(stage: Stage) -> None:
    controls, beat = stage.controls, _beat(stage, 0.96)
    side, start = stage.style.first_foot, 0.1
    while start < stage.duration:
        other = "left" if side == "right" else "right"
        wide = stage.place(side, SIGN[side] * 0.16, 0.0, 0.0)
        close = stage.place(side, 0.0, 0.0, 0.0)
        stage.walk([Step(side, start, start + 0.23, wide, 0.0, 0.07, 0.3, 0.0)])
        stage.walk([Step(side, start + 0.25, start + 0.47, close, 0.0, 0.07, 0.3, 0.0)])
        side, start = other, start + 0.48
    for arm_side in SIDES:
        stage.arm_to(
            arm_side, ramp(stage.time, 0.0, 0.35), forward=32.0, out=32.0, elbow=88.0, twist=-10.0
        )
        controls.arms[arm_side].out += SIGN[arm_side] * np.radians(26) * beat
    controls.pelvis[:, 0] += 0.07 * beat
    controls.pelvis[:, 1] -= 0.05 * ramp(stage.time, 0.0, 0.3) * (1.3 - np.abs(beat))
    controls.spine[:, 2] -= np.radians(15) * beat
    controls.hips[:, 2] += np.radians(7) * beat
    controls.head[:, 2] += np.radians(9) * beat


def _twist(stage: Stage) -> None:
    controls, beat = stage.controls, _beat(stage, 0.62)
    low = ramp(stage.time, 0.0, 0.35)
    controls.pelvis[:, 1] -= 0.12 * low + 0.03 * low * np.sin(2 * np.pi * stage.time / CYCLE_S)
    controls.hips[:, 0] += np.radians(32) * beat
    controls.spine[:, 0] -= np.radians(54) * beat
    controls.head[:, 0] += np.radians(18) * beat
    controls.spine[:, 1] += 0.12 * low
    for side in SIDES:
        stage.arm_to(side, low, forward=28.0, out=24.0, elbow=92.0, twist=-8.0)
        controls.arms[side].forward -= SIGN[side] * np.radians(30) * beat
        foot = controls.feet[side]
        foot.pitch += 0.3 * low


def _disco(stage: Stage) -> None:
    time, controls = stage.time, stage.controls
    high = 0.5 - 0.5 * np.cos(2 * np.pi * np.clip(time - 0.08, 0.0, None) / 0.92)
    ready = ramp(time, 0.0, 0.4)
    stage.arm_to("right", ready, forward=52.0, out=-24.0, elbow=14.0, twist=0.0)
    stage.arm_to("right", ready * high, forward=30.0, out=136.0, elbow=6.0, twist=0.0)
    stage.arm_to("left", ready, forward=-6.0, out=48.0, elbow=98.0, twist=-58.0)
    side = (2 * high - 1) * ready
    controls.pelvis[:, 0] -= 0.06 * side
    controls.pelvis[:, 1] -= 0.05 * ready * (1 - 0.5 * np.abs(side))
    controls.hips[:, 2] += np.radians(9) * side
    controls.spine[:, 2] -= np.radians(12) * side
    controls.spine[:, 0] -= np.radians(14) * side
    controls.head[:, 0] -= np.radians(16) * side
    controls.feet["left"].pitch += 0.35 * np.clip(side, 0.0, None)
    controls.feet["right"].pitch += 0.35 * np.clip(-side, 0.0, None)
