"""The posed, shaped body: forward kinematics and linear blend skinning (Loper et al. 2015).

Two facts keep it cheap. The joint regressor is folded into the shape space, so joints need no
vertices. Skinning is linear in the joint transforms, so a clip is one product of its transforms
(t * 3, 24 * 4) with a per-shape matrix (24 * 4, n), and asking for 118 vertices costs 118
columns. A BodyModel has neither Parameters nor persistent buffers: no checkpoint contains body
data.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from motion.body.layout import NUM_LOSS_VERTICES, PART_OF_JOINT, BodyData, spread_vertices
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS, SMPL_PARENTS


class BodyModel(nn.Module):
    """A body in SMPL's parameters: 24 rotations, 10 betas, a translation."""

    faces: Int[Tensor, "f 3"]
    part_of_vertex: Int[Tensor, "v"]
    """0..23 in the order of `skeleton.PART_NAMES`."""
    loss_vertices: Int[Tensor, "n"]
    """About 118 vertices spread over the surface and all its parts, for losses and fitting."""
    contact_vertices: Int[Tensor, "4"]
    """In the order of `skeleton.CONTACT_POINTS`."""
    keypoint_vertices: Int[Tensor, "k"]
    _template: Tensor
    _shape_dirs: Tensor
    _joint_template: Tensor
    _joint_dirs: Tensor
    _weights: Tensor
    _keypoint_of_joint: Tensor
    _keypoint_of_vertex: Tensor
    _ancestors: Tensor
    _parents: Tensor
    _by_depth: Tensor
    _from_depth: Tensor
    _depth_parents: Tensor
    _pose_dirs: Tensor | None

    def __init__(self, data: BodyData, body_id: str) -> None:
        super().__init__()
        self.body_id = body_id
        """Identity of the body and its shape space: betas never cross body models."""
        parts = torch.tensor(PART_OF_JOINT)[data.weights.argmax(1)]
        depths = _depths()
        by_depth = torch.tensor([joint for depth in depths for joint in depth])
        self._depth_sizes = [len(depth) for depth in depths]
        buffers = {
            "faces": data.faces.long(),
            "part_of_vertex": parts,
            "loss_vertices": spread_vertices(data.template, parts, NUM_LOSS_VERTICES),
            "contact_vertices": data.contact_vertices.long(),
            "keypoint_vertices": data.keypoint_vertices.long(),
            "_template": data.template.float(),
            "_shape_dirs": data.shape_dirs.float(),
            "_joint_template": data.joint_template.float(),
            "_joint_dirs": data.joint_dirs.float(),
            "_weights": data.weights.float(),
            "_keypoint_of_joint": data.keypoint_of_joint.float(),
            "_keypoint_of_vertex": data.keypoint_of_vertex.float(),
            "_ancestors": _ancestors(),
            "_parents": torch.tensor([max(parent, 0) for parent in SMPL_PARENTS]),
            "_by_depth": by_depth,
            "_from_depth": by_depth.argsort(),
            "_depth_parents": torch.tensor(
                [
                    above.index(SMPL_PARENTS[joint])
                    for above, below in pairwise(depths)
                    for joint in below
                ]
            ),
            "_pose_dirs": None
            if data.pose_dirs is None
            else data.pose_dirs.float().transpose(0, 1),
        }
        for name, value in buffers.items():
            self.register_buffer(
                name, None if value is None else value.clone().contiguous(), persistent=False
            )

    @property
    def num_vertices(self) -> int:
        return self._template.shape[0]

    @property
    def has_pose_correctives(self) -> bool:
        """Do vertices follow the pose itself, not only the joints' transforms?"""
        return self._pose_dirs is not None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "BodyModel":
        """Moves and casts to float64, but never below float32: bfloat16 is 4 mm at 1 m."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved: Tensor = fn(tensor)
            low = moved.is_floating_point() and torch.finfo(moved.dtype).bits < 32
            return tensor.to(moved.device) if low else moved

        super()._apply(keep_precision, recurse)
        return self

    def rest_joints(self, betas: Float[Tensor, "*b 10"]) -> Float[Tensor, "*b 24 3"]:
        """Joints of the T-pose, in metres."""
        with torch.autocast(betas.device.type, enabled=False):
            betas = betas.to(self._template.dtype)
            return self._joint_template + torch.einsum("jcs,...s->...jc", self._joint_dirs, betas)

    def joints(
        self,
        R_parent_child: Float[Tensor, "*b t 24 3 3"],
        betas: Float[Tensor, "*b 10"],
        translation: Float[Tensor, "*b t 3"] | None = None,
    ) -> Float[Tensor, "*b t 24 3"]:
        """Posed joints in metres, by forward kinematics alone."""
        with torch.autocast(betas.device.type, enabled=False):
            _, posed = self.kinematics(R_parent_child, self.rest_joints(betas), translation)
            return posed

    def vertices(
        self,
        R_parent_child: Float[Tensor, "*b t 24 3 3"],
        betas: Float[Tensor, "*b 10"],
        translation: Float[Tensor, "*b t 3"] | None = None,
        *,
        index: Int[Tensor, "n"] | None = None,
    ) -> Float[Tensor, "*b t n_or_v 3"]:
        """Posed vertices in metres: all of them, or those of `index`, which cost only themselves.

        Values and gradients of chosen vertices equal the full mesh's.
        """
        with torch.autocast(betas.device.type, enabled=False):
            rest = self.rest_joints(betas)
            R_world_joint, posed = self.kinematics(R_parent_child, rest, translation)
            return self._skin(R_parent_child, betas, rest, R_world_joint, posed, index)

    def keypoints(
        self,
        R_parent_child: Float[Tensor, "*b t 24 3 3"],
        betas: Float[Tensor, "*b 10"],
        translation: Float[Tensor, "*b t 3"] | None = None,
    ) -> Float[Tensor, "*b t 17 3"]:
        """COCO-17 keypoints in metres, from the joints and a few vertices."""
        with torch.autocast(betas.device.type, enabled=False):
            rest = self.rest_joints(betas)
            R_world_joint, posed = self.kinematics(R_parent_child, rest, translation)
            chosen = self._skin(
                R_parent_child, betas, rest, R_world_joint, posed, self.keypoint_vertices
            )
            return self._keypoint_of_joint @ posed + self._keypoint_of_vertex @ chosen

    @property
    def keypoint_weights(
        self,
    ) -> tuple[Float[Tensor, "17 24"], Float[Tensor, "17 k"], Float[Tensor, "k 24"]]:
        """Shares of the joints and of `keypoint_vertices` in the keypoints, and the skinning
        weights of these vertices."""
        skinning = self.skinning(self.keypoint_vertices)
        return self._keypoint_of_joint, self._keypoint_of_vertex, skinning

    def skinning(self, index: Int[Tensor, "n"]) -> Float[Tensor, "n 24"]:
        """Skinning weights of some vertices; rows sum to 1."""
        return self._weights[index]

    def kinematics(
        self,
        R_parent_child: Float[Tensor, "*b t 24 3 3"],
        rest: Float[Tensor, "*b 24 3"],
        translation: Float[Tensor, "*b t 3"] | None,
    ) -> tuple[Float[Tensor, "*b t 24 3 3"], Float[Tensor, "*b t 24 3"]]:
        """Rotation from every joint's frame to the motion's, and the joint's position there."""
        R_world_joint = self._world_rotations(R_parent_child.to(rest.dtype))
        bones = rest - rest[..., self._parents, :]  # the root's is zero: no rotation turns it
        turned = torch.einsum(
            "...tjxy,...jy->...tjx", R_world_joint[..., self._parents, :, :], bones
        )
        posed = self._ancestors @ turned + rest[..., None, :1, :]
        if translation is not None:
            posed = posed + translation.to(rest.dtype)[..., None, :]
        return R_world_joint, posed

    def _world_rotations(
        self, R_parent_child: Float[Tensor, "*b t 24 3 3"]
    ) -> Float[Tensor, "*b t 24 3 3"]:
        """Products down the tree, one batched product per depth."""
        ordered = R_parent_child[..., self._by_depth, :, :]
        above, *below = ordered.split(self._depth_sizes, dim=-3)
        parents = self._depth_parents.split(self._depth_sizes[1:])
        depths = [above]
        for rotations, index in zip(below, parents, strict=True):
            above = above[..., index, :, :] @ rotations
            depths.append(above)
        return torch.cat(depths, -3)[..., self._from_depth, :, :]

    def _skin(
        self,
        R_parent_child: Float[Tensor, "*b t 24 3 3"],
        betas: Float[Tensor, "*b 10"],
        rest: Float[Tensor, "*b 24 3"],
        R_world_joint: Float[Tensor, "*b t 24 3 3"],
        posed: Float[Tensor, "*b t 24 3"],
        index: Int[Tensor, "n"] | None,
    ) -> Float[Tensor, "*b t n_or_v 3"]:
        """sum_j w_ij (R_j v_i + o_j) with o_j = p_j - R_j p_j(rest)."""
        template, dirs, weights = self._template, self._shape_dirs, self._weights
        if index is not None:
            template, dirs, weights = template[index], dirs[index], weights[index]
        shaped = template + torch.einsum("vcs,...s->...vc", dirs, betas.to(template.dtype))
        offset = posed - torch.einsum("...tjxy,...jy->...tjx", R_world_joint, rest)
        transforms = torch.cat([R_world_joint, offset[..., None]], -1)
        if self._pose_dirs is None:
            return _skin_clip(shaped, weights, transforms)
        pose_dirs = self._pose_dirs if index is None else self._pose_dirs[:, index]
        identity = torch.eye(3, dtype=shaped.dtype, device=shaped.device)
        feature = (R_parent_child[..., 1:, :, :].to(shaped.dtype) - identity).flatten(-3)
        bent = (feature @ pose_dirs.flatten(0, 1).mT).unflatten(-1, pose_dirs.shape[:2])
        return _skin_each_frame(shaped.mT[..., None, :, :] + bent, weights, transforms)


