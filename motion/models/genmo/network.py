"""The denoiser: noisy motion and conditions, fused per frame, to clean motion (section 3.1)."""

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motion.models.genmo.attention import make_band, rotary_table
from motion.models.genmo.blocks import FrameBlock, TextBlock, Texts
from motion.models.genmo.conditions import Conditions
from motion.models.genmo.config import GenmoConfig
from motion.representations.gravity_view import GravityView

DIM = GravityView.dim
NUM_STATIC = 6
"""Joints whose rest on something is predicted: ankles, feet, wrists."""


class Prediction(NamedTuple):
    """What the network says of every frame, in float32."""

    x0: Float[Tensor, "b t 151"]
    """Clean motion vector, normalized."""
    camera: Float[Tensor, "b t 3"]
    """Weak-perspective camera of the pelvis, standardized (`loss.pelvis_in_camera`)."""
    static: Float[Tensor, "b t 6"]
    """Logits that ankles, feet and wrists stand still."""


class SignalEmbedder(nn.Module):
    """One frame-aligned condition: two layers, then its presence as one more feature.

    An absent frame is blanked before and marked after, so absence is never a zero that looks like
    data, and every module runs on every rank.
    """

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, width))
        self.mix = nn.Sequential(nn.Linear(width + 1, width), nn.SiLU(), nn.Linear(width, width))

    def forward(
        self, value: Float[Tensor, "b t c"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        there = mask[..., None]
        embedded = torch.where(there, self.embed(torch.where(there, value, 0.0)), 0.0)
        return self.mix(torch.cat([embedded, there.to(embedded)], -1))


class KeypointEmbedder(nn.Module):
    """Visible keypoints by their place in the box, hidden ones by a learned vector."""

    def __init__(self, width: int, dim: int = 32):
        super().__init__()
        self.place = nn.Linear(2, dim)
        self.hidden = nn.Embedding(1, dim)
        self.mix = nn.Sequential(
            nn.Linear(17 * dim, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, place: Float[Tensor, "b t 17 2"], visible: Bool[Tensor, "b t 17"]
    ) -> Float[Tensor, "b t d"]:
        there = visible[..., None]
        point = self.place(torch.where(there, place, 0.0))
        return self.mix(torch.where(there, point, self.hidden.weight[0]).flatten(-2))


class ConditionEmbedder(nn.Module):
    """Additive fusion: the sum of all embedded conditions."""

    def __init__(self, config: GenmoConfig):
        super().__init__()
        self.keypoints = KeypointEmbedder(config.width)
        self.signals = nn.ModuleDict(
            {name: SignalEmbedder(dim, config.width) for name, dim in config.signal_dims.items()}
        )

    def forward(self, conditions: Conditions) -> Float[Tensor, "b t d"]:
        total = self.keypoints(conditions.keypoints, conditions.visible)
        for name, module in self.signals.items():
            total = total + module(*conditions.signals[name])
        return total


class Denoiser(nn.Module):
    """x_t, noise level, embedded conditions and texts to clean motion."""

    def __init__(self, config: GenmoConfig):
        super().__init__()
        self.config = config
        width, ratio = config.width, config.mlp_ratio
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.fuse = nn.Linear(DIM + width, width)
        self.text = nn.Linear(config.text_dim, width) if config.text_dim else None
        count = config.num_layers
        self.told = nn.ModuleList(
            TextBlock(width, config.num_heads, ratio, config.gate)
            for _ in range(count if config.text_dim else 0)
        )
        self.frames = nn.ModuleList(
            FrameBlock(width, config.num_heads, ratio, config.gate) for _ in range(count)
        )
        self.motion, self.camera, self.static = (_head(width, n) for n in (DIM, 3, NUM_STATIC))

    def forward(
        self,
        x_t: Float[Tensor, "b t 151"],
        time: Float[Tensor, "b"],
        fused: Float[Tensor, "b t d"],
        conditions: Conditions,
    ) -> Prediction:
        """Prediction at noise level `time` in [0, 1]."""
        config = self.config
        steps = self.time(_waves(1000 * time.float(), config.width).to(fused.dtype))
        x = self.fuse(torch.cat([x_t.to(fused.dtype), fused + steps[:, None]], -1))
        texts = self._texts(conditions)
        head_dim = config.width // config.num_heads
        rotary = rotary_table(x.shape[1], head_dim, config.rope_theta, x.device)
        band = make_band(conditions.frame_mask, config.window)
        for index, block in enumerate(self.frames):
            if texts is not None:
                x = self._run(self.told[index], x, texts)
            x = self._run(block, x, rotary, band)
        return Prediction(*(head(x).float() for head in (self.motion, self.camera, self.static)))

    def _run(self, block: nn.Module, x: Tensor, *context: object) -> Tensor:
        if self.config.gradient_checkpointing and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, x, *context, use_reentrant=False))
        return block(x, *context)

    def _texts(self, conditions: Conditions) -> Texts | None:
        """Embedded prompts with positions; None for a network without text."""
        if self.text is None:
            return None
        tokens = self.text(conditions.text.to(self.text.weight.dtype))
        place = torch.arange(tokens.shape[2], device=tokens.device)
        tokens = tokens + _waves(place.float(), self.config.width).to(tokens.dtype)
        mask = conditions.text_mask.clone()
        mask[..., 0] = True
        return Texts(tokens, mask, conditions.text_frames)


class Network(nn.Module):
    """Condition embedders and denoiser."""

    def __init__(self, config: GenmoConfig):
        super().__init__()
        self.conditions = ConditionEmbedder(config)
        self.denoiser = Denoiser(config)

    def forward(
        self, x_t: Float[Tensor, "b t 151"], time: Float[Tensor, "b"], conditions: Conditions
    ) -> Prediction:
        """Clean motion from noisy motion at noise level `time` in [0, 1]."""
        return self.denoiser(x_t, time, self.conditions(conditions), conditions)


def _head(width: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim))


def _waves(value: Float[Tensor, "n"], width: int) -> Float[Tensor, "n w"]:
    """Sinusoidal embedding (Vaswani et al. 2017), sines then cosines, in float32."""
    half = width // 2
    scale = torch.exp(-math.log(10_000) * torch.arange(half, device=value.device) / half)
    angles = value[:, None] * scale
    return torch.cat([angles.sin(), angles.cos()], -1)
