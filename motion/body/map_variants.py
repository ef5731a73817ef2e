"""What the motion branch may be shown instead of the motion map (Zhao et al. 2026, Table 4).

"normals" and "parts" are the flat map with one of its two kinds of information taken out, on the
same white background; "skeleton" is the usual picture of 2D keypoints, colored limbs on black. None
of them can be decoded into part ids and normals.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body.model import BodyModel
from motion.body.raster import Raster
from motion.body.render import decode_motion_map, render_motion_map
from motion.body.shading import MapMode
from motion.camera import project, to_camera
from motion.sequence import Motion
from motion.skeleton import COCO_17

LIMBS: Final[tuple[tuple[str, str], ...]] = (
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
)  # fmt: skip
"""Pairs of COCO-17 keypoints; each has a color of its own."""
_MIDDLE: Final = 128
"""Value of a normal of length 0."""
_THICKNESS: Final = 0.012
"""Half the width of a limb over the height of the picture."""


def draw_motion(
    body: BodyModel,
    motion: Motion,
    T_camera_world: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    height: int,
    width: int,
    *,
    mode: MapMode = "flat",
    vertices: Float[Tensor, "t v 3"] | None = None,
    raster: Raster | None = None,
) -> UInt8[np.ndarray, "t h w 3"]:
    """What the motion branch sees of a motion in the world, in any mode.

    Args:
        body: the motion's.
        motion: (t, 24, 3, 3) with its path.
        T_camera_world: of a static camera.
        intrinsics: of that camera, pixels.
        height: rows.
        width: columns.
        mode: "flat" and "lit" are `render_motion_map`'s.
        vertices: the body's in the camera frame, where they are known already.
        raster: what each pixel shows, where that is known already.
    """
    place = motion.require_translation()
    if mode == "skeleton":
        points = body.keypoints(motion.R_parent_child, motion.betas, place)
        pixels = project(to_camera(points, T_camera_world), intrinsics)
        return draw_skeleton(pixels.numpy(), height, width)
    if vertices is None:
        vertices = body.vertices(motion.R_parent_child, motion.betas, place)
        vertices = to_camera(vertices, T_camera_world)
    flat = render_motion_map(
        vertices.numpy(), body.faces.numpy(), body.part_of_vertex.numpy(), intrinsics.numpy(),
        height, width, mode="lit" if mode == "lit" else "flat", raster=raster,
    )  # fmt: skip
    if mode == "normals":
        return normals_alone(flat)
    return parts_alone(flat) if mode == "parts" else flat


def normals_alone(flat: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """R = nz, G = ny, B = nx, each as n / 2 + 1 / 2; no part."""
    decoded = decode_motion_map(flat)
    toward = (127.5 * (decoded.normal[..., 2] + 1.0)).round().astype(np.uint8)
    red = np.where(decoded.mask, toward, 255)
    return np.concatenate([red[..., None].astype(np.uint8), flat[..., 1:]], -1)


def parts_alone(flat: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """R = the part's code where it faces the camera; no normal."""
    decoded = decode_motion_map(flat)
    code = ((2 * decoded.part.astype(np.float32) + 1) / 48 * 255).round()
    shown = np.stack([code, np.full_like(code, _MIDDLE), np.full_like(code, _MIDDLE)], -1)
    return np.where(decoded.mask[..., None], shown, 255).astype(np.uint8)


def draw_skeleton(
    pixels: Float[np.ndarray, "t 17 2"], height: int, width: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """Keypoints as colored limbs on black; a limb with a keypoint behind the camera is left out."""
    image = np.zeros((len(pixels), height, width, 3), np.uint8)
    row, column = np.mgrid[:height, :width] + 0.5
    reach = max(_THICKNESS * height, 0.75)
    for index, (start, end) in enumerate(LIMBS):
        color = _color(index)
        for t, (a, b) in enumerate(
            zip(pixels[:, COCO_17.index(start)], pixels[:, COCO_17.index(end)], strict=True)
        ):
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                continue
            along = b - a
            length = max(float(along @ along), 1e-6)
            share = np.clip(((column - a[0]) * along[0] + (row - a[1]) * along[1]) / length, 0, 1)
            x, y = column - (a[0] + share * along[0]), row - (a[1] + share * along[1])
            image[t][x * x + y * y <= reach * reach] = color
    return image


def _color(index: int) -> UInt8[np.ndarray, "3"]:
    """Evenly spaced hues."""
    hue = 6.0 * index / len(LIMBS)
    offset = np.array([5.0, 3.0, 1.0]) + hue
    k = np.mod(offset, 6.0)
    value = 1.0 - np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)
    return (255.0 * value).round().astype(np.uint8)