def _skin_clip(
    shaped: Float[Tensor, "*b n 3"],
    weights: Float[Tensor, "n 24"],
    transforms: Float[Tensor, "*b t 24 3 4"],
) -> Float[Tensor, "*b t n 3"]:
    """One shape for the whole clip: (t * 3, 24 * 4) times (24 * 4, n), without any per-vertex
    transform."""
    homogeneous = torch.cat([shaped, torch.ones_like(shaped[..., :1])], -1)
    per_shape = (weights[:, :, None] * homogeneous[..., None, :]).flatten(-2)
    frames = transforms.transpose(-3, -2).flatten(-2).flatten(-3, -2)
    skinned = (frames @ per_shape.mT).unflatten(-2, (transforms.shape[-4], 3))
    return skinned.mT.contiguous()


def _skin_each_frame(
    bent: Float[Tensor, "*b t 3 n"],
    weights: Float[Tensor, "n 24"],
    transforms: Float[Tensor, "*b t 24 3 4"],
) -> Float[Tensor, "*b t n 3"]:
    """Another shape in every frame (pose correctives): blend a transform per vertex.

    Vertices run along the last axis, where the sums over three entries vectorize.
    """
    entries = transforms.flatten(-2).mT @ weights.mT
    blended = entries.unflatten(-2, (3, 4))
    turned = (blended[..., :3, :] * bent[..., None, :, :]).sum(-2)
    return (turned + blended[..., 3, :]).mT.contiguous()


