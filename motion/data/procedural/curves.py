"""Timing curves: how a joint or a foot gets from one value to the next."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float


def ease(progress: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """Minimum-jerk progress from 0 to 1 (Flash and Hogan 1985), clipped outside."""
    x = np.clip(progress, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def ramp(time_s: Float[np.ndarray, "t"], start_s: float, end_s: float) -> Float[np.ndarray, "t"]:
    """0 until `start_s`, 1 from `end_s` on, minimum jerk between."""
    return ease((time_s - start_s) / (end_s - start_s))


def keyed(
    time_s: Float[np.ndarray, "t"], keys: Sequence[tuple[float, float]]
) -> Float[np.ndarray, "t"]:
    """Value through (time in s, value) keys, at rest at each, minimum jerk between."""
    value = np.full_like(time_s, keys[0][1])
    for (start, a), (end, b) in pairwise(keys):
        value = value + (b - a) * ramp(time_s, start, end)
    return value


def pulse(
    time_s: Float[np.ndarray, "t"], start_s: float, peak_s: float, leave_s: float, end_s: float
) -> Float[np.ndarray, "t"]:
    """0, up to 1 between `start_s` and `peak_s`, held until `leave_s`, down to 0 at `end_s`."""
    return ramp(time_s, start_s, peak_s) - ramp(time_s, leave_s, end_s)


def cycles(
    time_s: Float[np.ndarray, "t"], start_s: float, period_s: float, count: float = np.inf
) -> Float[np.ndarray, "t"]:
    """Cosine bumps 0 -> 1 -> 0 of one period each, `count` of them from `start_s` on."""
    phase = (time_s - start_s) / period_s
    inside = (phase > 0) & (phase < count)
    return np.where(inside, 0.5 - 0.5 * np.cos(2 * np.pi * phase), 0.0)


def smooth(
    values: Float[np.ndarray, "t *rest"], sigma_frames: float
) -> Float[np.ndarray, "t *rest"]:
    """Gaussian low-pass over frames, the ends continued by their first and last value."""
    radius = int(np.ceil(3 * sigma_frames))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_frames) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate(
        [np.repeat(values[:1], radius, 0), values, np.repeat(values[-1:], radius, 0)]
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.size, axis=0)
    return windows @ kernel


def peak_hold(values: Float[np.ndarray, "t"], radius_frames: int) -> Float[np.ndarray, "t"]:
    """Largest value within `radius_frames` of each frame."""
    padded = np.pad(values, radius_frames, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * radius_frames + 1).max(-1)
