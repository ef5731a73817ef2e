"""Physical plausibility: jitter, foot sliding, ground penetration, PFC. World frame, y up, metres.

Functions per frame mark undefined entries with NaN; reduce them with `motion.metrics.frames`.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.metrics.frames import Gaps, difference, finite, valid_only
from motion.skeleton import joint

SMPL_FOOT_VERTICES = (3216, 3387, 6617, 6787)
"""Left toe, left heel, right toe, right heel in SMPL's 6,890 vertices (GVHMR's choice)."""

FEET = (joint("left_ankle"), joint("left_foot"), joint("right_ankle"), joint("right_foot"))

Convention = Literal["reference", "corrected"]


def _gaps(convention: Convention) -> Gaps:
    return "joined" if convention == "reference" else "adjacent"


def jitter(
    joints: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    fps: float,
    convention: Convention = "reference",
) -> Float[Tensor, "b s"]:
    """Mean norm of the third difference of global joints, in 10 m/s^3 (GVHMR's table unit).

    `corrected` leaves out quadruples of frames that span a gap of the mask.
    """
    third = difference(joints, frame_mask, 3, _gaps(convention))
    return torch.linalg.vector_norm(third, dim=-1).mean(-1) * fps**3 / 10


def foot_sliding_mm(
    predicted: Float[Tensor, "b t v 3"],
    truth: Float[Tensor, "b t v 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    threshold_m: float = 0.01,
    convention: Convention = "reference",
) -> Float[Tensor, "b s v"]:
    """Displacement per frame of predicted foot points while the true ones rest, in mm (FS).

    NaN where the true point moves `threshold_m` or more: pooling then gives the published mean
    over contact entries, and NaN where the truth never rests. `corrected` leaves out pairs of
    frames that span a gap of the mask.

    Args:
        predicted: foot points, for SMPL `SMPL_FOOT_VERTICES`, in metres.
        truth: the same of the truth.
        frame_mask: valid frames.
        threshold_m: displacement per frame below which a true point rests.
        convention: see above.
    """
    gaps = _gaps(convention)
    moved = torch.linalg.vector_norm(difference(predicted, frame_mask, 1, gaps), dim=-1)
    true = torch.linalg.vector_norm(difference(truth, frame_mask, 1, gaps), dim=-1)
    return torch.where(true < threshold_m, 1000 * moved, moved.new_full((), torch.nan))


def penetration_mm(
    points: Float[Tensor, "b t v 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    ground_m: float = 0.0,
    tolerance_m: float = 0.005,
) -> Float[Tensor, "b t"]:
    """Depth of the lowest point below the ground, in mm (PhysDiff, Yuan et al. 2023).

    Args:
        points: vertices or joints.
        frame_mask: valid frames.
        ground_m: height of the ground.
        tolerance_m: depth that counts as contact.
    """
    depth = ground_m - finite(points, frame_mask)[..., 1].amin(-1)
    return valid_only(1000 * (depth - tolerance_m).clamp(min=0), frame_mask)


def floating_mm(
    points: Float[Tensor, "b t v 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    ground_m: float = 0.0,
    tolerance_m: float = 0.005,
) -> Float[Tensor, "b t"]:
    """Height of the lowest point above the ground, in mm (PhysDiff, Yuan et al. 2023)."""
    height = finite(points, frame_mask)[..., 1].amin(-1) - ground_m
    return valid_only(1000 * (height - tolerance_m).clamp(min=0), frame_mask)


def pfc(
    joints: Float[Tensor, "b t 24 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    fps: float = 30.0,
    convention: Literal["reference", "motion_critic", "corrected"] = "reference",
) -> Float[Tensor, "b"]:
    """Physical foot contact score per clip (EDGE, Tseng et al. 2023, section 5); less is better.

    Mean over frames of (slower of left ankle and toe) x (the same, right) x (root acceleration
    over its largest value), where speeds are horizontal displacements per frame and downward
    acceleration is free.

    Args:
        joints: SMPL's joints in metres, y up.
        frame_mask: valid frames.
        fps: frames per second; only `corrected` uses it.
        convention: `reference` is EDGE's, times 10,000; `motion_critic` lacks that factor and
            counts downward acceleration; `corrected` measures displacements per 1/30 s whatever
            the frame rate, gives 0 (not NaN) where the root never accelerates, and compares true
            neighbors only.

    Returns:
        NaN for a clip with fewer than three valid frames.
    """
    gaps: Gaps = "adjacent" if convention == "corrected" else "joined"
    root = difference(joints[:, :, 0], frame_mask, 2, gaps)
    if convention != "motion_critic":
        root = torch.stack((root[..., 0], root[..., 1].clamp(min=0), root[..., 2]), -1)
    acceleration = torch.linalg.vector_norm(root, dim=-1)
    feet = difference(joints[:, :, list(FEET)], frame_mask, 1, gaps)[:, 1:]
    speed = torch.linalg.vector_norm(feet[..., [0, 2]], dim=-1).unflatten(-1, (2, 2)).amin(-1)
    if not acceleration.shape[1]:
        return joints.new_full((len(joints),), torch.nan)
    largest = acceleration.nan_to_num(nan=0.0).amax(1, keepdim=True)
    relative = acceleration / largest
    if convention == "corrected":
        relative = torch.where(largest > 0, relative, 0 * acceleration)
        speed = speed * fps / 30
    factor = 1.0 if convention == "motion_critic" else 10_000.0
    return factor * (speed.prod(-1) * relative).nanmean(1)
