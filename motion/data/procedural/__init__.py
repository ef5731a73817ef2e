"""Captioned actions, generated and rendered with a body model: data without a download."""

from motion.data.procedural.clip import (
    GENERATOR_VERSION,
    SPLIT_SEED,
    Clip,
    ProceduralConfig,
    StartFrame,
    clip_row,
    generate_clip,
    start_frame,
)
from motion.data.procedural.families import FAMILIES, Family
from motion.data.procedural.stage import Action

__all__ = [
    "FAMILIES",
    "GENERATOR_VERSION",
    "SPLIT_SEED",
    "Action",
    "Clip",
    "Family",
    "ProceduralConfig",
    "StartFrame",
    "clip_row",
    "generate_clip",
    "start_frame",
]
