"""What the generator makes, and which seeds belong to which split."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motion.body.shading import MapMode
from motion.data.procedural.families import FAMILIES, HELD_OUT

GENERATOR_VERSION: Final = "2"
"""Raised whenever the same seed and config give another clip."""
SPLIT_SEED: Final = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
"""First seed of each split; a split holds at most a billion clips, so splits are disjoint."""
ACTING: Final = (
    "families", "held_out_families", "held_out_wordings", "chain_share", "max_delay_s",
)  # fmt: skip
"""Fields that decide what a generated person does; of captured motion they say nothing."""


class ProceduralConfig(BaseModel):
    """What the generator makes; part of the dataset's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    num_frames: int = Field(default=33, ge=2)
    """Frames per clip; 1 + a multiple of the autoencoder's temporal stride."""
    fps: float = Field(default=16.0, gt=0)
    """Frames per second."""
    height: int = Field(default=128, ge=16)
    """Video height in pixels; even."""
    width: int = Field(default=128, ge=16)
    """Video width in pixels; even."""
    map_mode: MapMode = "flat"
    """Motion map as pure part and normal codes, or lit like the published renderings. For
    ablations its normals or parts alone, or a skeleton of 2D keypoints in its place."""
    render: bool = Field(default=True, exclude_if=bool)
    """Film the clip. Without, it has no camera, keypoints or videos and is some 14 times as fast
    to make: for what is trained on motion alone. Not named in the identity of a data set that was
    filmed, which is the same as before there was a choice."""
    pixels: bool = Field(default=True, exclude_if=bool)
    """Draw the video and the motion map of a filmed clip. Without, it has a camera and keypoints
    alone. Not named in the identity of a data set with pixels."""
    num_captions: int = Field(default=4, ge=3, le=9)
    """Wordings per clip, and per segment of a chain."""
    families: tuple[str, ...] = Field(
        default=tuple(name for name in FAMILIES if name not in HELD_OUT), min_length=1
    )
    """Names of the action families of every split, in the order in which seeds go round them."""
    held_out_families: tuple[str, ...] = HELD_OUT
    """Families of the test split alone: every second of its clips; () for none."""
    held_out_wordings: bool = True
    """Tell test clips in wordings that no other split uses."""
    chain_share: float = Field(default=0.4, ge=0, le=1)
    """Share of clips that chain two actions, among clips long enough for both (about 3.5 s at
    normal speed); shorter clips hold one action."""
    max_delay_s: float = Field(default=0.2, ge=0)
    """Longest stand before the action begins, in seconds; less where the clip has no time left."""
    body: str = "free"
    """"free", or the path of a body model file."""
    shape_std: float = Field(default=0.7, ge=0)
    """Standard deviation of the body shape coefficients, which are cut at 2."""
    num_looks: int | None = Field(default=None, ge=1, exclude_if=lambda looks: looks is None)
    """How many people and rooms, by their colors, all clips share; None draws every clip its own.
    Few looks let a small model learn video in minutes. Not named in the identity of a data set
    without such a limit."""
    max_azimuth_deg: float = Field(default=50.0, ge=0, le=180)
    """Largest angle between the camera and the front of the person, in degrees."""
    margin: float = Field(default=0.04, ge=0, lt=0.3)
    """Free border around the person over the whole clip, as a share of the image side."""

    @model_validator(mode="after")
    def _known_families(self) -> "ProceduralConfig":
        unknown = sorted({*self.families, *self.held_out_families} - set(FAMILIES))
        if unknown:
            raise ValueError(f"unknown families {unknown}; expected some of {sorted(FAMILIES)}")
        shared = sorted(set(self.families) & set(self.held_out_families))
        if shared:
            raise ValueError(
                f"families {shared} are held out for the test split and cannot be trained; take "
                "them out of held_out_families or of families"
            )
        return self


def is_test(seed: int) -> bool:
    """Does a seed belong to the test split?"""
    return seed >= SPLIT_SEED["test"]


def families_of(seed: int, config: ProceduralConfig) -> tuple[tuple[str, ...], int]:
    """The families that a seed draws from, and its index among the clips that go round them."""
    if is_test(seed) and config.held_out_families:
        held_out = seed % 2 == 1
        return (config.held_out_families if held_out else config.families), seed // 2
    return config.families, seed
