"""Train an evaluator of motions: what FID and R-precision are computed with.

    ray job submit -- python rayjobs/train_evaluator.py tiny   # embedded clips, one CPU core

Presets: `tiny`, `upper` and `lower` (for FID-U and FID-L), `keypoints`, `t2m`. All but `keypoints`
train on motion and captions alone, so their clips are not filmed.

Results: exports/evaluator-tiny (or of another preset) under the outputs root, which
`motion evaluate --evaluator` takes, and R-precision on held-out clips with its interval and chance.
"""

import logging
from pathlib import Path
from typing import Any

import ray
import tyro
from pydantic import BaseModel, ConfigDict

from motion import paths
from motion.data.encode import EncodeConfig, encode
from motion.data.encode import describe as describe_encoding
from motion.data.manifest import read_commit
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.data.procedural import ProceduralConfig
from motion.models.evaluator.features import FeatureConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.evaluator.t2m import T2MConfig
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig, ValidateConfig
from motion.training.evaluators import TEXT_COLUMNS, columns_of, with_statistics
from motion.training.launch import fit


class Recipe(BaseModel):
    """One complete experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prepare: PrepareConfig | None
    """Embedded clips to generate; None where there are clips already."""
    encode: EncodeConfig | None
    """Captions to encode; None where `training.data.root` is encoded already."""
    training: TrainConfig
    """Contrastive training (TMR, Petrovich et al. 2023; or text-to-motion, Guo et al. 2022)."""
    dry_run: bool = False
    """Check everything, start nothing."""


def tiny(name: str = "evaluator-tiny", system: EvaluatorConfig | None = None) -> Recipe:
    """Below one million parameters on one CPU worker."""
    chosen = system or EvaluatorConfig.tiny()
    filmed = chosen.features.source == "keypoints"
    raw = paths.data() / ("evaluator-filmed" if filmed else "evaluator-clips")
    encoded = raw.with_name(f"{raw.name}-encoded")
    return Recipe(
        prepare=PrepareConfig(
            root=raw,
            clip=ProceduralConfig(render=filmed),
            num_train=2048,
            num_validation=576,
            num_test=576,
        ),
        encode=EncodeConfig(
            raw_root=raw, root=encoded, video=None, keep_video=(), clips_per_file=128
        ),
        training=training(encoded, name, chosen),
    )


def training(
    root: Path, name: str = "evaluator-tiny", system: EvaluatorConfig | None = None
) -> TrainConfig:
    """The training on an encoded data set."""
    chosen = system or EvaluatorConfig.tiny()
    return TrainConfig(
        name=name,
        system=chosen,
        data=DataConfig(root=root, columns=(*columns_of(chosen.features), *TEXT_COLUMNS)),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, weight_decay=0.01, warmup_steps=50, schedule="cosine"
        ),
        steps=1200,
        micro_batch=64,
        checkpoint_every=600,
        log_every=50,
        validate_with=ValidateConfig(function="motion.training.evaluators:judge"),
    )


def seeing(**changes: Any) -> EvaluatorConfig:
    """The tiny evaluator of other features."""
    features = FeatureConfig.model_validate(changes)
    return EvaluatorConfig.tiny().model_copy(update={"features": features})


SMALL_T2M = T2MConfig(
    movement_hidden=128, movement_dim=128, motion_hidden=128, word_dim=64, pos_dim=0,
    text_hidden=96, embedding_dim=64, reference_frames=0,
)  # fmt: skip
"""Text-to-motion's networks below one million parameters, on the data set's own text tokens."""

PRESETS = {
    "tiny": ("Contrastive, all of HumanML3D's features but contacts.", tiny()),
    "upper": ("For FID-U.", tiny("evaluator-upper", seeing(part="upper"))),
    "lower": ("For FID-L.", tiny("evaluator-lower", seeing(part="lower"))),
    "keypoints": ("2D keypoints.", tiny("evaluator-2d", seeing(source="keypoints"))),
    "t2m": (
        "Text-to-motion's networks and loss.",
        tiny("evaluator-t2m", EvaluatorConfig(network=SMALL_T2M)),
    ),
}


def main(recipe: Recipe) -> None:
    """Run the recipe on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING)
    if recipe.dry_run:
        if recipe.prepare is not None:
            print("prepare     " + describe(recipe.prepare))
        if recipe.encode is not None:
            print("encode      " + describe_encoding(recipe.encode))
    else:
        if recipe.prepare is not None:
            prepare(recipe.prepare)
        if recipe.encode is not None:
            encode(recipe.encode)
    chosen = recipe.training
    if read_commit(chosen.data.root) is not None:
        chosen = with_statistics(chosen)
    print(f"export      {fit(chosen, dry_run=recipe.dry_run)}")


if __name__ == "__main__":
    config = (tyro.conf.AvoidSubcommands,)
    main(tyro.extras.overridable_config_cli(PRESETS, description=__doc__, config=config))
