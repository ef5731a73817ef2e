"""Joint rotations as 24 x 6D, without trajectory: CoMoVi's pose vector."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from motion.rotations import matrix_from_rotation6d, rotation6d_from_matrix
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS


@dataclass(frozen=True)
class Rotation6D:
    """(*b, t, 144): each joint's rotation in its parent as the first two rows of its matrix.

    The root comes first. Translation and betas are not encoded (Zhao et al. 2026, section 3.3).
    """

    dim: int = 6 * NUM_JOINTS
    slices: Mapping[str, slice] = field(
        default_factory=lambda: {"root": slice(0, 6), "body": slice(6, 6 * NUM_JOINTS)}
    )

    def encode(self, motion: Motion) -> Float[Tensor, "*b t 144"]:
        return rotation6d_from_matrix(motion.R_parent_child).flatten(-2)

    def decode(self, features: Float[Tensor, "*b t 144"], *, like: Motion) -> Motion:
        """Motion with the betas, body, rate and frame of `like`, and no translation.

        The 6D vectors need not be orthonormal: Gram-Schmidt makes rotations of them.
        """
        matrices = matrix_from_rotation6d(features.unflatten(-1, (NUM_JOINTS, 6)))
        return replace(like, R_parent_child=matrices, translation=None)
