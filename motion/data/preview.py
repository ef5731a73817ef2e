"""Contact sheets of generated clips: `python -m motion.data.preview --out sheet.png`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field

from motion.data.procedural import SPLIT_SEED, Clip, ProceduralConfig, generate_clip

CAPTION_HEIGHT = 14


class PreviewConfig(BaseModel):
    """Which clips to draw, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    out: Path
    """PNG file to write."""
    split: str = "train"
    """Split whose seeds to draw from."""
    first: int = Field(default=0, ge=0)
    """Index of the first clip within the split."""
    count: int = Field(default=15, ge=1)
    """Number of clips."""
    num_columns: int = Field(default=8, ge=1)
    """Frames per clip, spread evenly over it."""
    with_map: bool = True
    """Draw the motion map below the video."""
    clip: ProceduralConfig = ProceduralConfig()
    """The generator's configuration."""


def contact_sheet(
    clips: Sequence[Clip], num_columns: int, *, with_map: bool = True
) -> UInt8[np.ndarray, "h w 3"]:
    """One block per clip: its first caption, a row of video frames, a row of motion map frames."""
    blocks: list[np.ndarray] = []
    for clip in clips:
        index = np.linspace(0, clip.config.num_frames - 1, num_columns).round().astype(int)
        if clip.rgb is None or clip.motion_map is None:
            raise ValueError(f"clip {clip.seed} was filmed without pictures: set clip.pixels")
        videos = (clip.rgb, clip.motion_map) if with_map else (clip.rgb,)
        rows = [np.concatenate(list(video[index]), axis=1) for video in videos]
        label = Image.new("RGB", (rows[0].shape[1], CAPTION_HEIGHT), "white")
        ImageDraw.Draw(label).text((2, 1), f"{clip.seed}: {clip.captions[0]}", fill="black")
        blocks.append(np.concatenate([np.asarray(label), *rows], axis=0))
    return np.concatenate(blocks, axis=0)


def main(config: PreviewConfig) -> Path:
    """Write the contact sheet of a config and return its path."""
    start = SPLIT_SEED[config.split] + config.first
    clips = [generate_clip(start + index, config.clip) for index in range(config.count)]
    sheet = contact_sheet(clips, config.num_columns, with_map=config.with_map)
    Image.fromarray(sheet).save(config.out)
    return config.out


if __name__ == "__main__":
    print(main(tyro.cli(PreviewConfig)))
