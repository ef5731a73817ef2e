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
ROOT_DIM = 3
SHAPE_DIM = 10


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
    """Poses of frames 1 .. F-1 as a 6D residual to the pose of frame 0.

    With a root, three more numbers per frame are the pelvis' place as a residual to frame 0, and
    ten more the betas, the same in every frame; the initial pose then ends with the pelvis' place.
    """

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
        with_root: bool = False,
    ):
        super().__init__()
        self.stride = stride
        self.positions = Positions(num_positions, width, resize=resize_positions)
        self.pose_in = Float32Linear(POSE_DIM, width)
        self.decoders = nn.ModuleList(
            DecoderBlock(width, num_heads, ffn_dim) for _ in range(num_layers)
        )
        self.pose_out = Float32Linear(width, POSE_DIM)
        self.root_in = Float32Linear(ROOT_DIM, width) if with_root else None
        self.root_out = Float32Linear(width, ROOT_DIM) if with_root else None
        self.shape_out = Float32Linear(width, SHAPE_DIM) if with_root else None
        self._initialize()

    def _initialize(self) -> None:
        """Xavier inside and zero only on the way out.

        With zeros inside as well, every gradient is a product with a zero factor, for ever.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))
        for out in (self.pose_out, self.root_out, self.shape_out):
            if out is not None:
                nn.init.zeros_(out.weight)

    def forward(
        self, initial_pose: Float[Tensor, "b p"], fused: Float[Tensor, "b l s d"]
    ) -> Float[Tensor, "b f _"]:
        """Poses of the f = stride (l - 1) frames after the first, in float32.

        `fused` are the tokens of all l latent frames; the first latent frame is the condition and
        is dropped.
        """
        source = fused[:, 1:]
        num_frames = self.stride * source.shape[1]
        with torch.autocast(fused.device.type, enabled=False):
            pose, root = initial_pose.float().split((POSE_DIM, initial_pose.shape[1] - POSE_DIM), 1)
            start = self.pose_in(pose)
            if self.root_in is not None:
                start = start + self.root_in(root)
            query = start[:, None].expand(-1, num_frames, -1) + self.positions(num_frames).float()
            for decoder in self.decoders:
                query = decoder(query, source.float())
            poses = pose[:, None] + self.pose_out(query)
            if self.root_out is None or self.shape_out is None:
                return poses
            betas = self.shape_out(query.mean(1, keepdim=True)).expand(-1, num_frames, -1)
            return torch.cat((poses, root[:, None] + self.root_out(query), betas), dim=-1)
