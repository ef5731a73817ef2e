"""All families of actions, and how an action becomes the controls of a person."""

from typing import Final

import numpy as np

from motion.data.procedural.catalog_basic import BASIC
from motion.data.procedural.catalog_gestures import GESTURES
from motion.data.procedural.catalog_moves import MOVES
from motion.data.procedural.family import Family
from motion.data.procedural.rig import Controls, Figure, mirrored
from motion.data.procedural.stage import Action, Stage, Style

FAMILIES: Final[dict[str, Family]] = BASIC | MOVES | GESTURES
"""Every family by name."""

HELD_OUT: Final = ("sneak", "cheer", "point", "duck")
"""Families for the test of generalisation: each joins parts that other families teach (walking and
crouching, raised arms and hops, reaching without return, squatting with raised arms)."""


def sample_action(rng: np.random.Generator, names: tuple[str, ...], index: int) -> Action:
    """An action; consecutive indices go round the families, so every family has its share."""
    name = names[index % len(names)]
    family = FAMILIES[name]
    directions = tuple(family.phrases)
    return Action(
        family=name,
        side=family.sides[int(rng.integers(len(family.sides)))],
        direction=directions[int(rng.integers(len(directions)))],
        speed=family.speeds[int(rng.integers(len(family.speeds)))],
    )


def animate(
    action: Action,
    style: Style,
    figure: Figure,
    *,
    num_frames: int,
    fps: float,
    delay_s: float = 0.0,
) -> Controls:
    """The controls of an action, from standing (for `delay_s` seconds), on its side."""
    stage = Stage(figure, action, style, num_frames, fps, delay_s)
    FAMILIES[action.family].animate(stage)
    return mirrored(stage.controls) if action.side == "left" else stage.controls
