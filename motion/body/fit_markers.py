"""Points of the body that a fit compares with observations, and how they move with its parameters.

Joints and surface keypoints alike are sums over the joints j of R_j u_j + c_j p_j, with rotations
R_j, positions p_j, and (u, c) fixed by the shape. A turn of joint k about an axis a therefore moves
a point m by a x (S_mk - C_mk p_k), where S and C sum over the joints below k: the whole Jacobian
costs a few products and no automatic differentiation.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body.layout import NUM_BETAS
from motion.body.model import BodyModel
from motion.skeleton import NUM_JOINTS, SMPL_PARENTS

NUM_POSE = 3 * NUM_JOINTS + 3
"""Unknowns of a frame: a small turn of each joint in its parent's frame, and the translation."""


class Pose(NamedTuple):
    """What a fit looks for; b clips of t frames."""

    R_parent_child: Float[Tensor, "b t 24 3 3"]
    translation: Float[Tensor, "b t 3"]
    betas: Float[Tensor, "b 10"]


class Markers:
    """Some joints, or the COCO-17 keypoints, of a body."""

    def __init__(self, body: BodyModel, joints: Int[Tensor, "m"] | None) -> None:
        """`joints`: indices of the observed joints; None for the keypoints."""
        self.body = body
        self._joints = joints
        zero = torch.zeros(1, NUM_BETAS, dtype=body.rest_joints(torch.zeros(10)).dtype)
        shapes = torch.cat([zero, torch.eye(NUM_BETAS, dtype=zero.dtype)])
        shapes = shapes.to(body.contact_vertices.device)
        rest = body.rest_joints(shapes)
        self._rest_dirs = (rest[1:] - rest[:1]).permute(1, 2, 0)
        below = torch.eye(NUM_JOINTS, dtype=rest.dtype, device=rest.device)
        for joint in range(1, NUM_JOINTS):
            below[joint] += below[SMPL_PARENTS[joint]]
        self._below = below
        """1 where the row's joint lies below (or is) the column's."""
        self._parents = torch.tensor([max(p, 0) for p in SMPL_PARENTS], device=rest.device)
        if joints is not None:
            self._share = torch.eye(NUM_JOINTS, dtype=rest.dtype, device=rest.device)[joints]
            self._offset = None
            return
        of_joint, of_vertex, skinning = body.keypoint_weights
        still = torch.eye(3).expand(len(shapes), 1, NUM_JOINTS, 3, 3).to(rest)
        vertices = body.vertices(still, shapes, index=body.keypoint_vertices)[:, 0]
        self._share = of_joint + of_vertex @ skinning
        offset = torch.einsum("mv,vj,svx->smjx", of_vertex, skinning, vertices)
        offset -= (of_vertex @ skinning)[..., None] * rest[:, None]
        self._offset = offset[0], (offset[1:] - offset[:1]).permute(1, 2, 3, 0)

    def points(self, pose: Pose) -> Float[Tensor, "b t m 3"]:
        """Positions in metres, with the body's pose correctives."""
        measure = self.body.keypoints if self._joints is None else self.body.joints
        points = measure(pose.R_parent_child, pose.betas, pose.translation)
        return points if self._joints is None else points[..., self._joints, :]

    def jacobian(
        self, pose: Pose
    ) -> tuple[Float[Tensor, "b t m 3 75"], Float[Tensor, "b t m 3 10"]]:
        """Derivatives of the points by turns R <- exp(d) R and translation, and by the betas.

        Pose correctives, millimetres at the keypoints, are left out.
        """
        rest = self.body.rest_joints(pose.betas)
        R, joints = self.body.kinematics(pose.R_parent_child, rest, pose.translation)
        bone_dirs = self._rest_dirs - self._rest_dirs[self._parents]
        turned = R[..., self._parents, :, :] @ bone_dirs
        joint_dirs = torch.einsum("jk,btkxs->btjxs", self._below, turned) + self._rest_dirs[0]
        by_betas = torch.einsum("mj,btjxs->btmxs", self._share, joint_dirs)
        rigid = self._share[..., None] * joints[..., None, :, :]
        if self._offset is not None:
            template, dirs = self._offset
            offset = template + torch.einsum("mjxs,bs->bmjx", dirs, pose.betas)
            rigid = rigid + torch.einsum("btjxy,bmjy->btmjx", R, offset)
            by_betas = by_betas + torch.einsum("btjxy,mjys->btmxs", R, dirs)
        arms = torch.einsum("jk,btmjx->btmkx", self._below, rigid)
        arms = arms - (self._share @ self._below)[..., None] * joints[..., None, :, :]
        axes = R[..., self._parents, :, :].mT.clone()  # row i: the parent's axis i in the world
        axes[..., 0, :, :] = torch.eye(3, dtype=axes.dtype, device=axes.device)
        turns = torch.linalg.cross(axes[..., None, :, :, :], arms[..., None, :])
        turns = turns.flatten(-3, -2).mT
        identity = torch.eye(3, dtype=axes.dtype, device=axes.device).expand(*turns.shape[:-1], 3)
        return torch.cat([turns, identity], -1), by_betas
