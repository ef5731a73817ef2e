"""What animation files hold of a motion: bones with names, at rest and as they turn and travel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from motion.body.model import BodyModel, motion_joints
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS, SMPL_JOINTS, SMPL_PARENTS


def _bone_name(joint: str) -> str:
    side, _, rest = joint.partition("_")
    return f"{side[0].upper()}_{rest.capitalize()}" if rest else joint.capitalize()


BONES: Final[tuple[str, ...]] = tuple(_bone_name(joint) for joint in SMPL_JOINTS)
"""Names that SMPL rigs bear in animation tools: Pelvis, L_Hip, R_Hip, Spine1 ..."""

CHILDREN: Final[tuple[tuple[int, ...], ...]] = tuple(
    tuple(child for child, parent in enumerate(SMPL_PARENTS) if parent == joint)
    for joint in range(NUM_JOINTS)
)
"""Joints below each joint, in SMPL's order."""


@dataclass(frozen=True, kw_only=True)
class Bones:
    """A skeleton of SMPL's 24 joints in motion. World: y up, +z forward, metres, radians."""

    rest: Float64[Tensor, "24 3"]
    """Joints of the T-pose; there all frames are the world's."""
    tips: Mapping[int, Float64[Tensor, "3"]]
    """From each joint without a child to the end of its bone, at rest."""
    R_parent_child: Float64[Tensor, "t 24 3 3"]
    pelvis: Float64[Tensor, "t 3"]
    """Where the pelvis is; its place at rest where the motion has no path."""

    @property
    def offsets(self) -> Float64[Tensor, "24 3"]:
        """From each joint's parent to the joint, at rest; from the origin for the pelvis."""
        offsets = self.rest.clone()
        offsets[1:] -= self.rest[list(SMPL_PARENTS[1:])]
        return offsets


def bones_of(motion: Motion, body: BodyModel) -> Bones:
    """The bones of one motion on its body.

    Raises:
        ValueError: a batch of motions, one in the camera's frame, or one of another body.
    """
    one = motion.require_world_clip().to("cpu")
    pelvis = motion_joints(body, one)[:, 0]
    rest = body.rest_joints(one.betas).double()
    return Bones(
        rest=rest,
        tips=_tips(body, one, rest),
        R_parent_child=one.R_parent_child.double(),
        pelvis=pelvis.double(),
    )


def _tips(
    body: BodyModel, motion: Motion, rest: Float64[Tensor, "24 3"]
) -> dict[int, Float64[Tensor, "3"]]:
    """A last bone goes on as the one before it, as far as its skin reaches."""
    skin = body.vertices(torch.eye(3).expand(1, NUM_JOINTS, 3, 3), motion.betas)[0].double()
    owner = body.skinning(torch.arange(body.num_vertices)).argmax(1)
    tips: dict[int, Tensor] = {}
    for joint in range(NUM_JOINTS):
        if not CHILDREN[joint]:
            along = rest[joint] - rest[SMPL_PARENTS[joint]]
            along = along / along.norm()
            tips[joint] = along * ((skin[owner == joint] - rest[joint]) @ along).max()
    return tips
