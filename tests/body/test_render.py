"""Motion map and person: codes, closed formulas, seams, background, antialiasing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motion.body import load_body
from motion.body.raster import rasterize
from motion.body.render import (
    decode_motion_map,
    render_motion_map,
    render_person,
    vertex_normals,
)
from motion.camera import intrinsics, look_at, to_camera
from motion.rotations import matrix_from_rotvec

SIZE = 48
K = intrinsics(50.0, SIZE, SIZE).numpy()
WHITE = np.full((SIZE, SIZE, 3), 255, np.uint8)


def sphere(rings: int = 24, segments: int = 36) -> tuple[np.ndarray, np.ndarray]:
    """A closed ball of radius 1 m, 3 m before the camera; counter-clockwise from outside."""
    theta, phi = np.meshgrid(
        np.linspace(1e-3, np.pi - 1e-3, rings),
        np.linspace(0, 2 * np.pi, segments, endpoint=False),
        indexing="ij",
    )
    points = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
    a, b = i * segments + j, i * segments + (j + 1) % segments
    c, d = a + segments, b + segments
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    return points.reshape(1, -1, 3) + np.array([0.0, 0.0, 3.0]), faces


def pixel_normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raster = rasterize(vertices, faces, K, SIZE, SIZE)
    corners = faces[raster.face]
    normal = (vertex_normals(vertices, faces)[0][corners] * raster.barycentric[..., None]).sum(-2)
    point = (vertices[0][corners] * raster.barycentric[..., None]).sum(-2)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)  # 0 on the background
    return normal / np.maximum(length, 1e-9), point


def test_normals_of_a_ball_point_outwards():
    vertices, faces = sphere()
    expected = vertices - np.array([0.0, 0.0, 3.0])
    np.testing.assert_allclose(vertex_normals(vertices, faces), expected, atol=0.08)


def test_flat_map_decodes_to_parts_and_normals():
    vertices, faces = sphere()
    parts = np.arange(vertices.shape[1]) // 36 % 24  # one part per ring
    raster = rasterize(vertices, faces, K, SIZE, SIZE)
    image = render_motion_map(vertices, faces, parts, K, SIZE, SIZE, raster=raster)
    decoded = decode_motion_map(image)
    body = raster.face >= 0
    assert body.sum() > 500
    np.testing.assert_array_equal(decoded.mask, body)
    np.testing.assert_array_equal(image[~body], 255)
    nearest = np.take_along_axis(faces[raster.face], raster.barycentric.argmax(-1)[..., None], -1)[
        ..., 0
    ]
    np.testing.assert_array_equal(decoded.part[body], parts[nearest][body])
    assert (decoded.part[~body] == -1).all()
    normal, _ = pixel_normals(vertices, faces)
    half_step = 1.01 / 255  # of 2 * value - 1 at 8 bits
    assert np.abs(decoded.normal[..., :2] - normal[..., :2])[body].max() < half_step
    facing = body & (normal[..., 2] < -0.2)  # nz = sqrt(1 - ...) amplifies the step elsewhere
    assert np.abs(decoded.normal - normal)[facing].max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(decoded.normal[body], axis=-1), 1.0, rtol=1e-5)


def test_red_channel_is_the_part_and_facing_code():
    vertices, faces = sphere()
    normal, _ = pixel_normals(vertices, faces)
    for part in (0, 7, 23):
        parts = np.full(vertices.shape[1], part)
        image = render_motion_map(vertices, faces, parts, K, SIZE, SIZE)
        body = decode_motion_map(image).mask
        red = np.where(normal[..., 2] < 0, 2 * part + 1, 2 * part + 2) / 48 * 255
        np.testing.assert_allclose(image[body][:, 0], red[body], atol=0.51)


def test_lit_map_equals_the_closed_formula():
    vertices, faces = sphere()
    parts = np.full(vertices.shape[1], 5)
    lit = render_motion_map(vertices, faces, parts, K, SIZE, SIZE, mode="lit")
    normal, point = pixel_normals(vertices, faces)
    ray = np.array([0.0, 1.0, 0.0]) - point
    cosine = (normal * ray / np.linalg.norm(ray, axis=-1, keepdims=True)).sum(-1)
    gain = 0.5 + 0.3 * np.maximum(cosine, 0.0)
    code = np.where(normal[..., 2] < 0, 11, 12) / 48
    channels = np.stack([code, 0.5 + normal[..., 1] / 2, 0.5 + normal[..., 0] / 2], -1)
    expected = 255 * (gain[..., None] * channels + 0.2)
    body = rasterize(vertices, faces, K, SIZE, SIZE).face >= 0
    np.testing.assert_allclose(lit[body], expected[body], atol=0.55)
    assert lit[body].min() >= 51, "0.2 of white is the floor of the lit map"
    np.testing.assert_array_equal(lit[~body], 255)
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_motion_map(lit, mode="lit")


def test_no_false_codes_at_a_seam_between_distant_parts():
    """Between parts 0 and 23 an interpolated code would pass through all the others."""
    vertices, faces = sphere()
    parts = np.where(vertices[0, :, 0] < 0, 0, 23)
    image = render_motion_map(vertices, faces, parts, K, SIZE, SIZE)
    assert set(np.unique(decode_motion_map(image).part).tolist()) == {-1, 0, 23}


@given(hnp.arrays(np.uint8, (1, 3, 3, 3), elements=st.integers(0, 255)))
def test_any_image_decodes_to_valid_values(image: np.ndarray):
    """Networks paint anything: every pixel is background or one of 24 parts with a unit normal."""
    part, normal, mask = decode_motion_map(image)
    assert ((part >= -1) & (part < 24)).all()
    np.testing.assert_array_equal(part >= 0, mask)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), mask.astype(float), atol=1e-5)


def test_person_covers_what_the_raster_covers_and_leaves_the_rest():
    vertices, faces = sphere()
    color = np.full((vertices.shape[1], 3), 0.6, np.float32)
    background = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    raster = rasterize(vertices, faces, K, SIZE, SIZE)
    image = render_person(
        vertices, faces, color, K, SIZE, SIZE, background=background, supersample=1, raster=raster
    )
    outside = raster.face[0] < 0
    np.testing.assert_array_equal(image[0][outside], background[outside])
    body = image[0][~outside].astype(int)
    assert (np.ptp(body, axis=-1) == 0).all(), "a grey body has no hue"
    assert body.max() - body.min() > 60, "it is shaded"


def test_supersampling_blends_the_outline_with_the_background():
    vertices, faces = sphere()
    black = np.zeros((vertices.shape[1], 3), np.float32)
    image = render_person(vertices, faces, black, K, SIZE, SIZE, background=WHITE, supersample=4)
    levels = np.unique(image)
    assert set(levels.tolist()) <= {int(255 * (1 - n / 16) + 0.5) for n in range(17)}
    assert len(levels) > 6
    # The outline of a ball of radius r at distance d is a circle of radius f r / sqrt(d^2 - r^2).
    area = (1 - image[..., 0] / 255.0).sum()
    assert abs(area / (np.pi * 50.0**2 / 8) - 1) < 0.01


def test_a_raster_of_another_size_is_refused():
    vertices, faces = sphere()
    raster = rasterize(vertices, faces, K, SIZE, SIZE)
    color = np.ones((vertices.shape[1], 3), np.float32)
    with pytest.raises(ValueError, match=r"\(1, 48, 48\), expected \(1, 96, 96\)"):
        render_person(
            vertices, faces, color, K, SIZE, SIZE, background=WHITE, supersample=2, raster=raster
        )


def test_threads_and_a_given_array_change_no_pixel():
    sphere_vertices, faces = sphere()
    vertices = sphere_vertices + np.linspace(-0.3, 0.3, 5)[:, None, None] * np.array([1, 0.5, 1])
    parts = np.arange(vertices.shape[1]) % 24
    expected = render_motion_map(vertices, faces, parts, K, SIZE, SIZE)
    alone = [
        render_motion_map(vertices[t : t + 1], faces, parts, K, SIZE, SIZE)[0] for t in range(5)
    ]
    np.testing.assert_array_equal(expected, alone)
    raster = rasterize(vertices, faces, K, SIZE, SIZE)
    out = np.random.default_rng(0).integers(0, 255, expected.shape).astype(np.uint8)
    for threads, known in ((2, None), (9, None), (1, raster)):
        drawn = render_motion_map(
            vertices, faces, parts, K, SIZE, SIZE, out=out, threads=threads, raster=known
        )
        assert drawn is out
        np.testing.assert_array_equal(out, expected)
        out[:] = 7
    none = render_motion_map(vertices[:0], faces, parts, K, SIZE, SIZE, threads=2)
    assert none.shape == (0, SIZE, SIZE, 3)
    with pytest.raises(ValueError, match=r"out has shape \(5, 48, 40, 3\), expected \(5, 48"):
        render_motion_map(vertices, faces, parts, K, SIZE, SIZE, out=out[:, :, :40])


def test_the_free_body_shows_its_front_with_left_on_the_right():
    """Seen from +z: the left arm is on the image's right, the head on top, most of it facing us."""
    body = load_body("free")
    rest = matrix_from_rotvec(torch.zeros(1, 24, 3))
    T = look_at(
        torch.tensor([0.0, -0.2, 3.5]), torch.tensor([0.0, -0.25, 0.0]), torch.tensor([0.0, 1, 0])
    )
    vertices = to_camera(body.vertices(rest, torch.zeros(10)), T).numpy()
    camera = intrinsics(180.0, 128, 128).numpy()
    image = render_motion_map(
        vertices, body.faces.numpy(), body.part_of_vertex.numpy(), camera, 128, 128
    )
    part, normal, mask = decode_motion_map(image)
    rows, columns = np.nonzero(part[0] == 2)  # leftArm
    assert columns.mean() > 64
    assert np.nonzero(part[0] == 11)[0].mean() < rows.mean() < np.nonzero(part[0] == 3)[0].mean()
    assert (normal[mask][:, 2] < 0).mean() > 0.95
    assert 0.06 < mask.mean() < 0.12
    assert len(np.unique(part)) > 18
