"""Distances between sets of embeddings: FID with its size bias, Diversity, MultiModality.

Definitions: text-to-motion (Guo et al. 2022), whose metrics MDM, MoMask and CrossDiff share.
Embeddings are raw (not normalized), one row per clip.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from scipy.linalg import lapack
from torch import Tensor

Convention = Literal["reference", "corrected"]

WELL_CONDITIONED = 1e5
"""Largest ratio of a Cholesky factor's diagonal for which eigenvalues keep 8 digits of the sum of
their square roots; beyond it, singular values of the factors are taken."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of a set of embeddings, with what FID needs of them."""

    mean: Float64[np.ndarray, "d"]
    covariance: Float64[np.ndarray, "d d"]
    """Unbiased (ddof 1), as `np.cov`."""
    n: int
    """Rows of the set."""
    factor: Float64[np.ndarray, "d k"]
    """factor @ factor.T is the covariance; lower triangular unless it is rank-deficient."""
    conditioned: bool
    """Whether the factor is a Cholesky factor of a well-conditioned covariance."""

    @staticmethod
    def of(embeddings: Float[Tensor, "n d"]) -> "Gaussian":
        """Statistics of a set.

        Raises:
            ValueError: fewer than two rows, or a value that is not finite.
        """
        if len(embeddings) < 2:
            raise ValueError(f"FID needs at least 2 embeddings per set, got {len(embeddings)}")
        given = embeddings.detach().cpu().numpy()
        mean = given.mean(0, dtype=np.float64)
        if not np.isfinite(mean).all():
            raise ValueError("embeddings hold NaN or infinity: look at the clips that gave them")
        rows = given - mean
        covariance = rows.T @ rows  # BLAS computes one triangle of a product with itself
        covariance /= len(rows) - 1
        if len(rows) > rows.shape[1]:
            try:
                factor = np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:  # rank-deficient though n > d, such as constant columns
                return Gaussian(mean, covariance, len(rows), _root(covariance), conditioned=False)
            diagonal = np.diag(factor)
            good = bool(diagonal.max() < WELL_CONDITIONED * diagonal.min())
            return Gaussian(mean, covariance, len(rows), factor, conditioned=good)
        factor = rows.T / np.sqrt(len(rows) - 1)
        return Gaussian(mean, covariance, len(rows), factor, conditioned=False)


def _root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0))


def frechet_distance(
    real: Gaussian | Float[Tensor, "n d"], generated: Gaussian | Float[Tensor, "m e"]
) -> float:
    """Squared Fréchet distance of the Gaussians of two sets (FID), sum of squared units.

    |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) (Dowson & Landau 1982). With S = F F^T the
    last trace is the sum of the singular values of F1^T F2, or of the square roots of the
    eigenvalues of F1^T S2 F1. So it is real, needs no matrix square root, and is defined for fewer
    rows than columns. Rounding may leave a tiny negative value, which is not clamped.

    Raises:
        ValueError: the sets have other widths, fewer than two rows, or values that are not finite.
    """
    first = real if isinstance(real, Gaussian) else Gaussian.of(real)
    second = generated if isinstance(generated, Gaussian) else Gaussian.of(generated)
    if len(first.mean) != len(second.mean):
        raise ValueError(
            f"embeddings have {len(first.mean)} and {len(second.mean)} columns: "
            "embed both sets with one evaluator"
        )
    gap = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(gap @ gap + traces - 2 * _cross_trace(first, second))


def _cross_trace(first: Gaussian, second: Gaussian) -> float:
    """Trace of the square root of the product of two covariances."""
    if first.conditioned and second.conditioned:
        # LAPACK's reduction of A B x = l x: U A U^T with B = U^T U, one triangle alone.
        reduce = cast(Any, lapack).dsygst  # made at import, so unknown to its stubs
        product, failed = reduce(second.covariance.T, first.factor.T, itype=2)
        assert not failed, failed
        return float(np.sqrt(np.linalg.eigvalsh(product.T).clip(0)).sum())
    # Square roots of eigenvalues near zero lose half of the digits; singular values lose none.
    return float(np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum())


@dataclass(frozen=True)
class SizeBias:
    """FID of ever larger subsets, and the value that it tends to (Chong & Forsyth 2020)."""

    num_real: tuple[int, ...]
    """Rows of the real subsets."""
    num_generated: tuple[int, ...]
    """Rows of the generated subsets."""
    fid: tuple[float, ...]
    """Mean FID of the subsets of each size; the last has all rows."""
    fid_inf: float
    """Intercept of the line through FID over 1/n: the estimate for infinitely many rows."""
    residual: float
    """Root mean square distance of `fid` from the line: how far to trust the extrapolation."""

    @property
    def bias(self) -> float:
        """What the finite number of rows adds to the FID of the full sets."""
        return self.fid[-1] - self.fid_inf


