"""The seven terms of K2M's tokenizer, per clip (section 3.3 of the paper)."""

import functools
import json
from importlib import resources

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.pose_prior import PosePrior
from motion.losses import mean_over_valid
from motion.models.k2m.config import LossConfig
from motion.models.k2m.keypoints import Keypoints
from motion.models.k2m.smpl_head import Projection, Smpl

LIMITS_FILE = "pose_limits.json"


def keypoint_terms(
    found: Projection, target: Keypoints, config: LossConfig
) -> dict[str, Float[Tensor, "b"]]:
    """Terms in pixels: rec, vel, smooth and boundary.

    Args:
        found: keypoints of the predicted body.
        target: the clip's.
        config: what counts.
    """
    sure = (target.confidence >= config.min_confidence) & found.seen & target.mask[..., None]
    error = (found.xy - target.xy).abs()
    moved = found.xy.diff(dim=1)
    pairs = target.mask[:, 1:] & target.mask[:, :-1]
    change = (moved - target.xy.diff(dim=1)).abs()
    last = (target.mask.sum(1) - 1).clamp(min=0)
    clip = torch.arange(len(last), device=last.device)
    ends = mean_over_valid(error[:, 0], sure[:, 0]) + mean_over_valid(
        error[clip, last], sure[clip, last]
    )
    return {
        "rec": _mean(error, sure, target.mask, config),
        "vel": _mean(change, sure[:, 1:] & sure[:, :-1], pairs, config),
        "smooth": mean_over_valid(moved.abs(), pairs),
        "boundary": ends,
    }


def _mean(
    error: Float[Tensor, "b t 17 2"],
    sure: Bool[Tensor, "b t 17"],
    frames: Bool[Tensor, "b t"],
    config: LossConfig,
) -> Float[Tensor, "b"]:
    """Mean over the keypoints that count, or over all of the clip's with zeros for the others."""
    if config.reduction == "masked_mean":
        return mean_over_valid(error, sure)
    return mean_over_valid(torch.where(sure[..., None], error, 0.0), frames)


def body_terms(
    smpl: Smpl, mask: Bool[Tensor, "b t"], config: LossConfig
) -> dict[str, Float[Tensor, "b"]]:
    """Terms of the body: pose (mean excess per component, radians) and shape (equations 8, 9)."""
    low, high = pose_limits(config.limits)
    pose = smpl.rotvec[:, :, 1:]
    beyond = (pose - high.to(pose)).clamp(min=0) + (low.to(pose) - pose).clamp(min=0)
    shape = (smpl.betas.abs().mean(-1) - config.max_shape).clamp(min=0)
    return {"pose": mean_over_valid(beyond, mask), "shape": mean_over_valid(shape, mask)}


@functools.lru_cache(maxsize=2)
def pose_limits(kind: str) -> tuple[Float[Tensor, "23 3"], Float[Tensor, "23 3"]]:
    """Least and largest axis-angle components of joints 1 to 23, radians.

    `measured` is the shipped table of motion/data/pose_limits.py; `anatomical` the fitter's.
    """
    if kind == "anatomical":
        prior = PosePrior.anatomical()
        return prior.low, prior.high
    table = json.loads((resources.files("motion.models.k2m") / LIMITS_FILE).read_text())
    return torch.tensor(table["low_rad"]), torch.tensor(table["high_rad"])
