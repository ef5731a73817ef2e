"""What happens in a clip: one action, or two in a row; when each begins; how each is told."""

import zlib
from typing import Final, NamedTuple

import numpy as np

from motion.data.procedural.captions import captions, chain_captions, parts
from motion.data.procedural.chain import SETTLE_S, end_place, joined, moved, settle, settle_s
from motion.data.procedural.config import ProceduralConfig, families_of, is_test
from motion.data.procedural.families import FAMILIES, animate, sample_action
from motion.data.procedural.rig import Controls, Figure
from motion.data.procedural.stage import SPEEDS, Action, Stage, Style
from motion.data.segments import Segment

ROOM_S: Final = max(SETTLE_S)
"""What a chain keeps free for the transition, in seconds."""


class Script(NamedTuple):
    """The actions of a clip and their timing."""

    actions: tuple[Action, ...]
    """One or two."""
    delay_s: float
    """Standing before the first."""
    cut_s: float
    """End of the first of two, in seconds; else the clip's last frame."""


class Performance(NamedTuple):
    """A script as played by one person."""

    controls: Controls
    bounds_s: tuple[tuple[float, float], ...]
    """Begin and end of each action's stretch; the middle of a transition parts two of them."""


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose in one clip, independent of every other purpose and clip."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def sample_script(seed: int, config: ProceduralConfig, style: Style) -> Script:
    """The script of a seed: a chain where it is drawn and the clip has room for both actions."""
    names, index = families_of(seed, config)
    actions = (sample_action(stream(seed, "action"), names, index),)
    timing = stream(seed, "timing")
    chained, pause, share = timing.uniform(size=3)
    duration = (config.num_frames - 1) / config.fps
    free = duration - _length_s(actions[0], style)
    if chained < config.chain_share:
        second = _second(seed, names, actions[0])
        for pair in _paces(actions[0], second):
            needed = sum(_length_s(action, style) for action in pair) + ROOM_S
            if needed <= duration:
                actions, free = pair, duration - needed
                break
    delay = pause * float(np.clip(free, 0.0, config.max_delay_s))
    if len(actions) == 1:
        return Script(actions, delay, duration)
    cut = delay + _length_s(actions[0], style) + share * (free - delay)
    return Script(actions, delay, cut)


def perform(script: Script, style: Style, figure: Figure, config: ProceduralConfig) -> Performance:
    """The controls of a whole clip."""
    total, fps = config.num_frames, config.fps
    if len(script.actions) == 1:
        controls = animate(
            script.actions[0], style, figure, num_frames=total, fps=fps, delay_s=script.delay_s
        )
        return Performance(controls, ((0.0, total / fps),))
    first, second = script.actions
    before = round(script.cut_s * fps) + 1
    start = animate(first, style, figure, num_frames=before, fps=fps, delay_s=script.delay_s)
    neutral = Stage(figure, second, style, 1, fps).controls
    place = end_place(start, neutral)
    between = round(settle_s(start, neutral, place) * fps)
    rest = animate(second, style, figure, num_frames=total - before - between, fps=fps)
    rest = moved(rest, place, figure)
    controls = joined([start, settle(start, rest, between), rest])
    border = (before + between // 2) / fps
    return Performance(controls, ((0.0, border), (border, total / fps)))


def tell(
    script: Script, performance: Performance, seed: int, config: ProceduralConfig
) -> tuple[tuple[str, ...], tuple[Segment, ...]]:
    """Captions of the whole clip, and of each stretch of it."""
    unseen = config.held_out_wordings and is_test(seed)
    rng, count = stream(seed, "captions"), config.num_captions
    if len(script.actions) == 2:
        whole = chain_captions(script.actions, rng, count, unseen=unseen)
        each = [captions(action, rng, count, unseen=unseen) for action in script.actions]
    else:
        whole = captions(script.actions[0], rng, count, unseen=unseen)
        each = [whole]
    segments: list[Segment] = []
    for action, told, (begin, end) in zip(script.actions, each, performance.bounds_s, strict=True):
        upper, lower = parts(action)
        segments.append(Segment(begin, end, tuple(told), (upper,), (lower,)))
    return tuple(whole), tuple(segments)


def _length_s(action: Action, style: Style) -> float:
    return FAMILIES[action.family].length_s * SPEEDS[action.speed] * style.tempo


def _second(seed: int, names: tuple[str, ...], first: Action) -> Action:
    """Another family's action; the same family's where there is no other."""
    rng = stream(seed, "second action")
    others = tuple(name for name in names if name != first.family) or names
    return sample_action(rng, others, int(rng.integers(len(others))))


def _paces(first: Action, second: Action) -> list[tuple[Action, Action]]:
    """The pair as drawn, then the same at faster speeds that their families know."""

    def at_most(action: Action, speed: str) -> Action:
        known = FAMILIES[action.family].speeds
        slower = SPEEDS[action.speed] > SPEEDS[speed]
        if not slower or speed not in known:
            return action
        return Action(
            family=action.family, side=action.side, direction=action.direction, speed=speed
        )

    pairs = [(first, second)]
    for speed in ("normal", "fast"):
        slower, later = pairs[-1]
        pairs.append((at_most(slower, speed), at_most(later, speed)))
    return pairs
