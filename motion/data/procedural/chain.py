"""Two actions in a row: the first one's end flows into standing where the second one starts."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from motion.data.procedural.curves import ease
from motion.data.procedural.rig import SIDES, Arm, Controls, Figure, Foot

STEP_M: Final = 0.01
"""A foot nearer than this to its place stays where it is."""
TURN_RAD: Final = 0.05
"""A foot turned less than this from its place stays too."""
SETTLE_S: Final = (0.4, 0.5, 0.75)
"""Length of the transition by the number of feet that must move, in seconds."""


class Place(NamedTuple):
    """Where a body stands on the floor."""

    x: float
    z: float
    yaw: float
    """Heading in radians."""


def end_place(controls: Controls, neutral: Controls) -> Place:
    """Where the body stands at the end of an action, by the feet that are on the floor then.

    Args:
        controls: the action.
        neutral: the same person standing at the origin.
    """
    standing = [side for side in SIDES if controls.feet[side].planted[-1]] or list(SIDES)
    yaw = float(np.mean([controls.feet[s].yaw[-1] - neutral.feet[s].yaw[0] for s in standing]))
    centers = [
        controls.feet[s].position[-1] - _turned(neutral.feet[s].position[0], yaw) for s in standing
    ]
    x, z = np.mean(centers, axis=0)
    return Place(float(x), float(z), yaw)


def moved(controls: Controls, place: Place, figure: Figure) -> Controls:
    """An action that starts at the origin, started at another place instead."""
    shift, rest = np.array([place.x, place.z]), figure.joints[0][[0, 2]]
    heading = np.array([place.yaw, 0.0, 0.0])
    pelvis = controls.pelvis.copy()
    pelvis[:, [0, 2]] = shift + _turned(rest + controls.pelvis[:, [0, 2]], place.yaw) - rest
    feet = {
        side: Foot(
            position=shift + _turned(foot.position, place.yaw),
            lift=foot.lift,
            yaw=foot.yaw + place.yaw,
            pitch=foot.pitch,
            roll=foot.roll,
            planted=foot.planted,
        )
        for side, foot in controls.feet.items()
    }
    return Controls(
        pelvis, controls.hips + heading, controls.spine, controls.head, controls.arms, feet
    )


def settle_s(controls: Controls, neutral: Controls, place: Place) -> float:
    """Seconds that the transition to standing takes: the more feet must step, the longer."""
    return SETTLE_S[len(_stepping(controls, neutral, place))]


def settle(controls: Controls, then: Controls, num_frames: int) -> Controls:
    """The frames between an action and the next: feet step home, everything else glides.

    Args:
        controls: the first action.
        then: the second action, moved to where the first one ends; it starts standing.
        num_frames: frames between the last of `controls` and the first of `then`.
    """
    tau = np.arange(1, num_frames + 1) / (num_frames + 1)
    order = _stepping(controls, then, Place(0.0, 0.0, 0.0))
    in_air = [side for side in order if not controls.feet[side].planted[-1]]
    windows = {side: (0.0, 0.6) for side in SIDES}
    if len(order) == 2 and len(in_air) < 2:
        windows = {order[0]: (0.0, 0.5), order[1]: (0.5, 1.0)}
    arms = {
        side: Arm(
            **{
                name: _glide(
                    getattr(controls.arms[side], name), getattr(then.arms[side], name), tau
                )
                for name in ("forward", "out", "twist", "elbow", "wrist")
            }
        )
        for side in SIDES
    }
    feet: dict[str, Foot] = {}
    for side in SIDES:
        begin, end = windows[side]
        progress = np.clip((tau - begin) / (end - begin), 0.0, 1.0)
        feet[side] = _landing(controls.feet[side], then.feet[side], progress, side in order)
    return Controls(
        pelvis=_glide(controls.pelvis, then.pelvis, tau, angles=False),
        hips=_glide(controls.hips, then.hips, tau),
        spine=_glide(controls.spine, then.spine, tau),
        head=_glide(controls.head, then.head, tau),
        arms=arms,
        feet=feet,
    )


def joined(parts: list[Controls]) -> Controls:
    """Controls one after another in time."""

    def arm(side: str, name: str) -> np.ndarray:
        return np.concatenate([getattr(part.arms[side], name) for part in parts])

    def foot(side: str, name: str) -> np.ndarray:
        return np.concatenate([getattr(part.feet[side], name) for part in parts])

    return Controls(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("pelvis", "hips", "spine", "head")
        ),
        arms={side: Arm(*(arm(side, name) for name in Arm.__annotations__)) for side in SIDES},
        feet={side: Foot(*(foot(side, name) for name in Foot.__annotations__)) for side in SIDES},
    )


def _turned(points: Float[np.ndarray, "*n 2"], yaw: float) -> Float[np.ndarray, "*n 2"]:
    """Points of the floor (x, z), turned about the origin by a heading."""
    sin, cos = np.sin(yaw), np.cos(yaw)
    return np.stack(
        [cos * points[..., 0] + sin * points[..., 1], cos * points[..., 1] - sin * points[..., 0]],
        axis=-1,
    )


def _stepping(controls: Controls, then: Controls, place: Place) -> list[str]:
    """The feet that must move to stand at a place, those in the air first, then the farther."""
    away: dict[str, float] = {}
    for side in SIDES:
        foot, home = controls.feet[side], then.feet[side]
        goal = _turned(home.position[0], place.yaw) + np.array([place.x, place.z])
        far = float(np.linalg.norm(foot.position[-1] - goal))
        turned = abs(float(foot.yaw[-1] - home.yaw[0] - place.yaw))
        if not foot.planted[-1]:
            away[side] = np.inf
        elif far > STEP_M or turned > TURN_RAD:
            away[side] = far
    return sorted(away, key=lambda side: -away[side])


def _glide(
    before: Float[np.ndarray, "n *rest"],
    after: Float[np.ndarray, "m *rest"],
    tau: Float[np.ndarray, "t"],
    *,
    angles: bool = True,
) -> Float[np.ndarray, "t *rest"]:
    """From the last value at its speed to the next first value; angles go the short way."""
    start, goal = before[-1], after[0]
    if angles:
        goal = goal + 2 * np.pi * np.round((start - goal) / (2 * np.pi))
    speed = (start - before[-2]) * (tau.size + 1)
    progress = tau.reshape(-1, *(1,) * start.ndim)
    carried = speed * progress * (1 - progress) ** 3
    eased = ease(tau).reshape(progress.shape)
    return start + (goal - start) * eased + carried


def _landing(foot: Foot, home: Foot, progress: Float[np.ndarray, "t"], steps: bool) -> Foot:
    """A foot on its way home: lands from the air, takes a step, or just comes down flat."""
    eased = ease(progress)
    left = 1 - eased
    arc = np.sin(np.pi * progress) ** 2 if steps else np.zeros_like(progress)
    in_air = not foot.planted[-1]
    goal, yaw = (home.position[0], home.yaw[0]) if steps else (foot.position[-1], foot.yaw[-1])
    return Foot(
        position=foot.position[-1] + eased[:, None] * (goal - foot.position[-1]),
        lift=foot.lift[-1] * left + (0.03 if in_air else 0.07) * arc,
        yaw=foot.yaw[-1] + eased * (yaw - foot.yaw[-1]),
        pitch=foot.pitch[-1] * left + (0.0 if in_air else 0.25) * arc,
        roll=foot.roll[-1] * left,
        planted=(progress >= 1) | ((progress <= 0) & (not in_air)) | (not steps),
    )
