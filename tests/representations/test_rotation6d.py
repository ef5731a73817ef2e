"""CoMoVi's pose vector."""

import torch

from motion.representations.rotation6d import Rotation6D
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion


def motion() -> Motion:
    torch.manual_seed(0)
    R = matrix_from_rotvec(torch.randn(2, 5, 24, 3, dtype=torch.float64))
    return Motion(
        R_parent_child=R,
        translation=torch.randn(2, 5, 3, dtype=torch.float64),
        betas=torch.randn(2, 10, dtype=torch.float64),
        body_id="free-0",
        fps=16.0,
    )


def test_round_trip() -> None:
    original = motion()
    features = Rotation6D().encode(original)
    assert features.shape == (2, 5, Rotation6D().dim)
    decoded = Rotation6D().decode(features, like=original)
    torch.testing.assert_close(decoded.R_parent_child, original.R_parent_child)
    assert decoded.translation is None
    assert decoded.body_id == "free-0"


def test_layout_is_the_first_two_rows_root_first() -> None:
    original = motion()
    features = Rotation6D().encode(original)
    root = features[..., Rotation6D().slices["root"]]
    torch.testing.assert_close(root[..., :3], original.R_parent_child[..., 0, 0, :])
    torch.testing.assert_close(root[..., 3:], original.R_parent_child[..., 0, 1, :])
    assert sum(s.stop - s.start for s in Rotation6D().slices.values()) == Rotation6D().dim


def test_decoding_any_vector_gives_rotations() -> None:
    decoded = Rotation6D().decode(torch.randn(2, 5, 144).double(), like=motion())
    R = decoded.R_parent_child
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(2, 5, 24).double())
