"""K2M's second stage: transformers over tokens (MoMask, Guo et al. 2024) and a length predictor."""

from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.models.k2m.config import TransformerConfig
from motion.networks.sinusoids import sinusoids

Text = tuple[Float[Tensor, "b p d"], Bool[Tensor, "b p"]]
"""Token features of a caption and their mask."""


def pooled(text: Text) -> tuple[Float[Tensor, "b 1 d"], Bool[Tensor, "b 1"]]:
    """One token per caption: the mean of its features."""
    values, mask = text
    weight = mask[..., None].to(values)
    mean = (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
    return mean, torch.ones_like(mask[:, :1])


class _Blocks(nn.Module):
    """A caption in front of a sequence: post-norm transformer with GELU."""

    def __init__(self, config: TransformerConfig, text_dim: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_dim, config.width)
        self.enter = nn.Linear(config.code_width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.num_heads,
            config.feedforward,
            config.dropout,
            activation="gelu",
            batch_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)

    def forward(
        self,
        tokens: Float[Tensor, "b n e"],
        valid: Bool[Tensor, "b n"],
        text: Text,
        keep: Bool[Tensor, "b"],
        level: Float[Tensor, "b 1 w"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        """Hidden states of the tokens.

        Args:
            tokens: embeddings.
            valid: True where a token is real.
            text: the captions.
            keep: clips whose caption is seen; that of the others is zeros.
            level: one more token in front.
        """
        values, mask = text
        values = torch.where((keep[:, None] & mask)[..., None], values, 0.0)
        mask = mask.clone()
        mask[:, 0] = True  # no sequence is empty
        front, seen = [self.text(values)], [mask]
        if level is not None:
            front.append(level)
            seen.append(torch.ones_like(mask[:, :1]))
        count = sum(part.shape[1] for part in front)
        hidden = self.enter(tokens)
        hidden = self.dropout(hidden + sinusoids(hidden.shape[1], hidden.shape[2], hidden))
        rows = torch.cat([*front, hidden], 1)
        padding = ~torch.cat([*seen, valid], 1)
        return self.blocks(rows, src_key_padding_mask=padding)[:, count:]


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)


class MaskedTransformer(nn.Module):
    """Scores of the base level's codes at every position, some of which are masked."""

    def __init__(self, config: TransformerConfig, num_codes: int, text_dim: int) -> None:
        super().__init__()
        self.mask_id, self.pad_id = num_codes, num_codes + 1
        self.embedding = nn.Embedding(num_codes + 2, config.code_width)
        self.body = _Blocks(config, text_dim)
        self.head = nn.Sequential(
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.LayerNorm(config.width, 1e-12),
            nn.Linear(config.width, num_codes),
        )
        self.apply(_initialize)

    def forward(
        self,
        ids: Int[Tensor, "b n"],
        valid: Bool[Tensor, "b n"],
        text: Text,
        keep: Bool[Tensor, "b"],
    ) -> Float[Tensor, "b n k"]:
        """Logits; ids may be `mask_id`, and are padding where `valid` is False."""
        ids = torch.where(valid, ids, self.pad_id)
        return self.head(self.body(self.embedding(ids), valid, text, keep))


class ResidualTransformer(nn.Module):
    """Scores of the codes of level j from the codes of the levels before it."""

    def __init__(
        self,
        config: TransformerConfig,
        num_codes: int,
        num_levels: int,
        text_dim: int,
        *,
        share_weights: bool,
    ) -> None:
        super().__init__()
        self.pad_id, self.num_levels = num_codes, num_levels
        width = config.code_width
        # Of levels 0 to Q - 2 as input, 1 to Q - 1 as output; -1, a skipped level, is the padding.
        self.embeddings = nn.ModuleList(
            nn.Embedding(num_codes + 1, width) for _ in range(num_levels - 1)
        )
        self.outputs = nn.ModuleList(
            nn.Linear(width, num_codes + 1, bias=False) for _ in range(num_levels - 1)
        )
        self.level = nn.Embedding(num_levels, config.width)
        self.body = _Blocks(config, text_dim)
        self.leave = nn.Sequential(
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.LayerNorm(config.width, 1e-12),
            nn.Linear(config.width, width),
        )
        self.apply(_initialize)
        if share_weights:
            for place in range(1, num_levels - 1):
                output = cast(nn.Linear, self.outputs[place - 1])
                output.weight = cast(nn.Embedding, self.embeddings[place]).weight

    def forward(
        self,
        ids: Int[Tensor, "b n q"],
        valid: Bool[Tensor, "b n"],
        text: Text,
        keep: Bool[Tensor, "b"],
        level: Int[Tensor, "b"],
    ) -> Float[Tensor, "b n k1"]:
        """Logits of level 1 to Q - 1, another one per clip; the last code is the padding."""
        known = torch.where(ids >= 0, ids, self.pad_id)
        parts = [embed(known[..., place]) for place, embed in enumerate(self.embeddings)]
        sums = torch.stack(parts, 1).cumsum(1)
        clip = torch.arange(len(level), device=level.device)
        hidden = self.body(sums[clip, level - 1], valid, text, keep, self.level(level)[:, None])
        weights = torch.stack([cast(nn.Linear, output).weight for output in self.outputs])
        return torch.einsum("bnd,bkd->bnk", self.leave(hidden), weights[level - 1])


class LengthPredictor(nn.Module):
    """Scores of a clip's length in tokens, from its caption."""

    def __init__(self, text_dim: int, max_tokens: int, dropout: float) -> None:
        super().__init__()
        widths = (text_dim, 512, 256, 128)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(0.2)]
            layers += [nn.Dropout(dropout)] if place < 2 else []
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], max_tokens + 1))

    def forward(self, text: Text) -> Float[Tensor, "b c"]:
        """Logits of 0 to `max_tokens` tokens."""
        values, _ = pooled(text)
        return self.layers(values[:, 0])
