"""Videos to look at: panels side by side with labels, as mp4, webm or gif, with their origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from motion.export.provenance import Provenance

_GAP_PX = 4
_BACKGROUND = (24, 26, 30)
_TEXT = (226, 228, 232)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One video of a comparison."""

    frames: UInt8[np.ndarray, "t h w 3"]
    label: str
    sharp: bool = False
    """Enlarge by repeating pixels: for motion maps, whose colors are codes."""


def compose(panels: Sequence[Panel], *, height: int = 288) -> UInt8[np.ndarray, "t H W 3"]:
    """Panels side by side under their labels, each scaled to `height` pixels.

    Raises:
        ValueError: no panel, or panels of different length.
    """
    lengths = {len(panel.frames) for panel in panels}
    if len(lengths) != 1:
        names = ", ".join(f"{panel.label}: {len(panel.frames)}" for panel in panels)
        raise ValueError(f"panels must have the same number of frames (at least one): {names}")
    scaled = [_scale(panel, height) for panel in panels]
    label_px = max(20, height // 12)
    width = sum(frames.shape[2] for frames in scaled) + _GAP_PX * (len(scaled) + 1)
    # Even sizes: H.264 stores one chroma sample per 2 x 2 pixels.
    size = (lengths.pop(), _even(height + label_px + _GAP_PX), _even(width), 3)
    canvas = np.empty(size, np.uint8)
    canvas[:] = _label_bar(size[2], size[1], label_px, panels, scaled)
    left = _GAP_PX
    for frames in scaled:
        canvas[:, label_px : label_px + height, left : left + frames.shape[2]] = frames
        left += frames.shape[2] + _GAP_PX
    return canvas


def write_mp4(
    path: Path,
    panels: Sequence[Panel],
    fps: float,
    *,
    provenance: Provenance | None = None,
    height: int = 288,
) -> Path:
    """H.264 that browsers play; the prompt is its title, the provenance its comment."""
    options = {"crf": "16", "preset": "medium"}
    return _encode(path, compose(panels, height=height), fps, "libx264", options, provenance)


def write_webm(
    path: Path,
    panels: Sequence[Panel],
    fps: float,
    *,
    provenance: Provenance | None = None,
    height: int = 288,
) -> Path:
    """VP9, which browsers without H.264 play too; title and comment as in `write_mp4`."""
    # No bit rate but a quality; a good encoder at the speed that it was made for.
    options = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}
    return _encode(path, compose(panels, height=height), fps, "libvpx-vp9", options, provenance)


def _encode(
    path: Path,
    frames: UInt8[np.ndarray, "t h w 3"],
    fps: float,
    codec: Literal["libx264", "libvpx-vp9"],
    options: Mapping[str, str],
    provenance: Provenance | None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    placed = {"movflags": "+faststart"} if codec == "libx264" else {}
    kind = "mp4" if codec == "libx264" else "webm"
    with av.open(str(path), "w", format=kind, options=placed) as container:
        if provenance is not None:
            container.metadata["title"] = provenance.prompt
            container.metadata["comment"] = provenance.model_dump_json()
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = dict(options)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_gif(
    path: Path,
    panels: Sequence[Panel],
    fps: float,
    *,
    provenance: Provenance | None = None,
    height: int = 192,
) -> Path:
    """An endless gif. Its frames last whole hundredths of a second: 16 fps plays at 16.7."""
    images = [Image.fromarray(frame) for frame in compose(panels, height=height)]
    # One palette for all frames, or flat areas flicker.
    palette = _palette(images)
    paletted = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    paletted[0].save(
        path,
        save_all=True,
        append_images=paletted[1:],
        duration=round(100 / fps) * 10,
        loop=0,
        comment=b"" if provenance is None else provenance.model_dump_json().encode(),
    )
    return path


def _even(size: int) -> int:
    return size + size % 2


def _scale(panel: Panel, height: int) -> UInt8[np.ndarray, "t H W 3"]:
    width = round(panel.frames.shape[2] * height / panel.frames.shape[1])
    mode = Image.Resampling.NEAREST if panel.sharp else Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), mode)) for frame in panel.frames]
    )


def _label_bar(
    width: int,
    height: int,
    label_px: int,
    panels: Sequence[Panel],
    scaled: Sequence[UInt8[np.ndarray, "_t _H _W 3"]],
) -> UInt8[np.ndarray, "H W 3"]:
    image = Image.new("RGB", (width, height), _BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(label_px * 0.62)
    left = _GAP_PX
    for panel, frames in zip(panels, scaled, strict=True):
        middle = (left + frames.shape[2] / 2, label_px / 2)
        draw.text(middle, panel.label, fill=_TEXT, font=font, anchor="mm")
        left += frames.shape[2] + _GAP_PX
    return np.asarray(image)


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    chosen = images[:: max(1, len(images) // 8)]
    sheet = Image.new("RGB", (chosen[0].width, chosen[0].height * len(chosen)))
    for row, image in enumerate(chosen):
        sheet.paste(image, (0, row * image.height))
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
