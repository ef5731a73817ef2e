"""Clips: seed in; captions, motion, camera, video, motion map and keypoints out."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body import load_body
from motion.body.model import BodyModel
from motion.data.procedural.appearance import Appearance, sample_appearance
from motion.data.procedural.config import ProceduralConfig
from motion.data.procedural.film import detect, film
from motion.data.procedural.keypoints import Keypoints
from motion.data.procedural.rig import Figure, Posed, measure, solve
from motion.data.procedural.script import perform, sample_script, stream, tell
from motion.data.procedural.stage import Action, Stage, Style, sample_style
from motion.data.procedural.view import View
from motion.data.segments import Segment
from motion.sequence import Motion


@dataclass(frozen=True, kw_only=True)
class MotionClip:
    """One generated clip before it is filmed; t frames, world frame in metres."""

    seed: int
    config: ProceduralConfig
    actions: tuple[Action, ...]
    """One, or two in a row."""
    captions: tuple[str, ...]
    """Wordings of the whole clip."""
    segments: tuple[Segment, ...]
    """Captions of each action, with its time window."""
    motion: Motion
    contacts: UInt8[np.ndarray, "t 4"]

    @property
    def action(self) -> Action:
        """The first action."""
        return self.actions[0]


@dataclass(frozen=True, kw_only=True)
class Clip(MotionClip):
    """One generated clip with what a camera saw of it."""

    view: View
    keypoints: Keypoints
    rgb: UInt8[np.ndarray, "t h w 3"] | None
    """None, like the map, where the config wants no pixels."""
    motion_map: UInt8[np.ndarray, "t h w 3"] | None


@dataclass(frozen=True, kw_only=True)
class StartFrame:
    """A neutral first frame to sample from where the user gives no image."""

    rgb: UInt8[np.ndarray, "h w 3"]
    motion_map: UInt8[np.ndarray, "h w 3"]
    motion: Motion
    """One frame, world frame."""
    view: View


class _Person(NamedTuple):
    """Who acts in a clip, and where the camera stands."""

    body: BodyModel
    betas: Float[Tensor, "10"]
    figure: Figure
    style: Style
    look: Appearance


def generate_clip(seed: int, config: ProceduralConfig) -> Clip:
    """The clip of a seed: the same whatever was generated before, in whichever process.

    Raises:
        ValueError: odd video sides, or a missing body file.
    """
    person = _person(seed, config)
    acted = _act(seed, config, person)
    footage = film(seed, config, person.body, acted.motion, person.look)
    return Clip(
        **vars(acted),
        view=footage.view,
        keypoints=detect(seed, person.body, acted.motion, footage),
        rgb=footage.rgb,
        motion_map=footage.motion_map,
    )


def generate_motion(seed: int, config: ProceduralConfig) -> MotionClip:
    """The clip of a seed, not filmed: motion and captions are those of `generate_clip`."""
    return _act(seed, config, _person(seed, config))


def _act(seed: int, config: ProceduralConfig, person: "_Person") -> MotionClip:
    script = sample_script(seed, config, person.style)
    performance = perform(script, person.style, person.figure, config)
    told, segments = tell(script, performance, seed, config)
    posed = solve(performance.controls, person.figure)
    return MotionClip(
        seed=seed,
        config=config,
        actions=script.actions,
        captions=told,
        segments=segments,
        motion=_motion(config, person, posed),
        contacts=posed.contacts,
    )


def start_frame(seed: int, config: ProceduralConfig) -> StartFrame:
    """A person who stands still, seen by a camera that leaves room to act."""
    person = _person(seed, config)
    stage = Stage(person.figure, Action(family="stand"), person.style, 1, config.fps)
    motion = _motion(config, person, solve(stage.controls, person.figure))
    drawn = config.model_copy(update={"pixels": True})
    footage = film(seed, drawn, person.body, motion, person.look)
    assert footage.rgb is not None
    assert footage.motion_map is not None
    return StartFrame(
        rgb=footage.rgb[0],
        motion_map=footage.motion_map[0],
        motion=motion,
        view=footage.view,
    )


def _person(seed: int, config: ProceduralConfig) -> _Person:
    body = load_body(config.body)
    drawn = stream(seed, "shape").normal(scale=config.shape_std, size=10)
    betas = torch.from_numpy(np.clip(drawn, -2.0, 2.0)).float()
    return _Person(
        body=body,
        betas=betas,
        figure=measure(body, betas),
        style=sample_style(stream(seed, "style")),
        look=look_of(seed, config),
    )


def look_of(seed: int, config: ProceduralConfig) -> Appearance:
    """The person's colors and the room of a seed: its own, or one of few that all clips share."""
    if config.num_looks is not None:
        seed = int(stream(seed, "look").integers(config.num_looks))
    return sample_appearance(stream(seed, "appearance"))


def _motion(config: ProceduralConfig, person: _Person, posed: Posed) -> Motion:
    return Motion(
        R_parent_child=posed.R_parent_child,
        translation=posed.translation,
        betas=person.betas,
        body_id=person.body.body_id,
        fps=config.fps,
    )
