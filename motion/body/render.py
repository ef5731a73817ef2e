"""Pictures of a body: the 2D motion map (Zhao et al. 2026, section 3.2) and a shaded person.

Numpy in and out, vertices in the camera frame (OpenCV axes, metres), one picture per frame.
Both pictures of a clip may share one `Raster`.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int16, UInt8

from motion.body.raster import Raster, kernel, rasterize
from motion.skeleton import PART_NAMES

MapMode = Literal["flat", "lit"]

LIGHT_M = (0.0, 1.0, 0.0)
"""Point light of the lit map in the camera frame: 1 m *below* the camera, as in the released
renderer."""
AMBIENT, DIFFUSE, SPECULAR = 0.5, 0.3, 0.2
NUM_CODES = 2 * len(PART_NAMES)
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
    normals = np.zeros_like(vertices32)
    for t in range(len(vertices32)):
        _add_normals(vertices32[t], faces32, normals[t])
    return normals


def render_motion_map(
    vertices_camera: Float[np.ndarray, "t v 3"],
    faces: Int[np.ndarray, "f 3"],
    part_of_vertex: Int[np.ndarray, "v"],
    intrinsics: Float[np.ndarray, "3 3"] | Float[np.ndarray, "t 3 3"],
    height: int,
    width: int,
    *,
    mode: MapMode = "flat",
    raster: Raster | None = None,
) -> UInt8[np.ndarray, "t h w 3"]:
    """The 2D motion map: R = part and facing, G = normal y, B = normal x, white background.

    The code of part r (0-based) is (2r + 1) / 48 where the surface faces the camera (nz < 0) and
    (2r + 2) / 48 where it turns away; a pixel takes the part of its nearest vertex, so that no
    false codes arise at seams. "lit" multiplies every channel by 0.5 + 0.3 cos and adds 0.2, for
    compatibility with the released weights; it cannot be decoded.
    """
    if raster is None:
        raster = rasterize(vertices_camera, faces, intrinsics, height, width)
    _require_size(raster, len(vertices_camera), height, width)
    vertices = np.ascontiguousarray(vertices_camera, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    normals = vertex_normals(vertices, faces32)
    parts = np.ascontiguousarray(part_of_vertex, np.int32)
    light = np.array(LIGHT_M, np.float32)
    image = np.full((len(vertices), height, width, 3), 255, np.uint8)
    for t, (face, barycentric, _) in enumerate(zip(*raster, strict=True)):
        _encode(
            vertices[t],
            normals[t],
            faces32,
            parts,
            face,
            barycentric,
            light,
            mode == "lit",
            image[t],
        )
    return image


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
        _shade(normals[t], colors, faces32, face, barycentric, direction, supersample, image[t])
    return image


def _require_size(raster: Raster, frames: int, height: int, width: int) -> None:
    if raster.face.shape != (frames, height, width):
        raise ValueError(
            f"the raster has shape {raster.face.shape}, expected {(frames, height, width)} "
            "(frames, height, width; times supersample): rasterize the same clip at that size"
        )


@kernel
def _add_normals(vertices: Any, faces: Any, normals: Any) -> None:
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(3):
            i = faces[f, k]
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(vertices.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            for k in range(3):
                normals[i, k] /= length


@kernel
def _blend(values: Any, faces: Any, f: Any, weights: Any) -> Any:
    """A vertex quantity of 3 components at a point of a face."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    u, v, w = weights[0], weights[1], weights[2]
    return (
        u * values[a, 0] + v * values[b, 0] + w * values[c, 0],
        u * values[a, 1] + v * values[b, 1] + w * values[c, 1],
        u * values[a, 2] + v * values[b, 2] + w * values[c, 2],
    )


@kernel
def _unit(x: Any, y: Any, z: Any) -> Any:
    length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length


@kernel
def _encode(
    vertices: Any,
    normals: Any,
    faces: Any,
    parts: Any,
    face: Any,
    barycentric: Any,
    light: Any,
    lit: Any,
    image: Any,
) -> None:
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            f = face[i, j]
            if f < 0:
                continue
            weights = barycentric[i, j]
            x, y, z = _blend(normals, faces, f, weights)
            x, y, z = _unit(x, y, z)
            part = parts[faces[f, np.argmax(weights)]]
            code = (2 * part + (1 if z < 0.0 else 2)) / NUM_CODES
            gain, base = 1.0, 0.0
            if lit:
                px, py, pz = _blend(vertices, faces, f, weights)
                lx, ly, lz = _unit(light[0] - px, light[1] - py, light[2] - pz)
                gain = AMBIENT + DIFFUSE * max(x * lx + y * ly + z * lz, 0.0)
                base = SPECULAR
            image[i, j, 0] = np.uint8(255.0 * (gain * code + base) + 0.5)
            image[i, j, 1] = np.uint8(255.0 * (gain * (0.5 * y + 0.5) + base) + 0.5)
            image[i, j, 2] = np.uint8(255.0 * (gain * (0.5 * x + 0.5) + base) + 0.5)


@kernel
def _shade(
    normals: Any,
    colors: Any,
    faces: Any,
    face: Any,
    barycentric: Any,
    light: Any,
    samples: Any,
    image: Any,
) -> None:
    """Lambert's law with a light, over light that comes more from above (-y) than from below."""
    share = 1.0 / (samples * samples)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            covered = 0
            red, green, blue = 0.0, 0.0, 0.0
            for k in range(samples * samples):
                row, column = i * samples + k // samples, j * samples + k % samples
                f = face[row, column]
                if f < 0:
                    continue
                covered += 1
                x, y, z = _blend(normals, faces, f, barycentric[row, column])
                x, y, z = _unit(x, y, z)
                r, g, b = _blend(colors, faces, f, barycentric[row, column])
                direct = max(x * light[0] + y * light[1] + z * light[2], 0.0)
                brightness = 0.42 - 0.12 * y + 0.58 * direct
                red += brightness * r
                green += brightness * g
                blue += brightness * b
            if covered > 0:
                rest = 1.0 - covered * share
                for k, value in enumerate((red, green, blue)):
                    mixed = rest * image[i, j, k] + 255.0 * share * value
                    image[i, j, k] = np.uint8(min(mixed + 0.5, 255.0))
