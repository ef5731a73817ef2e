"""Z-buffer rasterizer: triangles in the camera frame to the face that each pixel shows.

Plain numpy in and out with numba kernels; every frame is independent. Pixel (row i, column j) is
sampled at its center (j + 0.5, i + 0.5), the convention of `motion.camera`. Barycentric
coordinates are perspective-correct. Triangles with a corner nearer than `NEAR_M` are dropped, and
so are those seen from behind: bodies are closed and faces run counter-clockwise from outside.
Where two faces have the same float32 depth, the one that comes first in `faces` is shown.

Two passes: `find_faces` settles which face each pixel shows, and only then are weights (here) or
colors (`motion.body.shading`) computed, once per covered pixel. The first pass keeps depth and
face of a pixel in one 64-bit number, so that the nearer of two faces is the lesser number and
numba can compare 8 pixels at once, without a branch. All sums and products are IEEE float32 or
float64 in a stated order: `motion.body.raster_torch` repeats them bit for bit.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

NEAR_M = 0.05
LANES = 8
"""Pixels that `find_faces` tests at once; a z-buffer has so many columns more than the image."""
EMPTY = int(np.float32(np.inf).view(np.int32)) << 32 | 0xFFFFFFFF
"""A pixel of the z-buffer that shows nothing: depth inf, face -1."""

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def kernel(function: Kernel) -> Kernel:
    """Compile with numba, cached on disk; single-threaded, since Ray owns the cores."""
    bare = inspect.unwrap(function)  # numba cannot compile the tests' shape-checking wrapper
    return cast(Kernel, numba.njit(cache=True, nogil=True, error_model="numpy")(bare))


class Raster(NamedTuple):
    """What each pixel shows."""

    face: Int32[np.ndarray, "t h w"]
    """Index of the nearest face; -1 for background."""
    barycentric: Float32[np.ndarray, "t h w 3"]
    """Weights of the face's corners, summing to 1; zero on the background."""
    depth: Float32[np.ndarray, "t h w"]
    """Distance along the camera's z axis in metres; inf on the background."""


