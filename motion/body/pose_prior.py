"""How far human joints turn: limits and a Gaussian around the relaxed pose, in axis-angle.

The ranges are our own, from the anatomy of SMPL's T-pose frames (x left, y up, z forward), and
were checked against the procedural clips and captured SMPL motion. They are soft: a captured
person who exceeds one is followed, at a price.
"""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from motion.rotations import matrix_from_rotvec, rotvec_from_matrix
from motion.skeleton import NUM_JOINTS, SMPL_JOINTS

_LIMIT_RAD: Final = 0.05
"""Standard deviation of what exceeds a limit."""

_Range = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
_RANGES: Final[dict[str, _Range]] = {
    "hip": ((-2.4, 0.8), (-1.0, 1.0), (-0.6, 1.4)),
    "knee": ((-0.1, 2.7), (-0.4, 0.4), (-0.4, 0.4)),
    "ankle": ((-0.8, 1.0), (-0.6, 0.6), (-0.5, 0.5)),
    "foot": ((-1.0, 0.5), (-0.1, 0.1), (-0.1, 0.1)),
    "spine1": ((-0.4, 0.8), (-0.5, 0.5), (-0.4, 0.4)),
    "spine2": ((-0.4, 0.7), (-0.5, 0.5), (-0.4, 0.4)),
    "spine3": ((-0.4, 0.7), (-0.5, 0.5), (-0.4, 0.4)),
    "neck": ((-0.7, 0.8), (-0.9, 0.9), (-0.6, 0.6)),
    "head": ((-0.7, 0.8), (-0.9, 0.9), (-0.6, 0.6)),
    "collar": ((-0.3, 0.3), (-0.5, 0.5), (-0.4, 0.7)),
    "shoulder": ((-2.6, 2.0), (-2.2, 0.9), (-1.8, 1.5)),
    "elbow": ((-1.6, 1.6), (-2.7, 0.1), (-0.6, 0.6)),
    "wrist": ((-0.8, 0.8), (-1.0, 1.0), (-1.2, 1.2)),
    "hand": ((-0.2, 0.2), (-0.2, 0.2), (-0.2, 0.2)),
}
"""Least and largest x, y, z of the left side or the middle; the right side is its mirror image."""
_RELAXED: Final[dict[str, tuple[float, float, float]]] = {
    "hip": (-0.2, 0.0, 0.05),
    "knee": (0.35, 0.0, 0.0),
    "shoulder": (0.0, -0.3, -1.0),
    "elbow": (0.0, -0.5, 0.0),
}
"""Where the Gaussian's mean is not zero."""


class PosePrior(NamedTuple):
    """Limits, mean and standard deviation of the joints 1 to 23 as axis-angle, radians."""

    low: Float[Tensor, "23 3"]
    high: Float[Tensor, "23 3"]
    mean: Float[Tensor, "*frames 23 3"]
    std: Float[Tensor, "*frames 23 3"]

    @classmethod
    def anatomical(cls) -> "PosePrior":
        """The table above; the standard deviation is half the way between the limits."""
        low, high, mean = torch.zeros(3, NUM_JOINTS - 1, 3)
        for place, name in enumerate(SMPL_JOINTS[1:]):
            part = name.removeprefix("left_").removeprefix("right_")
            low[place], high[place] = torch.tensor(_RANGES[part]).T
            mean[place] = torch.tensor(_RELAXED.get(part, (0.0, 0.0, 0.0)))
            if name.startswith("right"):  # a mirror in x keeps x turns and reverses the others
                mirror = torch.tensor([1.0, -1.0, -1.0])
                ends = torch.stack([low[place] * mirror, high[place] * mirror])
                low[place], high[place] = ends.amin(0), ends.amax(0)
                mean[place] *= mirror
        return cls(low, high, mean, (high - low) / 2)

    def to(self, like: Tensor) -> "PosePrior":
        """The same prior in the dtype and on the device of a tensor."""
        return PosePrior(*(value.to(like) for value in self))

    def around(
        self, R_parent_child: Float[Tensor, "*frames 24 3 3"], std: Float[Tensor, "*frames 23 3"]
    ) -> "PosePrior":
        """The same limits around given poses instead of the relaxed one."""
        mean = rotvec_from_matrix(R_parent_child[..., 1:, :, :])
        return self._replace(mean=mean, std=std.to(mean))

    def relaxed(self) -> Float[Tensor, "24 3 3"]:
        """The mean pose, with an upright root."""
        pelvis = torch.zeros_like(self.mean[:1])
        return matrix_from_rotvec(torch.cat([pelvis, self.mean]))

    def excess_rad(self, R_parent_child: Float[Tensor, "*b 24 3 3"]) -> Float[Tensor, "*b 23 3"]:
        """How far each component lies beyond its limit: negative below the least, 0 between."""
        rotvec = rotvec_from_matrix(R_parent_child[..., 1:, :, :])
        return (rotvec - self.high).clamp(min=0) + (rotvec - self.low).clamp(max=0)

    def energy(self, R_parent_child: Float[Tensor, "*b 24 3 3"]) -> Float[Tensor, "*b"]:
        """Squared deviations from mean and limits, in standard deviations."""
        rotvec = rotvec_from_matrix(R_parent_child[..., 1:, :, :])
        inside = ((rotvec - self.mean) / self.std).square()
        beyond = (self.excess_rad(R_parent_child) / _LIMIT_RAD).square()
        return (inside + beyond).sum((-2, -1))

    def linearize(
        self, R_parent_child: Float[Tensor, "*b 24 3 3"]
    ) -> tuple[Float[Tensor, "*b 23 3"], Float[Tensor, "*b 23 3 3"]]:
        """Gradient and Gauss-Newton matrix of half the energy per joint, for R <- exp(d) R."""
        rotvec = rotvec_from_matrix(R_parent_child[..., 1:, :, :])
        excess = self.excess_rad(R_parent_child)
        weight = self.std**-2 + (excess != 0) * _LIMIT_RAD**-2
        slope = (rotvec - self.mean) / self.std**2 + excess / _LIMIT_RAD**2
        jacobian = left_jacobian_inverse(rotvec)
        gradient = (jacobian.mT @ slope[..., None])[..., 0]
        return gradient, jacobian.mT @ (weight[..., None] * jacobian)


def left_jacobian_inverse(rotvec: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """d log(exp(d) exp(rotvec)) / d d at 0 (Sola et al. 2018, eq. 146)."""
    angle = torch.linalg.vector_norm(rotvec, dim=-1)
    safe = angle.clamp(min=1e-2)
    factor = safe**-2 - 1 / (2 * safe * torch.tan(safe / 2))
    factor = torch.where(angle < 1e-2, 1 / 12, factor)[..., None, None]
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity - cross / 2 + factor * (cross @ cross)
