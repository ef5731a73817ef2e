"""HumanML3D and KIT features: the published pair, the per-clip algorithm, round trips."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from motion.body.layout import BodyData
from motion.body.model import BodyModel, motion_joints
from motion.representations.humanml import HumanML
from motion.representations.joint_skeleton import HUMANML3D, KIT, JointSkeleton
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion

Make = Callable[..., torch.Tensor]
PUBLISHED = HumanML(compat=True)
CORRECTED = HumanML()


@pytest.fixture(scope="module")
def pair(real_data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A published clip: joints (170, 22, 3), features (170, 263)."""
    folder = real_data / "humanml3d"
    joints = torch.from_numpy(np.load(folder / "new_joints/012314.npy"))
    return joints, torch.from_numpy(np.load(folder / "new_joint_vecs/012314.npy"))


def kit(joints_of: Make) -> JointSkeleton:
    reference = joints_of(KIT, clips=1, time=2, seed=9)[0, 0]
    return KIT.with_bone_lengths(reference)


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(one, other, atol=atol, rtol=0)


def test_published_joints_come_back_to_the_last_bit(pair) -> None:
    joints, features = pair
    assert torch.equal(PUBLISHED.decode_joints(features), joints)
    close(PUBLISHED.decode_rotations(features), joints, 2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_published_features_come_back(pair, dtype: torch.dtype) -> None:
    """The filter looks 80 frames ahead and the published joints lack one frame, so that only the
    first 89 rows can agree to rounding."""
    joints, expected = pair
    features = PUBLISHED.encode_joints(joints.to(dtype))
    assert features.shape == (169, 263)
    assert features.dtype == dtype
    error = (features - expected[:169]).abs()
    assert error[:89].max() <= 1e-5
    assert error.max() <= 1.4e-2
    assert error[:, PUBLISHED.slices["root_yaw"]].max() <= 3.1e-4
    assert error[:, PUBLISHED.slices["rotations"]].max() <= 1.33e-2
    assert error[:, PUBLISHED.slices["contacts"]].max() == 0


def test_retargeting_knows_the_published_bone_lengths(pair) -> None:
    joints, _ = pair
    close(PUBLISHED.canonical_joints(joints), joints, 3e-6)
    larger = joints * 1.3 + torch.tensor([3.0, 1.0, -2.0])
    expected = PUBLISHED.encode_joints(joints, retarget=False)
    features = PUBLISHED.encode_joints(larger)
    close(features[:, :259], expected[:, :259], 1e-4)


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_equals_the_per_clip_algorithm(joints_of: Make, per_clip: ModuleType, name: str) -> None:
    """Over a turn through 180 degrees, with the published faults."""
    skeleton = HUMANML3D if name == "humanml3d" else kit(joints_of)
    joints = joints_of(skeleton, clips=4, time=50)
    joints[0] = spun(joints[0], 0.15)
    features = HumanML(skeleton, compat=True).encode_joints(joints)
    for clip, own in zip(joints.numpy(), features.numpy(), strict=True):
        np.testing.assert_allclose(own, per_clip.features(clip, skeleton), atol=2e-8)


def spun(joints: torch.Tensor, yaw_per_frame: float) -> torch.Tensor:
    yaw = yaw_per_frame * torch.arange(len(joints), dtype=joints.dtype)[:, None]
    x, y, z = joints.unbind(-1)
    return torch.stack([x * yaw.cos() + z * yaw.sin(), y, z * yaw.cos() - x * yaw.sin()], -1)


@pytest.mark.parametrize("retarget", [True, False])
@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_round_trip_of_the_corrected_mode(joints_of: Make, name: str, retarget: bool) -> None:
    """Positions by both decoders equal the joints that were described, through turns of many
    revolutions; with retargeting the rotations alone suffice."""
    skeleton = HUMANML3D if name == "humanml3d" else kit(joints_of)
    representation = HumanML(skeleton)
    joints = joints_of(skeleton, clips=3, time=60)
    joints[1] = spun(joints[1], 0.2)
    features = representation.encode_joints(joints, retarget=retarget)
    assert features.shape == (3, 59, representation.dim)
    expected = representation.canonical_joints(joints, retarget=retarget)[:, :-1]
    close(representation.decode_joints(features), expected)
    if retarget:
        close(representation.decode_rotations(features), expected)


def test_published_faults_and_their_correction(joints_of: Make) -> None:
    """A body that turns steadily: each step of the yaw is the same but in the published files,
    where one step at 180 degrees has the other sign and row 0 jumps."""
    still = joints_of(clips=1, time=1)[0].expand(250, -1, -1)
    joints = spun(still, 0.1)
    middle = slice(80, 80 + 63)  # one revolution, without the filter's ends
    yaw = CORRECTED.encode_joints(joints)[middle, 0]
    close(yaw, torch.full_like(yaw, -0.05), 1e-9)
    faulty = PUBLISHED.encode_joints(joints)[middle, 0]
    assert ((faulty - 0.05).abs() < 1e-9).sum() == 1
    assert ((faulty + 0.05).abs() < 1e-9).sum() == 62
    assert (PUBLISHED.encode_joints(joints)[0, 0] + 0.05).abs() > 0.05
    described = PUBLISHED.canonical_joints(joints)[:-1]
    decoded = PUBLISHED.decode_joints(PUBLISHED.encode_joints(joints))
    assert (decoded - described).abs().max() > 0.05


def test_a_bone_opposite_to_its_template(joints_of: Make) -> None:
    joints = joints_of(clips=1, time=20)
    shin = HUMANML3D.template(joints)[4 - 1]
    joints[..., 4, :] = joints[..., 1, :] - 0.4 * shin
    joints[..., 7, :] = joints[..., 10, :] = joints[..., 4, :]  # and two bones without length
    assert PUBLISHED.encode_joints(joints).isnan().any()
    features = CORRECTED.encode_joints(joints)
    close(CORRECTED.decode_joints(features), CORRECTED.canonical_joints(joints)[:, :-1])
    assert features.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(
    yaw=st.floats(-3, 3),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)),
    seed=st.integers(0, 99),
)
def test_place_heading_and_scale_do_not_matter(
    joints_of: Make, turn_joints: Make, yaw: float, shift: tuple[float, float, float], seed: int
) -> None:
    """Corrected and published, but for the published jump in frame 0, which is invariant too."""
    joints = joints_of(clips=2, time=12, seed=seed)
    moved = turn_joints(joints, yaw) + torch.tensor(shift)
    for representation in (CORRECTED, PUBLISHED):
        expected = representation.encode_joints(joints)
        close(representation.encode_joints(moved), expected, 1e-7)
        larger = representation.encode_joints(1.7 * joints)
        close(larger, expected, 1e-7)


