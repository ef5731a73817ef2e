"""Parts of one branch: the Wan block with a two-row modulation, and the output head.

A clip has only two diffusion times: 0 for the tokens of the clean first latent frame and s for the
rest. So the time embedding has two rows, and each modulation is applied to two slices of the
sequence. The result equals a per-token embedding, without its (b, tokens, 6, width) tensors.
"""

from functools import lru_cache
from typing import cast

import torch
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformerBlock
from jaxtyping import Float
from torch import Tensor, nn

from motion.models.comovi.preconditioning import Preconditioner, Scales

Rotary = tuple[Tensor, Tensor]

EPS = 1e-6


@lru_cache(maxsize=8)
def rotary_table(
    head_dim: int,
    patch: tuple[int, int, int],
    latent_size: tuple[int, int, int],
    theta: float,
    device: str,
) -> Rotary:
    """Wan's three-axis rotary table for latents of (frames, rows, columns), in float32.

    A function rather than a submodule: casting a network to bfloat16 would round its buffers, and
    building it on the meta device would leave them without values.
    """
    with torch.device("cpu"):
        rope = WanRotaryPosEmbed(head_dim, patch, 1024, theta)
        cos, sin = rope(torch.empty(1, 1, *latent_size))
    return cos.float().to(device), sin.float().to(device)


def modulated(
    x: Float[Tensor, "b n d"],
    scale: Float[Tensor, "b 2 d"],
    shift: Float[Tensor, "b 2 d"],
    first: int,
) -> Float[Tensor, "b n d"]:
    """x * scale + shift, with row 0 for the first `first` tokens and row 1 for the others."""
    head = x[:, :first] * scale[:, :1] + shift[:, :1]
    tail = x[:, first:] * scale[:, 1:] + shift[:, 1:]
    return torch.cat((head, tail), dim=1)


def gated(
    x: Float[Tensor, "b n d"], gate: Float[Tensor, "b 2 d"], first: int
) -> Float[Tensor, "b n d"]:
    """x * gate, with row 0 for the first `first` tokens and row 1 for the others."""
    return torch.cat((x[:, :first] * gate[:, :1], x[:, first:] * gate[:, 1:]), dim=1)


class Block(WanTransformerBlock):
    """diffusers' Wan block: its parameters and order of operations, two-row modulation."""

    def __init__(self, width: int, ffn_dim: int, num_heads: int):
        super().__init__(width, ffn_dim, num_heads, "rms_norm_across_heads", True, EPS)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        time: Float[Tensor, "b 2 6 d"],
        rotary: Rotary,
        first: int,
    ) -> Float[Tensor, "b n d"]:
        table = self.scale_shift_table[:, None].float() + time.float()
        shift1, scale1, gate1, shift2, scale2, gate2 = table.unbind(2)
        y = modulated(self.norm1(x.float()), 1 + scale1, shift1, first).type_as(x)
        y = self.attn1(y, None, None, rotary)
        x = (x.float() + gated(y.float(), gate1, first)).type_as(x)
        y = self.norm2(x.float()).type_as(x)
        x = x + self.attn2(y, text, None, None)
        y = modulated(self.norm3(x.float()), 1 + scale2, shift2, first).type_as(x)
        return (x.float() + gated(self.ffn(y).float(), gate2, first)).type_as(x)


class Head(nn.Module):
    """Final norm, two-row modulation and projection to one token's latents."""

    def __init__(self, width: int, token_dim: int):
        super().__init__()
        self.norm_out = FP32LayerNorm(width, EPS, elementwise_affine=False)
        self.proj_out = nn.Linear(width, token_dim)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, width) / width**0.5)

    def forward(
        self, x: Float[Tensor, "b n d"], time: Float[Tensor, "b 2 d"], first: int
    ) -> Float[Tensor, "b n k"]:
        shift, scale = (self.scale_shift_table[:, None].float() + time[:, :, None].float()).unbind(
            2
        )
        y = modulated(self.norm_out(x.float()), 1 + scale, shift, first)
        return self.proj_out(y.type_as(x))


class Branch(nn.Module):
    """Patch embedding, blocks and head of one stream; `DualBranch` drives the blocks."""

    def __init__(
        self,
        channels: int,
        patch: tuple[int, int, int],
        width: int,
        ffn_dim: int,
        num_heads: int,
        num_layers: int,
        locality: float,
        preconditioned: bool,
    ):
        super().__init__()
        self.patch = patch
        self.preconditioner = Preconditioner(channels) if preconditioned else None
        self.patch_embedding = nn.Conv3d(channels, width, kernel_size=patch, stride=patch)
        self.blocks = nn.ModuleList(Block(width, ffn_dim, num_heads) for _ in range(num_layers))
        self.head = Head(width, channels * patch[0] * patch[1] * patch[2])
        self._initialize(locality)

    def _initialize(self, locality: float) -> None:
        """Wan's initialization (Xavier inside, zero output), with attention that starts local.

        Equal biases of queries and keys on the channels that turn with row and column make a
        kernel of relative position alone, which peaks at the token's own place in every frame.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        nn.init.zeros_(self.head.proj_out.weight)
        for block in self.blocks:
            assert isinstance(block, Block)
            attention = block.attn1
            spatial = 4 * (attention.inner_dim // attention.heads // 6)  # diffusers' split
            for bias in (attention.to_q.bias, attention.to_k.bias):
                with torch.no_grad():
                    bias.unflatten(0, (attention.heads, -1))[:, -spatial:] = locality

    def scales(self, time: Float[Tensor, "b"]) -> Scales | None:
        """How this stream's latents enter and leave at noise levels `time`; None: as they are."""
        return None if self.preconditioner is None else self.preconditioner(time)

    def embed(
        self, latent: Float[Tensor, "b c tl hl wl"], scales: Scales | None
    ) -> Float[Tensor, "b n d"]:
        """Tokens in frame, row, column order, in the dtype of the weights (the residual stream).

        The first latent frame is clean and not scaled.
        """
        dtype = self.patch_embedding.weight.dtype
        if scales is not None:
            latent = torch.cat((latent[:, :, :1], latent[:, :, 1:] * scales.input), dim=2)
        tokens: Tensor = self.patch_embedding(latent.to(dtype))
        return tokens.flatten(2).transpose(1, 2).contiguous().to(dtype)

    def block(self, index: int) -> Block:
        return cast(Block, self.blocks[index])

    def unpatchify(
        self, tokens: Float[Tensor, "b n k"], grid: tuple[int, int, int]
    ) -> Float[Tensor, "b c tl hl wl"]:
        """Latents from one token per cell of the (frames, rows, columns) grid."""
        y = tokens.unflatten(2, (*self.patch, -1)).unflatten(1, grid)
        y = y.permute(0, 7, 1, 4, 2, 5, 3, 6)  # b c (f pt) (h ph) (w pw)
        return y.flatten(6, 7).flatten(4, 5).flatten(2, 3)
