"""Actions of the whole body: steps, kicks, jumps."""

import numpy as np

from motion.data.procedural.curves import cycles, keyed, pulse, ramp, smooth
from motion.data.procedural.rig import SIDES, SIGN
from motion.data.procedural.stage import CYCLE_S, Stage, Step

OTHER = {"left": "right", "right": "left"}


def swing_arms(stage: Stage, degrees: float, sigma_s: float = 0.08) -> None:
    """Swing each arm with the opposite leg."""
    feet, sigma = stage.controls.feet, sigma_s / stage.frame_s
    yaw = stage.controls.hips[:, 0]
    ahead = np.stack([np.sin(yaw), np.cos(yaw)], -1)
    lead = np.sum((feet["left"].position - feet["right"].position) * ahead, -1)
    lead = smooth(lead - lead[0], sigma) / max(np.abs(lead).max(), 1e-6)
    for side in SIDES:
        stage.controls.arms[side].forward -= SIGN[side] * np.radians(degrees) * lead
        stage.controls.arms[side].elbow += np.radians(0.35 * degrees) * np.abs(lead)
    stage.controls.spine[:, 0] += 0.12 * lead


def walk(stage: Stage) -> None:
    """Walk forward or backward from standing."""
    backward = stage.action.direction == "backward"
    length = (-0.26 if backward else 0.31) * stage.style.amplitude
    step_s, side, place, start = 0.5, stage.style.first_foot, 0.0, 0.1
    steps: list[Step] = []
    while start < stage.duration:
        place += length * (0.5 if not steps else 1.0)
        at = stage.place(side, 0.0, place, 0.0)
        toes = (0.0, 0.3) if backward else (0.5, 0.22)
        steps.append(Step(side, start, start + 0.92 * step_s, at, 0.0, 0.075, *toes))
        side, start = OTHER[side], start + step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.16)
    stage.controls.spine[:, 1] += (0.0 if backward else 0.04) * ramp(stage.time, 0.0, 0.4)
    swing_arms(stage, 20.0 if backward else 30.0)


def jog(stage: Stage) -> None:
    """Run in place, heels up behind."""
    time, step_s, controls = stage.time, 0.34, stage.controls
    side, start = stage.style.first_foot, 0.08
    knee = 0.16 if stage.style.variant > 0.5 else 0.0
    lead = np.zeros_like(time)
    while start < stage.duration:
        foot, up = controls.feet[side], cycles(time, start, 1.15 * step_s, 1.0)
        foot.lift += (0.24 + knee) * stage.style.amplitude * up
        foot.position[:, 1] += (knee - 0.16) * up
        foot.pitch += (0.85 - 3 * knee) * up
        foot.planted &= up == 0
        lead += SIGN[side] * up
        side, start = OTHER[side], start + step_s
    running = ramp(time, 0.0, 0.3)
    controls.pelvis[:, 1] -= running * (0.035 - 0.03 * np.abs(lead))
    controls.spine[:, 1] += 0.10 * running
    stage.follow_feet(sigma_s=0.1, sway=0.02)
    for arm_side in SIDES:
        stage.arm_to(arm_side, running, forward=5.0, out=16.0, elbow=85.0, twist=-12.0)
        controls.arms[arm_side].forward -= SIGN[arm_side] * np.radians(38) * smooth(lead, 0.8)
    controls.spine[:, 0] += 0.12 * lead


def kick(stage: Stage) -> None:
    """Kick to the front with one leg."""
    time, controls = stage.time, stage.controls
    foot, leg = controls.feet["right"], stage.figure.leg
    for start in stage.repeats(CYCLE_S):
        t0 = start - 0.05
        away = pulse(time, t0 + 0.15, t0 + 0.32, t0 + 1.0, t0 + 1.25)
        shot = pulse(time, t0 + 0.38, t0 + 0.66, t0 + 0.74, t0 + 1.1)
        back = pulse(time, t0 + 0.12, t0 + 0.36, t0 + 0.38, t0 + 0.6)
        foot.position[:, 1] += leg * (0.80 * shot - 0.3 * back)
        foot.lift += leg * (0.66 * shot * stage.style.amplitude + 0.14 * back + 0.05 * away)
        foot.pitch += 0.7 * back - 0.75 * shot
        foot.planted &= ~((time > t0 + 0.13) & (time < t0 + 1.24))
        stage.shift_weight("left", pulse(time, t0, t0 + 0.3, t0 + 1.05, t0 + 1.35), 0.9)
        controls.spine[:, 1] += -0.10 * shot + 0.08 * back
        controls.hips[:, 1] -= 0.16 * shot
        controls.pelvis[:, 2] -= 0.05 * shot
        for side in SIDES:
            controls.arms[side].out += np.radians(16) * away
            controls.arms[side].forward += SIGN[side] * np.radians(35) * (shot - 0.6 * back)
            controls.arms[side].elbow += np.radians(25) * away


def jump(stage: Stage) -> None:
    """Crouch, jump up or forward, land softly."""
    time, controls, style = stage.time, stage.controls, stage.style
    ahead = 0.45 * style.amplitude if stage.action.direction == "forward" else 0.0
    height = (0.17 if ahead else 0.25) * style.amplitude
    crouch = pulse(time, 0.05, 0.4, 0.42, 0.62)
    land = pulse(time, 0.98, 1.14, 1.16, 1.55)
    flight = np.clip((time - 0.6) / 0.44, 0.0, 1.0)
    rise = 4 * height * flight * (1 - flight)
    airborne = (flight > 0) & (flight < 1)
    extend = np.sin(np.pi * flight)
    controls.pelvis[:, 1] += rise - 0.21 * crouch - 0.15 * land
    controls.pelvis[:, 2] += ahead * keyed(time, [(0.45, 0.0), (1.12, 1.0)])
    controls.spine[:, 1] += 0.55 * crouch + 0.35 * land
    controls.hips[:, 1] += 0.30 * crouch + 0.22 * land
    heels = pulse(time, 0.44, 0.6, 0.66, 1.04)
    for side in SIDES:
        foot = controls.feet[side]
        foot.lift += rise * 1.05
        foot.position[:, 1] += ahead * flight
        foot.pitch += 0.55 * heels - (0.1 * extend if ahead else 0.0)
        foot.planted &= ~airborne
        arm = controls.arms[side]
        arm.forward += np.radians(-48) * crouch
        stage.arm_to(side, pulse(time, 0.42, 0.7, 0.85, 1.3), forward=125.0, out=12.0, elbow=20.0)


