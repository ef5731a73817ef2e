"""From the tokenizer's camera to a world with a floor."""

from dataclasses import replace

import torch

from motion.body.model import BodyModel
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion


def upright(motion: Motion, body: BodyModel) -> Motion:
    """A motion in a level camera's frame (y down), seen in a world with y up and +z towards it."""
    turn = matrix_from_rotvec(motion.R_parent_child.new_tensor([torch.pi, 0.0, 0.0]))
    pelvis = body.rest_joints(motion.betas)[..., None, 0, :]
    R = motion.R_parent_child.clone()
    R[..., 0, :, :] = turn @ R[..., 0, :, :]
    place = (motion.require_translation() + pelvis) @ turn.mT - pelvis
    return replace(motion, R_parent_child=R, translation=place, frame="world")


def on_the_floor(motion: Motion, body: BodyModel) -> Motion:
    """Moved so that the first pelvis is above the origin and the lowest foot at y = 0."""
    path = motion.require_translation()
    feet = body.vertices(motion.R_parent_child, motion.betas, path, index=body.contact_vertices)
    pelvis = path[..., :1, :] + body.rest_joints(motion.betas)[..., None, 0, :]
    shift = -pelvis
    shift[..., 1] = -feet[..., 1].amin((-2, -1))[..., None]
    return replace(motion, translation=path + shift)
