"""Train CoMoVi (text and a first frame to video, motion map and motion), from data to samples.

    ray job submit -- python rayjobs/train_comovi.py                 # embedded data, two CPU cores
    ray job submit -- python rayjobs/train_comovi.py --stage2.steps 2000

Prepares clips, encodes them, trains stage 1 and stage 2, and evaluates the latter with samples.
Results, under the outputs root: exports/comovi-tiny-1 and -2, samples/, curves in MLflow.

Every step is skipped where it is already committed, so a job that died is simply submitted again.
`--dry-run` checks configuration, resources, storage, shapes and memory, and starts nothing.
"""

import logging
from pathlib import Path
from typing import Literal, Self

import ray
import tyro
from pydantic import BaseModel, ConfigDict, model_validator

from motion import paths
from motion.data.encode import EncodeConfig, encode
from motion.data.encode import describe as describe_encoding
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.data.procedural import ProceduralConfig
from motion.models.comovi.config import CoMoViConfig
from motion.training.config import (
    DataConfig,
    InitConfig,
    OptimizerConfig,
    ProfileConfig,
    TrainConfig,
    ValidateConfig,
)
from motion.training.dataset import pinned
from motion.training.launch import run_stages


class Recipe(BaseModel):
    """One complete experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prepare: PrepareConfig | None
    """Embedded clips to generate; None where `encode.raw_root` holds clips already."""
    encode: EncodeConfig
    """Frozen encoders, run once over all clips."""
    stage1: TrainConfig
    """The branches apart: adapts the motion branch (section 3.3 of the paper)."""
    stage2: TrainConfig
    """The branches coupled, with the SMPL predictor; starts from stage 1's export unless its
    `init_from` says otherwise."""
    stage: Literal["all", "1", "2"] = "all"
    """Run both stages, or one."""
    profile: bool = False
    """Record a torch.profiler window of both stages (steps 20 to 22); see docs/training.md."""
    dry_run: bool = False
    """Check everything, start nothing."""

    @model_validator(mode="after")
    def _one_dataset(self) -> Self:
        """Every step must read what the one before it wrote."""
        steps = [("encode.raw_root", self.encode.raw_root, self.prepare and self.prepare.root)]
        steps += [
            (f"{name}.data.root", stage.data.root, self.encode.root)
            for name, stage in (("stage1", self.stage1), ("stage2", self.stage2))
        ]
        for name, here, before in steps:
            if before is not None and here.resolve() != before.resolve():
                raise ValueError(
                    f"{name} is {here}, but the step before writes {before}: "
                    "give both the same path"
                )
        return self


TINY_CLIPS = ProceduralConfig(
    families=(
        "walk", "side_step", "jump", "turn", "squat", "lunge", "kick", "jumping_jack",
        "raise_arms", "bow", "wave",
    ),
    held_out_families=(),
    num_looks=4,
    max_azimuth_deg=25.0,
    max_delay_s=0.0,
)  # fmt: skip
"""What minutes on a CPU can teach: eleven families that move much, four people in as many rooms,
seen roughly from the front."""


def tiny() -> Recipe:
    """Below one million parameters on two CPU workers; no download, minutes."""
    raw, encoded = paths.data() / "embedded", paths.data() / "embedded-encoded"
    return Recipe(
        prepare=PrepareConfig(root=raw, clip=TINY_CLIPS),
        encode=EncodeConfig(raw_root=raw, root=encoded, actors=2),
        stage1=tiny_stage("comovi-tiny-1", CoMoViConfig.tiny(1), encoded, steps=100),
        stage2=tiny_stage("comovi-tiny-2", CoMoViConfig.tiny(2), encoded, steps=120),
    )


def tiny_stage(
    name: str,
    system: CoMoViConfig,
    encoded: Path,
    *,
    steps: int,
    learning_rate: float = 3e-3,
    ema_decay: float = 0.98,
    zero_stage: Literal[0, 1, 2, 3] = 3,
) -> TrainConfig:
    """One stage of the tiny model: small batches, because it needs many updates."""
    return TrainConfig(
        name=name,
        system=system,
        data=DataConfig(root=encoded, columns=COLUMNS),
        optimizer=OptimizerConfig(
            learning_rate=learning_rate,
            betas=(0.9, 0.99),
            warmup_steps=20,
            schedule="cosine",
            clip_norm=5.0,  # a clip at 1 would leave the flow terms what the SMPL terms do not take
        ),
        steps=steps,
        micro_batch=4,
        num_workers=2,
        zero_stage=zero_stage,
        ema_decay=ema_decay,
        checkpoint_every=max(50, steps // 4),
        validate_with=ValidateConfig(
            function="motion.evaluation:evaluate_export",
            every=1000,  # the last checkpoint is always evaluated
            arguments={"num_clips": 8, "batch_size": 8},
        ),
    )


COLUMNS = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "smpl_rotvec", "smpl_translation",
    "smpl_betas", "intrinsics", "T_camera_world",
)  # fmt: skip


def main(recipe: Recipe) -> None:
    """Run the recipe on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING)
    stage1, stage2 = recipe.stage1, recipe.stage2
    if stage2.init_from is None:
        stage2 = stage2.model_copy(update={"init_from": InitConfig(export=stage1.export_dir)})
    if recipe.profile:
        window = {"profile": ProfileConfig(start=20)}
        stage1, stage2 = stage1.model_copy(update=window), stage2.model_copy(update=window)
    if recipe.dry_run:
        print("prepare     " + (describe(recipe.prepare) if recipe.prepare else "nothing to do"))
        print("encode      " + describe_encoding(recipe.encode))
    else:
        if recipe.prepare is not None:
            prepare(recipe.prepare)
        encode(recipe.encode)
        stage1, stage2 = pinned(stage1), pinned(stage2)
    stages = {"1": [stage1], "2": [stage2], "all": [stage1, stage2]}[recipe.stage]
    exports = run_stages(stages, dry_run=recipe.dry_run)
    if not recipe.dry_run:
        # The evaluation of an export samples its prompts.
        folder = paths.evaluation_samples(exports[-1], stages[-1].steps)
        for file in sorted(folder.glob("*")):
            print(f"sample      {file}")


if __name__ == "__main__":
    main(
        tyro.cli(Recipe, default=tiny(), description=__doc__, config=(tyro.conf.AvoidSubcommands,))
    )
