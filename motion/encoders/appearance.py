"""What a readout sees of a cell: the appearance of its frames and of the cells around it."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from motion.encoders.principal import scale
from motion.encoders.video import PatchAutoencoder


class GroupView(nn.Module):
    """What the later frames look like, instead of how they differ from the first.

    Parts are read from appearance. The appearance of a group is its difference plus the first
    frame; this writes their sum, as the linear decoder would paint it, in its leading principal
    directions (differences and first frames taken as uncorrelated).
    """

    still: Tensor
    change: Tensor

    def __init__(self, still: Float[Tensor, "c c"], change: Float[Tensor, "c c"]) -> None:
        super().__init__()
        self.register_buffer("still", still, persistent=False)
        self.register_buffer("change", change, persistent=False)

    @staticmethod
    def of(linear: PatchAutoencoder) -> "GroupView":
        """The view that fits an autoencoder's bases."""
        still = rearrange(linear.basis_first * linear.scale_first, "(c pq) k -> c 1 pq k", c=3)
        still = still.expand(-1, linear.temporal_stride, -1, -1).flatten(0, 2)
        change = linear.basis_group * linear.scale_group
        directions, deviation, _ = torch.linalg.svd(
            torch.cat([still, change], 1).double(), full_matrices=False
        )
        count = linear.channels
        frame = (directions[:, :count] / scale(deviation[:count], linear.config.whitening)).float()
        return GroupView(still.T @ frame, change.T @ frame)

    def forward(self, latent: Float[Tensor, "b c tl h w"]) -> Float[Tensor, "b c tl_minus_1 h w"]:
        """Appearance of every group after the first frame."""
        z = latent.movedim(1, -1)
        return (z[:, :1] @ self.still + z[:, 1:] @ self.change).movedim(-1, 1)


def neighborhoods(latent: Float[Tensor, "b c t h w"]) -> Float[Tensor, "cells n"]:
    """The 3x3 latents around each cell; outside the picture they are zero, the mean patch."""
    height, width = latent.shape[-2:]
    padded = pad(latent, (1, 1, 1, 1))
    near = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.cat(near, dim=1).permute(0, 2, 3, 4, 1).flatten(0, 3)
