"""Every term of K2M's tokenizer in closed form, and its gradient."""

import math

import pytest
import torch

from motion.body import load_body
from motion.body.keypoint_map import KeypointMap
from motion.body.pose_prior import PosePrior
from motion.camera import project as project_points
from motion.models.k2m.config import HeadConfig, LossConfig
from motion.models.k2m.keypoints import Keypoints
from motion.models.k2m.loss import body_terms, keypoint_terms, pose_limits
from motion.models.k2m.smpl_head import Projection, Smpl, points_of, project, smpl_of
from motion.rotations import matrix_from_rotvec

SIZE = torch.tensor([[1920.0, 1080.0]])
LOSS = LossConfig(limits="anatomical")


def clip(xy: torch.Tensor, confidence: torch.Tensor | None = None, frames: int = 4) -> Keypoints:
    trust = torch.ones(xy.shape[:3], dtype=xy.dtype) if confidence is None else confidence
    mask = (torch.arange(xy.shape[1]) < frames).expand(xy.shape[:2])
    return Keypoints(xy, trust, SIZE.to(xy).expand(len(xy), 2), mask)


def seen(xy: torch.Tensor) -> Projection:
    return Projection(xy, torch.ones(xy.shape[:3], dtype=xy.dtype))


def test_terms_of_a_constant_error_and_velocity() -> None:
    target = torch.zeros(1, 4, 17, 2)
    found = target + 5 + 2 * torch.arange(4.0)[:, None, None]  # 5, 7, 9, 11 px; 2 px per frame
    terms = keypoint_terms(seen(found), clip(target), LOSS)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"rec": 8.0, "vel": 2.0, "smooth": 2.0, "boundary": 16.0}
    )


def test_unsure_hidden_and_padded_keypoints_do_not_count() -> None:
    target, found = torch.zeros(1, 8, 17, 2), torch.full((1, 8, 17, 2), 3.0)
    found[:, 1, 3] = 1000.0  # unsure
    found[:, 2, 4] = 2000.0  # behind the camera
    found[:, 4:] = torch.nan  # padding
    confidence = torch.ones(1, 8, 17)
    confidence[:, 1, 3] = 0.79
    depth = torch.ones(1, 8, 17)
    depth[:, 2, 4] = -1.0
    terms = keypoint_terms(Projection(found, depth), clip(target, confidence), LOSS)
    assert terms["rec"].item() == pytest.approx(3.0)
    assert terms["vel"].item() == pytest.approx(0.0)
    assert terms["boundary"].item() == pytest.approx(6.0)


def test_velocity_needs_both_frames() -> None:
    target, confidence = torch.zeros(1, 4, 17, 2), torch.ones(1, 4, 17)
    found = torch.zeros(1, 4, 17, 2)
    found[:, 1, 0] = 100.0
    confidence[:, 2, 0] = 0.0
    # Changes of point 0: +100 counts, -100 does not, 0 does not.
    terms = keypoint_terms(seen(found), clip(target, confidence), LOSS)
    assert terms["vel"].item() == pytest.approx(100 / (3 * 17 - 2))


def test_all_mean_divides_by_every_keypoint() -> None:
    target, confidence = torch.zeros(1, 4, 17, 2), torch.zeros(1, 4, 17)
    confidence[..., :5] = 1.0
    config = LOSS.model_copy(update={"reduction": "all_mean"})
    terms = keypoint_terms(seen(target + 1), clip(target, confidence), config)
    assert terms["rec"].item() == pytest.approx(5 / 17)


def smpl(rotvec: torch.Tensor, betas: torch.Tensor) -> Smpl:
    return Smpl(rotvec, matrix_from_rotvec(rotvec), betas, torch.zeros(*rotvec.shape[:2], 3))


def test_pose_and_shape_terms() -> None:
    prior = PosePrior.anatomical()
    rotvec = torch.zeros(1, 4, 24, 3)
    rotvec[:, :, 0] = 3.0  # the root is free
    rotvec[0, 0, 4, 0] = prior.high[3, 0] + 0.5
    rotvec[0, 1, 5, 1] = prior.low[4, 1] - 0.25
    betas = torch.full((1, 4, 10), 0.5)
    betas[0, 2] = -3.0
    mask = torch.ones(1, 4, dtype=torch.bool)
    terms = body_terms(smpl(rotvec, betas), mask, LOSS)
    assert terms["pose"].item() == pytest.approx(0.75 / (4 * 23 * 3), rel=1e-5)
    assert terms["shape"].item() == pytest.approx((3.0 - 1.0) / 4)


@pytest.mark.parametrize("kind", ["measured", "anatomical"])
def test_limits_allow_the_rest_pose_and_mirror(kind: str) -> None:
    low, high = pose_limits(kind)
    assert low.shape == high.shape == (23, 3)
    assert (low < 0).all()
    assert (high > 0).all()
    left, right = 3, 4  # knees, counted from joint 1
    torch.testing.assert_close(high[left, 0], high[right, 0])
    torch.testing.assert_close(high[left, 1], -low[right, 1])


@pytest.mark.parametrize("rotation", ["axis_angle", "6d"])
def test_zeros_are_an_upright_person_at_the_anchor(rotation: str) -> None:
    config, body = HeadConfig(rotation=rotation), load_body("free")
    raw = torch.zeros(2, 3, config.num_channels)
    found = smpl_of(raw, config, body, torch.ones(2, 3, dtype=torch.bool))
    assert found.numbers().shape == (2, 3, 85)
    joints = body.joints(found.R_parent_child[0], torch.zeros(10), found.translation[0])
    torch.testing.assert_close(joints[:, 0], torch.tensor([0.0, 0.0, 20.0]).expand(3, 3))
    assert (joints[:, 15, 1] < joints[:, 0, 1] - 0.3).all(), "the head is up: smaller y"
    assert (joints[:, 7, 1] > joints[:, 0, 1] + 0.5).all()
    nose = points_of(found, KeypointMap(body))[0, :, 0]
    assert (nose[:, 2] < joints[:, 15, 2]).all(), "the person faces the camera"


