"""Blocks of the denoiser: rotary self-attention over frames, and several texts with time windows.

Pre-norm; every residual branch is multiplied by a learned vector that starts at `gate` (0 in the
release: a block then starts as the identity). No dropout: randomness here would belong to a rank,
not to a clip; conditions are dropped instead.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motion.models.genmo.attention import Band, Rotary, banded_attention, rotate

EPS = 1e-6


class Gate(nn.Module):
    """A learned factor per feature."""

    def __init__(self, width: int, start: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return self.weight * x


class Heads(nn.Module):
    """Query, key, value and output projections."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n h e"]:
        """Features by head."""
        return x.unflatten(-1, (self.num_heads, -1))


def feed_forward(width: int, ratio: int) -> nn.Sequential:
    """Two layers with tanh-GELU between them."""
    return nn.Sequential(
        nn.Linear(width, ratio * width), nn.GELU("tanh"), nn.Linear(ratio * width, width)
    )


class FrameBlock(nn.Module):
    """Frames see their neighbors in the band."""

    def __init__(self, width: int, num_heads: int, ratio: int, gate: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.attention = Heads(width, num_heads)
        self.mlp = feed_forward(width, ratio)
        self.gate1, self.gate2 = Gate(width, gate), Gate(width, gate)

    def forward(
        self, x: Float[Tensor, "b t d"], rotary: Rotary, band: Band
    ) -> Float[Tensor, "b t d"]:
        a, y = self.attention, self.norm1(x)
        query, key = (rotate(a.split(layer(y)), rotary) for layer in (a.q, a.k))
        seen = banded_attention(query, key, a.split(a.v(y)), band)
        x = x + self.gate1(a.out(seen.flatten(-2)))
        return x + self.gate2(self.mlp(self.norm2(x)))


class Texts(NamedTuple):
    """Embedded prompts of a batch: k per clip, n tokens."""

    tokens: Float[Tensor, "b k n d"]
    mask: Bool[Tensor, "b k n"]
    """Real tokens; the first is True even of an absent prompt, so that no softmax is empty."""
    frames: Bool[Tensor, "b k t"]
    """Frames that a prompt speaks of; none of an absent prompt."""


class TextBlock(nn.Module):
    """Frames see the prompts whose window they lie in (multi-text attention, paper eq. 2 and 3).

    Each prompt has a softmax of its own; where windows overlap, the results add up. A frame that no
    prompt speaks of gets zero.
    """

    def __init__(self, width: int, num_heads: int, ratio: int, gate: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.attention = Heads(width, num_heads)
        self.mlp = feed_forward(width, ratio)
        self.gate1, self.gate2 = Gate(width, gate), Gate(width, gate)

    def forward(self, x: Float[Tensor, "b t d"], texts: Texts) -> Float[Tensor, "b t d"]:
        x = x + self.gate1(self._told(self.norm1(x), texts))
        return x + self.gate2(self.mlp(self.norm2(x)))

    def _told(self, x: Float[Tensor, "b t d"], texts: Texts) -> Float[Tensor, "b t d"]:
        a, k = self.attention, texts.tokens.shape[1]
        query = a.split(a.q(x)).transpose(1, 2)
        query = query[:, None].expand(-1, k, -1, -1, -1).flatten(0, 1)
        tokens = texts.tokens.flatten(0, 1)
        keys, values = (a.split(layer(tokens)).transpose(1, 2) for layer in (a.k, a.v))
        mask = texts.mask.flatten(0, 1)[:, None, None]
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        seen = seen.transpose(1, 2).flatten(-2).unflatten(0, (-1, k))
        told = torch.where(texts.frames[..., None], seen, 0.0).sum(1)
        return torch.where(texts.frames.any(1)[..., None], a.out(told), 0.0)
