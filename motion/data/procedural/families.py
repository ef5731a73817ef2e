"""The families of actions: what moves, which sides and directions there are, how they are told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from motion.data.procedural import lower, upper
from motion.data.procedural.rig import Controls, Figure, mirrored
from motion.data.procedural.stage import Action, Stage, Style


@dataclass(frozen=True)
class Family:
    """One kind of action."""

    animate: Callable[[Stage], None]
    """Changes the controls of a standing person; sided actions are written for the right side."""
    phrases: dict[str, tuple[str, ...]]
    """Predicates by direction ("" where there is none); `{side}`, `{other}`, `{hands}` are
    filled in."""
    sides: tuple[str, ...] = ("",)
    speeds: tuple[str, ...] = ("slow", "normal", "fast")


_LR: Final = ("left", "right")

FAMILIES: Final[dict[str, Family]] = {
    "walk": Family(
        lower.walk,
        {
            "forward": ("walks forward", "takes a few steps forward", "is walking ahead"),
            "backward": ("walks backward", "takes a few steps backward", "is walking in reverse"),
        },
    ),
    "jog": Family(
        lower.jog,
        {"": ("runs in place", "jogs on the spot", "is running without leaving the spot")},
    ),
    "wave": Family(
        upper.wave,
        {
            "": (
                "waves {hands}",
                "raises {arms} and waves",
                "is waving hello with {hands}",
                "greets somebody with {hands}",
            )
        },
        ("left", "right", "both"),
    ),
    "kick": Family(
        lower.kick,
        {
            "": (
                "kicks with the {side} leg",
                "kicks forward with the {side} foot",
                "swings the {side} leg up in a kick",
            )
        },
        _LR,
    ),
    "punch": Family(
        upper.punch,
        {
            "": (
                "punches with {hands}",
                "throws punches with {arms}",
                "is boxing with {fists}",
            )
        },
        ("left", "right", "both"),
    ),
    "jump": Family(
        lower.jump,
        {
            "up": ("jumps up", "jumps straight into the air", "crouches and leaps up"),
            "forward": ("jumps forward", "leaps ahead", "does a jump to the front"),
        },
        speeds=("normal",),
    ),
    "squat": Family(
        lower.squat,
        {"": ("squats", "does a squat", "bends the knees into a deep squat")},
    ),
    "turn": Family(
        lower.turn,
        {
            "quarter": (
                "turns to the {side}",
                "makes a quarter turn to the {side}",
                "is turning {side}",
            ),
            "around": (
                "turns around to the {side}",
                "makes a half turn to the {side}",
                "spins around over the {side} shoulder",
            ),
        },
        _LR,
        ("normal", "fast"),
    ),
    "raise_arms": Family(
        upper.raise_arms,
        {
            "front": (
                "raises both arms in front and overhead",
                "lifts both arms up past the front",
                "brings both hands forward and up over the head",
            ),
            "sides": (
                "raises both arms sideways and overhead",
                "lifts both arms up past the sides",
                "spreads both arms out and up over the head",
            ),
        },
    ),
    "clap": Family(
        upper.clap,
        {"": ("claps", "claps both hands", "applauds with both hands", "is clapping the hands")},
    ),
    "side_step": Family(
        lower.side_step,
        {
            "": (
                "steps to the {side}",
                "takes side steps to the {side}",
                "is moving sideways to the {side}",
            )
        },
        _LR,
    ),
    "bow": Family(
        upper.bow,
        {"": ("bows", "takes a bow", "bends forward in a bow")},
    ),
    "lunge": Family(
        lower.lunge,
        {
            "": (
                "lunges forward with the {side} leg",
                "does a lunge on the {side} leg",
                "steps into a deep lunge with the {side} foot",
            )
        },
        _LR,
    ),
    "jumping_jack": Family(
        lower.jumping_jack,
        {"": ("does jumping jacks", "performs star jumps", "is doing jumping jacks")},
        speeds=("normal", "fast"),
    ),
    "side_bend": Family(
        upper.side_bend,
        {
            "": (
                "bends the upper body to the {side}",
                "leans to the {side} with the {other} arm overhead",
                "stretches over to the {side} side",
            )
        },
        _LR,
    ),
}
"""Every family by name."""


def sample_action(rng: np.random.Generator, names: tuple[str, ...], seed: int) -> Action:
    """An action; consecutive seeds go round the families, so every family has its share.

    Raises:
        ValueError: a name is no family.
    """
    unknown = sorted(set(names) - set(FAMILIES))
    if unknown or not names:
        raise ValueError(f"unknown families {unknown}; expected some of {sorted(FAMILIES)}")
    name = names[seed % len(names)]
    family = FAMILIES[name]
    directions = tuple(family.phrases)
    return Action(
        family=name,
        side=family.sides[int(rng.integers(len(family.sides)))],
        direction=directions[int(rng.integers(len(directions)))],
        speed=family.speeds[int(rng.integers(len(family.speeds)))],
    )


def animate(
    action: Action, style: Style, figure: Figure, *, num_frames: int, fps: float
) -> Controls:
    """The controls of an action, from standing, on its side."""
    stage = Stage(figure, action, style, num_frames, fps)
    FAMILIES[action.family].animate(stage)
    return mirrored(stage.controls) if action.side == "left" else stage.controls
