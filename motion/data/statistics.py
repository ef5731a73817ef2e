"""Mean and standard deviation of features over a data set, in one pass."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Per feature, over every valid frame."""

    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]
    """Population standard deviation; 1 where a feature never varies, so that dividing is safe."""

    def normalize(self, features: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Zero mean and unit deviation per feature."""
        return (features - self.mean.to(features)) / self.std.to(features)

    def denormalize(self, features: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The inverse of `normalize`."""
        return features * self.std.to(features) + self.mean.to(features)

    def save(self, path: Path | str) -> None:
        """Write a safetensors file."""
        save_file({"mean": self.mean.contiguous(), "std": self.std.contiguous()}, path)

    @staticmethod
    def load(path: Path | str) -> "Statistics":
        """Read what `save` wrote."""
        tensors = load_file(path)
        return Statistics(tensors["mean"], tensors["std"])


class FeatureStatistics(BaseModel):
    """Mean and deviation of the training clips' features, as numbers of a config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mean: tuple[float, ...] = Field(repr=False)
    """Per feature."""
    std: tuple[float, ...] = Field(repr=False)
    """Per feature; positive."""

    @staticmethod
    def of(statistics: Statistics) -> "FeatureStatistics":
        """The statistics as numbers of a config."""
        return FeatureStatistics(
            mean=tuple(statistics.mean.tolist()), std=tuple(statistics.std.tolist())
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the numbers in float32."""
        numbers = torch.tensor([self.mean, self.std], dtype=torch.float32)
        return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


def fit_statistics(
    batches: Iterable[tuple[Float[Tensor, "_ _ d"], Bool[Tensor, "_ _"]]],
) -> Statistics:
    """Statistics of features (b, t, d) where their mask (b, t) is True; b and t may vary.

    Batches are merged in float64 (Chan et al. 1979), so that a large mean costs no precision.

    Raises:
        ValueError: no valid frame, or features that are not finite.
    """
    count = 0
    mean = torch.zeros(0, dtype=torch.float64)
    scatter = torch.zeros(0, dtype=torch.float64)
    for features, mask in batches:
        rows = features[mask].double()
        if len(rows) == 0:
            continue
        if not torch.isfinite(rows).all():
            raise ValueError("features hold NaN or infinity: mask or drop those frames first")
        if count == 0:
            mean, scatter = torch.zeros_like(rows[0]), torch.zeros_like(rows[0])
        new_mean = rows.mean(0)
        delta = new_mean - mean
        total = count + len(rows)
        scatter = scatter + (rows - new_mean).square().sum(0)
        scatter = scatter + delta.square() * count * len(rows) / total
        mean = mean + delta * len(rows) / total
        count = total
    if count == 0:
        raise ValueError("no valid frame to take statistics of: check the masks and the split")
    std = (scatter / count).sqrt()
    constant = std <= 1e-8 * (1 + mean.abs())
    return Statistics(mean.float(), torch.where(constant, 1.0, std).float())
