"""Ways of getting about: runs, curves, marching, hops, sneaking, carrying."""

from typing import Final

import numpy as np

from motion.data.procedural.curves import cycles, pulse, ramp, smooth
from motion.data.procedural.lower import OTHER, swing_arms
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import Stage, Step

RUN_M: Final = 2.4
"""Longest way of a run, in metres."""


def run(stage: Stage) -> None:
    """Run forward from standing, both feet off the floor between steps."""
    time, controls = stage.time, stage.controls
    step_s, side, place, start = 0.3, stage.style.first_foot, 0.0, 0.12
    # However long the clip, the way is short enough for a static camera to show the person large.
    length = min(0.42, RUN_M / max(1.0, (stage.duration - start) / step_s))
    steps: list[Step] = []
    rise = np.zeros_like(time)
    while start < stage.duration:
        place += length * stage.style.amplitude * (0.5 if not steps else 1.0)
        at = stage.place(side, 0.0, place, 0.0)
        air = 1.0 if not steps else 1.25
        steps.append(Step(side, start, start + air * step_s, at, 0.0, 0.2, 0.9, 0.1))
        rise += cycles(time, start + 0.85 * step_s, 0.55 * step_s, 1.0)
        side, start = OTHER[side], start + step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.14, sway=0.015)
    running = ramp(time, 0.0, 0.4)
    controls.pelvis[:, 1] += running * (0.045 * smooth(rise, 0.6) - 0.07)
    controls.pelvis[:, 2] += 0.05 * running
    controls.spine[:, 1] += 0.16 * running
    controls.hips[:, 1] += 0.06 * running
    for arm_side in SIDES:
        stage.arm_to(arm_side, running, forward=8.0, out=14.0, elbow=82.0, twist=-12.0)
    swing_arms(stage, 42.0)


def walk_curve(stage: Stage) -> None:
    """Walk along an arc that bends to the right."""
    step_s, side, start = 0.5, stage.style.first_foot, 0.1
    length, turn = 0.34 * stage.style.amplitude, np.radians(27)
    x, z, yaw = 0.0, 0.0, 0.0
    steps: list[Step] = []
    while start < stage.duration:
        share = 0.6 if not steps else 1.0
        yaw -= turn * share
        x, z = x + share * length * np.sin(yaw), z + share * length * np.cos(yaw)
        at = stage.place(side, x, z, yaw)
        steps.append(Step(side, start, start + 0.92 * step_s, at, yaw, 0.075, 0.45, 0.2))
        side, start = OTHER[side], start + step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.16)
    leading = ramp(stage.time, 0.0, 0.5)
    stage.controls.head[:, 0] -= 0.3 * leading
    stage.controls.spine[:, 0] -= 0.12 * leading
    stage.controls.spine[:, 2] += 0.05 * leading
    swing_arms(stage, 28.0)


def march(stage: Stage) -> None:
    """March on the spot: thighs level, straight arms."""
    time, step_s, controls = stage.time, 0.46, stage.controls
    side, start, leg = stage.style.first_foot, 0.06, stage.figure.leg
    lead = np.zeros_like(time)
    while start < stage.duration:
        foot, up = controls.feet[side], cycles(time, start, 0.94 * step_s, 1.0)
        foot.lift += 0.42 * leg * stage.style.amplitude * up
        foot.position[:, 1] += 0.24 * leg * up
        foot.pitch += 0.25 * up
        foot.planted &= up == 0
        lead += SIGN[side] * up
        side, start = OTHER[side], start + step_s
    for arm_side in SIDES:
        controls.arms[arm_side].forward -= SIGN[arm_side] * np.radians(58) * smooth(lead, 0.8)
        controls.arms[arm_side].elbow *= 0.4
    controls.pelvis[:, 0] -= 0.035 * smooth(lead, 1.5)
    controls.spine[:, 1] -= 0.04 * ramp(time, 0.0, 0.3)


def hop(stage: Stage) -> None:
    """Hop on the right leg, the left one bent behind."""
    time, controls, leg = stage.time, stage.controls, stage.figure.leg
    bent = ramp(time, 0.05, 0.4)
    other = controls.feet["left"]
    other.lift += 0.36 * leg * bent
    other.position[:, 1] -= 0.36 * leg * bent
    other.pitch += 0.9 * bent
    other.planted &= bent == 0
    stage.shift_weight("right", bent, 0.85)
    controls.pelvis[:, 1] -= 0.03 * bent
    start = 0.48
    while start < stage.duration - 0.15:
        flight = np.clip((time - start) / 0.3, 0.0, 1.0)
        rise = 4 * 0.13 * stage.style.amplitude * flight * (1 - flight)
        push = pulse(time, start - 0.16, start - 0.05, start - 0.04, start + 0.06)
        push = push + pulse(time, start + 0.26, start + 0.34, start + 0.36, start + 0.46)
        controls.pelvis[:, 1] += rise - 0.06 * push
        foot = controls.feet["right"]
        foot.lift += rise
        foot.pitch += 0.4 * np.sin(np.pi * flight)
        foot.planted &= ~((flight > 0) & (flight < 1))
        other.lift += rise
        for side in SIDES:
            controls.arms[side].out += np.radians(14) * (rise / 0.13)
        start += 0.52
    for side in SIDES:
        stage.arm_to(side, 0.7 * bent, forward=25.0, out=45.0, elbow=45.0, twist=-20.0)


def sneak(stage: Stage) -> None:
    """Creep forward, crouched, with high careful steps and the hands before the chest."""
    length, step_s = 0.3 * stage.style.amplitude, 0.56
    side, place, start = stage.style.first_foot, 0.0, 0.16
    steps: list[Step] = []
    while start < stage.duration:
        place += length * (0.5 if not steps else 1.0)
        at = stage.place(side, 0.0, place, 0.0)
        steps.append(Step(side, start, start + 0.9 * step_s, at, 0.0, 0.22, 0.4, 0.0))
        side, start = OTHER[side], start + step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.16)
    crouched, controls = ramp(stage.time, 0.0, 0.45), stage.controls
    controls.pelvis[:, 1] -= 0.24 * stage.figure.leg * crouched
    controls.pelvis[:, 2] -= 0.06 * crouched
    controls.hips[:, 1] += np.radians(20) * crouched
    controls.spine[:, 1] += np.radians(30) * crouched
    controls.head[:, 1] -= np.radians(32) * crouched
    for arm_side in SIDES:
        stage.arm_to(arm_side, crouched, forward=42.0, out=14.0, elbow=112.0, twist=-5.0)


def carry(stage: Stage) -> None:
    """Walk forward with both forearms held out as under a heavy box."""
    step_s, side, place, start = 0.52, stage.style.first_foot, 0.0, 0.3
    steps: list[Step] = []
    while start < stage.duration:
        place += 0.25 * stage.style.amplitude * (0.5 if not steps else 1.0)
        at = stage.place(side, 0.0, place, 0.0)
        steps.append(Step(side, start, start + 0.92 * step_s, at, 0.0, 0.06, 0.3, 0.15))
        side, start = OTHER[side], start + step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.16, sway=0.045)
    loaded, controls = ramp(stage.time, 0.0, 0.4), stage.controls
    controls.spine[:, 1] -= 0.14 * loaded
    controls.pelvis[:, 1] -= 0.03 * loaded
    controls.pelvis[:, 2] += 0.03 * loaded
    for arm_side in SIDES:
        stage.arm_to(arm_side, loaded, forward=24.0, out=8.0, elbow=76.0, twist=-9.0)
