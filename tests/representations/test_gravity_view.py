"""GENMO's motion vector: conventions, round trips, the camera's turns."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.camera import intrinsics, look_at
from motion.representations.gravity_view import (
    GravityView,
    weak_camera_from_translation,
    weak_camera_translation,
)
from motion.rotations import geodesic_rad, matrix_from_euler, matrix_from_rotvec
from motion.sequence import Motion

AXES = ["up", "down"]


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(one, other.to(one).expand_as(one), atol=atol, rtol=0)


def about_y(angle: torch.Tensor | float) -> torch.Tensor:
    angle = torch.as_tensor(angle, dtype=torch.float64)
    return matrix_from_rotvec(angle[..., None] * torch.tensor([0.0, 1, 0]).double())


def random_motion(seed: int = 0, *, time: int = 20) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.6 * torch.randn(2, time, 24, 3, generator=generator, dtype=torch.float64)
    rotvec[..., 22:, :] = 0  # hands are not part of the vector
    walk = torch.randn(2, time, 3, generator=generator, dtype=torch.float64).cumsum(1)
    return Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=walk,
        betas=torch.randn(2, 10, generator=generator, dtype=torch.float64),
        body_id="free-0",
        fps=30.0,
    )


def cameras(seed: int = 0, *, time: int = 20, turns: float = 3.0) -> torch.Tensor:
    """R_camera_world of level cameras that tilt a little and turn a lot: z leads forward."""
    generator = torch.Generator().manual_seed(seed)
    tilt = 0.3 * torch.randn(2, time, 2, generator=generator, dtype=torch.float64)
    start = 6 * torch.rand(2, 1, generator=generator, dtype=torch.float64)
    yaw = start + turns * torch.linspace(0, 1, time, dtype=torch.float64)
    upright = matrix_from_rotvec(torch.tensor([0.0, 0, math.pi]).double())  # image y points down
    turned = matrix_from_euler(torch.cat([yaw[..., None], tilt], -1), "yxz")
    return (turned @ upright).mT


@pytest.mark.parametrize("axis", AXES)
def test_an_upright_person_before_a_level_camera(axis: str) -> None:
    """The camera looks along -z at a person who faces it, and along +z from behind."""
    representation = GravityView(gravity_axis=axis)
    motion = replace(
        random_motion(time=2), R_parent_child=torch.eye(3).double().expand(2, 2, 24, 3, 3)
    )
    eye = torch.tensor([0.0, 0.0, 3.0]).double()
    target, up = torch.zeros(3).double(), torch.tensor([0.0, 1, 0]).double()
    front, back = (look_at(sign * eye, target, up)[:3, :3].expand(2, 2, 3, 3) for sign in (1, -1))
    slices = representation.slices
    for view, facing_camera in ((front, True), (back, False)):
        features = representation.encode(motion, view)
        gravity = features[..., slices["root_gravity"]]
        x, y = (-1.0 if facing_camera else 1.0), (1.0 if axis == "up" else -1.0)
        expected = torch.tensor([x if axis == "up" else -x, 0, 0, 0, y, 0])
        close(gravity, expected)
        close(features[..., slices["root_camera"]][..., 4], torch.tensor(-1.0))


def test_the_two_axes_differ_by_half_a_turn_about_z() -> None:
    view = cameras()
    up, down = (GravityView(gravity_axis=axis).camera_to_gravity(view) for axis in AXES)
    close(torch.tensor([-1.0, -1, 1]).diag().double() @ up, down)
    gravity_in_camera = (view @ torch.tensor([0.0, -1, 0]).double()[:, None])[..., 0]
    close((down @ gravity_in_camera[..., None])[..., 0], torch.tensor([0.0, 1, 0]))
    close(torch.linalg.det(up), torch.ones(2, 20))
    assert (up[..., 2, 2] > 0).all()  # z leads away from the camera
    close(up[..., 0, 2], torch.zeros(2, 20))  # and x across its view


@pytest.mark.parametrize("axis", AXES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), turns=st.floats(-12, 12))
def test_round_trip_but_for_heading_and_place(axis: str, seed: int, turns: float) -> None:
    """Also while the camera turns more than once around."""
    representation = GravityView(gravity_axis=axis)
    motion, view = random_motion(seed), cameras(seed, turns=turns)
    features = representation.encode(motion, view)
    assert features.shape == (2, 20, representation.dim)
    decoded = representation.decode(features, view, like=motion)
    close(decoded.R_parent_child[..., 1:, :, :], motion.R_parent_child[..., 1:, :, :])
    close(decoded.betas, motion.betas)
    look = view[:, 0, 2]  # camera 0's view axis in the world: its heading becomes +z
    R_new_world = about_y(-torch.atan2(look[:, 0], look[:, 2]))[:, None]
    close(decoded.R_parent_child[..., 0, :, :], R_new_world @ motion.R_parent_child[..., 0, :, :])
    path = motion.require_translation() - motion.require_translation()[:, :1]
    close(decoded.require_translation(), (R_new_world @ path[..., None])[..., 0], 1e-5)
    in_camera = representation.decode_camera(features, like=motion)
    close(in_camera.R_parent_child[..., 0, :, :], view @ motion.R_parent_child[..., 0, :, :])
    assert in_camera.frame == "camera"


def test_heading_of_the_world_does_not_matter() -> None:
    motion, view = random_motion(), cameras()
    turn = about_y(1.1)
    R = motion.R_parent_child.clone()
    R[..., 0, :, :] = turn @ R[..., 0, :, :]
    moved = replace(
        motion,
        R_parent_child=R,
        translation=(turn @ motion.require_translation()[..., None])[..., 0] + 5.0,
    )
    representation = GravityView()
    close(representation.encode(moved, view @ turn.mT), representation.encode(motion, view))


def test_smoothing_leaves_a_steady_turn_and_calms_a_shaking_one() -> None:
    motion, representation = random_motion(time=60), GravityView()
    steady = cameras(time=60)[:, :1] @ about_y(-0.05 * torch.arange(60)).expand(2, 60, 3, 3)
    features = representation.encode(motion, steady)
    plain = representation.decode(features, steady, like=motion)
    smooth = representation.decode(features, steady, like=motion, smooth=True)
    close(smooth.R_parent_child, plain.R_parent_child)
    generator = torch.Generator().manual_seed(0)
    shake = 0.05 * torch.randn(2, 60, generator=generator, dtype=torch.float64)
    shaken = steady @ about_y(shake)
    calm = representation.decode(features, shaken, like=motion, smooth=True)
    rough = representation.decode(features, shaken, like=motion)

    def error(decoded: Motion) -> torch.Tensor:
        a, b = decoded.R_parent_child[..., 0, :, :], plain.R_parent_child[..., 0, :, :]
        turn = a @ b.mT
        relative = turn.roll(1, 1).mT @ turn
        return geodesic_rad(relative[:, 1:], torch.eye(3).double().expand(2, 59, 3, 3)).mean()

    assert error(calm) < 0.5 * error(rough)


def test_a_camera_that_looks_straight_down_has_a_frame() -> None:
    down = look_at(
        torch.tensor([0.0, 3, 0]).double(),
        torch.zeros(3).double(),
        torch.tensor([0.0, 0, 1]).double(),
    )[:3, :3]
    R = GravityView().camera_to_gravity(down)
    close(R @ R.mT, torch.eye(3))
    close(R @ down[:, 1], torch.tensor([0.0, 1, 0]))


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.5, 20))
def test_weak_camera_round_trip(x: float, y: float, z: float) -> None:
    position = torch.tensor([[x, y, z]], dtype=torch.float64)
    box = torch.tensor([[300.0, 200.0, 150.0]], dtype=torch.float64)
    camera = intrinsics(900.0, 640, 480).double()
    weak = weak_camera_from_translation(position, box, camera)
    close(weak_camera_translation(weak, box, camera), position, 1e-9)
    close(weak[:, 0], torch.tensor([2 * 900 / (150 * z)]).double(), 1e-5)


def test_what_does_not_fit_is_refused() -> None:
    motion, view = random_motion(), cameras()
    with pytest.raises(ValueError, match="camera frame"):
        GravityView().encode(replace(motion, frame="camera"), view)
    with pytest.raises(ValueError, match="no root translation"):
        GravityView().encode(replace(motion, translation=None), view)
