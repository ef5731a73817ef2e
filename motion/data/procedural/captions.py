"""Captions of actions from a small grammar: subject, predicate, speed; and of two in a row."""

from typing import Final

import numpy as np

from motion.data.procedural.families import FAMILIES
from motion.data.procedural.stage import Action

SUBJECTS: Final = ("a person", "someone", "the person", "somebody")
UNSEEN_SUBJECTS: Final = ("an adult", "this individual", "a human")
"""Only held-out wordings say these."""
SPEED_WORDS: Final = {
    "slow": ("slowly", "at a slow pace", "in slow motion"),
    "normal": ("",),
    "fast": ("quickly", "fast", "rapidly"),
}
LINKS: Final = (", then", " and then", ", after that")
UNSEEN_LINKS: Final = (", and next", " and afterwards")
"""Only held-out wordings link two actions like this."""


def fill(phrase: str, action: Action) -> str:
    """A phrase of a family with the action's side and direction filled in."""
    both = action.side == "both"
    return phrase.format(
        side=action.side,
        other={"left": "right", "right": "left"}.get(action.side, ""),
        hands="both hands" if both else f"the {action.side} hand",
        arms="both arms" if both else f"the {action.side} arm",
        fists="both fists" if both else f"the {action.side} fist",
        direction=action.direction,
    )


def predicates(action: Action, *, unseen: bool = False) -> tuple[str, ...]:
    """Every predicate of an action: those that all splits may tell, or the held-out ones."""
    family = FAMILIES[action.family]
    phrases = family.unseen if unseen else family.phrases
    return tuple(fill(phrase, action) for phrase in phrases[action.direction])


def parts(action: Action) -> tuple[str, str]:
    """What the upper and what the lower body does, with speed words left out."""
    family = FAMILIES[action.family]
    return fill(family.upper, action), fill(family.lower, action)


def captions(
    action: Action, rng: np.random.Generator, count: int, *, unseen: bool = False
) -> list[str]:
    """`count` different wordings, every predicate used before one repeats.

    Raises:
        ValueError: the grammar has fewer wordings.
    """
    speeds = SPEED_WORDS[action.speed]
    subjects = (*SUBJECTS, *UNSEEN_SUBJECTS) if unseen else SUBJECTS
    told = predicates(action, unseen=unseen)
    limit = len(told) * len(subjects) * len(speeds)
    if count > limit:
        raise ValueError(f"{count} captions asked for, the grammar has {limit} for {action}")
    wordings: list[str] = []
    while len(wordings) < count:
        for predicate in rng.permutation(np.array(told)):
            subject = subjects[int(rng.integers(len(subjects)))]
            speed = speeds[int(rng.integers(len(speeds)))]
            wording = f"{subject} {predicate} {speed}".strip()
            if wording not in wordings and len(wordings) < count:
                wordings.append(wording)
    return wordings


def chain_captions(
    actions: tuple[Action, Action], rng: np.random.Generator, count: int, *, unseen: bool = False
) -> list[str]:
    """`count` wordings of one action after another."""
    links = UNSEEN_LINKS if unseen else LINKS
    wordings: list[str] = []
    while len(wordings) < count:
        first, second = (captions(action, rng, 1, unseen=unseen)[0] for action in actions)
        link = links[int(rng.integers(len(links)))]
        # The second clause drops its subject: "a person waves the left hand, then squats".
        subjects = (*SUBJECTS, *UNSEEN_SUBJECTS)
        subject = next(words for words in subjects if second.startswith(words + " "))
        wording = f"{first}{link} {second.removeprefix(subject + ' ')}"
        if wording not in wordings:
            wordings.append(wording)
    return wordings
