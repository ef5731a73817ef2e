"""The torch renderer: the pixels of the numba kernels, on every device at hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body, raster_torch
from motion.body.raster_torch import draw_motion_map, make_mesh
from motion.body.render import render_motion_map
from motion.body.shading import MapMode
from motion.camera import intrinsics, look_at, to_camera
from motion.rotations import matrix_from_rotvec

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MODES: list[MapMode] = ["flat", "lit"]


def assert_same_pixels(
    vertices: np.ndarray,
    faces: np.ndarray,
    parts: np.ndarray,
    camera: np.ndarray,
    size: tuple[int, int],
    *,
    mode: MapMode,
    device: str,
) -> np.ndarray:
    expected = render_motion_map(vertices, faces, parts, camera, *size, mode=mode)
    mesh = make_mesh(torch.from_numpy(faces).to(device), torch.from_numpy(parts).to(device))
    drawn = draw_motion_map(
        torch.from_numpy(vertices).to(device),
        mesh,
        torch.from_numpy(camera).to(device),
        *size,
        mode=mode,
    )
    np.testing.assert_array_equal(drawn.cpu().numpy(), expected)
    return expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_the_free_body_has_the_same_pixels(mode: MapMode, device: str):
    body = load_body("free")
    generator = torch.Generator().manual_seed(0)
    R = matrix_from_rotvec(0.5 * torch.randn(3, 24, 3, generator=generator))
    eye, target = torch.tensor([0.3, 0.1, 2.6]), torch.tensor([0.0, -0.2, 0.0])
    T = look_at(eye, target, torch.tensor([0.0, 1.0, 0.0]))
    vertices = to_camera(body.vertices(R, torch.randn(10, generator=generator)), T).numpy()
    cameras = intrinsics(500.0, 288, 352).expand(3, 3, 3).clone()
    cameras[1, 0, 1] = 3.0  # skew
    cameras[2, 0, 2] += 150.0  # the picture's edge cuts the body
    image = assert_same_pixels(
        vertices,
        body.faces.numpy(),
        body.part_of_vertex.numpy(),
        cameras.numpy(),
        (288, 352),
        mode=mode,
        device=device,
    )
    covered = (image != 255).any(-1)
    assert covered.mean() > 0.1
    assert covered[2, :, -1].any()


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_triangle_soup_has_the_same_pixels(data: st.DataObject, device: str):
    """Corners on a coarse grid: points on edges and at pixel centers, faces that coincide or have
    no area, depths that tie, corners behind the camera and far outside of the picture."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    num_vertices, num_faces = int(rng.integers(3, 30)), int(rng.integers(1, 60))
    pixels = rng.integers(-8, 40, (2, num_vertices, 2)) / 2.0
    depth = rng.choice([-1.0, 0.01, 1.0, 2.0, 2.0, 3.0], (2, num_vertices, 1))
    vertices = np.concatenate([(pixels - 8.0) * depth / 10.0, depth], -1).astype(np.float32)
    vertices[rng.random((2, num_vertices)) < 0.05] *= 1e6
    assert_same_pixels(
        vertices,
        rng.integers(0, num_vertices, (num_faces, 3)),
        rng.integers(0, 24, num_vertices),
        intrinsics(10.0, 16, 16).numpy(),
        (16, 16),
        mode=data.draw(st.sampled_from(MODES)),
        device=device,
    )


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_coincident_faces_the_first_is_shown(order: list[int]):
    """The same triangle twice, with other vertices: the tie goes to the lower face index."""
    triangle = np.array([[-1.0, -1.0, 2.0], [-1.0, 1.0, 2.0], [1.0, 1.0, 2.0]], np.float32)
    image = assert_same_pixels(
        np.concatenate([triangle, triangle])[None],
        np.array([[0, 1, 2], [3, 4, 5]])[order],
        np.array([0, 0, 0, 23, 23, 23]),
        intrinsics(10.0, 16, 16).numpy(),
        (16, 16),
        mode="flat",
        device="cpu",
    )
    reds = set(np.unique(image[..., 0]).tolist()) - {255}
    assert reds == {int(255 * (1 if order[0] == 0 else 47) / 48 + 0.5)}


def test_drawing_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    vertices = rng.normal(0.0, 1.0, (5, 40, 3)).astype(np.float32)
    vertices[..., 2] += 4.0
    faces, parts = rng.integers(0, 40, (80, 3)), rng.integers(0, 24, 40)
    camera = intrinsics(20.0, 24, 24).numpy()
    monkeypatch.setattr(raster_torch, "CANDIDATES_AT_ONCE", 100)
    monkeypatch.setattr(raster_torch, "FRAMES_AT_ONCE", 2)
    image = assert_same_pixels(vertices, faces, parts, camera, (24, 24), mode="flat", device="cpu")
    assert (image != 255).any(-1).mean() > 0.2