def test_exponential_depth_is_positive_and_the_anchor_at_zero() -> None:
    config, body = HeadConfig(depth="exp"), load_body("free")
    raw = torch.zeros(1, 3, config.num_channels)
    raw[0, :, -1] = torch.tensor([0.0, 4.0, -40.0])
    found = smpl_of(raw, config, body, torch.ones(1, 3, dtype=torch.bool))
    depth = found.translation[0, :, 2] + body.rest_joints(torch.zeros(10))[0, 2]
    expected = [20.0, 20 * math.e, 20 * math.exp(-10)]
    torch.testing.assert_close(depth, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_shared_shape_is_the_mean_of_the_real_frames() -> None:
    config, body = HeadConfig(shared_betas=True), load_body("free")
    raw = torch.randn(1, 4, config.num_channels)
    found = smpl_of(raw, config, body, torch.tensor([[True, True, True, False]]))
    mean = raw[0, :3, -13:-3].mean(0)
    torch.testing.assert_close(found.betas[0], mean.expand(4, 10))


def random_smpl() -> tuple[Smpl, torch.Tensor]:
    torch.manual_seed(0)
    config = HeadConfig()
    raw = torch.randn(2, 3, config.num_channels)
    mask = torch.ones(2, 3, dtype=torch.bool)
    return smpl_of(raw, config, load_body("free"), mask), raw


def test_sparse_points_equal_those_of_the_full_mesh() -> None:
    found, _ = random_smpl()
    body = load_body("free")
    of_joint, of_vertex, _ = body.keypoint_weights
    R, betas = found.R_parent_child[:, :, None], found.betas
    path = found.translation[:, :, None]
    mesh = body.vertices(R, betas, path)[:, :, 0]
    joints = body.joints(R, betas, path)[:, :, 0]
    expected = of_joint @ joints + of_vertex @ mesh[:, :, body.keypoint_vertices]
    torch.testing.assert_close(points_of(found, KeypointMap(body)), expected, rtol=1e-4, atol=1e-4)


def test_projection_is_the_pinhole_of_the_camera_module() -> None:
    points = torch.randn(2, 3, 17, 3) + torch.tensor([0.0, 0.0, 12.0])
    size = SIZE.expand(2, 2)
    matrix = torch.tensor([[5000.0, 0, 960], [0, 5000, 540], [0, 0, 1]])
    found = project(points, size, 5000.0)
    torch.testing.assert_close(found.xy, project_points(points, matrix), rtol=1e-4, atol=1e-2)
    assert found.seen.all()


def test_points_behind_the_camera_are_finite_and_left_out() -> None:
    points = torch.tensor([0.0, 0.0, -5.0]).expand(1, 4, 17, 3).clone().requires_grad_()
    found = project(points, SIZE, 5000.0)
    terms = keypoint_terms(found, clip(torch.zeros(1, 4, 17, 2)), LOSS)
    (terms["rec"] + terms["boundary"]).sum().backward()
    assert points.grad is not None
    assert not found.seen.any()
    assert (points.grad == 0).all()
    assert terms["rec"].item() == 0


@pytest.mark.parametrize("name", ["rec", "vel", "smooth", "boundary"])
def test_gradient_of_keypoint_terms(name: str) -> None:
    torch.manual_seed(0)
    target = 100 * torch.randn(2, 4, 17, 2, dtype=torch.float64)
    start = (target + 10 * torch.randn_like(target)).requires_grad_()
    kept = torch.rand(2, 4, 17, dtype=torch.float64)

    def term(xy: torch.Tensor) -> torch.Tensor:
        return keypoint_terms(seen(xy), clip(target, kept, 4), LOSS)[name]

    assert torch.autograd.gradcheck(term, (start,), eps=1e-4)


@pytest.mark.parametrize("name", ["pose", "shape"])
def test_gradient_of_body_terms(name: str) -> None:
    torch.manual_seed(0)
    rotvec = (2 * torch.randn(1, 2, 24, 3, dtype=torch.float64)).requires_grad_()
    betas = (3 * torch.randn(1, 2, 10, dtype=torch.float64)).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.bool)

    def term(rotvec: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        return body_terms(smpl(rotvec, betas), mask, LOSS)[name]

    assert torch.autograd.gradcheck(term, (rotvec, betas))


@pytest.mark.parametrize("rotation", ["axis_angle", "6d"])
def test_gradients_at_the_start_are_finite(rotation: str) -> None:
    """At zero angles, and at the half turn of the root."""
    config, body = HeadConfig(rotation=rotation), load_body("free")
    raw = torch.zeros(1, 4, config.num_channels, requires_grad=True)
    found = smpl_of(raw, config, body, torch.ones(1, 4, dtype=torch.bool))
    terms = keypoint_terms(
        project(points_of(found, KeypointMap(body)), SIZE, 5000.0),
        clip(torch.zeros(1, 4, 17, 2)),
        LOSS,
    ) | body_terms(found, torch.ones(1, 4, dtype=torch.bool), LOSS)
    (torch.stack(list(terms.values())).sum() + found.rotvec.square().sum()).backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[..., -3:].abs().sum(-1) > 0).all()
