"""Kernels that color the pixels a body covers: vertex normals, motion map, shaded person.

Everything is a function of the face that a pixel shows; `motion.body.raster` settles that.
"""

from typing import Any, Literal

import numpy as np

from motion.body.raster import (
    EMPTY,
    LANES,
    bounds,
    clear,
    find_faces,
    kernel,
    project,
    weights_at,
)
from motion.skeleton import PART_NAMES

MapMode = Literal["flat", "lit", "normals", "parts", "skeleton"]
"""What a motion map shows; the last three are drawn by `motion.body.map_variants`."""

LIGHT_M = (0.0, 1.0, 0.0)
"""Point light of the lit map in the camera frame: 1 m *below* the camera, as in the released
renderer."""
AMBIENT, DIFFUSE, SPECULAR = 0.5, 0.3, 0.2
NUM_CODES = 2 * len(PART_NAMES)


@kernel
def sum_normals(vertices: Any, faces: Any, normals: Any) -> None:
    """Unit normals of the vertices, outwards, each face weighted by its area."""
    normals[:] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y, z = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - x, vertices[b, 1] - y, vertices[b, 2] - z
        vx, vy, vz = vertices[c, 0] - x, vertices[c, 1] - y, vertices[c, 2] - z
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
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
def draw_maps(
    vertices: Any,
    cameras: Any,
    faces: Any,
    parts: Any,
    light: Any,
    lit: Any,
    image: Any,
) -> None:
    """Motion maps of several frames; buffers are shared by the frames and touched only where the
    body is, since clearing a large one costs more than filling it."""
    _, height, width, _ = image.shape
    nearest = np.full((height, width + LANES), EMPTY, np.int64)
    face = nearest.view(np.int32)[:, : 2 * width : 2]
    screen = np.empty((vertices.shape[1], 3), np.float32)
    normals = np.empty((vertices.shape[1], 3), np.float32)
    for t in range(vertices.shape[0]):
        project(vertices[t], cameras[t], screen)
        find_faces(screen, faces, nearest)
        sum_normals(vertices[t], faces, normals)
        draw_map(vertices[t], screen, normals, faces, parts, face, light, lit, image[t])
        clear(screen, nearest)


@kernel
def draw_map(
    vertices: Any,
    screen: Any,
    normals: Any,
    faces: Any,
    parts: Any,
    face: Any,
    light: Any,
    lit: Any,
    image: Any,
) -> None:
    """One motion map: white, and the code of the nearest vertex where `face` is not negative."""
    image[:] = 255
    top, bottom, left, right = bounds(screen, *face.shape)
    for i in range(top, bottom + 1):
        for j in range(left, right + 1):
            f = face[i, j]
            if f < 0:
                continue
            weights = weights_at(screen, faces, f, i, j)
            x, y, z = _unit(_blend(normals, faces, f, weights))
            u, v, w = weights
            # Arithmetic on truth values: which corner is nearest cannot be predicted by a branch.
            corner = (1 - np.int64((u >= v) & (u >= w))) * (1 + np.int64(v < w))
            code = (2 * parts[faces[f, corner]] + 2 - np.int64(z < 0.0)) / NUM_CODES
            gain, base = 1.0, 0.0
            if lit:
                px, py, pz = _blend(vertices, faces, f, weights)
                lx, ly, lz = _unit((light[0] - px, light[1] - py, light[2] - pz))
                gain = AMBIENT + DIFFUSE * max(x * lx + y * ly + z * lz, 0.0)
                base = SPECULAR
            image[i, j, 0] = np.uint8(255.0 * (gain * code + base) + 0.5)
            image[i, j, 1] = np.uint8(255.0 * (gain * (0.5 * y + 0.5) + base) + 0.5)
            image[i, j, 2] = np.uint8(255.0 * (gain * (0.5 * x + 0.5) + base) + 0.5)


@kernel
def shade(
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
            for row in range(i * samples, (i + 1) * samples):
                for column in range(j * samples, (j + 1) * samples):
                    f = face[row, column]
                    if f < 0:
                        continue
                    covered += 1
                    pixel = barycentric[row, column]
                    weights = (pixel[0], pixel[1], pixel[2])
                    x, y, z = _unit(_blend(normals, faces, f, weights))
                    r, g, b = _blend(colors, faces, f, weights)
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


@kernel
def _blend(values: Any, faces: Any, f: Any, weights: Any) -> Any:
    """A vertex quantity of 3 components at a point of a face."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    u, v, w = weights
    return (
        u * values[a, 0] + v * values[b, 0] + w * values[c, 0],
        u * values[a, 1] + v * values[b, 1] + w * values[c, 1],
        u * values[a, 2] + v * values[b, 2] + w * values[c, 2],
    )


@kernel
def _unit(vector: Any) -> Any:
    x, y, z = vector
    length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length
