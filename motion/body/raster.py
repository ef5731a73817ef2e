"""Z-buffer rasterizer: triangles in the camera frame to the face that each pixel shows.

Plain numpy in and out with numba kernels; every frame is independent. Pixel (row i, column j) is
sampled at its center (j + 0.5, i + 0.5), the convention of `motion.camera`. Barycentric
coordinates are perspective-correct. Triangles with a corner nearer than `NEAR_M` are dropped, and
so are those seen from behind: bodies are closed and faces run counter-clockwise from outside.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

NEAR_M = 0.05

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def kernel(function: Kernel) -> Kernel:
    """Compile with numba, cached on disk; single-threaded, since Ray owns the cores."""
    bare = inspect.unwrap(function)  # numba cannot compile the tests' shape-checking wrapper
    return cast(Kernel, numba.njit(cache=True, nogil=True)(bare))


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
    frames = len(vertices)
    cameras = np.broadcast_to(np.asarray(intrinsics, np.float32), (frames, 3, 3))
    face = np.full((frames, height, width), -1, np.int32)
    barycentric = np.zeros((frames, height, width, 3), np.float32)
    depth = np.full((frames, height, width), np.inf, np.float32)
    faces32 = np.ascontiguousarray(faces, np.int32)
    for t in range(frames):
        screen = _project(vertices[t], cameras[t])
        _fill(screen, faces32, face[t], barycentric[t], depth[t])
    return Raster(face, barycentric, depth)


@kernel
def _project(vertices: Any, camera: Any) -> Any:
    """Pixel x, pixel y and 1 / depth of every vertex; 1 / depth is 0 for one that is too near."""
    screen = np.zeros((vertices.shape[0], 3), np.float32)
    for i in range(vertices.shape[0]):
        z = vertices[i, 2]
        if z >= NEAR_M:
            x = camera[0, 0] * vertices[i, 0] + camera[0, 1] * vertices[i, 1]
            screen[i, 0] = x / z + camera[0, 2]
            screen[i, 1] = camera[1, 1] * vertices[i, 1] / z + camera[1, 2]
            screen[i, 2] = np.float32(1.0) / z
    return screen


@kernel
def _fill(screen: Any, faces: Any, face: Any, barycentric: Any, depth: Any) -> None:
    """Edge functions over each triangle's bounding box, in float64 for thin triangles."""
    height, width = face.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = screen[a, 2], screen[b, 2], screen[c, 2]
        if wa == 0.0 or wb == 0.0 or wc == 0.0:
            continue
        ax, ay = np.float64(screen[a, 0]), np.float64(screen[a, 1])
        bx, by = np.float64(screen[b, 0]), np.float64(screen[b, 1])
        cx, cy = np.float64(screen[c, 0]), np.float64(screen[c, 1])
        # y points down: counter-clockwise from outside turns clockwise, so the area is negative.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0.0:
            continue
        # Centers j + 0.5 within [low, high]: clamped before the cast, which would wrap around.
        left = max(np.ceil(min(ax, bx, cx) - 0.5), 0.0)
        right = min(np.floor(max(ax, bx, cx) - 0.5), width - 1.0)
        top = max(np.ceil(min(ay, by, cy) - 0.5), 0.0)
        bottom = min(np.floor(max(ay, by, cy) - 0.5), height - 1.0)
        if left > right or top > bottom:
            continue
        scale = 1.0 / area
        for i in range(int(top), int(bottom) + 1):
            y = i + 0.5
            for j in range(int(left), int(right) + 1):
                x = j + 0.5
                u = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) * scale
                v = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) * scale
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                pu, pv, pw = u * wa, v * wb, w * wc
                total = pu + pv + pw
                z = np.float32(1.0 / total)
                if z < depth[i, j]:
                    depth[i, j] = z
                    face[i, j] = f
                    barycentric[i, j, 0] = pu / total
                    barycentric[i, j, 1] = pv / total
                    barycentric[i, j, 2] = pw / total