def test_batch_axes_order_and_chunks(joints_of: Make) -> None:
    joints = joints_of(clips=20, time=10)
    features = CORRECTED.encode_joints(joints)
    close(CORRECTED.encode_joints(joints.reshape(4, 5, 10, 22, 3)).flatten(0, 1), features, 1e-12)
    close(CORRECTED.encode_joints(joints.flip(0)).flip(0), features, 1e-12)
    close(CORRECTED.encode_joints(joints[7]), features[7], 1e-12)
    assert CORRECTED.encode_joints(joints[:0]).shape == (0, 9, 263)
    close(CORRECTED.encode_joints(joints.float()).double(), features, 1e-5)


@pytest.mark.parametrize("representation", [CORRECTED, PUBLISHED], ids=["corrected", "published"])
def test_padding_changes_nothing(joints_of: Make, representation: HumanML) -> None:
    joints = joints_of(clips=3, time=30)
    lengths = torch.tensor([30, 2, 17])
    padded = joints.clone()
    for clip, length in enumerate(lengths):
        padded[clip, length:] = torch.nan
    features = representation.encode_joints(padded, lengths)
    for clip, length in enumerate(lengths.tolist()):
        alone = representation.encode_joints(joints[clip, :length])
        close(features[clip, : length - 1], alone, 1e-12)
        assert (features[clip, length - 1 :] == 0).all()


def test_layout(joints_of: Make) -> None:
    """Slices tile the vector; a straight walk facing +z has the analytic values."""
    for representation, dim in ((CORRECTED, 263), (HumanML(KIT), 251)):
        assert representation.dim == dim
        edges = [(s.start, s.stop) for s in representation.slices.values()]
        assert edges[0][0] == 0
        assert edges[-1][1] == dim
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    slices = CORRECTED.slices
    assert (slices["positions"], slices["rotations"]) == (slice(4, 67), slice(67, 193))
    assert (slices["velocities"], slices["contacts"]) == (slice(193, 259), slice(259, 263))
    template = HUMANML3D.template(torch.zeros(1).double())
    lengths = HUMANML3D.require_bone_lengths(template)
    still = HUMANML3D.ancestors(template) @ (template * lengths[:, None])
    still[[17, 19, 21]] += torch.tensor([-0.3, 0.0, 0.0])  # shoulders apart, so there is a facing
    still[[16, 18, 20]] += torch.tensor([0.3, 0.0, 0.0])
    walk = still + torch.arange(9)[:, None, None] * torch.tensor([0, 0, 0.03], dtype=torch.float64)
    features = CORRECTED.encode_joints(walk, retarget=False)
    close(features[:, 0], torch.zeros(8).double())
    close(features[:, 1:3], torch.tensor([0, 0.03], dtype=torch.float64).expand(8, 2))
    close(features[:, 3], (still[0, 1] - still[:, 1].min()).expand(8))
    close(
        features[:, slices["velocities"]],
        torch.tensor([0, 0, 0.03], dtype=torch.float64).repeat(8, 22),
    )
    assert (features[:, slices["contacts"]] == 1).all()  # 0.03^2 < 0.002
    sixd = features[:, slices["rotations"]].unflatten(-1, (21, 6))
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0]).double()
    close(sixd[:, 0], identity.expand(8, 6))


def test_leg_features_are_those_of_fid_l() -> None:
    legs = CORRECTED.leg_features()
    assert len(legs) == len(set(legs.tolist())) == 103
    assert legs[:7].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert int(legs.max()) < 259
    assert 259 - len(legs) == 156


