"""The root's path and the shape, where the SMPL predictor gives them too (`predict_root`).

The predictor's vector of a frame is the pose in 6D, the pelvis' place in metres and the betas. Seen
from the camera, a place is what a video shows; the world follows from the first frame's camera.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.camera import to_camera, to_world
from motion.losses import mean_over_valid
from motion.models.comovi.smpl_predictor import POSE_DIM, ROOT_DIM, SHAPE_DIM
from motion.sequence import Motion


def pelvis_path(batch: Batch, body: BodyModel, *, in_camera: bool) -> Float[Tensor, "b t 3"]:
    """Where the pelvis is, metres, in the frame that `pose_target` gives the root's rotation in;
    zeros where a clip has no motion.

    Raises:
        ValueError: the batch carries rotations without a path.
    """
    b, t = batch.frame_mask.shape
    if batch.R_parent_child is None or batch.betas is None:
        return torch.zeros(b, t, 3, device=batch.frame_mask.device)
    if batch.translation is None:
        raise ValueError(
            "predict_root needs smpl_translation: read this column, or switch predict_root off"
        )
    pelvis = batch.translation.float() + body.rest_joints(batch.betas)[:, None, 0]
    if in_camera and batch.T_camera_world is not None:
        pelvis = to_camera(pelvis[:, :, None], batch.T_camera_world.float())[:, :, 0]
    return pelvis


def root_losses(
    predicted: Float[Tensor, "b f 13"],
    path: Float[Tensor, "b f 3"],
    betas: Float[Tensor, "b 10"],
    valid: Bool[Tensor, "b f"],
) -> dict[str, Float[Tensor, "b"]]:
    """MSE of the pelvis' path in square metres, and of the betas."""
    place, shape = predicted.split((3, 10), dim=-1)
    return {
        "translation": mean_over_valid((place - path) ** 2, valid),
        "shape": mean_over_valid((shape - betas[:, None]) ** 2, valid),
    }


def rooted(
    motion: Motion,
    body: BodyModel,
    initial: Float[Tensor, "b 147"],
    predicted: Float[Tensor, "b f 157"],
    T_frame_world: Float[Tensor, "b 4 4"] | None,
) -> Motion:
    """A motion in the world with the predicted path and betas.

    Args:
        motion: first and predicted poses, in the world.
        body: its body.
        initial: pose and pelvis of the first frame.
        predicted: of the frames after it.
        T_frame_world: the static camera that the pelvis is seen from; None where it is the world.
    """
    path = predicted[..., POSE_DIM : POSE_DIM + ROOT_DIM]
    path = torch.cat((initial[:, None, POSE_DIM:], path), dim=1)
    betas = predicted[:, 0, -SHAPE_DIM:]
    if T_frame_world is not None:
        path = to_world(path, T_frame_world)
    pelvis = body.rest_joints(betas)[:, None, 0]
    return replace(motion, betas=betas, translation=path - pelvis)
