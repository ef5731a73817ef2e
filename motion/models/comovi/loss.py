"""CoMoVi's losses per clip, and the poses that they compare with."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.diffusion.noise import generator_for
from motion.losses import mean_over_valid
from motion.rotations import matrix_from_rotation6d, rotation6d_from_matrix
from motion.skeleton import NUM_JOINTS


class PoseTarget(NamedTuple):
    """Poses in the network's frame, and which clips really have them."""

    rotation6d: Float[Tensor, "b t 144"]
    betas: Float[Tensor, "b 10"]
    present: Bool[Tensor, "b"]


def supervised_layers(seed: int, step: int, num_layers: int, count: int) -> tuple[int, ...]:
    """The last motion block and count - 1 random others, in ascending order.

    Drawn from (seed, step) alone: under ZeRO-3 all ranks must run the same modules.
    """
    order = torch.randperm(num_layers - 1, generator=generator_for(seed, f"layers/{step}"))
    return (*sorted(order[: count - 1].tolist()), num_layers - 1)


def valid_latents(batch: Batch, num_latents: int, stride: int) -> Bool[Tensor, "b l"]:
    """Latent frames after the first whose video frames are all real.

    Raises:
        ValueError: the clip length is not 1 + stride x (latent frames - 1).
    """
    num_frames = batch.frame_mask.shape[1]
    if num_frames - 1 != stride * (num_latents - 1):
        raise ValueError(
            f"clips of {num_frames} frames with {num_latents} latent frames; expected "
            f"{1 + stride * (num_latents - 1)} frames at temporal stride {stride}: "
            "cut the clips, or set temporal_stride to the autoencoder's"
        )
    return batch.frame_mask[:, 1:].unflatten(1, (num_latents - 1, stride)).all(-1)


def flow_loss(
    predicted: Float[Tensor, "b c tl hl wl"],
    target: Float[Tensor, "b c tl hl wl"],
    valid: Bool[Tensor, "b l"],
    limit: float,
) -> Float[Tensor, "b"]:
    """Squared velocity error, without the first latent frame, which is a clean condition."""
    error = (predicted - target)[:, :, 1:]
    squared = torch.where(error.abs() > limit, 0.0, error**2)
    return mean_over_valid(squared.transpose(1, 2), valid)


def rotations_in_frame(
    R_parent_child: Float[Tensor, "b t 24 3 3"], R_frame_world: Float[Tensor, "b t_or_1 3 3"]
) -> Float[Tensor, "b t 24 3 3"]:
    """The same poses with the root seen from another frame; the other joints do not change."""
    root = R_frame_world @ R_parent_child[:, :, 0]
    return torch.cat((root[:, :, None], R_parent_child[:, :, 1:]), dim=2)


def pose_target(batch: Batch, *, in_camera: bool) -> PoseTarget:
    """The batch's poses; T-poses marked absent where it has none, or no camera to see them from."""
    b, t = batch.frame_mask.shape
    present = torch.ones(b, dtype=torch.bool, device=batch.frame_mask.device)
    poses, camera = batch.R_parent_child, batch.T_camera_world
    if poses is None or batch.betas is None or (in_camera and camera is None):
        identity = torch.eye(3, device=present.device).expand(b, t, NUM_JOINTS, 3, 3)
        pose = rotation6d_from_matrix(identity).flatten(-2)
        return PoseTarget(pose, torch.zeros(b, 10, device=present.device), ~present)
    if batch.has_motion is not None:
        present = present & batch.has_motion
    if in_camera and camera is not None:
        poses = rotations_in_frame(poses, camera[..., :3, :3])
        if batch.has_camera is not None:
            present = present & batch.has_camera
    pose = rotation6d_from_matrix(poses.float()).flatten(-2)
    return PoseTarget(pose, batch.betas.float(), present)


def body_losses(
    body: BodyModel,
    predicted: Float[Tensor, "b f 144"],
    target: Float[Tensor, "b f 144"],
    betas: Float[Tensor, "b 10"],
    valid: Bool[Tensor, "b f"],
) -> dict[str, Float[Tensor, "b"]]:
    """MSE of loss vertices, and of joints relative to the pelvis, in square metres.

    Both bodies stand without translation and have the true shape.
    """
    R = matrix_from_rotation6d(predicted.unflatten(-1, (NUM_JOINTS, 6)))
    R_true = matrix_from_rotation6d(target.unflatten(-1, (NUM_JOINTS, 6)))
    index = body.loss_vertices
    vertices = body.vertices(R, betas, index=index) - body.vertices(R_true, betas, index=index)
    joints = body.joints(R, betas) - body.joints(R_true, betas)
    relative = joints - joints[:, :, :1]
    return {
        "vertices": mean_over_valid(vertices**2, valid),
        "joints": mean_over_valid(relative**2, valid),
    }
