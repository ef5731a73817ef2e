"""Captions of an action from a small grammar: subject, predicate, speed."""

from typing import Final

import numpy as np

from motion.data.procedural.families import FAMILIES
from motion.data.procedural.stage import Action

SUBJECTS: Final = ("a person", "someone", "the person", "somebody")
SPEED_WORDS: Final = {
    "slow": ("slowly", "at a slow pace", "in slow motion"),
    "normal": ("",),
    "fast": ("quickly", "fast", "rapidly"),
}


def predicates(action: Action) -> tuple[str, ...]:
    """Every predicate of an action, sides filled in."""
    both = action.side == "both"
    words = {
        "side": action.side,
        "other": {"left": "right", "right": "left"}.get(action.side, ""),
        "hands": "both hands" if both else f"the {action.side} hand",
        "arms": "both arms" if both else f"the {action.side} arm",
        "fists": "both fists" if both else f"the {action.side} fist",
    }
    phrases = FAMILIES[action.family].phrases[action.direction]
    return tuple(phrase.format(**words) for phrase in phrases)


def captions(action: Action, rng: np.random.Generator, count: int) -> list[str]:
    """`count` different wordings, every predicate used before one repeats.

    Raises:
        ValueError: the grammar has fewer wordings.
    """
    speeds = SPEED_WORDS[action.speed]
    told = predicates(action)
    limit = len(told) * len(SUBJECTS) * len(speeds)
    if count > limit:
        raise ValueError(f"{count} captions asked for, the grammar has {limit} for {action}")
    wordings: list[str] = []
    while len(wordings) < count:
        for predicate in rng.permutation(np.array(told)):
            subject = SUBJECTS[int(rng.integers(len(SUBJECTS)))]
            speed = speeds[int(rng.integers(len(speeds)))]
            wording = f"{subject} {predicate} {speed}".strip()
            if wording not in wordings and len(wordings) < count:
                wordings.append(wording)
    return wordings
