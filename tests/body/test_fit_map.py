"""Motions placed in and refined by motion maps of known truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor

from motion.body import load_body
from motion.body.fit_map import MapFitConfig, fit_map
from motion.body.fit_markers import Markers, Pose, SurfacePins
from motion.body.map_moments import Moments, moments, transport
from motion.body.model import BodyModel, motion_joints
from motion.body.placement import motion_in_camera, motion_in_world, place_in_map
from motion.body.render import decode_motion_map, render_motion_map
from motion.camera import intrinsics, look_at, to_camera
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion
from motion.skeleton import joint

SIZE, FRAMES, FPS = 112, 7, 8.0
K = intrinsics(150.0, SIZE, SIZE)
T = look_at(torch.tensor([0.7, 1.2, 3.2]), torch.tensor([0.0, 0.9, 0.0]), torch.tensor([0.0, 1, 0]))


@pytest.fixture(scope="module")
def free() -> BodyModel:
    return load_body("free")


@pytest.fixture(scope="module")
def truth(free: BodyModel) -> Motion:
    """Arms and a leg move, the person steps aside and turns."""
    time = torch.linspace(0, 1, FRAMES)
    rotvec = torch.zeros(FRAMES, 24, 3)
    rotvec[:, joint("left_shoulder"), 2] = -0.9 + 0.8 * time
    rotvec[:, joint("right_shoulder"), 2] = 0.9
    rotvec[:, joint("right_elbow"), 1] = 0.9 * time
    rotvec[:, joint("left_hip"), 0] = -0.7 * time
    rotvec[:, joint("left_knee"), 0] = 0.9 * time
    rotvec[:, 0, 1] = 0.4 * time
    place = torch.stack([0.25 * time, 0.02 + 0 * time, 0.15 * time], -1)
    return Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=place + torch.tensor([0.0, 0.9, 0.0]) - free.rest_joints(torch.zeros(10))[0],
        betas=torch.tensor([0.6, -0.4, *[0.0] * 8]),
        body_id=free.body_id,
        fps=FPS,
    )


@pytest.fixture(scope="module")
def drawn(free: BodyModel, truth: Motion) -> UInt8[np.ndarray, "t h w 3"]:
    return draw(free, truth)


def draw(body: BodyModel, motion: Motion) -> UInt8[np.ndarray, "t h w 3"]:
    vertices = body.vertices(motion.R_parent_child, motion.betas, motion.translation)
    return render_motion_map(
        to_camera(vertices, T).numpy(), body.faces.numpy(), body.part_of_vertex.numpy(),
        K.numpy(), SIZE, SIZE,
    )  # fmt: skip


def error_mm(body: BodyModel, found: Motion, truth: Motion, *, relative: bool) -> float:
    a, b = motion_joints(body, found), motion_joints(body, truth)
    if relative:
        a, b = a - a[:, :1], b - b[:, :1]
    return float(1000 * (a - b).norm(dim=-1).mean())


def perturbed(motion: Motion, std_rad: float) -> Motion:
    """Smoothly wrong poses, as a network's are."""
    torch.manual_seed(3)
    knots = std_rad * torch.randn(3, 72)
    noise = torch.nn.functional.interpolate(
        knots.T[None], size=FRAMES, mode="linear", align_corners=True
    )[0].T.reshape(FRAMES, 24, 3)
    return replace(motion, R_parent_child=motion.R_parent_child @ matrix_from_rotvec(noise))


def test_frames_of_camera_and_world_are_inverse(free: BodyModel, truth: Motion) -> None:
    seen = motion_in_camera(free, truth, T)
    assert seen.frame == "camera"
    torch.testing.assert_close(
        motion_joints(free, seen), to_camera(motion_joints(free, truth), T), atol=1e-5, rtol=0
    )
    back = motion_in_world(free, seen, T)
    torch.testing.assert_close(back.translation, truth.translation, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.R_parent_child, truth.R_parent_child, atol=1e-5, rtol=0)


def test_moments_are_those_of_the_pixels(drawn: UInt8[np.ndarray, "t h w 3"]) -> None:
    decoded = decode_motion_map(drawn)
    found = moments(decoded, 3.0)
    part = int(found.pixels[2].argmax())
    rows, columns = np.nonzero(decoded.part[2] == part)
    assert found.pixels[2, part] == len(rows)
    expected = [columns.mean() + 0.5, rows.mean() + 0.5]
    np.testing.assert_allclose(found.mean[2, part, :2], expected, rtol=1e-5)
    normal = 3.0 * decoded.normal[2][rows, columns, 0]
    assert found.covariance[2, part, 2, 2] == pytest.approx(normal.var() + 0.36, rel=1e-4)


