"""CrossDiff's 134 numbers per frame of a 2D skeleton, and the camera that projects 3D clips.

Ren et al. 2024, "Realistic Human Motion Generation with Cross-Diffusion Models", section 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from motion.representations.joint_skeleton import HUMANML3D, JointSkeleton
from motion.rotations import turn_about_y

VIEWS_RAD = (0.0, math.pi / 2, math.pi, 1.5 * math.pi)
"""Front, side, back and side of a clip that starts facing +z: the published four views."""


class PlanarCamera(BaseModel):
    """A camera on the +z axis that looks along -z; image x runs along world x, image y up."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    field_of_view_deg: float | None = 10.0
    """Full angle of the image, whose edges lie at -1 and 1. None projects orthogonally, as the
    paper's text says, with the scale that the origin has in the published camera."""
    height_m: float = 1.0
    """Height of the camera over the floor."""
    distance_m: float = 10.0 + 1 / math.tan(math.radians(5.0))
    """From the origin, about 21.43 m: the published distance."""

    def project(
        self, joints: Float[Tensor, "*b t j 3"], view_rad: Float[Tensor, "*#b"]
    ) -> Float[Tensor, "*b t j 2"]:
        """Image positions relative to the root in frame 0, seen after a turn of the whole clip.

        Args:
            joints: in metres, y up, near the origin.
            view_rad: yaw of each clip about +y before it is seen; any angle, differentiable.
        """
        x, y, z = joints.unbind(-1)
        x, z = turn_about_y(x, z, 0.5 * view_rad[..., None, None])
        y = y - self.height_m
        if self.field_of_view_deg is None:
            scale = torch.full_like(z, 1 / (self.distance_m * math.tan(math.radians(5.0))))
        else:
            scale = 1 / ((self.distance_m - z) * math.tan(math.radians(self.field_of_view_deg / 2)))
        image = torch.stack([x, y], -1) * scale[..., None]
        return image - image[..., :1, :1, :]


@dataclass(frozen=True)
class Planar:
    """Features (*b, t - 1, 6 j + 2) of image positions (*b, t, j, 2), in the image's unit."""

    skeleton: JointSkeleton = HUMANML3D
    compat: bool = False
    """Reproduce the published files, whose rows mix the root of frame t + 1 with the pose of frame
    t, and where a bone seen end-on is NaN. Corrected, a row is of one frame, and such a bone has
    the angle vector 0."""
    contact_threshold: float = field(default=0.002)
    """A foot whose squared image displacement per frame is below this is in contact."""

    @property
    def dim(self) -> int:
        return 6 * self.skeleton.num_joints + 2

    @property
    def slices(self) -> Mapping[str, slice]:
        """Where each feature lies, in the order of the vector."""
        j = self.skeleton.num_joints
        return {
            "root": slice(0, 2),  # relative to frame 0; the paper calls it the root's velocity
            "positions": slice(2, 2 * j),  # joints 1, 2, ... less the root of the same frame
            "angles": slice(2 * j, 4 * j - 2),  # (cos d, -sin d) to the bone before in the chain
            "velocities": slice(4 * j - 2, 6 * j - 2),  # all joints, to the next frame
            "contacts": slice(6 * j - 2, 6 * j + 2),  # left ankle, foot, right ankle, foot
        }

    def encode(self, points: Float[Tensor, "*b t j 2"]) -> Float[Tensor, "*b t_less_1 d"]:
        """Features of each frame but the last.

        Raises:
            ValueError: fewer than two frames, or another number of joints.
        """
        if points.shape[-2] != self.skeleton.num_joints or points.shape[-3] < 2:
            raise ValueError(
                f"points have shape {tuple(points.shape)}; skeleton {self.skeleton.name!r} needs "
                f"(..., at least 2 frames, {self.skeleton.num_joints}, 2)"
            )
        points = points - points[..., :1, :1, :]
        step = points[..., 1:, :, :] - points[..., :-1, :, :]
        now = points[..., :-1, :, :]
        root = points[..., 1:, 0, :] if self.compat else now[..., 0, :]
        feet = step[..., list(self.skeleton.feet), :].square().sum(-1)
        parts = [
            root,
            (now[..., 1:, :] - now[..., :1, :]).flatten(-2),
            self._angles(now).flatten(-2),
            step.flatten(-2),
            (feet < self.contact_threshold).to(points.dtype),
        ]
        return torch.cat(parts, -1)

    def decode(self, features: Float[Tensor, "*b t d"]) -> Float[Tensor, "*b t j 2"]:
        """Image positions, the root of frame 0 at the origin."""
        root = features[..., self.slices["root"]]
        if self.compat:
            root = torch.cat([torch.zeros_like(root[..., :1, :]), root[..., :-1, :]], -2)
        positions = features[..., self.slices["positions"]].unflatten(-1, (-1, 2))
        root = root[..., None, :]
        return torch.cat([root, positions + root], -2)

    def _angles(self, points: Float[Tensor, "*b t j 2"]) -> Float[Tensor, "*b t bones 2"]:
        """Product of unit vectors as complex numbers; the first bone of a chain is absolute."""
        bones = points[..., 1:, :] - points[..., list(self.skeleton.parents[1:]), :]
        square = bones.square().sum(-1, keepdim=True)
        if not self.compat:
            square = square.clamp(min=torch.finfo(square.dtype).tiny)
        bones = bones * square.rsqrt()
        level = torch.tensor([1.0, 0.0], dtype=bones.dtype, device=bones.device)
        with_root = torch.cat([level.expand_as(bones[..., :1, :]), bones], -2)
        x, y = bones.unbind(-1)
        px, py = with_root[..., list(self.skeleton.rotation_parents[1:]), :].unbind(-1)
        return torch.stack([x * px + y * py, x * py - y * px], -1)
