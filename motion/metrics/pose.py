"""Errors of 3D joints."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.losses import mean_over_valid


def joint_error_m(
    predicted: Float[Tensor, "b t j 3"],
    truth: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "b"]:
    """Mean joint position error per clip (MPJPE) after the pelvis of each frame is aligned.

    Joint 0 is the pelvis; metres. A clip without a valid frame gives 0.
    """
    relative = (predicted - predicted[..., :1, :]) - (truth - truth[..., :1, :])
    return mean_over_valid(torch.linalg.vector_norm(relative, dim=-1), frame_mask)
