"""3D poses from the fused features of both branches (Zhao et al. 2026, eq. 7-9).

Queries are the predicted frames, 4 per latent frame after the first; a query sees, by
cross-attention, only the tokens of its own latent frame, and by self-attention every other query.
"""

from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-6
POSE_DIM = 144


class Positions(nn.Module):
    """Learned embedding of the query's position in the clip."""

    def __init__(self, num_positions: int, width: int, *, resize: bool):
        super().__init__()
        self.resize = resize
        self.table = nn.Parameter(torch.randn(1, num_positions, width) * 0.02)

    def forward(self, num_frames: int) -> Float[Tensor, "1 f d"]:
        if num_frames == self.table.shape[1]:
            return self.table
        if not self.resize:
            raise ValueError(
                f"{num_frames} frames to predict, but the position table has "
                f"{self.table.shape[1]}: set pose_positions to it or pose_positions_resize"
            )
        table = self.table.float().mT
        return F.interpolate(table, size=num_frames, mode="linear", align_corners=True).mT


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 whatever the dtype of its weights.

    The pose residual is added to rotations; in bfloat16 it would move vertices by millimeters.
    """

    def forward(self, input: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        return F.linear(input.float(), self.weight.float(), self.bias.float())


class DecoderBlock(nn.Module):
    """Self-attention, windowed cross-attention, feed-forward; pre-norm, no modulation, no RoPE."""

    def __init__(self, width: int, num_heads: int, ffn_dim: int):
        super().__init__()
        head_dim = width // num_heads
        self.norm = FP32LayerNorm(width, EPS, elementwise_affine=False)
        self.sa = WanAttention(width, num_heads, head_dim, EPS, processor=WanAttnProcessor())
        self.ca = WanAttention(
            width,
            num_heads,
            head_dim,
            EPS,
            cross_attention_dim_head=head_dim,
            processor=WanAttnProcessor(),
        )
        self.ffn = FeedForward(width, inner_dim=ffn_dim, activation_fn="gelu-approximate")

    def forward(
        self, query: Float[Tensor, "b f d"], source: Float[Tensor, "b l s d"]
    ) -> Float[Tensor, "b f d"]:
        """`source` holds s tokens of each of the l latent frames; f is a multiple of l."""
        num_latents = source.shape[1]
        dtype = self.sa.to_q.weight.dtype
        query = query + self.sa(self.norm(query).to(dtype)).float()
        windows = self.norm(query).unflatten(1, (num_latents, -1)).flatten(0, 1).to(dtype)
        tokens = self.norm(source).flatten(0, 1).to(dtype)
        seen: Tensor = self.ca(windows, tokens).float()
        query = query + seen.unflatten(0, (-1, num_latents)).flatten(1, 2)
        return query + self.ffn(self.norm(query).to(dtype)).float()


class SMPLPredictor(nn.Module):
    """Poses of frames 1 .. F-1 as a 6D residual to the pose of frame 0."""

    def __init__(
        self,
        width: int,
        *,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        stride: int,
        num_positions: int,
        resize_positions: bool,
    ):
        super().__init__()
        self.stride = stride
        self.positions = Positions(num_positions, width, resize=resize_positions)
        self.pose_in = Float32Linear(POSE_DIM, width)
        self.decoders = nn.ModuleList(
            DecoderBlock(width, num_heads, ffn_dim) for _ in range(num_layers)
        )
        self.pose_out = Float32Linear(width, POSE_DIM)
        self._initialize()

    def _initialize(self) -> None:
        """Xavier inside and zero only on the way out.

        With zeros inside as well, every gradient is a product with a zero factor, for ever.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))
        nn.init.zeros_(self.pose_out.weight)

    def forward(
        self, initial_pose: Float[Tensor, "b 144"], fused: Float[Tensor, "b l s d"]
    ) -> Float[Tensor, "b f 144"]:
        """Poses of the f = stride (l - 1) frames after the first, in float32.

        `fused` are the tokens of all l latent frames; the first latent frame is the condition and
        is dropped.
        """
        source = fused[:, 1:]
        num_frames = self.stride * source.shape[1]
        with torch.autocast(fused.device.type, enabled=False):
            start = self.pose_in(initial_pose)[:, None].expand(-1, num_frames, -1)
            query = start + self.positions(num_frames).float()
            for decoder in self.decoders:
                query = decoder(query, source.float())
            return initial_pose.float()[:, None] + self.pose_out(query)
