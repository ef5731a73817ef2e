"""Train K2M: keypoints, tokenizer, tokens, transformers; and the 2D evaluator that judges them.

    ray job submit -- python rayjobs/train_k2m.py tiny                  # embedded clips, CPU
    ray job submit -- python rayjobs/train_k2m.py mocap --prepare.mocap.folder DIR

Every step is skipped where it is already committed, so a job that died is simply submitted again.
`--stage tokenizer` stops after the first training. 3D motion is in the data as the truth that
evaluations compare with; no loss reads it.

Results: exports/k2m-tiny under the outputs root, which `motion sample --system k2m` takes; beside
it the tokenizer's and the 2D evaluator's exports, each with its evaluation in MLflow.
"""

import logging
from pathlib import Path
from typing import Literal

import ray
import tyro
from pydantic import BaseModel, ConfigDict

from motion import paths
from motion.data.derive import DeriveConfig
from motion.data.encode import EncodeConfig, encode
from motion.data.encode import describe as describe_encoding
from motion.data.mocap import MocapConfig
from motion.data.motion_tokens import TokensConfig, describe_tokens, tokenize_dataset
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.project import ProjectConfig, describe_projection, project_dataset
from motion.models.evaluator.features import FeatureConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.k2m.config import K2MConfig, TokenizerConfig
from motion.training.config import (
    DataConfig,
    InitConfig,
    OptimizerConfig,
    TrainConfig,
    ValidateConfig,
)
from motion.training.dataset import pinned
from motion.training.evaluators import KEYPOINT_COLUMNS, TEXT_COLUMNS, with_statistics
from motion.training.launch import run_stages


class Recipe(BaseModel):
    """One complete experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prepare: PrepareConfig | None
    """Motions to generate or to import; None where there are some already."""
    project: ProjectConfig | None
    """Cameras that see the motions; None where the clips carry keypoints already."""
    encode: EncodeConfig | None
    """Captions to encode; None where `evaluator.data.root` is encoded already."""
    evaluator: TrainConfig
    """The 2D evaluator of captions and keypoints."""
    tokenizer: TrainConfig
    """Stage 1: keypoints to tokens to SMPL."""
    tokens: TokensConfig
    """All clips to tokens, once."""
    transformers: TrainConfig
    """Stage 2: captions to tokens; starts from the tokenizer's export."""
    stage: Literal["all", "evaluator", "tokenizer", "tokens"] = "all"
    """The last step that is run."""
    dry_run: bool = False
    """Check everything, start nothing."""


TINY_FAMILIES = (
    "walk", "side_step", "jump", "turn", "squat", "lunge", "kick", "jumping_jack", "raise_arms",
    "bow", "wave",
)  # fmt: skip
"""What minutes on a CPU can teach: families that move much."""


def tiny(tokenizer: TokenizerConfig | None = None, name: str = "k2m-tiny") -> Recipe:
    """Below one million parameters per stage on one CPU worker."""
    clip = ProceduralConfig(
        render=False, num_frames=64, fps=20.0, families=TINY_FAMILIES, held_out_families=()
    )
    source = PrepareConfig(
        root=paths.data() / "k2m-motions",
        clip=clip,
        num_train=1536,
        num_validation=256,
        num_test=128,
    )
    return recipe(source, tokenizer or TokenizerConfig.tiny(), name=name, views=1, azimuth_deg=50.0)


def mocap() -> Recipe:
    """The HumanML3D variant: captured motion seen by four random cameras each. Set the folder with
    --prepare.mocap.folder."""
    source = PrepareConfig(
        root=paths.data() / "k2m-mocap",
        source="mocap",
        mocap=MocapConfig(stride=32),
        clip=ProceduralConfig(render=False, num_frames=64, fps=20.0),
        num_train=4096,
        num_validation=512,
        num_test=512,
    )
    return recipe(source, TokenizerConfig.tiny(), name="k2m-mocap", views=4, azimuth_deg=180.0)


