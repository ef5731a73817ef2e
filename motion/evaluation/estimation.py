"""Motions against the real ones: the metrics of WHAM, GVHMR and GENMO with intervals over clips."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.model import BodyModel, motion_joints, motion_vertices
from motion.metrics.interval import Interval
from motion.metrics.physics import foot_sliding_mm, jitter
from motion.metrics.pose import accel_error, mpjpe_mm, pa_mpjpe_mm, pve_mm
from motion.metrics.trajectory import rte_percent, world_mpjpe_mm
from motion.sequence import Motion

Sums = Mapping[str, Float[Tensor, "_ 2"]]
"""Per clip: sum of a metric's defined entries, and how many there are."""


def estimation_sums(
    predicted: Motion, truth: Motion, mask: Bool[Tensor, "b t"], body: BodyModel
) -> Sums:
    """Metrics of a chunk; both motions at one frame rate, in world frames, metres.

    Raises:
        ValueError: other frame rates.
    """
    if abs(predicted.fps - truth.fps) > 0.01:
        raise ValueError(
            f"predicted motions run at {predicted.fps:g} fps, the real ones at {truth.fps:g}: "
            "resample one of them first"
        )
    made, real = motion_joints(body, predicted), motion_joints(body, truth)
    made_surface, real_surface = motion_vertices(body, predicted), motion_vertices(body, truth)
    feet = body.contact_vertices
    values = {
        "pa_mpjpe": pa_mpjpe_mm(made, real, mask),
        "mpjpe": mpjpe_mm(made, real, mask),
        "pve": pve_mm(made_surface, real_surface, made, real, mask),
        "accel": accel_error(made, real, mask, fps=truth.fps),
        "wa_mpjpe_100": world_mpjpe_mm(made, real, mask, align="all"),
        "w_mpjpe_100": world_mpjpe_mm(made, real, mask, align="start"),
        "rte": rte_percent(made[:, :, 0], real[:, :, 0], mask),
        "jitter": jitter(made, mask, fps=truth.fps),
        "foot_sliding": foot_sliding_mm(made_surface[:, :, feet], real_surface[:, :, feet], mask),
    }
    return {name: _sums(value) for name, value in values.items()}


def real_sums(truth: Motion, mask: Bool[Tensor, "b t"], body: BodyModel) -> Sums:
    """What the real motions themselves score where that is not zero by definition."""
    feet = motion_vertices(body, truth, body.contact_vertices)
    return {
        "jitter": _sums(jitter(motion_joints(body, truth), mask, fps=truth.fps)),
        "foot_sliding": _sums(foot_sliding_mm(feet, feet, mask)),
    }


def _sums(values: Float[Tensor, "b *rest"]) -> Float[Tensor, "b 2"]:
    flat = values.flatten(1).double()
    known = torch.isfinite(flat)
    return torch.stack([flat.where(known, 0.0).sum(1), known.sum(1).double()], 1)


def pooled_intervals(chunks: Sequence[Sums]) -> dict[str, Interval]:
    """Mean over all frames of all clips, with its 95 % interval over clips (`pooled_interval`)."""
    return {
        name: pooled_interval(torch.cat([chunk[name] for chunk in chunks])) for name in chunks[0]
    }


def pooled_interval(
    sums: Float[Tensor, "n 2"], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Sum over clips over count over clips, with a percentile bootstrap over clips.

    Frames of a clip are not independent, so clips are what is drawn. The mean is NaN where no clip
    has a defined entry, the bounds where fewer than two have one.
    """
    known = sums[sums[:, 1] > 0].double().cpu()
    n = len(known)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    total = known.sum(0)
    mean = float(total[0] / total[1])
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), n)
    generator = torch.Generator().manual_seed(seed)
    drawn = known[torch.randint(n, (resamples, n), generator=generator)].sum(1)
    ratio = drawn[:, 0] / drawn[:, 1]
    low, high = torch.quantile(ratio, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(mean, low, high, n)
