"""What an ablation's cells say about a paper's claims: paired differences, intervals, verdicts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student

from motion.metrics.interval import Interval
from tuning.ablations import MIN_SEEDS, AblationTable, Claim

Results = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Metrics by preset and seed."""
Verdict = Literal["reproduced", "contrary", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A claim and what the cells say about it."""

    claim: Claim
    gain: Interval
    """Paired difference over seeds, positive where `better` is better."""
    verdict: Verdict


def outcomes(table: AblationTable, results: Results) -> list[Outcome]:
    """Paired difference over the seeds of every claim, with a 95 % interval, and its verdict."""
    found: list[Outcome] = []
    for claim in table.claims:
        better, worse = results[claim.better], results[claim.worse]
        sign = 1.0 if claim.direction == "higher" else -1.0
        gains = [
            sign * (better[seed][claim.metric] - worse[seed][claim.metric])
            for seed in sorted(set(better) & set(worse))
        ]
        gain = seed_interval(gains)
        found.append(Outcome(claim=claim, gain=gain, verdict=verdict(gain)))
    return found


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean with its 95 % interval by Student's t: seeds are few, so no bootstrap.

    Raises:
        ValueError: fewer than `MIN_SEEDS` values.
    """
    n = len(values)
    if n < MIN_SEEDS:
        raise ValueError(f"{n} seeds in common; an interval needs at least {MIN_SEEDS}: run more")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(student.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def verdict(gain: Interval) -> Verdict:
    """`reproduced` where the whole interval is on the paper's side, `contrary` on the other."""
    if gain.low > 0:
        return "reproduced"
    return "contrary" if gain.high < 0 else "undecided"


def render(table: AblationTable, results: Results) -> str:
    """The table and its claims as Markdown."""
    seeds = sorted(next(iter(results.values())))
    lines = [f"# {table.name}", ""]
    lines += [table.note, ""] if table.note else []
    lines += [f"Seeds {', '.join(map(str, seeds))}; mean over seeds ± 95 % (Student's t).", ""]
    lines += ["| preset | " + " | ".join(table.metrics.values()) + " |"]
    lines += ["|---" * (len(table.metrics) + 1) + "|"]
    for preset, cells in results.items():
        shown = [_shown(cells, metric) for metric in table.metrics]
        lines.append(f"| {preset} | " + " | ".join(shown) + " |")
    lines += ["", "| the paper's claim | metric | paired gain | 95 % interval | seeds | verdict |"]
    lines += ["|---|---|---|---|---|---|"]
    for found in outcomes(table, results):
        claim, gain = found.claim, found.gain
        lines.append(
            f"| {claim.better} over {claim.worse} ({claim.source}) | {table.metrics[claim.metric]} "
            f"| {gain.mean:+.4g} | {gain.low:+.4g} to {gain.high:+.4g} | {gain.n} | "
            f"{found.verdict} |"
        )
    return "\n".join(lines) + "\n"


def _shown(cells: Mapping[int, Mapping[str, float]], metric: str) -> str:
    """Mean and half interval, or a dash where no cell of the preset has the metric."""
    if not any(metric in values for values in cells.values()):
        return "-"
    mean, low, high, _ = seed_interval([cells[seed][metric] for seed in sorted(cells)])
    return f"{mean:.4g} ± {(high - low) / 2:.2g}"


def flat_metrics(table: AblationTable, results: Results) -> dict[str, float]:
    """Means per preset and gains per claim under names for MLflow."""
    flat: dict[str, float] = {}
    for preset, cells in results.items():
        for metric in table.metrics:
            if not any(metric in values for values in cells.values()):
                continue
            flat[f"{preset}/{metric}"] = seed_interval([c[metric] for c in cells.values()]).mean
    for found in outcomes(table, results):
        claim, gain = found.claim, found.gain
        name = f"gain/{claim.better}_over_{claim.worse}/{claim.metric}"
        flat |= {name: gain.mean, f"{name}_low": gain.low, f"{name}_high": gain.high}
    return flat