def size_bias(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    *,
    num_sizes: int = 6,
    smallest: float = 0.25,
    draws: int = 2,
    generator: torch.Generator | None = None,
) -> SizeBias:
    """FID extrapolated to infinite sets, linearly in 1/n.

    Both sides are subsampled by the same share, so the extrapolation removes the bias of both.
    Chong & Forsyth subsample the generated side alone and keep the real side's.

    Args:
        real: real embeddings.
        generated: generated embeddings.
        num_sizes: shares from `smallest` to 1, evenly spaced in 1/n.
        smallest: smallest share of the rows.
        draws: subsets per size; the full sets count once.
        generator: of the subsets; seed 0 unless given.

    Raises:
        ValueError: fewer than two sizes, or the smallest subset has fewer than two rows.
    """
    n, m = len(real), len(generated)
    if num_sizes < 2 or not 0 < smallest < 1 or smallest * min(n, m) < 2:
        raise ValueError(
            f"no extrapolation from {num_sizes} sizes of {smallest} of {n} and {m} rows: "
            "give 2 sizes or more, and a smallest share in (0, 1) with at least 2 rows"
        )
    generator = generator or torch.Generator().manual_seed(0)
    shares = 1 / np.linspace(1 / smallest, 1, num_sizes)
    counts = [(round(share * n), round(share * m)) for share in shares]
    values = [
        np.mean(
            [
                frechet_distance(_subset(real, k, generator), _subset(generated, r, generator))
                for _ in range(draws if k < n else 1)
            ]
        )
        for k, r in counts
    ]
    inverse = 1 / shares
    slope, intercept = np.polyfit(inverse, values, 1)
    residual = float(np.sqrt(np.mean((np.asarray(values) - slope * inverse - intercept) ** 2)))
    return SizeBias(
        num_real=tuple(k for k, _ in counts),
        num_generated=tuple(r for _, r in counts),
        fid=tuple(float(value) for value in values),
        fid_inf=float(intercept),
        residual=residual,
    )


def _subset(
    rows: Float[Tensor, "n d"], count: int, generator: torch.Generator
) -> Float[Tensor, "{count} d"]:
    if count == len(rows):
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]


def diversity(
    embeddings: Float[Tensor, "n d"],
    *,
    num_pairs: int = 300,
    generator: torch.Generator | None = None,
    convention: Convention = "reference",
) -> float:
    """Mean Euclidean distance between clips of one set; the real set's value is the target.

    Args:
        embeddings: one row per clip.
        num_pairs: pairs of the reference; MoMask and CrossDiff take 100 where a set has 300 rows
            or fewer, and 10 below that.
        generator: of the pairs; seed 0 unless given.
        convention: `reference` draws two index sets, each without replacement, and pairs them, so
            that a row may meet itself; `corrected` averages over all pairs of different rows.

    Raises:
        ValueError: too few rows.
    """
    n = len(embeddings)
    if convention == "corrected":
        return all_pairs_distance(embeddings)
    if n <= num_pairs:
        raise ValueError(
            f"{n} embeddings do not fill two draws of {num_pairs}: evaluate more clips, or give "
            "num_pairs=100 as MoMask does"
        )
    first, second = _index_pair(n, num_pairs, generator or torch.Generator().manual_seed(0))
    return float((embeddings[first] - embeddings[second]).norm(dim=1).mean())


def multimodality(
    embeddings: Float[Tensor, "p r d"],
    *,
    num_pairs: int = 10,
    generator: torch.Generator | None = None,
    convention: Convention = "reference",
) -> float:
    """Mean Euclidean distance between r generations of the same prompt, over p prompts.

    Args:
        embeddings: one row per generation; published numbers have r = 30 for 96 to 128 prompts.
        num_pairs: pairs per prompt of the reference.
        generator: of the pairs; seed 0 unless given.
        convention: `reference` draws two index sets once for all prompts, and a generation may
            meet itself; `corrected` averages over all pairs of different generations.

    Raises:
        ValueError: no prompt, or too few generations per prompt.
    """
    prompts, r, _ = embeddings.shape
    if not prompts:
        raise ValueError("MultiModality of no prompt is undefined: give at least one")
    if convention == "corrected":
        if r < 2:
            raise ValueError(f"{r} generation per prompt makes no pair: give at least 2")
        wide = embeddings.double()
        distances = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
        return float(distances.sum((1, 2)).mean() / (r * (r - 1)))
    if r <= num_pairs:
        raise ValueError(
            f"{r} generations per prompt do not fill two draws of {num_pairs}: "
            "generate 30 per prompt, or lower num_pairs"
        )
    first, second = _index_pair(r, num_pairs, generator or torch.Generator().manual_seed(0))
    return float((embeddings[:, first] - embeddings[:, second]).norm(dim=-1).mean())


def _index_pair(
    n: int, count: int, generator: torch.Generator
) -> tuple[Int[Tensor, "{count}"], Int[Tensor, "{count}"]]:
    """Two independent draws without replacement."""
    first = torch.randperm(n, generator=generator)[:count]
    return first, torch.randperm(n, generator=generator)[:count]


def all_pairs_distance(rows: Float[Tensor, "n d"]) -> float:
    """Mean Euclidean distance over all pairs of different rows.

    Raises:
        ValueError: fewer than two rows.
    """
    n = len(rows)
    if n < 2:
        raise ValueError(f"{n} rows make no pair: give at least 2")
    wide = rows.double()
    total = 0.0
    for start in range(0, n, 1024):
        distances = torch.cdist(wide[start : start + 1024], wide)
        total += float(
            distances.sum() - distances.diagonal(start).sum()
        )  # its own is not exactly 0
    return total / (n * (n - 1))
