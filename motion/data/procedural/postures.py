"""Actions of the whole body that end in a posture: sitting, stretching, balancing, ducking."""

import numpy as np

from motion.data.procedural.curves import pulse, ramp
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import CYCLE_S, Stage


def sit(stage: Stage) -> None:
    """Sit down as on a chair, hands on the thighs, and stay seated."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    down = ramp(time, 0.1, 1.05)
    lean = pulse(time, 0.05, 0.55, 0.62, 1.25)
    controls.pelvis[:, 1] -= 0.48 * leg * down
    controls.pelvis[:, 2] -= 0.46 * leg * down
    controls.hips[:, 1] += np.radians(30) * lean - np.radians(4) * down
    controls.spine[:, 1] += np.radians(26) * lean
    controls.head[:, 1] -= np.radians(14) * lean
    for side in SIDES:
        stage.arm_to(side, down, forward=26.0, out=12.0, elbow=50.0, twist=-18.0)


def stretch(stage: Stage) -> None:
    """Touch the toes with straight legs, or stretch up on tiptoe with both arms."""
    controls, down = stage.controls, stage.repeated(0.0, 0.62, 0.82, 1.38)
    if stage.action.direction == "toes":
        down = down * min(stage.style.amplitude, 1.0)
        controls.hips[:, 1] += np.radians(66) * down
        controls.spine[:, 1] += np.radians(62) * down
        controls.head[:, 1] += np.radians(12) * down
        controls.pelvis[:, 2] -= 0.2 * down
        for side in SIDES:
            stage.arm_to(side, down, forward=118.0, out=6.0, elbow=4.0, twist=0.0)
        return
    for side in SIDES:
        stage.arm_to(side, down, forward=176.0, out=-5.0, elbow=6.0, twist=0.0)
    controls.spine[:, 1] -= np.radians(16) * down
    controls.head[:, 1] -= np.radians(24) * down
    stage.rise_on_toes(0.6 * down)


def balance(stage: Stage) -> None:
    """Stand on the right leg with the arms spread: left knee up, or left leg far behind."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    plane = stage.action.direction == "plane"
    held = ramp(time, 0.12, 1.0 if plane else 0.75)
    foot = controls.feet["left"]
    foot.planted &= held == 0
    stage.shift_weight("right", ramp(time, 0.0, 0.4), 0.95)
    wobble = 0.03 * np.sin(2 * np.pi * time / 0.8) * held
    controls.spine[:, 2] += wobble
    for side in SIDES:
        stage.arm_to(side, ramp(time, 0.0, 0.6), forward=0.0, out=86.0, elbow=8.0, twist=0.0)
        controls.arms[side].out += SIGN[side] * 2.5 * wobble
    if plane:
        tilt = np.radians(62) * held
        controls.hips[:, 1] += tilt
        controls.spine[:, 1] += np.radians(8) * held
        controls.head[:, 1] -= np.radians(40) * held
        controls.pelvis[:, 2] -= 0.02 * held
        foot.lift += 0.72 * leg * held
        foot.position[:, 1] -= 0.86 * leg * held
        foot.pitch += 1.3 * held
        return
    foot.lift += 0.44 * leg * held
    foot.position[:, 1] += 0.34 * leg * held
    foot.pitch += 0.35 * held


def pick_up(stage: Stage) -> None:
    """Crouch, take something from the floor with the right hand, and stand up with it."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    down = pulse(time, 0.0, 0.62, 0.8, 1.4) * min(stage.style.amplitude, 1.02)
    lifted = ramp(time, 0.84, 1.4)
    controls.pelvis[:, 1] -= 0.48 * leg * down
    controls.pelvis[:, 2] -= 0.14 * down
    controls.hips[:, 1] += np.radians(30) * down
    controls.spine[:, 1] += np.radians(40) * down
    controls.spine[:, 0] += np.radians(12) * down
    controls.head[:, 1] -= np.radians(6) * down
    for side in SIDES:
        controls.feet[side].pitch += 0.4 * down
    stage.arm_to("right", down, forward=72.0, out=2.0, elbow=6.0, twist=0.0)
    stage.arm_to("right", lifted, forward=30.0, out=10.0, elbow=96.0, twist=-12.0)
    stage.arm_to("left", down, forward=54.0, out=12.0, elbow=72.0, twist=-20.0)
    controls.head[:, 1] += np.radians(16) * lifted


def side_kick(stage: Stage) -> None:
    """Kick out to the right, leaning away from it."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    foot = controls.feet["right"]
    for start in stage.repeats(CYCLE_S):
        t0 = start - 0.05
        chamber = pulse(time, t0 + 0.12, t0 + 0.4, t0 + 0.42, t0 + 0.66)
        shot = pulse(time, t0 + 0.42, t0 + 0.68, t0 + 0.8, t0 + 1.14)
        fold = pulse(time, t0 + 0.86, t0 + 1.02, t0 + 1.06, t0 + 1.26)
        away = pulse(time, t0, t0 + 0.32, t0 + 1.05, t0 + 1.36)
        foot.position[:, 0] -= leg * (0.86 * shot + 0.1 * chamber)
        foot.position[:, 1] += leg * 0.22 * (chamber + 0.5 * fold)
        foot.lift += leg * (0.62 * shot * stage.style.amplitude + 0.42 * chamber + 0.2 * fold)
        foot.pitch += 0.3 * chamber - 0.25 * shot
        foot.roll -= 1.15 * shot + 0.3 * chamber
        foot.planted &= ~((time > t0 + 0.1) & (time < t0 + 1.27))
        stage.shift_weight("left", away, 0.95)
        controls.hips[:, 2] += np.radians(24) * shot
        controls.spine[:, 2] -= np.radians(-22) * shot
        controls.head[:, 2] -= np.radians(20) * shot
        controls.head[:, 0] -= np.radians(40) * away
        controls.pelvis[:, 0] += 0.05 * shot
        for side in SIDES:
            stage.arm_to(side, away, forward=36.0, out=16.0, elbow=108.0, twist=-15.0)


def duck(stage: Stage) -> None:
    """Drop into a low crouch and cover the head with both arms."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    down = pulse(time, 0.14, 0.5, 1.2, 1.75)
    controls.pelvis[:, 1] -= 0.46 * leg * stage.style.amplitude * down
    controls.pelvis[:, 2] -= 0.12 * down
    controls.hips[:, 1] += np.radians(36) * down
    controls.spine[:, 1] += np.radians(40) * down
    controls.head[:, 1] += np.radians(34) * down
    for side in SIDES:
        stage.arm_to(side, down, forward=128.0, out=28.0, elbow=128.0, twist=-10.0)
        controls.feet[side].pitch += 0.3 * down
