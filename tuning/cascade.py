"""The cascade baseline on an export: video first, then motion estimated from the video.

    python tuning/cascade.py outputs/exports/comovi-tiny-2 \
        --pose-model usyd-community/vitpose-base-simple --estimator outputs/exports/genmo-tiny

Results: printed, nothing is written: mean joint errors over held-out clips of the cascade, of the
poses that the export makes together with the video, and of the held first pose.
"""

from pathlib import Path
from typing import Annotated

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional

from motion.evaluation.cascade import cascade_errors, detector, estimator
from motion.evaluation.conditions import EvaluationConfig, held_out
from motion.inference import Pipeline


class Recipe(BaseModel):
    """One cascade."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    export: Positional[Path]
    """CoMoVi's, also one that was trained on videos alone."""
    pose_model: str | None = None
    """ViTPose (folder or hub id) that finds keypoints in the generated frames; needed."""
    estimator: Path | None = None
    """GENMO export that makes motion of the keypoints; the body's fitter unless given."""
    num_clips: Annotated[int, Field(ge=2)] = 16
    """Held-out clips."""
    seed: int = 0
    """Seed of clips and noise."""


def main(recipe: Recipe) -> None:
    """Sample, estimate and print."""
    find = detector(recipe.pose_model)
    pipeline = Pipeline.load(recipe.export)
    estimate = estimator(recipe.estimator, pipeline.body)
    size = min(8, recipe.num_clips)
    config = EvaluationConfig(
        num_clips=recipe.num_clips - recipe.num_clips % size, batch_size=size, seed=recipe.seed
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = [
        cascade_errors(pipeline, batch, find, estimate, generator)
        for batch in held_out(pipeline, config)
    ]
    unknown = int(torch.cat([row["held_mm"] for row in rows]).isnan().sum())
    print(
        f"{config.num_clips - unknown} clips are scored; {unknown} carry no motion to compare with"
    )
    for name in rows[0]:
        mean = torch.cat([row[name] for row in rows]).nanmean()
        print(f"{name:<16} {float(mean):.1f}")


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__, config=(tyro.conf.AvoidSubcommands,)))
