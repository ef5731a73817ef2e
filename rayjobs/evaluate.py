"""Evaluate an export on held-out clips: table with intervals, loss curves, samples.

    ray job submit -- python rayjobs/evaluate.py --export outputs/exports/comovi-tiny-2

Writes report.md, curves.png and samples to `--output`, and metrics and pictures to the export's
MLflow run. A report of the same export and settings that is there already is not made again.
"""

import logging
from pathlib import Path
from typing import Annotated

import ray
import tyro
from pydantic import BaseModel, ConfigDict, Field

from motion import paths
from motion.evaluation import EvaluationConfig, held_out
from motion.inference import Pipeline
from motion.report import committed_report, write_report
from motion.training.validation import in_task


class Recipe(BaseModel):
    """One evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    export: Path
    """Folder of the export."""
    output: Path = Field(default_factory=lambda: paths.outputs() / "evaluation")
    """Where the report goes: a folder named after the export is made in it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What is evaluated."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of the evaluation; None takes one where the cluster has one."""
    dry_run: bool = False
    """Check that export, dataset, encoders and number of clips fit; evaluate nothing."""


def main(recipe: Recipe) -> None:
    """Evaluate in a task of the cluster that this job runs on."""
    export = recipe.export.expanduser().resolve()
    if recipe.dry_run:
        batch = next(held_out(Pipeline.load(export), recipe.evaluation))
        print(f"{recipe.evaluation.num_clips} clips, the first {batch.size} of them readable")
        return
    folder = recipe.output.expanduser().resolve() / export.name
    files = committed_report(export, folder, recipe.evaluation)
    if files is None:
        ray.init(logging_level=logging.WARNING)
        files = in_task(write_report, export, folder, recipe.evaluation, num_gpus=recipe.num_gpus)
    for file in files:
        print(f"evaluation  {file}")


if __name__ == "__main__":
    main(tyro.cli(Recipe, config=(tyro.conf.AvoidSubcommands,)))
