"""After the network: joints that stand still do stand still (GVHMR's post-processing, batched).

First the path loses what static joints seem to move; then ankles and wrists are held in place by
cyclic coordinate descent. A clip's result depends on that clip alone.
"""

from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.models.genmo.decoding import floor_height
from motion.models.genmo.loss import STATIC_JOINTS
from motion.representations.smoothing import gaussian_smooth
from motion.rotations import shortest_rotation
from motion.sequence import Motion
from motion.skeleton import SMPL_PARENTS, joint

CHAINS: Final = (
    ("left_ankle", ("left_knee", "left_hip")),
    ("right_ankle", ("right_knee", "right_hip")),
    ("left_wrist", ("left_elbow", "left_shoulder")),
    ("right_wrist", ("right_elbow", "right_shoulder")),
)
"""End joint, and the joints that turn for it, from the outer to the inner one."""
SWEEPS: Final = 2


def static_path(
    motion: Motion,
    logits: Float[Tensor, "b t 6"],
    frame_mask: Bool[Tensor, "b t"],
    body: BodyModel,
) -> Motion:
    """The path without the steps of joints that stand still, on the floor.

    Where a joint is static (logit above zero), the steps of the joints, weighted by the softmax of
    their positive logits, are taken off the root's; x and z are then smoothed over 3 frames.
    """
    path = motion.require_translation()
    joints = body.joints(motion.R_parent_child, motion.betas, path)[:, :, list(STATIC_JOINTS)]
    step = joints.diff(dim=1)
    positive = logits[:, :-1].clamp(min=0)
    weight = positive.softmax(-1) * (logits[:, :-1] > 0)
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
    slip = (weight[..., None] * step).sum(2)
    moved = torch.where(frame_mask[:, 1:, None], path.diff(dim=1) - slip, 0.0)
    walked = torch.cat([torch.zeros_like(path[:, :1]), moved.cumsum(1)], 1) + path[:, :1]
    level = gaussian_smooth(walked[..., [0, 2]].mT.contiguous(), sigma=3.0, radius=12).mT
    smooth = torch.stack([level[..., 0], walked[..., 1], level[..., 1]], -1)
    grounded = replace(motion, translation=smooth)
    height = floor_height(body, grounded, frame_mask)
    lowered = smooth - torch.nn.functional.pad(height[:, None, None], (1, 1))
    return replace(motion, translation=lowered)


def hold_static_joints(
    motion: Motion,
    logits: Float[Tensor, "b t 6"],
    frame_mask: Bool[Tensor, "b t"],
    body: BodyModel,
) -> Motion:
    """Ankles and wrists on targets that move only as far as the joints are not static.

    The target of a frame is a blend of the last target and the present place, by the probability of
    standing still; the root does not move.
    """
    path = motion.require_translation()
    poses = motion.R_parent_child
    rest = body.rest_joints(motion.betas)
    still = torch.where(frame_mask[..., None], logits.sigmoid(), 0.0)
    for end, chain in CHAINS:
        tip = joint(end)
        _, places = body.kinematics(poses, rest, path)
        target = _held(places[:, :, tip], still[..., STATIC_JOINTS.index(tip)])
        for _ in range(SWEEPS):
            for name in chain:
                poses = _aimed(poses, rest, path, body, joint(name), tip, target)
    return replace(motion, R_parent_child=poses)


def _held(place: Float[Tensor, "b t 3"], still: Float[Tensor, "b t"]) -> Float[Tensor, "b t 3"]:
    """The running blend; a recursion over frames."""
    targets = [place[:, 0]]
    for frame in range(1, place.shape[1]):
        weight = still[:, frame - 1, None]
        targets.append(weight * targets[-1] + (1 - weight) * place[:, frame])
    return torch.stack(targets, 1)


def _aimed(
    R: Float[Tensor, "b t 24 3 3"],
    rest: Float[Tensor, "b 24 3"],
    path: Float[Tensor, "b t 3"],
    body: BodyModel,
    pivot: int,
    tip: int,
    target: Float[Tensor, "b t 3"],
) -> Float[Tensor, "b t 24 3 3"]:
    """The pivot turned by the least angle that points the tip at its target."""
    world, places = body.kinematics(R, rest, path)
    center = places[:, :, pivot]
    turn = shortest_rotation(places[:, :, tip] - center, target - center)
    parent = world[:, :, SMPL_PARENTS[pivot]]
    turned = parent.mT @ turn @ world[:, :, pivot]
    return _replaced(R, pivot, turned)


def _replaced(
    R: Float[Tensor, "b t 24 3 3"], index: int, value: Float[Tensor, "b t 3 3"]
) -> Float[Tensor, "b t 24 3 3"]:
    return torch.cat([R[:, :, :index], value[:, :, None], R[:, :, index + 1 :]], 2)
