"""A fitted body as it stands, drawn as a motion map to compare with a given one."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.body.fit_markers import Pose
from motion.body.model import BodyModel
from motion.body.raster import rasterize
from motion.body.render import DecodedMap, decode_motion_map, render_motion_map

_STRANGE, _ALIKE = 0.65, 0.85
"""Share of the person's pixels with the right part at which a frame counts nothing, and in full."""
_SURFACE_M = 0.03
"""A vertex deeper than this below what the pixel shows is hidden."""


class Drawn(NamedTuple):
    """The body as it stands."""

    map: DecodedMap
    depth: Float[np.ndarray, "t h w"]
    """Metres; inf on the background."""


def draw(
    body: BodyModel, pose: Pose, intrinsics: Float[Tensor, "3 3"], height: int, width: int
) -> Drawn:
    """The one clip of a pose, in the camera's frame, as a motion map with its depth."""
    K = intrinsics.numpy()
    vertices = body.vertices(pose.R_parent_child, pose.betas, pose.translation)[0].numpy()
    raster = rasterize(vertices, body.faces.numpy(), K, height, width)
    drawn = render_motion_map(
        vertices, body.faces.numpy(), body.part_of_vertex.numpy(), K, height, width, raster=raster
    )
    return Drawn(decode_motion_map(drawn), raster.depth)


def agreement(
    drawn: Int[np.ndarray, "t h w"], seen: Int[np.ndarray, "t h w"]
) -> Float[Tensor, "t"]:
    """0 where most of the person's pixels show different parts, 1 where few do, per frame."""
    person = (drawn >= 0) | (seen >= 0)
    same = ((drawn == seen) & person).sum((1, 2)) / np.maximum(person.sum((1, 2)), 1)
    return torch.from_numpy(((same - _STRANGE) / (_ALIKE - _STRANGE)).clip(0.0, 1.0)).float()


def shown(
    pixel: Float[Tensor, "t v 2"], depth: Float[Tensor, "t v"], drawn: Float[np.ndarray, "t h w"]
) -> Bool[Tensor, "t v"]:
    """Vertices inside the picture that nothing hides."""
    height, width = drawn.shape[1:]
    column, row = (pixel[..., axis].nan_to_num(-1.0).floor().long() for axis in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    frame = torch.arange(len(pixel))[:, None]
    surface = torch.from_numpy(drawn)[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return inside & (depth < surface + _SURFACE_M)
