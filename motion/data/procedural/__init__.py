"""Captioned actions, generated and rendered with a body model: data without a download."""

from motion.data.procedural.clip import (
    Clip,
    MotionClip,
    StartFrame,
    generate_clip,
    generate_motion,
    start_frame,
)
from motion.data.procedural.config import GENERATOR_VERSION, SPLIT_SEED, ProceduralConfig
from motion.data.procedural.families import FAMILIES, HELD_OUT
from motion.data.procedural.family import Family
from motion.data.procedural.row import clip_row
from motion.data.procedural.stage import Action

__all__ = [
    "FAMILIES",
    "GENERATOR_VERSION",
    "HELD_OUT",
    "SPLIT_SEED",
    "Action",
    "Clip",
    "Family",
    "MotionClip",
    "ProceduralConfig",
    "StartFrame",
    "clip_row",
    "generate_clip",
    "generate_motion",
    "start_frame",
]
