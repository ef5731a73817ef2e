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
from motion.body.render import vertex_normals
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
        self._joints = joints
        shapes, rest = self._measure(body)
        if joints is not None:
            self._share = torch.eye(NUM_JOINTS, dtype=rest.dtype, device=rest.device)[joints]
            return
        of_joint, of_vertex, skinning = body.keypoint_weights
        vertices = _rest_vertices(body, shapes, body.keypoint_vertices)
        self._share = of_joint + of_vertex @ skinning
        offset = torch.einsum("mv,vj,svx->smjx", of_vertex, skinning, vertices)
        offset -= (of_vertex @ skinning)[..., None] * rest[:, None]
        self._offset = _by_shape(offset)

    def _measure(self, body: BodyModel) -> tuple[Float[Tensor, "s 10"], Float[Tensor, "s 24 3"]]:
        """Shapes (the mean and one more per beta) and their rest joints; sets the tree."""
        self.body = body
        self._offset: tuple[Tensor, Tensor] | None = None
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
        return shapes, rest

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


class SurfacePins(Markers):
    """Vertices, and after them as many points a little outside along their normals.

    The two points of a vertex together say where the surface lies and where it faces.
    """

    def __init__(self, body: BodyModel, vertices: Int[Tensor, "v"], pin_m: float) -> None:
        """`pin_m`: distance of the second points from the surface, metres."""
        shapes, rest = self._measure(body)
        self.vertices = vertices
        places = _rest_vertices(body, shapes, vertices)
        everywhere = torch.arange(body.num_vertices, device=rest.device)
        mesh = _rest_vertices(body, shapes[:1], everywhere)
        normals = vertex_normals(mesh.cpu().numpy(), body.faces.cpu().numpy())[0]
        self._pins = pin_m * torch.from_numpy(normals).to(rest)[vertices]
        self._skinning = body.skinning(vertices)
        self._share = self._skinning.repeat(2, 1)
        both = torch.cat([places, places + self._pins], 1)
        self._offset = _by_shape(self._share[..., None] * (both[:, :, None] - rest[:, None]))

    def points(self, pose: Pose) -> Float[Tensor, "b t m 3"]:
        """Vertices and pins in metres, with the body's pose correctives."""
        body, rest = self.body, self.body.rest_joints(pose.betas)
        R, _ = body.kinematics(pose.R_parent_child, rest, pose.translation)
        surface = body.vertices(
            pose.R_parent_child, pose.betas, pose.translation, index=self.vertices
        )
        pins = torch.einsum("mj,btjxy,my->btmx", self._skinning, R, self._pins)
        return torch.cat([surface, surface + pins], 2)


def _rest_vertices(
    body: BodyModel, shapes: Float[Tensor, "s 10"], index: Int[Tensor, "v"]
) -> Float[Tensor, "s v 3"]:
    still = torch.eye(3).expand(len(shapes), 1, NUM_JOINTS, 3, 3).to(shapes)
    return body.vertices(still, shapes, index=index)[:, 0]


def _by_shape(
    offset: Float[Tensor, "s m 24 3"],
) -> tuple[Float[Tensor, "m 24 3"], Float[Tensor, "m 24 3 10"]]:
    """Of the mean shape, and how it changes with the betas."""
    return offset[0], (offset[1:] - offset[:1]).permute(1, 2, 3, 0)
