"""Pinhole cameras: conventions, round trips, errors."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given

from motion.camera import intrinsics, look_at, project, to_camera, to_world

COORDINATE = st.floats(-5, 5, width=32)
POINT = st.tuples(COORDINATE, COORDINATE, COORDINATE).map(torch.tensor)
UP = torch.tensor([0.0, 1.0, 0.0])


def test_axes_of_a_camera_in_front_of_the_body():
    """A camera on +z looking back sees the body's left (+x) on the image's right, up as -y."""
    T = look_at(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([0.0, 1.0, 0.0]), UP)
    points = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    expected = torch.tensor([[0.0, 0.0, 4.0], [1.0, 0.0, 4.0], [0.0, -1.0, 4.0], [0.0, 0.0, 3.0]])
    torch.testing.assert_close(to_camera(points, T), expected)
    pixels = project(to_camera(points, T), intrinsics(200.0, 128, 96))
    torch.testing.assert_close(pixels[:3], torch.tensor([[64.0, 48], [114, 48], [64, -2]]))


@given(eye=POINT, target=POINT, point=POINT)
def test_look_at_is_rigid_centers_its_target_and_inverts(
    eye: torch.Tensor, target: torch.Tensor, point: torch.Tensor
):
    assume(torch.linalg.cross(target - eye, UP).norm() > 1e-2)
    T = look_at(eye, target, UP)
    torch.testing.assert_close(T[:3, :3] @ T[:3, :3].T, torch.eye(3), atol=1e-5, rtol=0)
    assert torch.linalg.det(T[:3, :3]) > 0
    seen = to_camera(target[None], T)[0]
    expected = torch.tensor([0.0, 0.0, float((target - eye).norm())])
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(to_world(to_camera(point[None], T), T)[0], point, atol=1e-4, rtol=0)
    assert to_camera((eye + UP)[None], T)[0, 1] < 0, "up must point up in the image"


def test_leading_axes_pair_points_with_cameras():
    eyes = torch.tensor([[0.0, 1.0, 4.0], [3.0, 1.0, 0.0]])
    T = look_at(eyes, torch.zeros(2, 3), UP.expand(2, 3))
    points = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    K = intrinsics(100.0, 64, 64)
    both = project(to_camera(points, T), K)
    torch.testing.assert_close(both[1], project(to_camera(points[1], T[1]), K), equal_nan=True)
    torch.testing.assert_close(both, project(to_camera(points, T), K.expand(2, 3, 3)))


def test_points_behind_the_camera_have_no_image():
    points = torch.tensor([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [0.1, 0.1, 2.0]], requires_grad=True)
    pixels = project(points, intrinsics(10.0, 8, 8))
    assert pixels[:2].isnan().all()
    (gradient,) = torch.autograd.grad(pixels[2].sum(), points)
    assert gradient.isfinite().all()


def test_a_view_along_up_is_refused():
    with pytest.raises(ValueError, match="must not run along up"):
        look_at(torch.zeros(3), UP * 2, UP)