def test_gradients_flow_through_both_ways(joints_of: Make) -> None:
    joints = joints_of(clips=1, time=4).requires_grad_()
    smooth_features = slice(0, 259)
    assert torch.autograd.gradcheck(
        lambda x: CORRECTED.encode_joints(x)[..., smooth_features], (joints,), fast_mode=True
    )
    features = CORRECTED.encode_joints(joints.detach()).requires_grad_()
    assert torch.autograd.gradcheck(CORRECTED.decode_joints, (features,), fast_mode=True)


def test_inference_mode_leaves_no_trace(joints_of: Make) -> None:
    """Cached constants made in inference mode still serve a later gradient."""
    skeleton = replace(HUMANML3D, name="never used before")
    joints = joints_of(clips=1, time=4)
    with torch.inference_mode():
        HumanML(skeleton).encode_joints(joints)
    joints.requires_grad_()
    HumanML(skeleton).encode_joints(joints).sum().backward()
    assert joints.grad is not None


def test_low_precision_is_summed_in_float32(joints_of: Make) -> None:
    features = CORRECTED.encode_joints(joints_of(clips=1, time=200)).bfloat16()
    assert CORRECTED.decode_joints(features).dtype == torch.float32
    close(CORRECTED.decode_joints(features), CORRECTED.decode_joints(features.float()))


def test_what_does_not_fit_is_refused(joints_of: Make, body: BodyModel) -> None:
    with pytest.raises(ValueError, match="at least 2 frames, 22"):
        CORRECTED.encode_joints(torch.zeros(1, 22, 3))
    with pytest.raises(ValueError, match="with_bone_lengths"):
        HumanML(KIT).encode_joints(torch.zeros(3, 21, 3))
    motion = walking(body)
    with pytest.raises(ValueError, match="16 fps"):
        CORRECTED.encode(replace(motion, fps=16.0), body)
    with pytest.raises(ValueError, match="not made of SMPL"):
        HumanML(KIT).encode(motion, body)
    with pytest.raises(ValueError, match="do not fit body"):
        CORRECTED.decode(torch.zeros(2, 263), body, like=replace(motion, body_id="other"))


@pytest.fixture
def body() -> BodyModel:
    """A stick figure with the published bone lengths in SMPL's layout."""
    generator = torch.Generator().manual_seed(0)
    template = HUMANML3D.template(torch.zeros(1)).clone()
    for joint, x, y in ((1, 0.6, -0.8), (2, -0.6, -0.8), (13, 0.8, 0.6), (14, -0.8, 0.6)):
        template[joint - 1] = torch.tensor([x, y, 0.0])
    for joint in (16, 18, 20):
        template[joint - 1], template[joint] = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    offsets = template * HUMANML3D.require_bone_lengths(template)[:, None]
    joints = HUMANML3D.ancestors(template) @ offsets
    joints = torch.cat([joints, joints[20:] * 1.1])
    weights = torch.eye(24).repeat(3, 1)
    return BodyModel(
        BodyData(
            template=torch.randn(72, 3, generator=generator),
            shape_dirs=torch.zeros(72, 3, 10),
            joint_template=joints,
            joint_dirs=torch.zeros(24, 3, 10),
            weights=weights,
            faces=torch.randint(72, (20, 3), generator=generator),
            keypoint_of_joint=torch.ones(17, 24) / 24,
            keypoint_vertices=torch.arange(6),
            keypoint_of_vertex=torch.zeros(17, 6),
            contact_vertices=torch.arange(4),
            pose_dirs=None,
        ),
        "stick",
    ).double()


def walking(body: BodyModel) -> Motion:
    generator = torch.Generator().manual_seed(1)
    sway = torch.randn(2, 1, 24, 3, generator=generator, dtype=torch.float64)
    speed = torch.linspace(0, 3, 30, dtype=torch.float64)[:, None, None]
    return Motion(
        R_parent_child=matrix_from_rotvec(0.4 * sway * torch.sin(speed + sway)),
        translation=torch.linspace(0, 1, 30, dtype=torch.float64)[:, None].expand(2, 30, 3).clone(),
        betas=torch.zeros(2, 10, dtype=torch.float64),
        body_id=body.body_id,
        fps=20.0,
    )


def test_motion_to_features_to_motion(body: BodyModel) -> None:
    """On a body of the skeleton's proportions, the joints are those described and the features of
    the decoded motion are the features again."""
    motion = walking(body)
    features = CORRECTED.encode(motion, body)
    decoded = CORRECTED.decode(features, body, like=motion)
    assert (decoded.num_frames, decoded.frame, decoded.fps) == (29, "world", 20.0)
    joints = motion_joints(body, decoded)[..., :22, :]
    expected = CORRECTED.canonical_joints(motion_joints(body, motion)[..., :22, :])[..., :-1, :, :]
    close(joints, expected, 1e-6)
    R = decoded.R_parent_child
    close(R @ R.mT, torch.eye(3).double().expand_as(R))
