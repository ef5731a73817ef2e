"""Evaluate exports on real clips: a published protocol, or whether the conditions are used.

    ray job submit -- python rayjobs/evaluate.py outputs/exports/comovi-tiny-2
    ray job submit -- python rayjobs/evaluate.py A B --protocol comovi-motion --evaluator E \\
        --root-path held

Results, in `--output` (evaluation/ of the outputs root): `conditions`, the default, writes
report.md, curves.png and samples of each export; a report of the same export and settings that is
there already is not made again. A published protocol writes one table of all exports as Markdown,
LaTeX, JSON and PNG, and goes on with the samples that it finds.
"""

import logging
from pathlib import Path
from typing import Annotated

import ray
import tyro
from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional

from motion import paths
from motion.evaluation import EvaluationConfig, held_out
from motion.evaluation.comparison import ComparisonConfig, check, compare
from motion.evaluation.output import show
from motion.evaluation.protocols import RootPath
from motion.inference import Pipeline
from motion.report import committed_report, write_report
from motion.training.validation import in_task

CONDITIONS = "conditions"


class Recipe(BaseModel):
    """One evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exports: Positional[Annotated[tuple[Path, ...], Field(min_length=1)]]
    """Folders of the exports."""
    protocol: str = CONDITIONS
    """"conditions" (of CoMoVi), or a published one (docs/evaluation.md lists them)."""
    evaluator: Path | None = None
    """Evaluator's export, for the text-to-motion protocols."""
    root_path: RootPath = "sample"
    """Root path of generated motions: the sample's, the first frame's held, or the true one."""
    output: Path = Field(default_factory=lambda: paths.outputs() / "evaluation")
    """Where reports, samples and tables go."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What `conditions` evaluates."""
    split: str = "test"
    """Real clips of a published protocol."""
    num_clips: Annotated[int, Field(ge=1)] | None = None
    """How many of them, at random; all unless given."""
    passes: Annotated[int, Field(ge=1)] | None = None
    """Independent samplings; the protocol's number unless given."""
    min_frames: Annotated[int, Field(ge=1)] | None = None
    """Shortest clip in frames of the protocol; the protocol's unless given."""
    multimodality: bool = True
    """Many motions for a few prompts, where a published protocol has MultiModality."""
    restricted: bool = False
    """A published protocol on clips under a restrictive licence too, in marked rows."""
    native_video: bool = False
    """comovi-video without the vbench package: temporal flickering alone."""
    seed: int = 0
    """Of a published protocol's clips, captions, crops, noise and batches."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of each task; None takes one where the cluster has one."""
    dry_run: bool = False
    """Check that exports, dataset, encoders and number of clips fit; evaluate nothing."""


def main(recipe: Recipe) -> None:
    """Evaluate in tasks of the cluster that this job runs on."""
    if recipe.protocol == CONDITIONS:
        for export in recipe.exports:
            _conditions(recipe, export.expanduser().resolve())
        return
    config = ComparisonConfig(
        exports=recipe.exports,
        protocol=recipe.protocol,
        evaluator=recipe.evaluator,
        root_path=recipe.root_path,
        output=recipe.output,
        split=recipe.split,
        num_clips=recipe.num_clips,
        passes=recipe.passes,
        min_frames=recipe.min_frames,
        multimodality=recipe.multimodality,
        restricted=recipe.restricted,
        native_video=recipe.native_video,
        seed=recipe.seed,
        num_gpus=recipe.num_gpus,
    )
    if recipe.dry_run:
        print(check(config))
        return
    ray.init(logging_level=logging.WARNING)
    table, files = compare(config)
    show(table)
    for file in files:
        print(f"evaluation  {file}")


def _conditions(recipe: Recipe, export: Path) -> None:
    if recipe.dry_run:
        batch = next(held_out(Pipeline.load(export), recipe.evaluation))
        print(f"{recipe.evaluation.num_clips} clips, the first {batch.size} of them readable")
        return
    folder = recipe.output.expanduser().resolve() / export.name
    files = committed_report(export, folder, recipe.evaluation)
    if files is None:
        ray.init(logging_level=logging.WARNING, ignore_reinit_error=True)
        files = in_task(write_report, export, folder, recipe.evaluation, num_gpus=recipe.num_gpus)
    for file in files:
        print(f"evaluation  {file}")


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__, config=(tyro.conf.AvoidSubcommands,)))
