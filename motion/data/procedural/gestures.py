"""Actions told by the arms, with the torso and sometimes a step behind them."""

import numpy as np

from motion.data.procedural.curves import cycles, pulse, ramp
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import Stage, Step


def throw(stage: Stage) -> None:
    """Step forward with the left foot and throw overarm with the right hand."""
    time, controls = stage.time, stage.controls
    ahead = stage.place("left", 0.0, 0.34, 0.0)
    stage.walk([Step("left", 0.3, 0.72, ahead, 0.0, 0.12, 0.3, 0.15)])
    wind = ramp(time, 0.04, 0.55)
    release = ramp(time, 0.64, 0.98)
    follow = ramp(time, 0.9, 1.25)
    stage.arm_to("right", wind, forward=-12.0, out=88.0, elbow=100.0, twist=78.0)
    stage.arm_to("right", release, forward=100.0, out=24.0, elbow=12.0, twist=10.0)
    stage.arm_to("right", follow, forward=28.0, out=-14.0, elbow=25.0, twist=-10.0)
    stage.arm_to("left", wind, forward=82.0, out=18.0, elbow=14.0, twist=0.0)
    stage.arm_to("left", release, forward=-18.0, out=28.0, elbow=45.0, twist=-20.0)
    turn = stage.style.amplitude * (release * 1.75 - wind)
    controls.spine[:, 0] += 0.55 * turn
    controls.hips[:, 0] += 0.32 * turn
    controls.head[:, 0] -= 0.7 * turn
    controls.spine[:, 1] += 0.42 * release - 0.14 * wind * (1 - release)
    controls.pelvis[:, 2] += 0.2 * ramp(time, 0.42, 0.95) - 0.06 * wind
    controls.pelvis[:, 1] -= 0.05 * release
    controls.feet["right"].pitch += 0.55 * ramp(time, 0.62, 1.0)


def push(stage: Stage) -> None:
    """Step forward with the right foot and push with both hands."""
    time, controls = stage.time, stage.controls
    ahead, home = stage.place("right", 0.0, 0.36, 0.0), stage.place("right", 0.0, 0.0, 0.0)
    ready = ramp(time, 0.0, 0.34)
    pushed = pulse(time, 0.42, 0.78, 1.05, 1.42)
    stage.walk([Step("right", 0.3, 0.66, ahead, 0.0, 0.08, 0.2, 0.1)])
    stage.walk([Step("right", 1.08, 1.44, home, 0.0, 0.08, 0.2, 0.0)])
    for side in SIDES:
        stage.arm_to(side, ready, forward=18.0, out=16.0, elbow=128.0, twist=-5.0)
        stage.arm_to(side, pushed, forward=86.0, out=8.0, elbow=10.0, twist=0.0)
        controls.arms[side].wrist += np.radians(58) * ready
    controls.pelvis[:, 2] += 0.24 * pushed
    controls.pelvis[:, 1] -= 0.07 * pushed
    controls.spine[:, 1] += 0.24 * pushed - 0.08 * ready
    controls.feet["left"].pitch += 0.35 * pushed


def point(stage: Stage) -> None:
    """Stretch the right arm out to the front or to the side and look along it."""
    time, controls = stage.time, stage.controls
    out = stage.action.direction == "side"
    held = (
        pulse(time, 0.06, 0.55, 1.25, 1.6) if stage.style.variant > 0.5 else ramp(time, 0.06, 0.6)
    )
    if out:
        stage.arm_to("right", held, forward=0.0, out=88.0, elbow=4.0, twist=0.0)
        controls.head[:, 0] -= np.radians(52) * held
        controls.spine[:, 0] -= np.radians(10) * held
    else:
        stage.arm_to("right", held, forward=88.0, out=6.0, elbow=4.0, twist=0.0)
        controls.spine[:, 0] += np.radians(12) * held
        controls.spine[:, 1] += np.radians(5) * held


def reach(stage: Stage) -> None:
    """Reach up on tiptoe, or far to the front, with the right hand."""
    time, controls, up = stage.time, stage.controls, stage.repeated(0.0, 0.62, 0.86, 1.38)
    if stage.action.direction == "up":
        stage.arm_to("right", up, forward=172.0, out=4.0, elbow=4.0, twist=0.0)
        controls.spine[:, 2] -= np.radians(12) * up
        controls.head[:, 1] -= np.radians(28) * up
        tiptoe = ramp(time, 0.3, 0.62) * up
        stage.rise_on_toes(0.5 * tiptoe)
    else:
        stage.arm_to("right", up, forward=112.0, out=30.0, elbow=4.0, twist=0.0)
        controls.hips[:, 1] += np.radians(20) * up
        controls.spine[:, 1] += np.radians(20) * up
        controls.spine[:, 0] += np.radians(32) * up
        controls.pelvis[:, 2] -= 0.05 * up
        controls.arms["left"].forward -= np.radians(28) * up
        controls.head[:, 1] -= np.radians(24) * up


