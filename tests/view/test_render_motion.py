import math

import numpy as np
import pytest
import torch

from motion.body import BodyModel, load_body
from motion.body.model import motion_vertices
from motion.camera import project, to_camera
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion
from motion.view.render_motion import frame_points, render_motion


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


def walk(body: BodyModel, *, distance_m: float, rise_m: float = 0.0) -> Motion:
    """A T-pose that slides along x, and jumps in the middle."""
    frames = 5
    jump = torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0]) * rise_m
    x = torch.linspace(0, distance_m, frames)
    return Motion(
        R_parent_child=matrix_from_rotvec(torch.zeros(frames, 24, 3)),
        translation=torch.stack([x, jump, torch.zeros(frames)], 1),
        betas=torch.zeros(10),
        body_id=body.body_id,
        fps=16.0,
    )


@pytest.mark.parametrize("azimuth_deg", [0.0, 25.0, 90.0, 200.0])
def test_the_camera_sees_every_point_and_is_no_farther_than_needed(azimuth_deg: float) -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [3.0, 1.0, 0.5]
    )
    camera = frame_points(points, height=120, width=200, azimuth_deg=azimuth_deg, margin=0.9)
    pixels = project(to_camera(points, camera.T_camera_world), camera.intrinsics)
    relative = (pixels - torch.tensor([100.0, 60.0])).abs() / torch.tensor([100.0, 60.0])
    assert float(relative.max()) == pytest.approx(0.9, abs=1e-3)


def test_azimuth_zero_looks_at_the_front() -> None:
    camera = frame_points(torch.randn(9, 3), height=64, width=64, azimuth_deg=0.0)
    forward = camera.T_camera_world[:3, :3].T @ torch.tensor([0.0, 0.0, 1.0])
    assert float(forward[2]) == pytest.approx(-math.cos(math.radians(12)), abs=1e-5)


def test_the_person_stays_in_the_picture_and_moves(body: BodyModel) -> None:
    frames = render_motion(body, walk(body, distance_m=2.0), height=96, width=96)
    assert frames.shape == (5, 96, 96, 3)
    floor = np.median(frames, axis=0)
    moved = np.abs(frames.astype(float) - floor).sum(-1) > 60
    columns = [np.nonzero(mask.any(0))[0].mean() for mask in moved[[0, -1]]]
    assert abs(columns[1] - columns[0]) > 20
    assert not moved[:, :, [0, -1]].any(), "the person is cut off by the image's border"


def test_the_shadow_stays_on_the_floor_in_a_jump(body: BodyModel) -> None:
    motion = walk(body, distance_m=0.0, rise_m=0.6)
    camera = frame_points(motion_vertices(body, motion), height=128, width=128)
    frames = render_motion(body, motion, camera=camera).astype(int)
    # Below the soles of the jumper (frame 2) the floor is still darkened by the shadow.
    feet = motion_vertices(body, motion)[2]
    soles_px = project(to_camera(feet, camera.T_camera_world), camera.intrinsics)[:, 1].max()
    below = frames[2, int(soles_px) + 2 :]
    assert below.size
    assert (below.sum(-1) < 480).sum() > 20


def test_what_cannot_be_shown_is_refused(body: BodyModel) -> None:
    motion = walk(body, distance_m=0.0)
    batch = Motion(
        R_parent_child=motion.R_parent_child[None],
        betas=motion.betas[None],
        body_id=motion.body_id,
        fps=16.0,
    )
    with pytest.raises(ValueError, match="expected one motion"):
        render_motion(body, batch)
