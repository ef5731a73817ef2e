"""Actions of the arms and the torso; the feet stay where they are."""

import numpy as np

from motion.data.procedural.curves import cycles, pulse, ramp
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import Stage
from motion.skeleton import joint


def wave(stage: Stage) -> None:
    """Raise one or both hands and swing the forearm."""
    time, style = stage.time, stage.style
    raised = ramp(time, 0.05, 0.5)
    high = style.variant > 0.5
    for side in SIDES if stage.action.side == "both" else ("right",):
        stage.arm_to(
            side, raised, forward=85.0, out=105.0 if high else 82.0, elbow=55.0 if high else 80.0
        )
        swing = np.sin(2 * np.pi * (time - 0.45) / 0.55) * ramp(time, 0.4, 0.6)
        stage.controls.arms[side].elbow += np.radians(30) * style.amplitude * swing
    if stage.action.side != "both":
        stage.controls.spine[:, 2] -= 0.05 * raised
        stage.shift_weight("left", raised, 0.25)


def punch(stage: Stage) -> None:
    """Take guard, then strike straight ahead with one fist or with both in turn."""
    time, controls = stage.time, stage.controls
    guard = ramp(time, 0.02, 0.35)
    for side in SIDES:
        stage.arm_to(side, guard, forward=38.0, out=14.0, elbow=122.0, twist=-18.0)
    controls.pelvis[:, 1] -= 0.04 * guard
    controls.spine[:, 1] += 0.12 * guard
    sides = ("right", "left") if stage.action.side == "both" else ("right",)
    cycle = 0.6 if len(sides) == 2 else 0.75
    count = max(2, int((stage.duration - 0.35) / cycle + 0.3))
    for index in range(count):
        side, start = sides[index % len(sides)], 0.35 + cycle * index
        hit = pulse(time, start, start + 0.24, start + 0.32, start + 0.6)
        # The turned torso carries the arm across; going outward by as much keeps it straight.
        stage.arm_to(side, hit, forward=88.0, out=30.0, elbow=8.0, twist=0.0)
        turn = -SIGN[side] * hit * stage.style.amplitude
        controls.spine[:, 0] += 0.45 * turn
        controls.hips[:, 0] += 0.18 * turn
        controls.head[:, 0] -= 0.5 * turn
        controls.pelvis[:, 2] += 0.05 * hit


def raise_arms(stage: Stage) -> None:
    """Lift both arms overhead, past the front or past the sides, and lower them."""
    up = stage.repeated(0.0, 0.62, 0.8, 1.36)
    over = 168 * min(stage.style.amplitude, 1.03)
    for side in SIDES:
        if stage.action.direction == "front":
            stage.arm_to(side, up, forward=over, out=8.0, elbow=8.0, twist=0.0)
        else:
            stage.arm_to(side, up, forward=0.0, out=over, elbow=8.0, twist=0.0)
    stage.controls.spine[:, 1] -= 0.08 * up
    stage.controls.head[:, 1] -= 0.1 * up


def clap(stage: Stage) -> None:
    """Bring the hands in front of the chest and clap."""
    time, joints = stage.time, stage.figure.joints
    forward, out, elbow = 38.0, 12.0, 82.0
    shoulder, bend, wrist = (joints[joint(f"left_{n}")] for n in ("shoulder", "elbow", "wrist"))
    upper, fore = np.linalg.norm(bend - shoulder), np.linalg.norm(wrist - bend)
    lateral = shoulder[0] + (upper + fore * np.cos(np.radians(elbow))) * np.sin(np.radians(out))
    reach = fore * np.sin(np.radians(elbow)) * np.cos(np.radians(out))
    inward = np.arcsin(np.clip((lateral - 0.075) / reach, 0.0, 0.98))
    ready = ramp(time, 0.05, 0.4)
    closed = cycles(time, 0.32, 0.5)
    for side in SIDES:
        stage.arm_to(side, ready, forward=forward, out=out, elbow=elbow, twist=0.0)
        arm = stage.controls.arms[side]
        arm.twist -= ready * (0.25 * inward + 0.75 * inward * closed)
        arm.wrist += ready * (0.3 * inward + 0.7 * inward * closed)
    stage.controls.spine[:, 1] += 0.05 * ready


def bow(stage: Stage) -> None:
    """Bend forward from the hips with hanging arms and come up again."""
    controls = stage.controls
    down = stage.repeated(0.0, 0.55, 0.78, 1.36) * stage.style.amplitude
    controls.hips[:, 1] += np.radians(32) * down
    controls.spine[:, 1] += np.radians(38) * down
    controls.head[:, 1] += np.radians(14) * down
    controls.pelvis[:, 2] -= 0.10 * down
    for side in SIDES:
        controls.arms[side].forward += np.radians(52) * down


def side_bend(stage: Stage) -> None:
    """Bend the upper body to one side, the other arm overhead."""
    bent = stage.repeated(0.1, 0.64, 0.82, 1.34)
    lifted = stage.repeated(0.0, 0.58, 0.86, 1.38)
    controls = stage.controls
    controls.spine[:, 2] += np.radians(34) * stage.style.amplitude * bent
    controls.hips[:, 2] += np.radians(7) * bent
    controls.head[:, 2] += np.radians(8) * bent
    controls.pelvis[:, 0] += 0.06 * bent
    stage.arm_to("left", lifted, forward=0.0, out=155.0, elbow=25.0)
    controls.arms["right"].out += np.radians(8) * bent
