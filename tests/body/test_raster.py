"""Rasterizer: coverage, pixel centers, depth order, perspective, near and back faces."""

import numpy as np
import torch

from motion.body.raster import NEAR_M, Raster, rasterize
from motion.camera import intrinsics, project

K = intrinsics(100.0, 16, 16).numpy()
"""At depth 100 m / px: one unit of x is one pixel from the image's middle."""


def at_pixels(corners: list[tuple[float, float]], z: float | list[float] = 100.0) -> np.ndarray:
    """Camera points that project to pixel positions, at depth z."""
    depth = np.broadcast_to(np.asarray(z, np.float32), len(corners))
    xy = (np.array(corners, np.float32) - 8.0) * depth[:, None] / 100.0
    return np.concatenate([xy, depth[:, None]], 1)


def draw(vertices: np.ndarray, faces: list[list[int]]) -> Raster:
    return rasterize(vertices[None], np.array(faces), K, 16, 16)


def test_right_triangle_covers_exactly_the_centers_inside():
    # Corners on integer pixel borders: row i of the triangle holds the centers left of x = i + 2.
    vertices = at_pixels([(2.1, 2.1), (2.1, 10.1), (10.1, 10.1)])
    raster = draw(vertices, [[0, 1, 2]])
    rows, columns = np.mgrid[:16, :16] + 0.5
    inside = (columns > 2.1) & (rows < 10.1) & (columns - 2.1 < rows - 2.1)
    assert inside.sum() == 28
    on_diagonal = (columns == rows) & (rows > 2.1) & (rows < 10.1)  # the edge itself: either way
    np.testing.assert_array_equal((raster.face[0] == 0) & ~on_diagonal, inside & ~on_diagonal)
    assert (raster.face[0][~inside & ~on_diagonal] == -1).all()
    assert np.isinf(raster.depth[0][raster.face[0] < 0]).all()
    assert (raster.barycentric[0][raster.face[0] < 0] == 0).all()


def test_nearer_triangle_wins_in_either_order():
    corners = [(1.0, 1.0), (1.0, 15.0), (15.0, 15.0)]
    vertices = np.concatenate([at_pixels(corners, 100.0), at_pixels(corners, 50.0)])
    far, near = [0, 1, 2], [3, 4, 5]
    for faces in ([far, near], [near, far]):
        raster = draw(vertices, faces)
        covered = raster.face[0] >= 0
        assert covered.sum() > 60
        assert (raster.face[0][covered] == faces.index(near)).all()
        np.testing.assert_allclose(raster.depth[0][covered], 50.0, rtol=1e-5)


def test_barycentric_coordinates_reproduce_the_pixel_center_through_project():
    """The surface point that a pixel shows projects onto that pixel's center."""
    vertices = at_pixels([(0.3, 1.2), (3.1, 15.0), (15.5, 6.4)], [2.0, 9.0, 4.0])
    raster = draw(vertices, [[0, 1, 2]])
    covered = raster.face[0] >= 0
    points = raster.barycentric[0][covered] @ vertices
    pixels = project(torch.from_numpy(points), torch.from_numpy(K)).numpy()
    rows, columns = np.nonzero(covered)
    assert len(rows) > 50
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(points[:, 2], raster.depth[0][covered], rtol=1e-4)
    np.testing.assert_allclose(raster.barycentric[0][covered].sum(-1), 1.0, rtol=1e-5)


def test_triangles_behind_or_seen_from_behind_are_dropped():
    corners = [(1.0, 1.0), (1.0, 15.0), (15.0, 15.0)]
    assert (draw(at_pixels(corners), [[0, 2, 1]]).face == -1).all(), "back face"
    behind = at_pixels(corners) * np.array([1, 1, -1], np.float32)
    for order in ([0, 1, 2], [0, 2, 1]):
        assert (draw(behind, [order]).face == -1).all(), "behind the camera"
    crossing = at_pixels(corners, [100.0, 100.0, NEAR_M / 2])
    for order in ([0, 1, 2], [0, 2, 1]):
        assert (draw(crossing, [order]).face == -1).all(), "through the near plane"


def test_huge_and_distant_triangles_do_not_wrap_around():
    vertices = at_pixels([(-1e12, -1e12), (-1e12, 1e12), (1e12, 0.0)])
    assert (draw(vertices, [[0, 1, 2]]).face == 0).all()
    outside = at_pixels([(1e12, 1e12), (1e12, 2e12), (2e12, 2e12)])
    assert (draw(outside, [[0, 1, 2]]).face == -1).all()


def test_frames_are_independent_and_cameras_may_differ():
    corners = [(1.0, 1.0), (1.0, 15.0), (15.0, 15.0)]
    vertices = np.stack([at_pixels(corners), at_pixels(corners) * 1.5, at_pixels(corners)])
    cameras = np.stack([K, K, K])
    cameras[2, 0, 2] += 4
    faces = np.array([[0, 1, 2]])
    together = rasterize(vertices, faces, cameras, 16, 16)
    for t in range(3):
        alone = rasterize(vertices[t : t + 1], faces, cameras[t], 16, 16)
        np.testing.assert_array_equal(together.face[t], alone.face[0])
        np.testing.assert_array_equal(together.depth[t], alone.depth[0])
    np.testing.assert_array_equal(together.face[2][:, 4:], together.face[0][:, :-4])
