"""Errors of global trajectories: W-MPJPE100, WA-MPJPE100, RTE (WHAM, Shin et al. 2024).

Invalid frames are removed first, as in the reference: a chunk is 100 *valid* frames.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.metrics.alignment import aligned
from motion.metrics.frames import close_gaps, full_mask, gapless, valid_only


def world_mpjpe_mm(
    predicted: Float[Tensor, "b t j 3"],
    truth: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    align: Literal["start", "all"],
    chunk: int = 100,
) -> Float[Tensor, "b t"]:
    """Mean joint distance in chunks that are aligned by one similarity transform each, in mm.

    Args:
        predicted: joints in a world frame, in metres.
        truth: true joints in another world frame.
        frame_mask: valid frames; values belong to the valid frames in their order, NaN follows.
        align: `start`: by the first two frames of a chunk (W-MPJPE); `all`: by all of its frames
            (WA-MPJPE).
        chunk: frames; the last chunk may be shorter and is aligned by itself.
    """
    valid = full_mask(predicted, frame_mask)
    b, t, j, _ = predicted.shape
    pieces = -(-t // chunk)
    pad = pieces * chunk - t

    def chunked(joints: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(close_gaps(joints, valid), (0, 0, 0, 0, 0, pad))
        return padded.reshape(b, pieces, chunk * j, 3)

    used = torch.nn.functional.pad(gapless(valid), (0, pad)).reshape(b, pieces, chunk)
    head = torch.arange(chunk, device=used.device) < (2 if align == "start" else chunk)
    fitted = used & head
    source, target = chunked(predicted), chunked(truth)
    mask = fitted[..., None].expand(b, pieces, chunk, j).flatten(2)
    error = torch.linalg.vector_norm(aligned(source, target, mask, scale=True) - target, dim=-1)
    per_frame = 1000 * error.reshape(b, pieces * chunk, j).mean(-1)
    return valid_only(per_frame[:, :t], gapless(valid))


def rte_percent(
    predicted: Float[Tensor, "b t 3"],
    truth: Float[Tensor, "b t 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "b t"]:
    """Distance of rigidly aligned roots over the length of the true path, in percent.

    Joint 0 in GVHMR, SMPL's translation in WHAM. A clip whose true root never moves gives NaN
    (the reference: infinity).
    """
    valid = full_mask(predicted, frame_mask)
    source, target, used = close_gaps(predicted, valid), close_gaps(truth, valid), gapless(valid)
    error = torch.linalg.vector_norm(aligned(source, target, used, scale=False) - target, dim=-1)
    step = torch.linalg.vector_norm(target.diff(dim=1), dim=-1)
    length = torch.where(used[:, 1:], step, step.new_zeros(())).sum(1, keepdim=True)
    moved = used & (length > 0)
    return valid_only(100 * error / length, moved)
