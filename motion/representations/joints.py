"""From the positions of SMPL's first 22 joints back to a Motion, in closed form."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.rotations import fit_rotation, shortest_rotation
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS, SMPL_PARENTS, joint

NUM_POSITIONS = 22
"""Hands are not among the joints of HumanML3D; they keep the wrist's rotation."""

_FITTED = {
    joint(name): tuple(joint(child) for child in children)
    for name, children in {
        "pelvis": ("left_hip", "right_hip", "spine1"),
        "spine3": ("neck", "left_collar", "right_collar"),
    }.items()
}
"""Joints with three bones, which fix their rotation."""

_AIM = tuple(
    next((child for child in range(NUM_POSITIONS) if SMPL_PARENTS[child] == own), own)
    for own in range(NUM_POSITIONS)
)
"""The joint that each joint's rotation points at; the ends of the limbs only follow."""


def motion_from_joints(
    body: BodyModel,
    joints: Float[Tensor, "*b t 22 3"],
    *,
    like: Motion,
    fps: float,
    leg_length: Float[Tensor, ""],
) -> Motion:
    """Motion of `like`'s body whose bones point as those between the joints.

    Pelvis and upper spine are fitted to their three bones (Kabsch); every other joint takes the
    least rotation that points its bone the right way. The path is scaled by the body's legs over
    `leg_length`, in the unit of the joints, so that feet that stand on the floor still do.

    Args:
        joints: world positions of SMPL's joints 0 to 21, y up.
        like: gives betas, body and dtype; its batch axes must fit.
        fps: of the joints.

    Raises:
        ValueError: the betas of `like` belong to another body.
    """
    if like.body_id != body.body_id:
        raise ValueError(
            f"betas of body {like.body_id!r} do not fit body {body.body_id!r}: "
            "give the motion's own body"
        )
    rest = body.rest_joints(like.betas)
    world = _world_rotations(rest[..., None, :NUM_POSITIONS, :].to(joints.dtype), joints)
    hands = world[..., [SMPL_PARENTS[own] for own in range(NUM_POSITIONS, NUM_JOINTS)], :, :]
    world = torch.cat([world, hands], -3)
    local = world[..., [max(parent, 0) for parent in SMPL_PARENTS], :, :].mT @ world
    local = torch.cat([world[..., :1, :, :], local[..., 1:, :, :]], -3)
    hip, knee, ankle = (rest[..., joint(f"right_{name}"), :] for name in ("hip", "knee", "ankle"))
    leg = (knee - hip).norm(dim=-1) + (ankle - knee).norm(dim=-1)
    scale = (leg / leg_length)[..., None, None]
    translation = joints[..., 0, :] * scale - rest[..., None, 0, :]
    return replace(
        like, R_parent_child=local, translation=translation.to(local.dtype), fps=fps, frame="world"
    )


def _world_rotations(
    rest: Float[Tensor, "*b 1 22 3"], joints: Float[Tensor, "*b t 22 3"]
) -> Float[Tensor, "*b t 22 3 3"]:
    """Rotation of each joint in the world, level by level of the tree."""
    parents = [max(parent, 0) for parent in SMPL_PARENTS[:NUM_POSITIONS]]
    rest = rest.expand(joints.shape)
    fitted = {
        own: fit_rotation(_directions(rest, own, children), _directions(joints, own, children))
        for own, children in _FITTED.items()
    }
    near = [own if _AIM[own] != own else parents[own] for own in range(NUM_POSITIONS)]
    rest_aim = rest[..., list(_AIM), :] - rest[..., near, :]
    aim = joints[..., list(_AIM), :] - joints[..., near, :]
    done: dict[int, Tensor] = {0: fitted[0]}
    while len(done) < NUM_POSITIONS:
        level = [own for own in range(1, NUM_POSITIONS) if own not in done and parents[own] in done]
        above = torch.stack([done[parents[own]] for own in level], -3)
        carried = (above @ rest_aim[..., level, :, None])[..., 0]
        swung = shortest_rotation(carried, aim[..., level, :]) @ above
        done |= {own: fitted.get(own, swung[..., i, :, :]) for i, own in enumerate(level)}
    return torch.stack([done[own] for own in range(NUM_POSITIONS)], -3)


def _directions(points: Tensor, own: int, children: tuple[int, ...]) -> Tensor:
    vectors = points[..., list(children), :] - points[..., [own], :]
    return torch.nn.functional.normalize(vectors, dim=-1)