def motion_joints(body: BodyModel, motion: Motion) -> Float[Tensor, "*b t 24 3"]:
    """Joints of a motion in metres, in the motion's frame; pelvis at rest where it has no path.

    Raises:
        ValueError: the motion's betas belong to another body.
    """
    _require_same_body(body, motion)
    return body.joints(motion.R_parent_child, motion.betas, motion.translation)


def motion_vertices(
    body: BodyModel, motion: Motion, index: Int[Tensor, "n"] | None = None
) -> Float[Tensor, "*b t n_or_v 3"]:
    """Vertices of a motion in metres, in the motion's frame: all, or those of `index`.

    Raises:
        ValueError: the motion's betas belong to another body.
    """
    _require_same_body(body, motion)
    return body.vertices(motion.R_parent_child, motion.betas, motion.translation, index=index)


def _require_same_body(body: BodyModel, motion: Motion) -> None:
    if motion.body_id != body.body_id:
        raise ValueError(
            f"the motion's betas belong to body {motion.body_id!r}, the body model is "
            f"{body.body_id!r}: load the motion's own body, or give it betas of this one"
        )


def _depths() -> list[list[int]]:
    """Joints grouped by their distance from the root, in the tree of `SMPL_PARENTS`."""
    depth_of = [0] * NUM_JOINTS
    for joint in range(1, NUM_JOINTS):
        depth_of[joint] = depth_of[SMPL_PARENTS[joint]] + 1
    return [
        [joint for joint in range(NUM_JOINTS) if depth_of[joint] == depth]
        for depth in range(max(depth_of) + 1)
    ]


def _ancestors() -> Float[Tensor, "24 24"]:
    """1 where the column's joint lies on the way from the root to the row's joint."""
    matrix = torch.eye(NUM_JOINTS)
    for joint in range(1, NUM_JOINTS):
        matrix[joint] += matrix[SMPL_PARENTS[joint]]
    return matrix