def recipe(
    source: PrepareConfig, tokenizer: TokenizerConfig, *, name: str, views: int, azimuth_deg: float
) -> Recipe:
    """All steps from a source of motions on."""
    root = source.root
    seen, encoded, tokens = (
        root.with_name(f"{root.name}-{kind}") for kind in ("keypoints", "encoded", name)
    )
    evaluator = evaluator_stage(encoded, f"{name}-evaluator")
    judge = {"evaluator": str(evaluator.export_dir)}
    stage1 = TrainConfig(
        name=f"{name}-tokenizer",
        system=tokenizer,
        data=DataConfig(root=encoded, columns=KEYPOINT_COLUMNS),
        optimizer=OptimizerConfig(
            learning_rate=3e-3,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            warmup_steps=50,
            schedule="cosine",
            final_ratio=0.05,
        ),
        steps=2000,
        micro_batch=8,
        checkpoint_every=500,
        log_every=50,
        validate_with=ValidateConfig(
            function="motion.evaluation.projection:judge_tokenizer", every=1000, arguments=judge
        ),
    )
    stage2 = TrainConfig(
        name=name,
        system=K2MConfig.tiny(tokenizer=tokenizer),
        data=DataConfig(root=tokens, columns=("motion_tokens", *TEXT_COLUMNS)),
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            weight_decay=1e-5,
            warmup_steps=50,
            schedule="cosine",
        ),
        steps=1500,
        micro_batch=32,
        checkpoint_every=500,
        log_every=50,
        ema_decay=0.99,
        init_from=InitConfig(
            export=stage1.export_dir, allow_missing=("masked.", "residual.", "length.")
        ),
        validate_with=ValidateConfig(
            function="motion.evaluation.projection:judge_generation", every=1000, arguments=judge
        ),
    )
    return Recipe(
        prepare=source,
        project=ProjectConfig(
            data=DeriveConfig(source_root=root, root=seen),
            views=views,
            max_azimuth_deg=azimuth_deg,
        ),
        encode=EncodeConfig(
            raw_root=seen, root=encoded, video=None, keep_video=(), clips_per_file=64
        ),
        evaluator=evaluator,
        tokenizer=stage1,
        tokens=TokensConfig(
            data=DeriveConfig(source_root=encoded, root=tokens), export=stage1.export_dir
        ),
        transformers=stage2,
    )


def evaluator_stage(encoded: Path, name: str) -> TrainConfig:
    """A contrastive evaluator of the clips' keypoints and captions."""
    system = EvaluatorConfig.tiny().model_copy(
        update={"features": FeatureConfig(source="keypoints")}
    )
    return TrainConfig(
        name=name,
        system=system,
        data=DataConfig(root=encoded, columns=(*KEYPOINT_COLUMNS, *TEXT_COLUMNS)),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50, schedule="cosine"),
        steps=800,
        micro_batch=64,
        checkpoint_every=400,
        log_every=50,
        validate_with=ValidateConfig(function="motion.training.evaluators:judge", every=1000),
    )


PRESETS = {
    "tiny": ("Embedded clips, one CPU worker.", tiny()),
    "mocap": ("Motion capture seen by random cameras.", mocap()),
}


def show(recipe: Recipe) -> None:
    """Say what each step of the data would do."""
    if recipe.prepare is not None:
        print("prepare     " + describe(recipe.prepare))
    if recipe.project is not None:
        print("project     " + describe_projection(recipe.project))
    if recipe.encode is not None:
        print("encode      " + describe_encoding(recipe.encode))
    print("tokens      " + describe_tokens(recipe.tokens))
    run_stages([recipe.evaluator, recipe.tokenizer, recipe.transformers], dry_run=True)


def main(recipe: Recipe) -> None:
    """Run the recipe on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING)
    if recipe.dry_run:
        show(recipe)
        return
    if recipe.prepare is not None:
        prepare(recipe.prepare)
    if recipe.project is not None:
        project_dataset(recipe.project)
    if recipe.encode is not None:
        encode(recipe.encode)
    run_stages([pinned(with_statistics(recipe.evaluator))])
    if recipe.stage == "evaluator":
        return
    run_stages([pinned(recipe.tokenizer)])
    if recipe.stage == "tokenizer":
        return
    tokenize_dataset(recipe.tokens)
    if recipe.stage == "all":
        (export,) = run_stages([pinned(recipe.transformers)])
        print(f"export      {export}")


if __name__ == "__main__":
    config = (tyro.conf.AvoidSubcommands,)
    main(tyro.extras.overridable_config_cli(PRESETS, description=__doc__, config=config))
