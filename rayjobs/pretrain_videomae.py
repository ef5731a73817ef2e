"""Pretrain a small VideoMAE on the shards' own video: features for systems that look at video.

    ray job submit -- python rayjobs/pretrain_videomae.py      # embedded clips, two CPU cores

Reads pixels, so it trains on the raw dataset; no encoding comes before it. Results: the export
exports/videomae-tiny under the outputs root, curves in MLflow.
"""

import logging

import ray
import tyro
from pydantic import BaseModel, ConfigDict

from motion import paths
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.models.videomae.system import VideoMAETrainingConfig
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig
from motion.training.launch import fit
from rayjobs.train_comovi import TINY_CLIPS


class Recipe(BaseModel):
    """One complete experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prepare: PrepareConfig | None
    """Embedded clips to generate; None where `training.data.root` holds clips already."""
    training: TrainConfig
    """Masked autoencoding (Tong et al. 2022)."""
    dry_run: bool = False
    """Check everything, start nothing."""


def tiny() -> Recipe:
    """Below one million parameters on two CPU workers."""
    raw = paths.data() / "embedded"
    return Recipe(
        prepare=PrepareConfig(root=raw, clip=TINY_CLIPS),
        training=TrainConfig(
            name="videomae-tiny",
            system=VideoMAETrainingConfig.tiny(),
            data=DataConfig(root=raw, columns=("rgb",)),
            optimizer=OptimizerConfig(
                learning_rate=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, warmup_steps=40,
                schedule="cosine",
            ),
            steps=400,
            micro_batch=8,
            num_workers=2,
            zero_stage=2,
            checkpoint_every=200,
        ),
    )  # fmt: skip


def main(recipe: Recipe) -> None:
    """Run the recipe on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING)
    if recipe.prepare is not None:
        if recipe.dry_run:
            print("prepare     " + describe(recipe.prepare))
        else:
            prepare(recipe.prepare)
    print(f"export      {fit(recipe.training, dry_run=recipe.dry_run)}")


if __name__ == "__main__":
    main(
        tyro.cli(Recipe, default=tiny(), description=__doc__, config=(tyro.conf.AvoidSubcommands,))
    )
