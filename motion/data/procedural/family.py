"""What a family of actions is: what moves, which sides and directions exist, how they are told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from motion.data.procedural.stage import Stage

LEFT_RIGHT: Final = ("left", "right")


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of action. In every wording `{side}`, `{other}`, `{hands}`, `{arms}`, `{fists}` and
    `{direction}` are filled in."""

    animate: Callable[[Stage], None]
    """Changes the controls of a standing person; sided actions are written for the right side."""
    phrases: dict[str, tuple[str, ...]]
    """Predicates by direction ("" where there is none) that every split may tell."""
    unseen: dict[str, tuple[str, ...]]
    """Predicates by direction that only clips with held-out wordings tell."""
    upper: str
    """What the upper body does."""
    lower: str
    """What the lower body does."""
    sides: tuple[str, ...] = ("",)
    speeds: tuple[str, ...] = ("slow", "normal", "fast")
    length_s: float = 1.5
    """Time at normal speed after which the action has been shown once, in seconds."""
