"""DSTformer: attention over joints and over frames in both orders (Zhu et al. 2023, MotionBERT).

MotionCritic scores with it, K2M reads keypoints with it. Parameter names are those of the
published checkpoints.
"""

from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from motion.networks.sinusoids import sinusoids

_WAVES = 0.1
"""Size of sinusoidal positions: beside waves of 1, keypoints would drown in the first norm."""


class DSTformerConfig(BaseModel):
    """Sizes of a DSTformer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    num_tokens: int = Field(ge=1)
    """Tokens per frame: joints, keypoints ..."""
    width: int = Field(default=512, ge=2)
    """Channels of a token."""
    representation: int = Field(default=512, ge=1)
    """Channels of a token in the result."""
    depth: int = Field(default=1, ge=1)
    """Pairs of dual-stream blocks."""
    heads: int = Field(default=8, ge=1)
    """Attention heads; they divide the width."""
    mlp_ratio: int = Field(default=2, ge=1)
    """Hidden channels over channels."""
    time: Literal["learned", "sinusoidal"] = "learned"
    """`learned`: an embedding per frame, as published; frames beyond the longest training clip
    keep their initial one. `sinusoidal` has no parameters and no longest clip."""
    max_frames: int = Field(default=243, ge=1)
    """Frames that have a learned embedding."""
    head: bool = False
    """Also hold the layer to three numbers per token (`coordinates`)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "DSTformerConfig":
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"width {self.width} must be even and a multiple of heads, {self.heads}"
            )
        return self


class MLP(nn.Module):
    """Two layers with GELU."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Attention(nn.Module):
    """Self-attention over the second axis but one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.proj = nn.Linear(width, width)
        self.qkv = nn.Linear(width, 3 * width)

    def forward(
        self, x: Float[Tensor, "a b n c"], mask: Bool[Tensor, "a n"] | None = None
    ) -> Float[Tensor, "a b n c"]:
        # One batch axis: the fused kernels know no more.
        qkv = self.qkv(x).flatten(0, 1).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.movedim(-3, 0).transpose(-2, -3)
        seen = None
        if mask is not None:
            seen = mask.repeat_interleave(x.shape[1], 0)[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.proj(mixed.transpose(-2, -3).flatten(-2)).unflatten(0, x.shape[:2])


class _Block(nn.Module):
    """Attention over tokens and over frames, each with its MLP, in one of the two orders."""

    def __init__(self, config: DSTformerConfig, *, space_first: bool) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        self.space_first = space_first
        self.norm1_s, self.norm1_t = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn_s = _Attention(width, config.heads)
        self.attn_t = _Attention(width, config.heads)
        self.norm2_s, self.norm2_t = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp_s, self.mlp_t = MLP(width, hidden, width), MLP(width, hidden, width)

    def _space(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b t j c"]:
        x = x + self.attn_s(self.norm1_s(x))
        return x + self.mlp_s(self.norm2_s(x))

    def _time(
        self, x: Float[Tensor, "b t j c"], mask: Bool[Tensor, "b t"] | None
    ) -> Float[Tensor, "b t j c"]:
        x = x + self.attn_t(self.norm1_t(x).transpose(1, 2), mask).transpose(1, 2)
        return x + self.mlp_t(self.norm2_t(x))

    def forward(
        self, x: Float[Tensor, "b t j c"], mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t j c"]:
        if self.space_first:
            return self._time(self._space(x), mask)
        return self._space(self._time(x, mask))


class DSTformer(nn.Module):
    """Tokens of three numbers to a representation per token and frame."""

    def __init__(self, config: DSTformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.joints_embed = nn.Linear(3, width)
        self.blocks_st = nn.ModuleList(
            _Block(config, space_first=True) for _ in range(config.depth)
        )
        self.blocks_ts = nn.ModuleList(
            _Block(config, space_first=False) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.pre_logits = nn.Sequential()
        self.pre_logits.add_module("fc", nn.Linear(width, config.representation))
        self.pre_logits.add_module("act", nn.Tanh())
        if config.head:
            self.head = nn.Linear(config.representation, 3)
        self.temp_embed = None
        if config.time == "learned":
            self.temp_embed = nn.Parameter(torch.empty(1, config.max_frames, 1, width))
            nn.init.trunc_normal_(self.temp_embed, std=0.02)
        self.pos_embed = nn.Parameter(torch.empty(1, config.num_tokens, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.ts_attn = nn.ModuleList(nn.Linear(2 * width, 2) for _ in range(config.depth))
        for fuse in self.ts_attn:  # starts as the mean of both orders
            nn.init.zeros_(cast(nn.Linear, fuse).weight)
            nn.init.constant_(cast(nn.Linear, fuse).bias, 0.5)

    def forward(
        self, x: Float[Tensor, "b t j 3"], mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t j r"]:
        """The representation; frames where the mask is False are attended to by no other frame.

        Raises:
            ValueError: more frames than have a learned embedding.
        """
        hidden = self.joints_embed(x) + self.pos_embed + self._time(x)
        for space, time, fuse in zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True):
            both = torch.stack((space(hidden, mask), time(hidden, mask)), -1)
            weight = fuse(both.movedim(-1, -2).flatten(-2)).softmax(-1)
            hidden = (both * weight[..., None, :]).sum(-1)
        return self.pre_logits(self.norm(hidden))

    def coordinates(self, representation: Float[Tensor, "*b r"]) -> Float[Tensor, "*b 3"]:
        """Three numbers per token; only with `config.head`."""
        return self.head(representation)

    def _time(self, x: Float[Tensor, "b t j 3"]) -> Float[Tensor, "... t 1 c"]:
        frames = x.shape[1]
        if self.temp_embed is None:
            waves = sinusoids(frames, self.config.width, self.pos_embed)
            return _WAVES * waves[None, :, None]
        if frames > self.config.max_frames:
            raise ValueError(
                f"{frames} frames exceed the {self.config.max_frames} that have an embedding: cut "
                "the clips into windows"
            )
        return self.temp_embed[:, :frames]
