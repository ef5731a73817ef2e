"""BodyModel: kinematics, sparse skinning, gradients, precision."""

import copy

import pytest
import torch

from motion.body.layout import spread_vertices
from motion.body.model import BodyModel, motion_joints
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion
from motion.skeleton import PART_NAMES, SMPL_PARENTS

Pose = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def random_pose(*batch: int, frames: int = 3, dtype: torch.dtype = torch.float32) -> Pose:
    generator = torch.Generator().manual_seed(11)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    rotvec = 0.7 * normal(*batch, frames, 24, 3)
    return matrix_from_rotvec(rotvec), normal(*batch, 10), normal(*batch, frames, 3)


def joints_by_recursion(body: BodyModel, R: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """Textbook forward kinematics of one frame, joint by joint."""
    rest = body.rest_joints(betas)
    world, position = [R[0]], [rest[0]]
    for j in range(1, 24):
        parent = SMPL_PARENTS[j]
        world.append(world[parent] @ R[j])
        position.append(position[parent] + world[parent] @ (rest[j] - rest[parent]))
    return torch.stack(position)


def test_joints_equal_the_textbook_recursion(body: BodyModel):
    R, betas, translation = random_pose(2)
    posed = body.joints(R, betas, translation)
    for b in range(2):
        for t in range(3):
            expected = joints_by_recursion(body, R[b, t], betas[b]) + translation[b, t]
            torch.testing.assert_close(posed[b, t], expected, atol=1e-5, rtol=0)


def test_rest_pose_returns_template_and_pelvis_stands_at_rest_plus_translation(body: BodyModel):
    R = torch.eye(3).expand(2, 24, 3, 3)
    betas, translation = torch.zeros(10), torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    vertices = body.vertices(R, betas, translation)
    torch.testing.assert_close(vertices[0] - translation[0], vertices[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(vertices[1], body._template, atol=1e-5, rtol=0)
    pelvis = body.joints(R, betas, translation)[:, 0]
    torch.testing.assert_close(pelvis, body.rest_joints(betas)[0] + translation)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_any_leading_axes(body: BodyModel, batch: tuple[int, ...]):
    R, betas, translation = random_pose(*batch)
    assert body.joints(R, betas, translation).shape == (*batch, 3, 24, 3)
    assert body.vertices(R, betas).shape == (*batch, 3, body.num_vertices, 3)
    assert body.keypoints(R, betas, translation).shape == (*batch, 3, 17, 3)
    first = (0,) * len(batch)
    alone = body.vertices(R[first], betas[first], translation[first])
    torch.testing.assert_close(body.vertices(R, betas, translation)[first], alone)


def test_sparse_skinning_has_the_full_meshes_values_and_gradients(body: BodyModel):
    inputs = [value.requires_grad_() for value in random_pose(2)]
    index = torch.tensor([140, 0, 7, 7, 31])
    weight = torch.randn(2, 3, 5, 3, generator=torch.Generator().manual_seed(0))
    sparse = body.vertices(*inputs, index=index)
    full = body.vertices(*inputs)[..., index, :]
    torch.testing.assert_close(sparse, full, atol=1e-5, rtol=0)
    sparse_grads = torch.autograd.grad((sparse * weight).sum(), inputs)
    full_grads = torch.autograd.grad((full * weight).sum(), inputs)
    for one, other in zip(sparse_grads, full_grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_gradients_in_float64(body: BodyModel):
    body = copy.deepcopy(body).double()
    R, betas, translation = random_pose(frames=1, dtype=torch.float64)
    rotvec = torch.zeros(1, 24, 3, dtype=torch.float64).uniform_(-0.5, 0.5)
    index = torch.tensor([2, 99])

    def landmarks(rotvec: torch.Tensor, betas: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        R = matrix_from_rotvec(rotvec)
        return torch.cat(
            [body.vertices(R, betas, shift, index=index), body.keypoints(R, betas, shift)], -2
        )

    assert body.joints(R, betas).dtype == torch.float64
    inputs = [value.requires_grad_() for value in (rotvec, betas, translation)]
    assert torch.autograd.gradcheck(landmarks, inputs, atol=1e-6)


def test_turning_the_root_turns_the_body_about_its_pelvis(body: BodyModel):
    R, betas, _ = random_pose()
    turn = matrix_from_rotvec(torch.tensor([0.3, -1.2, 0.5]))
    turned = torch.cat([turn @ R[:, :1], R[:, 1:]], 1)
    pelvis = body.rest_joints(betas)[0]
    for method in (body.joints, body.vertices, body.keypoints):
        expected = (method(R, betas) - pelvis) @ turn.T + pelvis
        torch.testing.assert_close(method(turned, betas), expected, atol=2e-5, rtol=0)


def test_checkpoints_contain_no_body(body: BodyModel):
    assert not list(body.parameters())
    assert not body.state_dict()
    assert not torch.nn.Sequential(body, torch.nn.Linear(1, 1))[0].state_dict()


def test_casting_a_model_to_bfloat16_keeps_the_body_exact(body: BodyModel):
    R, betas, translation = random_pose()
    exact = body.vertices(R, betas, translation)
    low = copy.deepcopy(body).bfloat16()
    torch.testing.assert_close(low.vertices(R, betas, translation), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(body.vertices(R, betas, translation), exact)
        torch.testing.assert_close(body.joints(R, betas), body.double().joints(R, betas).float())


def test_loss_vertices_cover_every_part():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    parts = torch.arange(500) % len(PART_NAMES)
    chosen = spread_vertices(points, parts, 118)
    assert len(chosen.unique()) == 118
    assert set(parts[chosen].tolist()) == set(range(24))
    gaps = torch.cdist(points, points[chosen]).amin(1)
    arbitrary = torch.cdist(points, points[:118]).amin(1)
    assert gaps.max() < arbitrary.max()


def test_betas_never_cross_body_models(body: BodyModel):
    R, betas, translation = random_pose(1)
    motion = Motion(
        R_parent_child=R, translation=translation, betas=betas, body_id="smpl-0", fps=16.0
    )
    with pytest.raises(ValueError, match=r"smpl-0.*random-test"):
        motion_joints(body, motion)
