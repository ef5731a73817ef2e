"""CrossDiff's 2D features and their camera."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from motion.representations.joint_skeleton import HUMANML3D, KIT
from motion.representations.planar import VIEWS_RAD, Planar, PlanarCamera

Make = Callable[..., torch.Tensor]
FLAT = PlanarCamera(field_of_view_deg=None)


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


def views(count: int) -> torch.Tensor:
    return torch.tensor(VIEWS_RAD, dtype=torch.float64).repeat(count)[:count]


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(("skeleton", "dim"), [(HUMANML3D, 134), (KIT, 128)])
def test_round_trip(joints_of: Make, skeleton, dim: int, compat: bool) -> None:
    points = PlanarCamera().project(joints_of(skeleton, clips=4, time=12), views(4))
    planar = Planar(skeleton, compat=compat)
    features = planar.encode(points)
    assert features.shape == (4, 11, planar.dim)
    assert planar.dim == dim
    close(planar.decode(features), points[:, :-1])
    edges = [(s.start, s.stop) for s in planar.slices.values()]
    assert edges[0][0] == 0
    assert [stop for _, stop in edges] == [start for start, _ in edges[1:]] + [dim]


def test_layout_by_loops(joints_of: Make) -> None:
    """The published layout, written out joint by joint."""
    points = PlanarCamera().project(joints_of(clips=1, time=5), views(1))[0]
    features, slices = Planar().encode(points), Planar().slices
    frame = 3
    pose, row = points[frame], features[frame]
    close(row[slices["root"]], pose[0])
    close(Planar(compat=True).encode(points)[frame, :2], points[frame + 1, 0])
    close(row[slices["velocities"]], (points[frame + 1] - pose).flatten())
    for chain in HUMANML3D.chains:
        before = 0.0
        for near, far in itertools.pairwise(chain):
            bone = pose[far] - pose[near]
            angle = math.atan2(float(bone[1]), float(bone[0]))
            turn = angle - before
            expected = torch.tensor([math.cos(turn), -math.sin(turn)], dtype=torch.float64)
            close(row[slices["angles"]].unflatten(0, (21, 2))[far - 1], expected)
            close(row[slices["positions"]].unflatten(0, (21, 2))[far - 1], pose[far] - pose[0])
            before = angle
    moved = (points[frame + 1] - pose)[list(HUMANML3D.feet)].square().sum(-1)
    assert torch.equal(row[slices["contacts"]], (moved < 0.002).double())


@settings(max_examples=20, deadline=None)
@given(view=st.floats(-4, 4), shift=st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_view_is_a_turn_and_place_matters_not_without_perspective(
    joints_of: Make, turn_joints: Make, view: float, shift: tuple[float, float, float]
) -> None:
    joints = joints_of(clips=2, time=6)
    angle = torch.full((2,), view, dtype=torch.float64)
    for camera in (PlanarCamera(), FLAT):
        seen = camera.project(turn_joints(joints, view), torch.zeros(2).double())
        close(camera.project(joints, angle), seen)
        close(Planar().encode(camera.project(joints, angle)), Planar().encode(seen), 1e-7)
    moved = FLAT.project(joints + torch.tensor(shift), angle)
    close(moved, FLAT.project(joints, angle), 1e-6)


def test_the_published_camera() -> None:
    """Scale 0.533 per metre at the origin; u to the right, v up; a nearer point looks larger."""
    joints = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    joints[..., 0, 1] = 1.0  # the root, on the camera's axis
    joints[..., 1, :] = torch.tensor([1.0, 1.5, 0.0])
    joints[..., 2, :] = torch.tensor([1.0, 1.5, 2.0])
    for camera in (PlanarCamera(), FLAT):
        points = camera.project(joints, torch.zeros(1).double())[0, 0]
        close(points[1], torch.tensor([0.5333, 0.2667]).double(), 2e-4)
    near = PlanarCamera().project(joints, torch.zeros(1).double())[0, 0]
    close(near[2] / near[1], torch.full((2,), 21.43 / 19.43).double(), 1e-4)
    side = PlanarCamera().project(joints, torch.full((1,), math.pi / 2).double())[0, 0]
    assert float(side[2, 0]) > 1.0  # after a quarter turn, +z is on the right


def test_a_bone_seen_end_on(joints_of: Make) -> None:
    points = FLAT.project(joints_of(clips=1, time=4), views(1))
    points[..., 5, :] = points[..., 2, :]
    assert Planar(compat=True).encode(points).isnan().any()
    features = Planar().encode(points)
    assert features.isfinite().all()
    angles = features[..., Planar().slices["angles"]].unflatten(-1, (21, 2))
    assert (angles[..., 4, :] == 0).all()


def test_gradients_and_refusals(joints_of: Make) -> None:
    joints = joints_of(clips=1, time=3).requires_grad_()
    view = torch.full((1,), 0.3, dtype=torch.float64, requires_grad=True)
    planar = Planar(replace(HUMANML3D), contact_threshold=0.0)
    assert torch.autograd.gradcheck(
        lambda j, v: planar.encode(PlanarCamera().project(j, v)), (joints, view), fast_mode=True
    )
    with pytest.raises(ValueError, match="at least 2 frames, 22"):
        Planar().encode(torch.zeros(4, 21, 2))