def test_transport_carries_one_gaussian_into_the_other() -> None:
    torch.manual_seed(0)
    found = []
    for _ in range(2):
        square = torch.randn(2, 24, 4, 4)
        found.append((torch.randn(2, 24, 4), square @ square.mT + torch.eye(4)))
    (m, S), (n, Q) = found
    ones = torch.ones(2, 24)
    A, b = transport(Moments(ones, m, S), Moments(ones, n, Q))
    torch.testing.assert_close((A @ m[..., None])[..., 0] + b, n, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(A @ S @ A.mT, Q, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(A, A.mT, atol=1e-4, rtol=1e-3)  # optimal: no rotation
    same, none = transport(Moments(ones, m, S), Moments(ones, m, S))
    torch.testing.assert_close(same, torch.eye(4).expand_as(same), atol=1e-3, rtol=0)
    assert none.abs().max() < 1e-2


def test_surface_pins_move_as_their_jacobian_says(free: BodyModel, truth: Motion) -> None:
    body = free
    markers = SurfacePins(body, body.loss_vertices[::20], 0.1)
    pose = Pose(truth.R_parent_child[None, :2], truth.translation[None, :2], truth.betas[None])  # type: ignore[index]  # the fixture has a path
    points = markers.points(pose)
    by_pose, by_betas = markers.jacobian(pose)
    assert isinstance(markers, Markers)
    half = points.shape[2] // 2
    surface = body.vertices(
        pose.R_parent_child, pose.betas, pose.translation, index=markers.vertices
    )
    torch.testing.assert_close(points[:, :, :half], surface, atol=1e-6, rtol=0)
    lengths = (points[:, :, half:] - points[:, :, :half]).norm(dim=-1)
    assert ((lengths > 0.03) & (lengths < 0.1001)).all()
    step = 1e-3
    for index in (1, 3 * 16 + 2, 73):
        moved = _stepped(pose, index, step)
        change = (markers.points(moved) - points) / step
        torch.testing.assert_close(change, by_pose[..., index], atol=3e-3, rtol=0)
    betas = pose.betas.clone()
    betas[0, 1] += step
    change = (markers.points(pose._replace(betas=betas)) - points) / step
    torch.testing.assert_close(change, by_betas[..., 1], atol=3e-3, rtol=0)


def _stepped(pose: Pose, index: int, step: float) -> Pose:
    turns: Tensor = torch.zeros(*pose.translation.shape[:2], 75)
    turns[..., index] = step
    R = matrix_from_rotvec(turns[..., :72].unflatten(-1, (24, 3))) @ pose.R_parent_child
    return Pose(R, pose.translation + turns[..., 72:], pose.betas)


def test_place_from_map_alone(
    free: BodyModel, truth: Motion, drawn: UInt8[np.ndarray, "t h w 3"]
) -> None:
    seen = motion_in_camera(free, truth, T)
    known = seen.require_translation()
    found = moments(decode_motion_map(drawn), 3.0)
    for first in (None, known[0]):
        place = place_in_map(free, seen, found, K, first=first)
        away = 1000 * (place - known).norm(dim=-1)
        assert away.mean() < (60 if first is None else 40), "of a person 3 m away"
        across = 1000 * (place - known)[:, :2].norm(dim=-1)
        assert across.mean() < 15
    # The network may be a few degrees wrong; the place is hardly so.
    wrong = motion_in_camera(free, perturbed(truth, 0.1), T)
    away = (place_in_map(free, wrong, found, K, first=known[0]) - known).norm(dim=-1)
    assert 1000 * away.mean() < 80


def test_refinement_of_wrong_poses_on_a_true_map(
    free: BodyModel, truth: Motion, drawn: UInt8[np.ndarray, "t h w 3"]
) -> None:
    wrong = replace(perturbed(truth, 0.12), translation=None)
    config = MapFitConfig(noise=0.01, normal_noise_rad=0.2)
    first = truth.require_translation()[0]
    placed = fit_map(
        free, wrong, drawn, K, T, first=first, config=config.model_copy(update={"rounds": 0})
    ).motion
    fit = fit_map(free, wrong, drawn, K, T, first=first, config=config)
    before = error_mm(free, placed, truth, relative=True)
    after = error_mm(free, fit.motion, truth, relative=True)
    assert before > 35
    assert after < 0.6 * before
    assert error_mm(free, fit.motion, truth, relative=False) < error_mm(
        free, placed, truth, relative=False
    )
    assert fit.unit == "px"
    assert fit.mean_error < 1.5
    torch.testing.assert_close(fit.motion.betas, truth.betas, atol=1e-2, rtol=0)


def test_true_poses_stay_true(
    free: BodyModel, truth: Motion, drawn: UInt8[np.ndarray, "t h w 3"]
) -> None:
    fit = fit_map(free, truth, drawn, K, T, config=MapFitConfig(rounds=3))
    assert error_mm(free, fit.motion, truth, relative=False) < 8


def test_shape_is_recovered_where_it_is_not_held(
    free: BodyModel, truth: Motion, drawn: UInt8[np.ndarray, "t h w 3"]
) -> None:
    guess = replace(truth, betas=torch.zeros(10), translation=None)
    first = truth.require_translation()[0]
    rest = torch.eye(3).expand(1, 24, 3, 3)

    def shape_mm(motion: Motion) -> float:
        away = free.vertices(rest, motion.betas) - free.vertices(rest, truth.betas)
        return float(1000 * (away - away.mean(1, keepdim=True)).norm(dim=-1).mean())

    config = MapFitConfig(noise=0.01, normal_noise_rad=0.2, shape_std=1.0)
    fit = fit_map(free, guess, drawn, K, T, first=first, config=config)
    assert shape_mm(fit.motion) < 0.75 * shape_mm(guess)


def test_refusals(free: BodyModel, truth: Motion, drawn: UInt8[np.ndarray, "t h w 3"]) -> None:
    with pytest.raises(ValueError, match="map has 3 frames, the motion 7"):
        fit_map(free, truth, drawn[:3], K, T)
    with pytest.raises(ValueError, match="shows no person"):
        fit_map(free, truth, np.full_like(drawn, 255), K, T)