def rasterize(
    vertices_camera: Float[np.ndarray, "t v 3"],
    faces: Int[np.ndarray, "f 3"],
    intrinsics: Float[np.ndarray, "3 3"] | Float[np.ndarray, "t 3 3"],
    height: int,
    width: int,
) -> Raster:
    """The nearest front-facing triangle at every pixel center; vertices in metres."""
    vertices = np.ascontiguousarray(vertices_camera, np.float32)
    frames, num_vertices, _ = vertices.shape
    cameras = np.broadcast_to(np.asarray(intrinsics, np.float32), (frames, 3, 3))
    face = np.full((frames, height, width), -1, np.int32)
    barycentric = np.zeros((frames, height, width, 3), np.float32)
    depth = np.full((frames, height, width), np.inf, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    screen = np.empty((num_vertices, 3), np.float32)
    nearest = np.full((height, width + LANES), EMPTY, np.int64)
    for t in range(frames):
        project(vertices[t], cameras[t], screen)
        find_faces(screen, faces32, nearest)
        _unpack(screen, faces32, nearest, face[t], barycentric[t], depth[t])
        clear(screen, nearest)
    return Raster(face, barycentric, depth)


@kernel
def project(vertices: Any, camera: Any, screen: Any) -> None:
    """Pixel x, pixel y and 1 / depth of every vertex; 1 / depth is 0 for one that is too near."""
    for i in range(vertices.shape[0]):
        z = vertices[i, 2]
        if z >= NEAR_M:
            x = camera[0, 0] * vertices[i, 0] + camera[0, 1] * vertices[i, 1]
            screen[i, 0] = x / z + camera[0, 2]
            screen[i, 1] = camera[1, 1] * vertices[i, 1] / z + camera[1, 2]
            screen[i, 2] = np.float32(1.0) / z
        else:
            screen[i, 0], screen[i, 1], screen[i, 2] = 0.0, 0.0, 0.0


@kernel
def centers_between(low: Any, high: Any, size: Any) -> Any:
    """First and last pixel center within [low, high], as indices into [0, size).

    Clamped before the cast, which would wrap around.
    """
    first = max(np.ceil(low - 0.5), 0.0)
    last = min(np.floor(high - 0.5), size - 1.0)
    return (int(first), int(last)) if first <= last else (0, -1)


@kernel
def bounds(screen: Any, height: Any, width: Any) -> Any:
    """Top, bottom, left, right of the pixels that any face could cover."""
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for i in range(screen.shape[0]):
        if screen[i, 2] > 0.0:
            left, right = min(left, screen[i, 0]), max(right, screen[i, 0])
            top, bottom = min(top, screen[i, 1]), max(bottom, screen[i, 1])
    return *centers_between(top, bottom, height), *centers_between(left, right, width)


@kernel
def corners(screen: Any, faces: Any, f: Any) -> Any:
    """Screen x and y of a face's corners, in float64 for thin triangles."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    return (
        np.float64(screen[a, 0]),
        np.float64(screen[a, 1]),
        np.float64(screen[b, 0]),
        np.float64(screen[b, 1]),
        np.float64(screen[c, 0]),
        np.float64(screen[c, 1]),
    )


@kernel
def edge_area(ax: Any, ay: Any, bx: Any, by: Any, cx: Any, cy: Any) -> Any:
    """Twice the signed area. y points down: counter-clockwise from outside turns clockwise, so
    that of a visible face is negative."""
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


@kernel
def edge_weights(
    ax: Any, ay: Any, bx: Any, by: Any, cx: Any, cy: Any, scale: Any, x: Any, y: Any
) -> Any:
    """Barycentric coordinates on the screen of a point, with scale = 1 / area."""
    u = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) * scale
    v = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) * scale
    return u, v, 1.0 - u - v


@kernel
def find_faces(screen: Any, faces: Any, nearest: Any) -> None:
    """Lower `nearest`, a z-buffer, wherever a face is nearer than what is there.

    An entry is the bits of a float32 depth, which order like the positive number they stand for,
    above the index of the face.
    """
    height, width = nearest.shape[0], nearest.shape[1] - LANES
    for f in range(faces.shape[0]):
        wa = np.float64(screen[faces[f, 0], 2])
        wb = np.float64(screen[faces[f, 1], 2])
        wc = np.float64(screen[faces[f, 2], 2])
        if wa == 0.0 or wb == 0.0 or wc == 0.0:
            continue
        ax, ay, bx, by, cx, cy = corners(screen, faces, f)
        area = edge_area(ax, ay, bx, by, cx, cy)
        if not area < 0.0:  # NaN too
            continue
        left, right = centers_between(min(ax, bx, cx), max(ax, bx, cx), width)
        top, bottom = centers_between(min(ay, by, cy), max(ay, by, cy), height)
        scale = 1.0 / area
        columns = ((right - left) // LANES + 1) * LANES if right >= left else 0
        for i in range(top, bottom + 1):
            row = nearest[i, left : left + columns]
            for k in range(columns):
                x = left + k + 0.5
                u, v, w = edge_weights(ax, ay, bx, by, cx, cy, scale, x, i + 0.5)
                z = np.float32(1.0 / (u * wa + v * wb + w * wc))
                entry = np.int64(z.view(np.int32)) << 32 | f
                # & and not `and`: a branch would keep the compiler from vectorizing.
                inside = (u >= 0.0) & (v >= 0.0) & (w >= 0.0)
                row[k] = min(row[k], entry if inside else EMPTY)


@kernel
def clear(screen: Any, nearest: Any) -> None:
    """Empty the part of a z-buffer that the vertices on the screen can have touched."""
    height, width = nearest.shape[0], nearest.shape[1] - LANES
    top, bottom, left, right = bounds(screen, height, width)
    nearest[top : bottom + 1, left : right + 1 + LANES] = EMPTY


@kernel
def weights_at(screen: Any, faces: Any, f: Any, i: Any, j: Any) -> Any:
    """Perspective-correct weights of a face's corners at the center of pixel (i, j)."""
    ax, ay, bx, by, cx, cy = corners(screen, faces, f)
    scale = 1.0 / edge_area(ax, ay, bx, by, cx, cy)
    u, v, w = edge_weights(ax, ay, bx, by, cx, cy, scale, j + 0.5, i + 0.5)
    pu = u * screen[faces[f, 0], 2]
    pv = v * screen[faces[f, 1], 2]
    pw = w * screen[faces[f, 2], 2]
    total = pu + pv + pw
    return np.float32(pu / total), np.float32(pv / total), np.float32(pw / total)


@kernel
def _unpack(screen: Any, faces: Any, nearest: Any, face: Any, barycentric: Any, depth: Any) -> None:
    top, bottom, left, right = bounds(screen, *face.shape)
    for i in range(top, bottom + 1):
        for j in range(left, right + 1):
            entry = nearest[i, j]
            if entry != EMPTY:
                f = np.int32(entry & 0xFFFFFFFF)
                u, v, w = weights_at(screen, faces, f, i, j)
                barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2] = u, v, w
                face[i, j] = f
                depth[i, j] = np.int32(entry >> 32).view(np.float32)
