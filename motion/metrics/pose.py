"""Errors of poses per frame: MPJPE, PA-MPJPE, PVE, Accel, PCK (as evaluated by WHAM and GVHMR).

Every function returns one value per frame, NaN in frames that the mask leaves out; reduce with
`motion.metrics.frames.pooled` (published tables) or `per_clip`. Positions are in metres.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.metrics.alignment import aligned
from motion.metrics.frames import Gaps, difference, finite, valid_only

SMPL_HIPS = (1, 2)
"""Joints whose mean is the pelvis, in the 24 SMPL joints."""
LSP_HIPS = (2, 3)
"""The same in the 14 joints that 3DPW is evaluated with."""
ROOT = (0, 0)
"""The first SMPL joint itself as the pelvis, about which poses turn."""


def pelvis(
    joints: Float[Tensor, "b t j 3"], hips: tuple[int, int] = SMPL_HIPS
) -> Float[Tensor, "b t 1 3"]:
    """Mean of the two hips."""
    return joints[..., list(hips), :].mean(-2, keepdim=True)


def mpjpe_mm(
    predicted: Float[Tensor, "b t j 3"],
    truth: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    hips: tuple[int, int] = SMPL_HIPS,
) -> Float[Tensor, "b t"]:
    """Mean joint distance after the mid-hip of each frame is aligned, in mm."""
    finite(predicted, frame_mask)
    finite(truth, frame_mask)
    error = (predicted - pelvis(predicted, hips)) - (truth - pelvis(truth, hips))
    return valid_only(1000 * torch.linalg.vector_norm(error, dim=-1).mean(-1), frame_mask)


def pa_mpjpe_mm(
    predicted: Float[Tensor, "b t j 3"],
    truth: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "b t"]:
    """Mean joint distance after a similarity transform per frame (Procrustes), in mm."""
    mask = None if frame_mask is None else frame_mask[..., None].expand(predicted.shape[:-1])
    error = aligned(predicted, truth, mask, scale=True) - truth
    return valid_only(1000 * torch.linalg.vector_norm(error, dim=-1).mean(-1), frame_mask)


def pve_mm(
    predicted: Float[Tensor, "b t v 3"],
    truth: Float[Tensor, "b t v 3"],
    predicted_joints: Float[Tensor, "b t j 3"],
    true_joints: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    hips: tuple[int, int] = SMPL_HIPS,
) -> Float[Tensor, "b t"]:
    """Mean vertex distance after the joints' mid-hip is aligned, in mm."""
    finite(predicted, frame_mask)
    finite(truth, frame_mask)
    error = (predicted - pelvis(predicted_joints, hips)) - (truth - pelvis(true_joints, hips))
    return valid_only(1000 * torch.linalg.vector_norm(error, dim=-1).mean(-1), frame_mask)


def accel_error(
    predicted: Float[Tensor, "b t j 3"],
    truth: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    fps: float,
    hips: tuple[int, int] = SMPL_HIPS,
    convention: Literal["gvhmr", "wham", "corrected"] = "gvhmr",
) -> Float[Tensor, "b s"]:
    """Mean norm of the difference of joint accelerations, in m/s^2, for t - 2 triples of frames.

    Args:
        predicted: joints; the mid-hip is aligned per frame.
        truth: true joints.
        frame_mask: valid frames.
        fps: frames per second; published numbers have 30.
        hips: joints whose mean is the pelvis.
        convention: `gvhmr` removes invalid frames before it differences; `wham` also drops each
            clip's first and last value; `corrected` compares true neighbors only.
    """
    error = (predicted - pelvis(predicted, hips)) - (truth - pelvis(truth, hips))
    gaps: Gaps = "adjacent" if convention == "corrected" else "joined"
    second = difference(error, frame_mask, 2, gaps)
    values = torch.linalg.vector_norm(second, dim=-1).mean(-1) * fps**2
    if convention != "wham":
        return values
    inner = torch.isfinite(values)
    place = inner.cumsum(1)  # 1 at the first value; joined values lie without gaps
    return valid_only(values, inner & (place > 1) & (place < inner.sum(1, keepdim=True)))


def pck(
    predicted: Float[Tensor, "b t k d"],
    truth: Float[Tensor, "b t k d"],
    threshold: float,
    *,
    scale: Float[Tensor, "b t"] | None = None,
    visible: Bool[Tensor, "b t k"] | None = None,
) -> Float[Tensor, "b t"]:
    """Share of visible keypoints that lie within `threshold` x `scale` of the truth (PCK).

    Args:
        predicted: keypoints in pixels or metres.
        truth: true keypoints.
        threshold: share of the scale, such as 0.2; a distance where no scale is given, such as
            0.15 m for 3D PCK.
        scale: size of the person per frame, such as the longer side of its box (Yang & Ramanan
            2013) or the head's length (PCKh).
        visible: keypoints that count; a frame without one gives NaN.
    """
    finite(predicted, visible)
    limit = threshold if scale is None else threshold * scale[..., None]
    hit = (torch.linalg.vector_norm(predicted - truth, dim=-1) <= limit).to(truth.dtype)
    counts = torch.ones_like(hit) if visible is None else visible.to(truth.dtype)
    return (hit * counts).sum(-1) / counts.sum(-1)


def keypoint_error_px(
    predicted: Float[Tensor, "b t k 2"],
    truth: Float[Tensor, "b t k 2"],
    visible: Bool[Tensor, "b t k"] | None = None,
) -> Float[Tensor, "b t"]:
    """Mean distance of visible keypoints in pixels; NaN in a frame without one."""
    finite(predicted, visible)
    distance = torch.linalg.vector_norm(predicted - truth, dim=-1)
    if visible is not None:
        distance = torch.where(visible, distance, distance.new_full((), torch.nan))
    return distance.nanmean(-1)