def squat(stage: Stage) -> None:
    """Squat with the arms stretched forward."""
    controls, down = stage.controls, stage.repeated(0.0, 0.55, 0.75, 1.32)
    controls.pelvis[:, 1] -= 0.44 * stage.figure.leg * stage.style.amplitude * down
    controls.pelvis[:, 2] -= 0.13 * down
    controls.hips[:, 1] += np.radians(24) * down
    controls.spine[:, 1] += np.radians(22) * down
    controls.head[:, 1] -= np.radians(20) * down
    for side in SIDES:
        stage.arm_to(side, down, forward=118.0, out=6.0, elbow=8.0, twist=0.0)
        controls.feet[side].yaw += SIGN[side] * 0.12


def turn(stage: Stage) -> None:
    """Turn on the spot to the right by a quarter or a half turn, in small steps."""
    half = stage.action.direction == "around"
    pairs, angle = (3, np.pi) if half else (2, np.pi / 2)
    step_s, start = 0.27 if half else 0.32, 0.05
    steps: list[Step] = []
    for pair in range(1, pairs + 1):
        yaw = -angle * pair / pairs
        for side in ("right", "left"):
            at = stage.place(side, 0.0, 0.0, yaw)
            steps.append(Step(side, start, start + 0.95 * step_s, at, yaw, 0.07, 0.35, 0.0))
            start += step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.12, sway=0.02)
    leading = -0.35 * pulse(stage.time, 0.0, 0.3, start - 0.5, start)
    stage.controls.head[:, 0] += leading
    stage.controls.spine[:, 0] += 0.5 * leading


def side_step(stage: Stage) -> None:
    """Step to the right, the other foot following."""
    length, step_s, start, at = 0.36 * stage.style.amplitude, 0.36, 0.06, 0.0
    steps: list[Step] = []
    while start + 2 * step_s < stage.duration + 0.4 and at > -1.2:
        at -= length
        for side in ("right", "left"):
            to = stage.place(side, at, 0.0, 0.0)
            steps.append(Step(side, start, start + 0.95 * step_s, to, 0.0, 0.08, 0.25, 0.0))
            start += step_s
    stage.walk(steps)
    stage.follow_feet(sigma_s=0.12, sway=0.02)
    stage.controls.pelvis[:, 1] -= 0.03 * ramp(stage.time, 0.0, 0.3)
    for side in SIDES:
        stage.controls.arms[side].out += 0.15 * cycles(stage.time, 0.06, 2 * step_s)


def lunge(stage: Stage) -> None:
    """Step far forward with the right leg, sink, and come back."""
    controls, leg = stage.controls, stage.figure.leg
    far = 0.82 * leg * stage.style.amplitude
    ahead = stage.place("right", 0.0, far, 0.0)
    home = stage.place("right", 0.0, 0.0, 0.0)
    for start in stage.repeats(CYCLE_S):
        stage.walk([Step("right", start, start + 0.44, ahead, 0.0, 0.1, 0.3, 0.15)])
        stage.walk([Step("right", start + 0.9, start + 1.34, home, 0.0, 0.1, 0.0, 0.0)])
    down = stage.repeated(0.06, 0.6, 0.78, 1.28)
    controls.pelvis[:, 2] += 0.52 * far * down
    controls.pelvis[:, 1] -= 0.30 * leg * down
    controls.feet["left"].pitch += 0.75 * stage.repeated(0.14, 0.56, 0.82, 1.28)
    controls.spine[:, 1] += 0.06 * down
    for side in SIDES:
        stage.arm_to(side, 0.8 * down, forward=20.0, out=30.0, elbow=75.0, twist=-50.0)


def jumping_jack(stage: Stage) -> None:
    """Hop the feet apart with the arms overhead and back together."""
    time, controls, cycle = stage.time, stage.controls, 0.9
    start = 0.1
    opened = np.zeros_like(time)
    while start < stage.duration:
        for hop, sign in ((start, 1.0), (start + cycle / 2, -1.0)):
            flight = np.clip((time - hop - 0.08) / 0.28, 0.0, 1.0)
            rise = 4 * 0.07 * flight * (1 - flight)
            opened += sign * ramp(time, hop + 0.06, hop + 0.38)
            bend = pulse(time, hop - 0.08, hop + 0.03, hop + 0.05, hop + 0.16)
            bend = bend + pulse(time, hop + 0.32, hop + 0.4, hop + 0.42, hop + 0.52)
            controls.pelvis[:, 1] += rise - 0.05 * bend
            for side in SIDES:
                foot = controls.feet[side]
                foot.lift += rise
                foot.pitch += 0.4 * np.sin(np.pi * flight)
                foot.position[:, 0] += SIGN[side] * 0.24 * sign * flight
                foot.planted &= ~((flight > 0) & (flight < 1))
        start += cycle
    for side in SIDES:
        stage.arm_to(side, opened, forward=0.0, out=158.0, elbow=18.0, twist=0.0)
