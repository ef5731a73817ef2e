"""A non-linear readout fitted in closed form: random features, then reduced-rank ridge regression.

Features of an input x (Rahimi and Recht 2008; with a rectifier, an extreme learning machine):

    phi(x) = [1, x, relu(W' x + b)],    W, b random and kept.

Ridge regression onto targets y, with A = sum phi phi' + ridge I = L L' and B = sum phi y', has the
solution S = A^-1 B. Among all matrices of rank r, the one that loses least of the fitted values is
(Izenman 1975)

    S_r = (L'^-1 U) (U' L^-1 B) = E G,    U: leading r eigenvectors of (L^-1 B) (L^-1 B)'.

E is kept in 16 bits and G in 8, which together with r is what makes it small.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int8
from scipy.sparse import csr_matrix, vstack
from torch import Tensor, nn

_FLUSH_ROWS = 4096
_UNIT = 32.0
"""Integer steps per standard deviation of the random weights."""
_GAIN, _BIAS = 1.5, 0.5
"""Standard deviations of W' x (for x of unit variance) and of b."""


class RandomFeatures(nn.Module):
    """phi(x) above; `weight` says how far each input counts in W."""

    projection: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        projection: Int8[Tensor, "n f"],
        weight: Float[Tensor, "n"],
        bias: Float[Tensor, "f"],
    ) -> None:
        super().__init__()
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    @staticmethod
    def draw(weight: Float[Tensor, "n"], features: int) -> "RandomFeatures":
        """Always the same numbers for the same sizes."""
        random = np.random.default_rng(0)
        normal = random.standard_normal((len(weight), features)) * _UNIT
        projection = torch.from_numpy(normal.round().clip(-127, 127).astype(np.int8))
        bias = torch.from_numpy(random.standard_normal(features) * _BIAS).float()
        scale = _GAIN / _UNIT / float(weight.square().sum().sqrt())
        return RandomFeatures(projection, weight.float() * scale, bias)

    def forward(self, x: Float[Tensor, "cells n"]) -> Float[Tensor, "cells d"]:
        """d = 1 + n + f."""
        random = torch.relu(torch.addmm(self.bias, x * self.weight, self.projection.float()))
        return torch.cat([torch.ones_like(x[:, :1]), x, random], dim=1)


class Factors(NamedTuple):
    """E and G of the module's equations; G = integers times one scale per row."""

    reduce: Float[Tensor, "d r"]
    expand: Int8[Tensor, "r y"]
    scale: Float[Tensor, "r"]


class RidgeSums:
    """A and B of the module's equations, streamed; targets are sparse."""

    def __init__(self, dim: int, targets: int) -> None:
        self.rows = 0
        self._gram = torch.zeros(dim, dim, dtype=torch.float64)
        self._cross = np.zeros((targets, dim), np.float32)
        self._features: list[Float[Tensor, "cells d"]] = []
        self._targets: list[csr_matrix] = []

    def add(self, features: Float[Tensor, "cells d"], targets: csr_matrix) -> None:
        """Add examples. Products are made of many at once: B is too large to pass over often."""
        self._features.append(features)
        self._targets.append(targets)
        if sum(map(len, self._features)) >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._features:
            return
        features = torch.cat(self._features)
        self._gram += (features.T @ features).double()
        self._cross += csr_matrix(vstack(self._targets)).T.tocsr() @ features.numpy()
        self.rows += len(features)
        self._features, self._targets = [], []

    def solve(self, ridge: float, rank: int) -> Factors:
        """Reduced-rank ridge regression; the constant feature is not shrunk."""
        self._flush()
        shrink = torch.full((len(self._gram),), ridge, dtype=torch.float64)
        shrink[0] = 1e-6
        lower = torch.linalg.cholesky(self._gram + shrink.diag())
        cross = torch.from_numpy(self._cross).T
        white = torch.linalg.solve_triangular(lower.float(), cross, upper=False)
        _, vectors = torch.linalg.eigh((white @ white.T).double())
        leading = vectors[:, -rank:].flip(-1)
        reduce = torch.linalg.solve_triangular(lower.T, leading, upper=True)
        expand = leading.float().T @ white
        # Columns of E at most 1: far inside the range of 16 bits.
        top = reduce.abs().amax(0).clamp_min(1e-30)
        expand = expand * top.float()[:, None]
        scale = expand.abs().amax(1).clamp_min(1e-30) / 127
        quantized = (expand / scale[:, None]).round().to(torch.int8)
        return Factors((reduce / top).half(), quantized, scale)


class Readout(nn.Module):
    """y = phi(x) E G."""

    reduce: Tensor
    expand: Tensor
    scale: Tensor

    def __init__(self, factors: Factors) -> None:
        super().__init__()
        for name, value in factors._asdict().items():
            self.register_buffer(name, value, persistent=False)

    def coefficients(self, features: Float[Tensor, "cells d"]) -> Float[Tensor, "cells r"]:
        """phi(x) E, times the scale of the rows of G."""
        return features @ self.reduce.float() * self.scale

    def forward(self, coefficients: Float[Tensor, "cells r"]) -> Float[Tensor, "cells y"]:
        """The targets."""
        return coefficients @ self.expand.float()
