"""Tokens of a batch: read from pre-tokenised shards, or made on the fly by the frozen tokenizer."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from motion.batch import Batch
from motion.diffusion.noise import clip_uniform
from motion.models.k2m.config import STRIDE
from motion.models.k2m.keypoints import Keypoints, cut, keypoints_of
from motion.models.k2m.tokenizer import Tokenizer


class Tokens(NamedTuple):
    """Tokens of b clips."""

    ids: Int[Tensor, "b n q"]
    """Codes by level; -1 where there is none."""

    @property
    def valid(self) -> Bool[Tensor, "b n"]:
        """True where a token is real."""
        return self.ids[..., 0] >= 0


class Crop(NamedTuple):
    """The part of each clip that is trained on."""

    start: Int[Tensor, "b"]
    """First frame."""
    tokens: Int[Tensor, "b"]
    """Length in tokens."""


def random_crop(batch: Batch, shorten: float) -> Crop:
    """All whole tokens of a clip, or one fewer (with a probability), from a random frame on."""
    frames = batch.frame_mask.sum(1)
    draw = clip_uniform(batch.noise_key, "tokens", (2,)).to(frames.device)
    whole = frames // STRIDE
    tokens = whole - ((draw[:, 0] < shorten) & (whole > 1)).long()
    start = (draw[:, 1] * (frames - STRIDE * tokens + 1)).long()
    return Crop(start, tokens)


def phases(tokenizer: Tokenizer, keypoints: Keypoints) -> list[Int[Tensor, "b n q"]]:
    """Tokens from each of the first four frames on: what a random crop can begin with."""
    frames = keypoints.mask.sum(1)
    found: list[Tensor] = []
    for phase in range(STRIDE):
        start = torch.full_like(frames, phase)
        found.append(tokenizer.encode(cut(keypoints, start, (frames - phase).clamp(min=0))))
    return found


def cropped(tokens: Int[Tensor, "b p n q"], crop: Crop) -> Tokens:
    """The crop of pre-tokenised clips: its phase's tokens from its first one on.

    Tokens near the crop's ends were made with what lies beyond them in view, unlike `made`'s.
    """
    longest = max(int(crop.tokens.max()), 1)
    place = torch.arange(longest, device=tokens.device)
    clip = torch.arange(len(tokens), device=tokens.device)
    phase = tokens[clip, crop.start % STRIDE]
    index = (crop.start[:, None] // STRIDE + place).clamp(max=tokens.shape[2] - 1)
    ids = phase[clip[:, None], index]
    return Tokens(torch.where((place < crop.tokens[:, None])[..., None], ids, -1).long())


def made(tokenizer: Tokenizer, batch: Batch, crop: Crop) -> Tokens:
    """The crop of clips that carry keypoints alone, tokenised now."""
    keypoints = cut(_all_frames(batch), crop.start, STRIDE * crop.tokens)
    return Tokens(tokenizer.encode(keypoints))


def whole(tokenizer: Tokenizer, batch: Batch) -> Tokens:
    """All tokens of the clips from their first frame on.

    Raises:
        ValueError: the batch carries neither tokens nor keypoints.
    """
    frames = batch.frame_mask.sum(1)
    crop = Crop(torch.zeros_like(frames), frames // STRIDE)
    return cropped(batch.tokens, crop) if batch.tokens is not None else made(tokenizer, batch, crop)


def _all_frames(batch: Batch) -> Keypoints:
    """Keypoints of every real frame, not cut to whole tokens."""
    found = keypoints_of(batch)
    assert batch.keypoints is not None
    assert batch.keypoints_confidence is not None
    return Keypoints(
        xy=batch.keypoints.float(),
        confidence=batch.keypoints_confidence.float(),
        size=found.size,
        mask=batch.frame_mask,
    )
