"""Attention along time: rotary positions, and a band whose cost grows linearly with the clip.

A frame of a clip of n frames sees the `window` frames that begin half a window before it, moved
inside the clip near its ends; a clip no longer than the window sees all of itself. Both depend on
the clip alone, so a clip gives the same result in whatever batch it lies.
"""

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Rotary(NamedTuple):
    """Cosine and sine of every frame's angle per pair of features."""

    cos: Float[Tensor, "t p"]
    sin: Float[Tensor, "t p"]


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # a cached tensor must be usable under autograd later
def rotary_table(num_frames: int, head_dim: int, theta: float, device: torch.device) -> Rotary:
    """Angles frame x theta^(-2k / head_dim) (Su et al. 2021), in float32."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64)
    angles = torch.outer(
        torch.arange(num_frames, dtype=torch.float64), theta ** (-pairs / head_dim)
    )
    return Rotary(angles.cos().float().to(device), angles.sin().float().to(device))


def rotate(x: Float[Tensor, "b t h d"], rotary: Rotary) -> Float[Tensor, "b t h d"]:
    """Turn neighboring features (2k, 2k + 1) by the frame's angle; scores then depend on distance
    in time alone."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary.cos[:, None].to(x.dtype), rotary.sin[:, None].to(x.dtype)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class Band(NamedTuple):
    """Which keys the frames of a batch see; made once per forward pass, used by every layer."""

    rows: Int[Tensor, "m w"] | None
    """Per block of frames (b x blocks of them), the keys to gather from the (b t) rows of a batch;
    None where every frame may see the whole clip."""
    mask: Bool[Tensor, "m 1 q w"]
    """True where a frame sees a key. Every frame sees at least one."""
    block: int
    """Frames per block."""


def make_band(frame_mask: Bool[Tensor, "b t"], window: int) -> Band:
    """The band of a batch whose clips are padded at the end.

    Blocks of half a window gather the one and a half windows (or less) that their frames see.
    """
    b, t = frame_mask.shape
    device = frame_mask.device
    lengths = frame_mask.sum(1).clamp(min=1)
    if t <= window:
        seen = torch.arange(t, device=device) < lengths[:, None]
        return Band(None, seen[:, None, None], t)
    block = window // 2
    blocks = -(-t // block)
    wide = min(window + block, t)
    last = (lengths - window).clamp(min=0)  # where the window of a clip's end begins
    frame = torch.arange(blocks * block, device=device)
    start = torch.minimum((frame - block).clamp(min=0), last[:, None]).unflatten(1, (blocks, block))
    first = start[..., :1].clamp(max=t - wide)
    key = first + torch.arange(wide, device=device)
    seen = (key[:, :, None] >= start[..., None]) & (key[:, :, None] < start[..., None] + window)
    seen &= key[:, :, None] < lengths[:, None, None, None]
    rows = key + t * torch.arange(b, device=device)[:, None, None]
    return Band(rows.flatten(0, 1), seen.flatten(0, 1)[:, None], block)


def banded_attention(
    query: Float[Tensor, "b t h d"],
    key: Float[Tensor, "b t h d"],
    value: Float[Tensor, "b t h d"],
    band: Band,
) -> Float[Tensor, "b t h d"]:
    """Softmax attention within the band; time and memory grow with t, not with its square."""
    if band.rows is None:
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=band.mask).transpose(1, 2)
    b, t = query.shape[:2]
    count = len(band.rows) // b * band.block
    q = F.pad(query, (0, 0, 0, 0, 0, count - t)).unflatten(1, (-1, band.block)).flatten(0, 1)
    rows = band.rows.flatten()
    k, v = (
        x.flatten(0, 1).index_select(0, rows).unflatten(0, band.rows.shape) for x in (key, value)
    )
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=band.mask
    )
    return out.transpose(1, 2).unflatten(0, (b, -1)).flatten(1, 2)[:, :t]


def dense_mask(frame_mask: Bool[Tensor, "b t"], window: int) -> Bool[Tensor, "b 1 t t"]:
    """The band as one mask over all pairs of frames: what `make_band` must equal."""
    t = frame_mask.shape[1]
    lengths = frame_mask.sum(1).clamp(min=1)[:, None]
    frame = torch.arange(t, device=frame_mask.device)
    last = (lengths - window).clamp(min=0)
    start = torch.minimum((frame - window // 2).clamp(min=0), last)[..., None]
    seen = (frame >= start) & (frame < start + window) & (frame < lengths[..., None])
    return seen[:, None]
