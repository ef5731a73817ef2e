"""The free body: plausible people in SMPL's layout, cached once, the same everywhere."""

from pathlib import Path

import pytest
import torch

from motion.body import bake as baking
from motion.body import free, load_body
from motion.body.model import BodyModel
from motion.skeleton import COCO_17, SMPL_JOINTS, joint, mirror_permutation

REST = torch.eye(3).expand(1, 24, 3, 3)
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


def test_size_and_identity(body: BodyModel):
    assert (body.num_vertices, len(body.faces)) == (13718, 27420)
    assert body.body_id.startswith("free-")
    assert len(body.body_id) == len("free-") + 8
    assert len(body.loss_vertices) == 118
    assert set(body.part_of_vertex.tolist()) == set(range(24))
    assert set(body.part_of_vertex[body.loss_vertices].tolist()) == set(range(24))


def test_t_pose_in_smpl_axes(body: BodyModel):
    rest = body.rest_joints(torch.zeros(10))
    torch.testing.assert_close(rest[0], torch.tensor(baking.PELVIS_M))
    arm = [joint(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    across = rest[arm].diff(dim=0)
    assert (across[:, 0] > 0.05).all()
    assert across[:, 1:].abs().max() < 5e-3, "a T-pose's arm runs along x"
    assert (
        rest[joint("head"), 1] > rest[joint("neck"), 1] > rest[0, 1] > rest[joint("left_knee"), 1]
    )
    assert rest[joint("left_foot"), 2] > rest[joint("left_ankle"), 2] + 0.1, "it faces +z"
    mirrored = rest[list(mirror_permutation(SMPL_JOINTS))] * MIRROR
    torch.testing.assert_close(mirrored, rest, atol=2e-3, rtol=0)


def test_betas_of_unit_normal_size_give_plausible_adults(body: BodyModel):
    betas = torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    y = body.vertices(REST.expand(60, 1, 24, 3, 3), betas)[:, 0, :, 1]
    height = y.amax(1) - y.amin(1)
    assert 1.6 < height.mean() < 1.8
    assert 0.05 < height.std() < 0.12
    assert height.min() > 1.4
    assert height.max() < 2.05
    tall = torch.zeros(10).index_fill(0, torch.tensor([0]), 2.0)
    both = body.vertices(REST.expand(2, 1, 24, 3, 3), torch.stack([tall, -tall]))[:, 0, :, 1]
    assert torch.diff(both.amax(1) - both.amin(1)) < -0.2, "the first beta is size, taller is +"


def test_joints_stay_inside_every_shape(body: BodyModel):
    """The regressed joints follow the shape: each stays near the same distance to the skin."""
    betas = torch.cat([torch.zeros(1, 10), 2 * torch.eye(10), -2 * torch.eye(10)])
    vertices = body.vertices(REST.expand(21, 1, 24, 3, 3), betas)[:, 0]
    gap = torch.cdist(body.rest_joints(betas), vertices).amin(-1)
    assert (gap - gap[0]).abs().max() < 0.03


def test_landmarks(body: BodyModel):
    zero = torch.zeros(10)
    vertices = body.vertices(REST, zero)[0]
    contacts = vertices[body.contact_vertices]
    assert contacts[:, 1].max() < vertices[:, 1].min() + 0.015, "contact points lie on the sole"
    left_heel, left_toe, right_heel, right_toe = contacts
    assert left_toe[2] - left_heel[2] > 0.18
    torch.testing.assert_close(left_heel * MIRROR, right_heel, atol=3e-3, rtol=0)
    torch.testing.assert_close(left_toe * MIRROR, right_toe, atol=3e-3, rtol=0)
    keypoints = body.keypoints(REST, zero)[0]
    rest = body.rest_joints(zero)
    for name in COCO_17[5:]:
        distance = (keypoints[COCO_17.index(name)] - rest[joint(name)]).norm()
        assert distance < 0.05, name
    nose, eye = keypoints[COCO_17.index("nose")], keypoints[COCO_17.index("left_eye")]
    assert nose[2] > eye[2] > rest[joint("head"), 2]
    assert eye[1] > nose[1]
    assert eye[0] > 0.02


def test_align_is_the_smallest_rotation():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(20, 3, generator=generator), torch.randn(3, generator=generator)
    rotation = baking.align(source, target)
    unit = torch.nn.functional.normalize
    reached = (rotation @ unit(source)[..., None])[..., 0]
    torch.testing.assert_close(reached, unit(target, dim=0).expand(20, 3), atol=1e-5, rtol=0)
    cosine = unit(source) @ unit(target, dim=0)
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close((trace - 1) / 2, cosine, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(20))


def test_principal_shapes_reconstruct_and_have_unit_variance():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(80, 10, generator=generator, dtype=torch.float64)
    basis = torch.randn(10, 30, generator=generator, dtype=torch.float64)
    people = (hidden @ basis + 1.0).unflatten(1, (10, 3))
    template, dirs, betas = baking.principal_shapes(people)
    torch.testing.assert_close(template + torch.einsum("vcs,ps->pvc", dirs, betas), people)
    covariance = betas.T @ betas / len(betas)
    torch.testing.assert_close(covariance, torch.eye(10, dtype=torch.float64))


def test_cache_is_written_once_and_read_back(
    body: BodyModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The second process finds the first one's file; nothing half-written stays behind."""
    data_file = next(free.cache_directory().glob("free-body-*.safetensors"))
    bakes: list[int] = []

    def fake_bake() -> object:
        bakes.append(1)
        return free._read_data(data_file)

    monkeypatch.setenv("MOTION_CACHE", str(tmp_path / "new"))
    monkeypatch.setattr(free, "bake", fake_bake)
    first = free.free_body.__wrapped__()
    second = free.free_body.__wrapped__()
    assert len(bakes) == 1
    assert first.body_id == second.body_id == body.body_id
    torch.testing.assert_close(second._template, body._template, atol=0, rtol=0)
    assert not list((tmp_path / "new").glob("*.partial"))
