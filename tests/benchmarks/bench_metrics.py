"""Metrics: FID against scipy's sqrtm, a text-to-motion row, dance features against frame loops.

    [OMP_NUM_THREADS=2] python tests/benchmarks/bench_metrics.py [--rounds 3]

Alternatives run in turn in one process. Wall and process CPU time stand side by side, because a
busy neighbor stretches the first only: quote the ratio of CPU times on a busy machine.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "2")

import dance_loops
import numpy as np
import scipy.linalg
import torch

from motion.metrics.dance_features import geometric_features, kinetic_features
from motion.metrics.distribution import Gaussian, frechet_distance
from motion.metrics.text_to_motion import TextToMotionConfig, text_to_motion


class Cost(NamedTuple):
    """Least seconds over the rounds."""

    wall: float
    cpu: float


def alternate(rounds: int, **actions: Callable[[], object]) -> dict[str, Cost]:
    """Least seconds of each action, run in turn; the first round warms up and is not counted."""
    measured: dict[str, list[Cost]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            measured[name].append(Cost(time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Cost(min(c.wall for c in costs[1:]), min(c.cpu for c in costs[1:]))
        for name, costs in measured.items()
    }


def table(title: str, costs: dict[str, Cost]) -> None:
    """Markdown rows; ratios are to the first."""
    base = next(iter(costs.values()))
    print(f"\n**{title}**\n\n| | wall ms | CPU ms | x faster (wall) | x faster (CPU) |")
    print("|---|---:|---:|---:|---:|")
    for name, cost in costs.items():
        wall, cpu = base.wall / cost.wall, base.cpu / cost.cpu
        row = f"{1e3 * cost.wall:.1f} | {1e3 * cost.cpu:.1f} | {wall:.1f} | {cpu:.1f}"
        print(f"| {name.replace('_', ' ')} | {row} |")


def sqrtm_trace(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.trace(scipy.linalg.sqrtm(a @ b).real))


def published_fid(x: np.ndarray, y: np.ndarray) -> float:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(a) + np.trace(b) - 2 * sqrtm_trace(a, b))


def bench_fid(rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(512, 512, generator=generator, dtype=torch.float64) / 512**0.5
    real = torch.randn(4000, 512, generator=generator, dtype=torch.float64) @ mix
    made = 1.1 * torch.randn(4000, 512, generator=generator, dtype=torch.float64) @ mix + 0.1
    first, second = Gaussian.of(real), Gaussian.of(made)
    ours, theirs = frechet_distance(real, made), published_fid(real.numpy(), made.numpy())
    print(f"FID {ours:.10f} against {theirs:.10f}: relative {abs(ours / theirs - 1):.1e}")
    assert abs(ours / theirs - 1) < 1e-8
    covariances = first.covariance, second.covariance

    def from_covariances() -> float:
        factor = np.linalg.cholesky(covariances[0])
        return float(np.sqrt(np.linalg.eigvalsh(factor.T @ covariances[1] @ factor).clip(0)).sum())

    table(
        "trace of the square root, d = 512, covariances given",
        alternate(
            rounds,
            scipy_sqrtm_of_the_product=lambda: sqrtm_trace(*covariances),
            one_factorization_and_eigenvalues=from_covariances,
            singular_values_of_two_factors=lambda: np.linalg.svd(
                first.factor.T @ second.factor, compute_uv=False
            ),
        ),
    )
    table(
        "whole FID, n = 4,000, d = 512",
        alternate(
            rounds,
            published=lambda: published_fid(real.numpy(), made.numpy()),
            ours=lambda: frechet_distance(real, made),
            ours_with_the_real_side_given=lambda: frechet_distance(first, made),
        ),
    )


def bench_row(rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 4384, 512, generator=generator)
    made = text + 0.5 * torch.randn(1, 4384, 512, generator=generator)
    real = text + 0.4 * torch.randn(1, 4384, 512, generator=generator)
    varied = made + 0.1 * torch.randn(20, 4384, 512, generator=generator)
    several = torch.randn(1, 100, 30, 512, generator=generator)
    config = TextToMotionConfig(repeats=20)

    def row(motions: torch.Tensor) -> Callable[[], object]:
        return lambda: text_to_motion(text, motions, real, config=config, multimodal=several)

    table(
        "text-to-motion row, 4,384 clips x 20 repeats, features given",
        alternate(rounds, other_samples_in_each_repeat=row(varied), one_set_of_samples=row(made)),
    )


def bench_dance(rounds: int) -> None:
    steps = torch.randn(1, 300, 24, 3, generator=torch.Generator().manual_seed(0)) / 100
    clip = (steps.cumsum(1) + torch.rand(1, 1, 24, 3)).double()
    array = clip[0].numpy()
    assert np.allclose(kinetic_features(clip)[0].numpy(), dance_loops.kinetic(array, faulty=True))
    assert np.allclose(geometric_features(clip)[0].numpy(), dance_loops.geometric(array))

    def loops() -> None:
        dance_loops.kinetic(array, faulty=True)
        dance_loops.geometric(array)

    def ours() -> None:
        kinetic_features(clip)
        geometric_features(clip)

    table("kinetic and geometric features, 300 frames", alternate(rounds, loops=loops, ours=ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds per comparison")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with torch.no_grad():
        bench_fid(rounds)
        bench_row(rounds)
        bench_dance(rounds)
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
