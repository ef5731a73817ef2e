"""How a picture of any shape lies in a video size that the model can make: never stretched.

A model makes clips of about one number of pixels. Of all sizes with that number whose sides are
multiples of its cell, the one of the most similar aspect ratio is taken; the picture is scaled
evenly and either cut (it covers the frame) or padded (the frame holds all of it).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

Fill = Literal["crop", "pad"]

_AREA = (0.8, 1.0)
"""Range of a size's number of pixels, as a share of the trained one: more would not fit memory."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A frame of `height` x `width` pixels, and the map from a picture's pixels to its own."""

    height: int
    width: int
    scale: float
    """Frame pixels per picture pixel."""
    left: float
    """Where the picture's left edge lies in the frame, in pixels; negative where it is cut."""
    top: float
    picture: tuple[int, int]
    """Height and width of the picture."""

    def place(self, picture: UInt8[np.ndarray, "hp wp 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The picture in the frame; where it does not reach, its border goes on.

        Raises:
            ValueError: the picture has another size than the canvas was made for.
        """
        if picture.shape[:2] != self.picture:
            raise ValueError(
                f"the picture is {picture.shape[0]} x {picture.shape[1]}, the canvas is for "
                f"{self.picture[0]} x {self.picture[1]}: make a canvas for this picture"
            )
        rows, columns = self._covered()
        # The part of the picture that those frame pixels show; exact also between pixels.
        box = (
            (columns.start - self.left) / self.scale,
            (rows.start - self.top) / self.scale,
            (columns.stop - self.left) / self.scale,
            (rows.stop - self.top) / self.scale,
        )
        size = (columns.stop - columns.start, rows.stop - rows.start)
        inside = (
            max(box[0], 0.0), max(box[1], 0.0),
            min(box[2], float(self.picture[1])), min(box[3], float(self.picture[0])),
        )  # fmt: skip
        resized = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, box=inside)
        around = (
            (rows.start, self.height - rows.stop),
            (columns.start, self.width - columns.stop),
            (0, 0),
        )
        return np.pad(np.asarray(resized), around, mode="edge")

    def restore(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t hc wc 3"]:
        """Frames without the padding: what shows the picture. Sides are made even for H.264."""
        rows, columns = self._covered()
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return frames[
            :, rows.start : rows.stop - height % 2, columns.start : columns.stop - width % 2
        ]

    def to_frame(self, pixels: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Picture pixels (from its corner) to frame pixels."""
        return pixels * self.scale + pixels.new_tensor([self.left, self.top])

    def intrinsics(self, of_picture: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
        """The picture's camera, in the frame's pixels."""
        place = torch.tensor(
            [[self.scale, 0.0, self.left], [0.0, self.scale, self.top], [0.0, 0.0, 1.0]]
        )
        return place.to(of_picture) @ of_picture

    def restored_intrinsics(self, of_frame: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
        """The frame's camera, in the pixels of `restore`."""
        rows, columns = self._covered()
        matrix = of_frame.clone()
        matrix[0] -= columns.start * of_frame[2]
        matrix[1] -= rows.start * of_frame[2]
        return matrix

    def _covered(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that show the picture."""
        bottom = self.top + self.scale * self.picture[0]
        right = self.left + self.scale * self.picture[1]
        rows = slice(max(0, round(self.top)), min(self.height, round(bottom)))
        columns = slice(max(0, round(self.left)), min(self.width, round(right)))
        return rows, columns


def nearest_size(height: int, width: int, *, area: int, cell: int) -> tuple[int, int]:
    """Height and width with about `area` pixels, multiples of `cell`, most similar in aspect.

    Raises:
        ValueError: no size has that few pixels.
    """
    wanted = math.log(width / height)
    found: list[tuple[float, int, int, int]] = []
    for rows in range(1, area // cell**2 + 1):
        for columns in {
            max(1, int(share * area / (rows * cell**2))) for share in (0.8, 0.85, 0.9, 0.95, 1.0)
        }:
            size = rows * columns * cell**2
            if _AREA[0] * area <= size <= _AREA[1] * area:
                away = abs(math.log(columns / rows) - wanted)
                found.append((round(away, 6), -size, rows * cell, columns * cell))
    if not found:
        raise ValueError(
            f"no size of about {area} pixels has sides that are multiples of {cell}: "
            "the export's video size does not fit its autoencoder"
        )
    _, _, best_height, best_width = min(found)
    return best_height, best_width


def fitted(picture: tuple[int, int], height: int, width: int, *, fill: Fill = "crop") -> Canvas:
    """How a picture of some height and width lies in a frame: scaled evenly, the middle kept."""
    choose = max if fill == "crop" else min
    scale = choose(height / picture[0], width / picture[1])
    return Canvas(
        height=height,
        width=width,
        scale=scale,
        left=(width - scale * picture[1]) / 2,
        top=(height - scale * picture[0]) / 2,
        picture=picture,
    )


def canvas_for(picture: tuple[int, int], *, area: int, cell: int, fill: Fill = "crop") -> Canvas:
    """The canvas of a picture of some height and width.

    Args:
        picture: height and width of the picture.
        area: pixels per frame of the training data.
        cell: pixels per side of what the model takes as one token.
        fill: "crop" covers the frame and cuts what is outside; "pad" shows all of the picture.

    Raises:
        ValueError: an empty picture.
    """
    if min(picture) < 1:
        raise ValueError(f"the picture has the size {picture}; expected at least one pixel")
    height, width = nearest_size(*picture, area=area, cell=cell)
    return fitted(picture, height, width, fill=fill)
