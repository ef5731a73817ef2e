"""The joint skeletons of HumanML3D (22 joints) and KIT-ML (21), for features made of positions.

A bone is named by its child joint. Each has a template direction, one of the axes: the rotation
that a feature vector stores is measured from there (Guo et al. 2022, "Generating Diverse and
Natural 3D Human Motions from Text").
"""

import functools
import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


@dataclass(frozen=True)
class JointSkeleton:
    """Topology, template directions and feature rules of a joint skeleton."""

    name: str
    chains: tuple[tuple[int, ...], ...]
    """Joints from the root outwards: right leg, left leg, spine, right arm, left arm. An arm
    begins at a joint of the spine, but its rotations count from the root."""
    directions: tuple[str, ...]
    """Template direction of the bone that ends in joint 1, 2, ...: "+x", "-y" and so on."""
    right_hip: int
    left_hip: int
    right_shoulder: int
    left_shoulder: int
    feet: tuple[int, int, int, int]
    """Left ankle, left foot, right ankle, right foot: the order of the contact labels."""
    leg: tuple[int, int]
    """The two bones (thigh, shin) whose summed length sets the scale of the root's path."""
    contact_threshold: float
    """A foot that moves less than the square root of this per frame, in the unit of the data, is
    in contact: metres^2 for HumanML3D, millimetres^2 for KIT."""
    fps: float
    """Frames per second of the published features."""
    bone_lengths: tuple[float, ...] | None = None
    """Of the bones that end in joint 1, 2, ..., in the unit of the data; None where unpublished."""

    @property
    def num_joints(self) -> int:
        return len(self.directions) + 1

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Joint at the near end of each joint's bone; the root's is itself."""
        return self._before(chain_starts_at_root=False)

    @cached_property
    def rotation_parents(self) -> tuple[int, ...]:
        """Joint whose rotation each local rotation is relative to: the root at a chain's begin."""
        return self._before(chain_starts_at_root=True)

    @cached_property
    def leg_joints(self) -> tuple[int, ...]:
        """Joints of both legs, without the root, in ascending order."""
        return tuple(sorted(joint for chain in self.chains[:2] for joint in chain[1:]))

    def template(self, like: Tensor) -> Float[Tensor, "j_less_1 3"]:
        """Unit template direction of the bones that end in joint 1, 2, ..."""
        return _template(self, like.dtype, like.device)

    def ancestors(self, like: Tensor) -> Float[Tensor, "j j_less_1"]:
        """1 where the column's bone lies on the way from the root to the row's joint."""
        return _ancestors(self, like.dtype, like.device)

    def levels(self) -> list[list[int]]:
        """Joints by their depth in the tree of `rotation_parents`; the first level is the root."""
        depth: dict[int, int] = {0: 0}
        for chain in self.chains:
            depth |= {joint: place for place, joint in enumerate(chain) if place}
        return [
            [joint for joint in range(self.num_joints) if depth[joint] == level]
            for level in range(max(depth.values()) + 1)
        ]

    def with_bone_lengths(self, joints: Float[Tensor, "j 3"]) -> "JointSkeleton":
        """The same skeleton with the bone lengths of one frame of a reference clip.

        KIT's own reference (clip 03950) is not published with the features; give a frame of it.
        """
        bones = joints[1:] - joints[list(self.parents[1:])]
        return replace(self, bone_lengths=tuple(bones.norm(dim=-1).tolist()))

    def require_bone_lengths(self, like: Tensor) -> Float[Tensor, "j_less_1"]:
        """Lengths of the bones, or a ValueError where the skeleton has none."""
        if self.bone_lengths is None:
            raise ValueError(
                f"skeleton {self.name!r} has no bone lengths: give it those of a reference frame "
                "with `with_bone_lengths(joints)`, or encode with retarget=False"
            )
        return torch.tensor(self.bone_lengths, dtype=like.dtype, device=like.device)

    def _before(self, *, chain_starts_at_root: bool) -> tuple[int, ...]:
        before = [0] * self.num_joints
        for chain in self.chains:
            start = (0, *chain[1:]) if chain_starts_at_root else chain
            for near, far in itertools.pairwise(start):
                before[far] = near
        return tuple(before)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # else the cached tensors could take no part in a later gradient
def _template(
    skeleton: JointSkeleton, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "j_less_1 3"]:
    rows = [
        [(-1 if direction[0] == "-" else 1) * value for value in _AXES[direction[1]]]
        for direction in skeleton.directions
    ]
    return torch.tensor(rows, dtype=dtype, device=device)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)
def _ancestors(
    skeleton: JointSkeleton, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "j j_less_1"]:
    matrix = torch.zeros(skeleton.num_joints, skeleton.num_joints, dtype=dtype)
    for chain in skeleton.chains:  # a chain begins where an earlier one has passed
        for near, far in itertools.pairwise(chain):
            matrix[far] = matrix[near]
            matrix[far, far] = 1
    return matrix[:, 1:].to(device)


HUMANML3D = JointSkeleton(
    name="humanml3d",
    chains=(
        (0, 2, 5, 8, 11),
        (0, 1, 4, 7, 10),
        (0, 3, 6, 9, 12, 15),
        (9, 14, 17, 19, 21),
        (9, 13, 16, 18, 20),
    ),
    directions=(
        "+x", "-x", "+y", "-y", "-y", "+y", "-y", "-y", "+y", "+z", "+z", "+y", "+x", "-x", "+z",
        "-y", "-y", "-y", "-y", "-y", "-y",
    ),
    right_hip=2,
    left_hip=1,
    right_shoulder=17,
    left_shoulder=16,
    feet=(7, 10, 8, 11),
    leg=(5, 8),
    contact_threshold=0.002,
    fps=20.0,
    bone_lengths=(
        0.103074, 0.1098834, 0.1315682, 0.3936232, 0.3901882, 0.1431902, 0.432433, 0.4256434,
        0.0573647, 0.1433818, 0.1494191, 0.21936, 0.1374868, 0.1433828, 0.1030392, 0.131614,
        0.1229844, 0.2568399, 0.2630919, 0.2660118, 0.2698763,
    ),
)  # fmt: skip
"""The first 22 joints of SMPL, 20 frames per second, metres, y up. The bone lengths are those of
the published clips."""

KIT = JointSkeleton(
    name="kit",
    chains=(
        (0, 11, 12, 13, 14, 15),
        (0, 16, 17, 18, 19, 20),
        (0, 1, 2, 3, 4),
        (3, 5, 6, 7),
        (3, 8, 9, 10),
    ),
    directions=(
        "+y", "+y", "+y", "+y", "+x", "-y", "-y", "-x", "-y", "-y", "+x", "-y", "-y", "+z", "+z",
        "-x", "-y", "-y", "+z", "+z",
    ),
    right_hip=11,
    left_hip=16,
    right_shoulder=5,
    left_shoulder=8,
    feet=(19, 20, 14, 15),
    leg=(17, 18),
    contact_threshold=0.05,
    fps=12.5,
)  # fmt: skip
"""KIT-ML: millimetres, y up. The templates of hips and shoulders point to the wrong side, so their
rotations lie near half a turn and are ill-conditioned: compare joints there, not rotations."""
