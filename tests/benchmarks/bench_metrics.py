"""Metrics: FID against scipy's sqrtm, a text-to-motion row, dance features against frame loops.

    [OMP_NUM_THREADS=2] python tests/benchmarks/bench_metrics.py [--rounds 3]

Quote the ratio of CPU times on a busy machine, of wall times on a quiet one.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "2")

import dance_loops
import numpy as np
import scipy.linalg
import torch
from alternation import alternate, print_ratios

from motion.metrics.dance_features import geometric_features, kinetic_features
from motion.metrics.distribution import Gaussian, frechet_distance
from motion.metrics.text_to_motion import TextToMotionConfig, text_to_motion


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
    centered = [(side - side.mean(0)).numpy() for side in (real, made)]

    def from_covariances() -> float:
        factor = np.linalg.cholesky(covariances[0])
        product, _ = scipy.linalg.lapack.dsygst(covariances[1].T, factor.T, itype=2)
        return float(np.sqrt(np.linalg.eigvalsh(product.T).clip(0)).sum())

    print_ratios(
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
    print_ratios(
        "whole FID, n = 4,000, d = 512",
        alternate(
            rounds,
            published=lambda: published_fid(real.numpy(), made.numpy()),
            ours=lambda: frechet_distance(real, made),
            ours_with_the_real_side_given=lambda: frechet_distance(first, made),
            the_two_products_of_the_covariances_alone=lambda: (
                centered[0].T @ centered[0],
                centered[1].T @ centered[1],
            ),
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

    print_ratios(
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

    print_ratios(
        "kinetic and geometric features, 300 frames", alternate(rounds, loops=loops, ours=ours)
    )


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
