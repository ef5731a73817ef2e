"""Fits of observations that a known body made, and of real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.body.fit import Fit, FitConfig, fit_joints, fit_keypoints
from motion.body.fit_markers import Markers, Pose
from motion.body.fit_start import best_path, start_from_joints
from motion.body.model import BodyModel, motion_joints
from motion.body.pose_prior import PosePrior, left_jacobian_inverse
from motion.camera import intrinsics, look_at, project, to_camera
from motion.rotations import matrix_from_euler, matrix_from_rotvec, rotvec_from_matrix
from motion.sequence import Motion
from motion.skeleton import SMPL_JOINTS, mirror_permutation

FPS = 20.0
FRAMES = 8
CAMERA = intrinsics(1500.0, 1920, 1080)


@pytest.fixture(scope="module")
def free() -> BodyModel:
    return load_body("free")


def moving(body: BodyModel, clips: int = 2, seed: int = 0) -> Motion:
    """People of different shape who sway, turn and walk off, within the limits of their joints."""
    generator = torch.Generator().manual_seed(seed)
    prior = PosePrior.anatomical()
    time = torch.arange(FRAMES)[:, None, None] / FPS
    amount, phase = torch.rand(2, clips, 1, 23, 3, generator=generator)
    wave = 0.6 * (2 * amount - 1) * torch.sin(6.3 * (0.6 * time + phase))
    rotvec = prior.mean + wave * torch.minimum(prior.high - prior.mean, prior.mean - prior.low)
    turn = 0.8 * time[..., 0] + torch.arange(clips)[:, None, None] * 2.0
    R = torch.cat([matrix_from_euler(turn, "y")[:, :, None], matrix_from_rotvec(rotvec)], 2)
    path = torch.tensor([0.3, 0.0, 0.5]) * time[:, 0]
    return Motion(
        R_parent_child=R,
        translation=path.expand(clips, FRAMES, 3),
        betas=0.7 * torch.randn(clips, 10, generator=generator),
        body_id=body.body_id,
        fps=FPS,
    )


def error_mm(body: BodyModel, fit: Fit, truth: torch.Tensor) -> float:
    return float(1e3 * (motion_joints(body, fit.motion) - truth).norm(dim=-1).mean())


def test_exact_joints(free: BodyModel) -> None:
    truth = motion_joints(free, moving(free))
    fit = fit_joints(free, truth, fps=FPS)
    assert fit.unit == "mm"
    assert fit.error.shape == (2, FRAMES)
    assert fit.mean_error < 3
    assert error_mm(free, fit, truth) == pytest.approx(fit.mean_error, rel=1e-3)
    assert fit.seconds_per_frame > 0
    assert fit.motion.body_id == free.body_id
    alone = fit_joints(free, truth[1], fps=FPS)
    assert alone.motion.R_parent_child.shape == (FRAMES, 24, 3, 3)
    assert alone.error.shape == (FRAMES,)


def test_missing_and_noisy_joints(free: BodyModel) -> None:
    truth = motion_joints(free, moving(free))
    generator = torch.Generator().manual_seed(1)
    seen = torch.rand(truth.shape[:-1], generator=generator) > 0.3
    given = torch.where(seen[..., None], truth, torch.nan)
    assert error_mm(free, fit_joints(free, given, fps=FPS, confidence=seen.float()), truth) < 15
    noise = 0.02 * torch.randn(truth.shape, generator=generator)
    fit = fit_joints(free, truth + noise, fps=FPS, config=FitConfig(joint_noise_m=0.02))
    assert error_mm(free, fit, truth) < 0.75 * float(1e3 * noise.norm(dim=-1).mean())


def test_one_far_outlier_is_ignored(free: BodyModel) -> None:
    truth = motion_joints(free, moving(free, 1))
    given = truth.clone()
    given[0, 3, 20] += 1.0
    fit = fit_joints(free, given, fps=FPS)
    assert error_mm(free, fit, truth) < 5


def test_joints_by_name(free: BodyModel) -> None:
    names = tuple(n for n in SMPL_JOINTS if "spine" not in n and "collar" not in n)[:14]
    index = [SMPL_JOINTS.index(name) for name in names]
    truth = motion_joints(free, moving(free, 1))[..., index, :]
    assert fit_joints(free, truth, fps=FPS, names=names).mean_error < 3


def test_exact_keypoints_and_the_world(free: BodyModel) -> None:
    motion = moving(free, 1)
    eye, target, up = torch.tensor([[0.5, 1.0, 4.0], [0.2, 0.0, 0.2], [0.0, 1.0, 0.0]])
    T = look_at(eye, target, up)
    points = free.keypoints(motion.R_parent_child, motion.betas, motion.translation)
    pixels = project(to_camera(points, T), CAMERA)
    fit = fit_keypoints(free, pixels, CAMERA, fps=FPS, T_camera_world=T)
    assert fit.unit == "px"
    assert fit.mean_error < 3
    assert fit.motion.frame == "world"
    again = fit.motion
    found = free.keypoints(again.R_parent_child, again.betas, again.translation)
    error = (project(to_camera(found, T), CAMERA) - pixels).norm(dim=-1)
    torch.testing.assert_close(error.mean(-1), fit.error, atol=0.05, rtol=0)
    truth = motion_joints(free, motion)
    lost = motion_joints(free, again) - truth
    assert (lost - lost[..., :1, :]).norm(dim=-1).mean() < 0.15, "depth from one view"


def test_frames_in_which_nobody_is_seen_lie_between_the_others(free: BodyModel) -> None:
    motion = moving(free, clips=1)
    still = motion.R_parent_child[0, :1].expand(5, 24, 3, 3)
    view = look_at(
        torch.tensor([0.0, 1.2, 4.0]), torch.tensor([0.0, 0.9, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    )
    points = to_camera(free.keypoints(still, torch.zeros(10), torch.zeros(5, 3)), view)
    pixels, seen = project(points, CAMERA), torch.ones(5, 17)
    whole = fit_keypoints(free, pixels, CAMERA, fps=FPS).motion
    pixels[1], seen[1] = 0.0, 0.0
    gap = fit_keypoints(free, pixels, CAMERA, fps=FPS, confidence=seen)
    assert gap.error.isnan().tolist() == [False, True, False, False, False]
    away = (motion_joints(free, gap.motion) - motion_joints(free, whole)).norm(dim=-1)
    assert 1e3 * away.mean(-1).max() < 20


def test_relation_to_the_frame(free: BodyModel) -> None:
    """A turned and moved observation gives the turned and moved fit."""
    truth = motion_joints(free, moving(free, 1))
    turn = matrix_from_rotvec(torch.tensor([0.3, 1.2, -0.4]))
    fit = fit_joints(free, truth @ turn.mT + torch.tensor([5.0, 1.0, -2.0]), fps=FPS)
    assert fit.mean_error < 3


@pytest.mark.parametrize("joints", [torch.arange(22), None], ids=["joints", "keypoints"])
def test_analytic_jacobian(body: BodyModel, joints: torch.Tensor | None) -> None:
    """Against central differences; pose correctives are left out, so without them."""
    if body._pose_dirs is not None and joints is None:
        body._pose_dirs = None
    body = body.double()
    torch.manual_seed(0)
    R = matrix_from_rotvec(0.5 * torch.randn(2, 3, 24, 3, dtype=torch.double))
    pose = Pose(R, torch.randn(2, 3, 3).double(), torch.randn(2, 10).double())
    markers = Markers(body, joints)
    by_pose, by_betas = markers.jacobian(pose)
    step, shape_step = 1e-5 * torch.randn(2, 3, 75).double(), 1e-5 * torch.randn(2, 10).double()

    def moved(sign: int) -> torch.Tensor:
        turns = matrix_from_rotvec(sign * step[..., :72].unflatten(-1, (24, 3)))
        x, s = pose.translation + sign * step[..., 72:], pose.betas + sign * shape_step
        return markers.points(Pose(turns @ R, x, s))

    expected = (moved(1) - moved(-1)) / 2
    actual = (by_pose @ step[:, :, None, :, None])[..., 0]
    actual = actual + torch.einsum("btmxs,bs->btmx", by_betas, shape_step)
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-5)


def test_prior_is_symmetric_and_its_slope_is_its_derivative() -> None:
    prior = PosePrior.anatomical()
    mirror = [i - 1 for i in mirror_permutation(SMPL_JOINTS)[1:]]
    flip = torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(prior.mean[mirror] * flip, prior.mean)
    torch.testing.assert_close(prior.std[mirror], prior.std)
    assert ((prior.low <= prior.mean) & (prior.mean <= prior.high)).all()
    prior = prior.to(torch.zeros((), dtype=torch.double))
    torch.manual_seed(0)
    R = matrix_from_rotvec(0.8 * torch.randn(5, 24, 3, dtype=torch.double))
    step = 1e-6 * torch.randn(5, 24, 3, dtype=torch.double)
    ahead, behind = (prior.energy(matrix_from_rotvec(s * step) @ R) for s in (1, -1))
    slope = (prior.linearize(R)[0] * step[:, 1:]).sum((1, 2))
    torch.testing.assert_close((ahead - behind) / 4, slope, atol=1e-9, rtol=1e-5)


def test_limits_hold_a_knee_straight_that_bends_backwards(free: BodyModel) -> None:
    prior = PosePrior.anatomical()
    assert prior.excess_rad(prior.relaxed()).abs().max() < 1e-6
    R = torch.eye(3).repeat(1, 24, 1, 1)
    knee = SMPL_JOINTS.index("left_knee")
    R[0, knee] = matrix_from_rotvec(torch.tensor([-0.6, 0.0, 0.0]))
    assert prior.excess_rad(R)[0, knee - 1, 0] == pytest.approx(-0.5, abs=1e-5)


def test_left_jacobian_inverse() -> None:
    rotvec = torch.tensor([[0.0, 0, 0], [1e-3, 0, 0], [0.4, -1.1, 0.6], [0, 3.0, 0]]).double()
    step = torch.tensor([1e-6, -2e-6, 1.5e-6]).double()
    R = matrix_from_rotvec(rotvec)
    change = rotvec_from_matrix(matrix_from_rotvec(step.expand(4, 3)) @ R) - rotvec
    expected = (left_jacobian_inverse(rotvec) @ step[:, None])[..., 0]
    torch.testing.assert_close(change, expected, atol=1e-10, rtol=1e-4)


def test_start_follows_the_bones(free: BodyModel) -> None:
    truth = motion_joints(free, moving(free, 1))
    start = start_from_joints(free, truth, torch.ones(1, FRAMES, 24, dtype=torch.bool))
    joints = free.joints(start.R_parent_child, start.betas, start.translation)
    assert (joints - truth).norm(dim=-1).mean() < 0.1
    unseen = start_from_joints(free, truth, torch.zeros(1, FRAMES, 24, dtype=torch.bool))
    assert torch.isfinite(unseen.R_parent_child).all()


def test_best_path_pays_for_changes() -> None:
    energy = torch.tensor([[[0.0, 1.0], [0.6, 0.5], [0.0, 1.0]]])
    change = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 2, 2, 2)
    assert best_path(energy, change).tolist() == [[0, 0, 0]]
    assert best_path(energy, 0 * change).tolist() == [[0, 1, 0]]


def test_refusals(free: BodyModel) -> None:
    joints = torch.zeros(2, 22, 3)
    for given, message in (
        (torch.zeros(0, 22, 3), "are empty"),
        (torch.zeros(2, 21, 3), "21 joints without names"),
        (torch.zeros(2, 22, 2), r"expected \(..., frames, points, 3\)"),
        (torch.zeros(22, 3), r"expected \(..., frames, points, 3\)"),
        (torch.full((2, 22, 3), torch.nan), "44 joints are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_joints(free, given, fps=FPS)
    with pytest.raises(ValueError, match="not 'tail'"):
        fit_joints(free, joints[:, :1], fps=FPS, names=("tail",))
    with pytest.raises(ValueError, match="fps is 0"):
        fit_joints(free, joints, fps=0.0)
    for confidence, message in (
        (torch.zeros(2, 22), "no joints of confidence above 0"),
        (torch.full((2, 22), 2.0), "outside of 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_joints(free, joints, fps=FPS, confidence=confidence)
    with pytest.raises(ValueError, match="25 keypoints per frame; expected the 17 of COCO"):
        fit_keypoints(free, torch.zeros(2, 25, 2), CAMERA, fps=FPS)


def test_real_joints_of_another_body(free: BodyModel, real_data: Path) -> None:
    joints = np.load(real_data / "humanml3d/new_joints/012314.npy")[::16]
    fit = fit_joints(free, torch.from_numpy(joints).float(), fps=20 / 16)
    assert fit.mean_error < 50, "hips and spine lie elsewhere in that body"


def test_real_keypoints(free: BodyModel, real_data: Path) -> None:
    frames = []
    folder = real_data / "keypoints2d/pose2sim_balancing/cam01_json"
    for path in sorted(folder.glob("*.json"))[:40:8]:
        people = [p["pose_keypoints_2d"] for p in json.loads(path.read_text())["people"]]
        points = np.array(people).reshape(-1, 25, 3)[:, :17]  # BODY_25B begins with COCO-17
        frames.append(max(points, key=lambda p: np.ptp(p[p[:, 2] > 0][:, 1])))
    seen = torch.from_numpy(np.stack(frames)).float()
    camera = torch.tensor([[1681.2, 0, 533.0], [0, 1681.1, 948.1], [0, 0, 1]])
    fit = fit_keypoints(free, seen[..., :2], camera, fps=7.5, confidence=seen[..., 2].clamp(0, 1))
    assert fit.mean_error < 12, "of a person 750 px tall"