def arm_circles(stage: Stage) -> None:
    """Swing both straight arms in full circles beside the body."""
    time, controls = stage.time, stage.controls
    sign = -1.0 if stage.action.direction == "backward" else 1.0
    count = max(1, int((stage.duration - 0.1) / 0.92 + 0.15))
    phase = np.clip((time - 0.08) / 0.92, 0.0, count)
    # The first and last quarter turn take up speed and give it back.
    eased = phase - np.sin(2 * np.pi * phase / count) * count / (2 * np.pi) * 0.5
    angle = -2 * np.pi * sign * eased
    moving = ramp(time, 0.0, 0.3) * (1 - ramp(time, 0.08 + 0.92 * count - 0.1, 0.3 + 0.92 * count))
    for side in SIDES:
        arm = controls.arms[side]
        arm.forward += angle
        arm.elbow += moving * (np.radians(5) - arm.elbow)
        behind = np.clip(-np.sin(arm.forward), 0.0, 1.0)
        arm.out += moving * np.radians(10) + np.radians(42) * behind * moving
    controls.spine[:, 1] -= 0.05 * moving


def torso_twist(stage: Stage) -> None:
    """Twist the upper body from side to side, elbows up at shoulder height."""
    time, controls = stage.time, stage.controls
    ready = ramp(time, 0.0, 0.36)
    first = SIGN[stage.style.first_foot]
    swing = first * np.sin(2 * np.pi * (time - 0.2) / 1.0) * ramp(time, 0.2, 0.42)
    for side in SIDES:
        stage.arm_to(side, ready, forward=10.0, out=84.0, elbow=118.0, twist=4.0)
    controls.spine[:, 0] += np.radians(52) * stage.style.amplitude * swing
    controls.hips[:, 0] += np.radians(9) * swing
    controls.head[:, 0] += np.radians(8) * swing


def drink(stage: Stage) -> None:
    """Bring the right hand to the mouth, tip the head back, and lower it again."""
    time, controls = stage.time, stage.controls
    up = pulse(time, 0.04, 0.56, 1.16, 1.6)
    tipped = pulse(time, 0.5, 0.8, 1.02, 1.28)
    stage.arm_to("right", up, forward=58.0, out=22.0, elbow=136.0, twist=-42.0)
    controls.arms["right"].forward += np.radians(12) * tipped
    controls.arms["right"].out += np.radians(10) * tipped
    controls.head[:, 1] -= np.radians(26) * tipped
    controls.spine[:, 1] -= np.radians(6) * tipped


def bat_swing(stage: Stage) -> None:
    """Swing a bat with both hands from the right shoulder across to the left."""
    time, controls = stage.time, stage.controls
    wind = ramp(time, 0.02, 0.5)
    swung = ramp(time, 0.66, 0.98)
    over = ramp(time, 0.96, 1.3)
    stage.arm_to("right", wind, forward=60.0, out=22.0, elbow=108.0, twist=10.0)
    stage.arm_to("left", wind, forward=74.0, out=-30.0, elbow=70.0, twist=-20.0)
    stage.arm_to("right", swung, forward=78.0, out=-14.0, elbow=14.0, twist=0.0)
    stage.arm_to("left", swung, forward=76.0, out=14.0, elbow=14.0, twist=0.0)
    stage.arm_to("right", over, forward=84.0, out=-28.0, elbow=66.0, twist=-16.0)
    stage.arm_to("left", over, forward=74.0, out=28.0, elbow=100.0, twist=8.0)
    turn = stage.style.amplitude * (1.9 * swung - wind + 0.3 * over)
    controls.spine[:, 0] += 0.62 * turn
    controls.hips[:, 0] += 0.4 * turn
    controls.head[:, 0] -= 0.55 * turn
    controls.spine[:, 1] += 0.12 * wind
    controls.pelvis[:, 1] -= 0.06 * wind
    stage.shift_weight("right", wind * (1 - swung), 0.6)
    stage.shift_weight("left", swung, 0.5)
    controls.feet["right"].pitch += 0.6 * ramp(time, 0.7, 1.0)


def cheer(stage: Stage) -> None:
    """Throw both fists up and pump them while hopping."""
    time, controls = stage.time, stage.controls
    up = ramp(time, 0.04, 0.4)
    for side in SIDES:
        stage.arm_to(side, up, forward=28.0, out=142.0, elbow=48.0, twist=0.0)
    start = 0.42
    while start < stage.duration - 0.1:
        flight = np.clip((time - start) / 0.3, 0.0, 1.0)
        rise = 4 * 0.09 * stage.style.amplitude * flight * (1 - flight)
        crouch = pulse(time, start - 0.2, start - 0.06, start - 0.04, start + 0.08)
        crouch = crouch + pulse(time, start + 0.26, start + 0.36, start + 0.38, start + 0.5)
        controls.pelvis[:, 1] += rise - 0.07 * crouch
        pump = cycles(time, start - 0.06, 0.42, 1.0)
        for side in SIDES:
            foot, arm = controls.feet[side], controls.arms[side]
            foot.lift += rise
            foot.pitch += 0.4 * np.sin(np.pi * flight)
            foot.planted &= ~((flight > 0) & (flight < 1))
            arm.elbow -= np.radians(38) * pump
            arm.out += np.radians(14) * pump
        start += 0.6
    controls.head[:, 1] -= np.radians(14) * up
