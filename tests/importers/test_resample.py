"""Frame rates, floor, facing and contacts."""

import math

import pytest
import torch

from motion.body import BodyModel, load_body
from motion.body.model import motion_joints
from motion.importers.resample import contacts, facing_forward, level, on_floor, resample
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


def _turning(body: BodyModel, num_frames: int, fps: float, rate: float = 1.5) -> Motion:
    """Turns about the vertical at a constant rate, and walks at a constant speed."""
    time = torch.arange(num_frames) / fps
    rotvec = torch.zeros(num_frames, 24, 3)
    rotvec[:, 0, 1] = rate * time
    path = torch.stack([0.5 * time, time * 0 + 1.3, -time], -1)
    return Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=path,
        betas=torch.zeros(10),
        body_id=body.body_id,
        fps=fps,
    )


@pytest.mark.parametrize("fps", [16.0, 20.0, 47.3, 120.0, 200.0])
def test_constant_speed_is_resampled_exactly(body: BodyModel, fps: float) -> None:
    source = _turning(body, 121, 120.0)
    found = resample(source, fps)
    assert found.fps == fps
    assert found.num_frames == int(fps + 1e-6) + 1  # one second, both ends
    expected = _turning(body, found.num_frames, fps)
    torch.testing.assert_close(found.R_parent_child, expected.R_parent_child, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.translation, expected.translation, atol=1e-5, rtol=0)


def test_wrong_frame_rate(body: BodyModel) -> None:
    with pytest.raises(ValueError, match=r"to 0.0 frames per second: give .* a positive rate"):
        resample(_turning(body, 3, 30.0), 0.0)


def test_standing_feet_are_on_the_floor_and_in_contact(body: BodyModel) -> None:
    still = _turning(body, 8, 16.0, rate=0.0)
    still = on_floor(still, body)
    feet = body.vertices(
        still.R_parent_child, still.betas, still.translation, index=body.contact_vertices
    )
    assert abs(float(feet[..., 1].amin())) < 1e-5
    assert not contacts(still, body).any()  # it slides at 1 m/s
    parked = Motion(**{**vars(still), "translation": still.require_translation()[:1].expand(8, 3)})
    assert contacts(parked, body).all()


def test_facing_forward_keeps_the_motion(body: BodyModel) -> None:
    source = _turning(body, 9, 16.0)
    turn = matrix_from_rotvec(torch.tensor([0.0, 2.0, 0.0]))
    turned = source.R_parent_child.clone()
    turned[:, 0] = turn @ turned[:, 0]
    rest = body.rest_joints(source.betas)[0]
    path = (source.require_translation() + rest) @ turn.mT - rest + torch.tensor([3.0, 0, 4])
    away = Motion(**{**vars(source), "R_parent_child": turned, "translation": path})
    a, b = (motion_joints(body, facing_forward(m, body)) for m in (source, away))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    forward = facing_forward(away, body).R_parent_child[0, 0, :, 2]
    assert float(forward[2]) == pytest.approx(1, abs=1e-5)
    assert math.hypot(float(a[0, 0, 0]), float(a[0, 0, 2])) < 1e-5


def _stroll(body: BodyModel, slope: float, steps: int = 8) -> Motion:
    """Stands still at places half a metre apart along (3, 4), higher by `slope` at each."""
    place = 0.5 * torch.arange(steps).repeat_interleave(4)
    path = torch.stack([0.6 * place, 1.0 + slope * place, 0.8 * place], -1)
    return Motion(
        R_parent_child=torch.eye(3).repeat(len(place), 24, 1, 1),
        translation=path,
        betas=torch.zeros(10),
        body_id=body.body_id,
        fps=16.0,
    )


def _feet(body: BodyModel, motion: Motion) -> torch.Tensor:
    index = body.contact_vertices
    points = body.vertices(motion.R_parent_child, motion.betas, motion.translation, index=index)
    return points[..., 1].amin(-1)


def test_a_sloping_floor_becomes_level(body: BodyModel) -> None:
    sloping = _stroll(body, 0.015)
    assert float(_feet(body, sloping).max() - _feet(body, sloping).min()) > 0.05
    flat = level(sloping, body)
    assert float(_feet(body, flat).max() - _feet(body, flat).min()) < 0.004
    upright = flat.R_parent_child[0, 0, :, 1]
    assert math.degrees(math.acos(float(upright[1]))) == pytest.approx(0.86, abs=0.02)
    length = (flat.require_translation()[-1] - flat.require_translation()[0]).norm()
    assert float(length) == pytest.approx(3.5, abs=0.01)


@pytest.mark.parametrize(("slope", "steps"), [(0.1, 8), (0.015, 2), (0.0, 8)])
def test_stairs_short_paths_and_level_floors_stay(
    body: BodyModel, slope: float, steps: int
) -> None:
    motion = _stroll(body, slope, steps)
    found = level(motion, body)
    torch.testing.assert_close(found.translation, motion.translation, atol=1e-4, rtol=0)
