"""Errors of keyframe in-betweening (GENMO, Li et al. 2025, motion in-betweening).

The paper states neither where keyframes lie nor how many samples the minimum is taken over: here
the first and last frame and uniform ones between them, and as many samples as are given (5 by
convention).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.metrics.alignment import aligned
from motion.metrics.pose import pa_mpjpe_mm


class KeyframeErrors(NamedTuple):
    """Errors at the keyframes, per clip, the least over samples, in mm."""

    pa_mm: Float[Tensor, "b"]
    """Own similarity transform per keyframe."""
    wa_mm: Float[Tensor, "b"]
    """One similarity transform for all keyframes of a clip."""


def keyframes(num_frames: int, count: int) -> Int[Tensor, "{count}"]:
    """First, last and uniform frames between them.

    Raises:
        ValueError: fewer than two keyframes, or more than there are frames.
    """
    if not 2 <= count <= num_frames:
        raise ValueError(f"{count} keyframes of {num_frames} frames: give 2 to {num_frames}")
    return torch.linspace(0, num_frames - 1, count, dtype=torch.float64).round().long()


def keyframe_errors(
    samples: Float[Tensor, "b s t j 3"],
    truth: Float[Tensor, "b t j 3"],
    keyframe_mask: Bool[Tensor, "b t"],
) -> KeyframeErrors:
    """PA-MPJPE and WA-MPJPE at keyframes, each the minimum over a clip's samples.

    Args:
        samples: joints of s generations per clip, in metres.
        truth: true joints.
        keyframe_mask: the keyframes; a clip without one gives NaN.
    """
    b, s, t, j, _ = samples.shape
    made = samples.flatten(0, 1)
    true = truth.repeat_interleave(s, 0)
    mask = keyframe_mask.repeat_interleave(s, 0)
    pa = pa_mpjpe_mm(made, true, mask).nanmean(1)
    points = mask[..., None].expand(b * s, t, j).flatten(1)
    fitted = aligned(made.flatten(1, 2), true.flatten(1, 2), points, scale=True)
    error = torch.linalg.vector_norm(fitted.reshape(true.shape) - true, dim=-1)
    wa = 1000 * torch.where(mask[..., None], error, error.new_full((), torch.nan)).flatten(1)
    least_pa, least_wa = pa.reshape(b, s).amin(1), wa.nanmean(1).reshape(b, s).amin(1)
    return KeyframeErrors(least_pa, least_wa)
