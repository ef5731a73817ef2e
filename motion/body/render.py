"""Pictures of a body: the 2D motion map (Zhao et al. 2026, section 3.2) and a shaded person.

A map's R is part and facing, G is normal y, B is normal x; the background is white. The code of
part r (0-based) is (2r + 1) / 48 where the surface faces the camera (nz < 0) and (2r + 2) / 48
where it turns away; a pixel takes the part of its nearest vertex, so that no false codes arise at
seams. "lit" multiplies every channel by 0.5 + 0.3 cos and adds 0.2, for compatibility with the
released weights; it cannot be decoded.

Numpy in and out, vertices in the camera frame (OpenCV axes, metres), one picture per frame.
Both pictures of a clip may share one `Raster`.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int16, Int32, UInt8

from motion.body.raster import Raster, project, rasterize
from motion.body.shading import (
    LIGHT_M,
    NUM_CODES,
    MapMode,
    draw_map,
    draw_maps,
    shade,
    sum_normals,
)

WHITE_BORDER = 0.6
"""(G + B - 1) / sqrt(2) is at most 0.5 for a unit normal and 0.71 for white: the middle."""


class DecodedMap(NamedTuple):
    """What a motion map says about each pixel."""

    part: Int16[np.ndarray, "t h w"]
    """Index into `PART_NAMES`; -1 for background."""
    normal: Float32[np.ndarray, "t h w 3"]
    """Unit normal in the camera frame; zero on the background."""
    mask: Bool[np.ndarray, "t h w"]
    """True on the body."""


def vertex_normals(
    vertices: Float[np.ndarray, "t v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float32[np.ndarray, "t v 3"]:
    """Unit normals, outwards, each face weighted by its area."""
    vertices32 = np.ascontiguousarray(vertices, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    normals = np.empty_like(vertices32)
    for t in range(len(vertices32)):
        sum_normals(vertices32[t], faces32, normals[t])
    return normals


def render_motion_map(
    vertices_camera: Float[np.ndarray, "t v 3"],
    faces: Int[np.ndarray, "f 3"],
    part_of_vertex: Int[np.ndarray, "v"],
    intrinsics: Float[np.ndarray, "3 3"] | Float[np.ndarray, "t 3 3"],
    height: int,
    width: int,
    *,
    mode: Literal["flat", "lit"] = "flat",
    raster: Raster | None = None,
    out: UInt8[np.ndarray, "t h w 3"] | None = None,
    threads: int = 1,
) -> UInt8[np.ndarray, "t h w 3"]:
    """The 2D motion map, in the codes that stand above.

    Args:
        faces: counter-clockwise seen from outside.
        part_of_vertex: indices into `PART_NAMES`.
        intrinsics: in pixels, of the clip or of every frame.
        raster: what each pixel shows, where that is known already.
        out: written and returned instead of a new array, which saves a large map's page faults.
        threads: frames drawn at a time; the pixels do not depend on it.

    Raises:
        ValueError: `raster` or `out` has another size.
    """
    vertices = np.ascontiguousarray(vertices_camera, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    parts = np.ascontiguousarray(part_of_vertex, np.int32)
    size = (len(vertices), height, width)
    cameras = np.array(np.broadcast_to(np.asarray(intrinsics, np.float32), (len(vertices), 3, 3)))
    image = np.empty((*size, 3), np.uint8) if out is None else out
    if image.shape != (*size, 3):
        raise ValueError(f"out has shape {image.shape}, expected {(*size, 3)}: reshape it")
    if raster is None:
        _draw_in_threads(vertices, cameras, faces32, parts, mode == "lit", image, threads)
    else:
        _require_size(raster, *size)
        _draw_known(vertices, cameras, faces32, parts, mode == "lit", image, raster)
    return image


def _draw_known(
    vertices: Float32[np.ndarray, "t v 3"],
    cameras: Float32[np.ndarray, "t 3 3"],
    faces: Int32[np.ndarray, "f 3"],
    parts: Int32[np.ndarray, "v"],
    lit: bool,
    image: UInt8[np.ndarray, "t h w 3"],
    raster: Raster,
) -> None:
    """Draw into `image` where the face of every pixel is known."""
    light = np.array(LIGHT_M, np.float32)
    normals = vertex_normals(vertices, faces)
    screen = np.empty((vertices.shape[1], 3), np.float32)
    for t in range(len(vertices)):
        project(vertices[t], cameras[t], screen)
        mesh = (vertices[t], screen, normals[t], faces, parts)
        draw_map(*mesh, raster.face[t], light, lit, image[t])


def _draw_in_threads(
    vertices: Float32[np.ndarray, "t v 3"],
    cameras: Float32[np.ndarray, "t 3 3"],
    faces: Int32[np.ndarray, "f 3"],
    parts: Int32[np.ndarray, "v"],
    lit: bool,
    image: UInt8[np.ndarray, "t h w 3"],
    threads: int,
) -> None:
    """Rasterize and draw into `image`, some frames at a time."""
    light = np.array(LIGHT_M, np.float32)

    def draw(chunk: slice) -> None:
        draw_maps(vertices[chunk], cameras[chunk], faces, parts, light, lit, image[chunk])

    count = max(min(threads, len(vertices)), 1)
    ends = np.linspace(0, len(vertices), count + 1).astype(int)
    chunks = [slice(*pair) for pair in pairwise(ends)]
    if len(chunks) == 1:
        draw(chunks[0])
        return
    with ThreadPoolExecutor(len(chunks)) as pool:  # the kernels hold no interpreter lock
        list(pool.map(draw, chunks))


def decode_motion_map(image: UInt8[np.ndarray, "t h w 3"], *, mode: MapMode = "flat") -> DecodedMap:
    """Parts and normals of a flat motion map, exact up to its 8 bits; robust to mild noise.

    Raises:
        ValueError: the map is lit.
    """
    if mode != "flat":
        raise ValueError(
            f"a motion map of mode {mode!r} cannot be decoded: under its shading the codes of "
            "different parts overlap; render or train with mode 'flat'"
        )
    value = image.astype(np.float32) / 255.0
    red, green, blue = value[..., 0], value[..., 1], value[..., 2]
    mask = (green + blue - 1.0) / np.sqrt(2.0) < WHITE_BORDER
    code = np.clip(np.rint(red * NUM_CODES).astype(np.int16) - 1, 0, NUM_CODES - 1)
    x, y = 2.0 * blue - 1.0, 2.0 * green - 1.0
    z = np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0)) * np.where(code % 2 == 0, -1.0, 1.0)
    normal = np.stack([x, y, z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    part = np.where(mask, code // 2, -1).astype(np.int16)
    return DecodedMap(part, np.where(mask[..., None], normal, 0.0).astype(np.float32), mask)


def render_person(
    vertices_camera: Float[np.ndarray, "t v 3"],
    faces: Int[np.ndarray, "f 3"],
    vertex_color: Float[np.ndarray, "v 3"],
    intrinsics: Float[np.ndarray, "3 3"] | Float[np.ndarray, "t 3 3"],
    height: int,
    width: int,
    *,
    background: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "t h w 3"],
    light: tuple[float, float, float] = (-0.4, -0.7, -0.6),
    supersample: int = 2,
    raster: Raster | None = None,
) -> UInt8[np.ndarray, "t h w 3"]:
    """A shaded person over a background.

    Each pixel averages supersample^2 samples. `vertex_color` is RGB in [0, 1]; `light` points
    from the body to a distant light, in the camera frame. A given `raster` must have
    `supersample` times the picture's height and width (1: that of the motion map).
    """
    if raster is None:
        scale = np.array([supersample, supersample, 1], np.float32)[:, None]
        raster = rasterize(
            vertices_camera, faces, scale * intrinsics, height * supersample, width * supersample
        )
    _require_size(raster, len(vertices_camera), height * supersample, width * supersample)
    vertices = np.ascontiguousarray(vertices_camera, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    normals = vertex_normals(vertices, faces32)
    colors = np.ascontiguousarray(vertex_color, np.float32)
    direction = np.array(light, np.float32) / np.float32(np.linalg.norm(light))
    image = np.array(np.broadcast_to(background, (len(vertices), height, width, 3)))
    for t, (face, barycentric, _) in enumerate(zip(*raster, strict=True)):
        shade(normals[t], colors, faces32, face, barycentric, direction, supersample, image[t])
    return image


def _require_size(raster: Raster, frames: int, height: int, width: int) -> None:
    if raster.face.shape != (frames, height, width):
        raise ValueError(
            f"the raster has shape {raster.face.shape}, expected {(frames, height, width)} "
            "(frames, height, width; times supersample): rasterize the same clip at that size"
        )
