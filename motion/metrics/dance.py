"""Dance metrics on kinetic or geometric features, and beat alignment (AIST++, Bailando, GENMO).

Published clips: frames 120 to 1320 (mint), the first 1,200 frames at 60 fps less the root of frame
0 (Bailando), 5 s at 30 fps (EDGE); GENMO does not say. State which one a number has.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.metrics.dance_features import clip_lengths
from motion.metrics.distribution import all_pairs_distance, frechet_distance
from motion.metrics.frames import full_mask


class DanceScores(NamedTuple):
    """FID and diversity in one feature space: FID_k and Div_k, or FID_g and Div_g."""

    fid: float
    """Fréchet distance of the standardized features."""
    diversity: float
    """Mean distance over all pairs of generated clips."""
    real_diversity: float
    """The same of the real clips, which generated ones should match."""


def dance_scores(
    real: Float[Tensor, "n f"],
    generated: Float[Tensor, "m f"],
    *,
    convention: Literal["reference", "corrected"] = "reference",
) -> DanceScores:
    """FID and diversity of features, both sets standardized with the real mean and deviation.

    Args:
        real: kinetic or geometric features of real clips.
        generated: those of generated clips.
        convention: `reference` divides by the deviation (ddof 0) + 1e-10, so that a feature that
            is constant in the real set outweighs all others; `corrected` leaves such ones out.

    Raises:
        ValueError: fewer than two clips on a side, or no feature varies (`corrected`).
    """
    real, generated = real.double(), generated.double()
    mean, deviation = real.mean(0), real.std(0, correction=0)
    if convention == "corrected":
        varies = deviation > 1e-6 * (1 + mean.abs())  # float32 features round at 1e-7
        if not bool(varies.any()):
            raise ValueError("no feature varies among the real clips: give other clips")
        mean, deviation = mean[varies], deviation[varies]
        real, generated = real[:, varies], generated[:, varies]
    else:
        deviation = deviation + 1e-10
    a, b = (real - mean) / deviation, (generated - mean) / deviation
    return DanceScores(frechet_distance(a, b), all_pairs_distance(b), all_pairs_distance(a))


def kinematic_beats(
    joints: Float[Tensor, "b t j 3"],
    frame_mask: Bool[Tensor, "b t"] | None = None,
    *,
    smoothing_frames: float = 5.0,
) -> Bool[Tensor, "b t"]:
    """Frames in which the smoothed mean joint speed has a strict local minimum.

    The speed at frame i is the displacement to frame i + 1. A Gaussian smooths it; beyond its ends
    the curve is mirrored (scipy's `reflect`, 4 deviations wide).

    Args:
        joints: clips.
        frame_mask: valid frames, without gaps.
        smoothing_frames: standard deviation of the Gaussian, in frames whatever the frame rate.

    Raises:
        ValueError: fewer than two frames, a gap, or values that are not finite.
    """
    lengths = clip_lengths(joints, frame_mask, 2) - 1
    speed = torch.linalg.vector_norm(joints.diff(dim=1), dim=-1).mean(-1)
    smooth = _smooth(speed, lengths, smoothing_frames)
    lower = torch.zeros_like(full_mask(joints, frame_mask))
    least = (smooth[:, 1:-1] < smooth[:, :-2]) & (smooth[:, 1:-1] < smooth[:, 2:])
    inside = torch.arange(1, speed.shape[1] - 1, device=speed.device) < lengths[:, None] - 1
    lower[:, 1 : 1 + least.shape[1]] = least & inside
    return lower


def _smooth(
    curve: Float[Tensor, "b s"], lengths: Int[Tensor, "b"], deviation: float
) -> Float[Tensor, "b s"]:
    radius = int(4 * deviation + 0.5)
    offset = torch.arange(-radius, radius + 1, device=curve.device)
    weight = torch.exp(-0.5 * (offset.to(curve.dtype) / deviation).square())
    place = torch.arange(curve.shape[1], device=curve.device)[:, None] + offset
    period = 2 * lengths[:, None, None]
    place = place.remainder(period)  # mirrored at both ends, again and again
    place = torch.minimum(place, period - 1 - place)
    taken = curve[torch.arange(len(curve), device=curve.device)[:, None, None], place]
    return (taken * (weight / weight.sum())).sum(-1)


def beat_alignment(
    kinematic: Bool[Tensor, "b t"],
    music: Bool[Tensor, "b t"],
    *,
    convention: Literal["music", "kinematic"] = "music",
    sigma_frames: float = 3.0,
) -> Float[Tensor, "b"]:
    """Beat alignment score per clip: mean of exp(-d^2 / (2 sigma^2)), d to the nearest other beat.

    Args:
        kinematic: frames with a kinematic beat.
        music: frames with a music beat.
        convention: `music` averages over music beats, as Bailando's and GENMO's code; `kinematic`
            over kinematic beats, as the AIST++ paper defines it.
        sigma_frames: tolerance in frames: 3 at 60 fps in Bailando; 3 at 30 fps in GENMO, which is
            twice as long.

    Returns:
        0 for a clip that has beats to average over but none to meet, NaN for one without them.
    """
    own, other = (music, kinematic) if convention == "music" else (kinematic, music)
    score = torch.exp(-_distance_to(other).square() / (2 * sigma_frames**2))
    return torch.where(own, score, score.new_zeros(())).sum(1) / own.sum(1)


def _distance_to(beats: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Frames to the nearest beat; infinite without one."""
    far = torch.inf
    frame = torch.arange(beats.shape[1], device=beats.device, dtype=torch.get_default_dtype())
    before = torch.where(beats, frame, -far).cummax(1).values
    after = torch.where(beats, frame, far).flip(1).cummin(1).values.flip(1)
    return torch.minimum(frame - before, after - frame)
