"""Train GENMO: data, encoding, training, evaluation with samples.

    ray job submit -- python rayjobs/train_genmo.py tiny          # embedded data, two CPU cores
    ray job submit -- python rayjobs/train_genmo.py tiny --training.system.mode estimation

Presets: `tiny`, and the two sizes of the release, `regression` and `genmo`, which want a data set
of their own (`--training.data.root`, encoded with T5 or the like). Sources of a merged data set are
weighted by `--training.data.source-weights`, clips without 3D are simulated by
`--training.data.hidden-motion`. Every step is skipped where it is already committed. `--dry-run`
checks configuration, resources, storage, shapes and memory, and starts nothing.

Results: exports/<training.name> under the outputs root, its evaluation with samples in the MLflow
run.
"""

import logging
from pathlib import Path

import ray
import tyro
from pydantic import BaseModel, ConfigDict

from motion import paths
from motion.data.encode import EncodeConfig, encode
from motion.data.encode import describe as describe_encoding
from motion.data.manifest import Manifest, read_commit
from motion.data.merge import merge
from motion.data.pipeline import StreamConfig
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.data.procedural import ProceduralConfig
from motion.models.genmo.config import GenmoConfig
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig, ValidateConfig
from motion.training.dataset import pinned
from motion.training.genmo import with_statistics
from motion.training.launch import fit


class Recipe(BaseModel):
    """One complete experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prepare: PrepareConfig | None
    """Embedded clips to generate; None where there are clips already."""
    mocap: PrepareConfig | None = None
    """Motion capture beside them, put on the same body and filmed alike; merged with them into
    `encode.raw_root`. `training.data.source_weights` weighs the two."""
    encode: EncodeConfig | None
    """Captions to encode, with those of parts of clips; None where `training.data.root` is encoded
    already."""
    training: TrainConfig
    """Both modes in one training (paper section 3.2)."""
    dry_run: bool = False
    """Check everything, start nothing."""


COLUMNS = (
    "smpl_rotvec", "smpl_translation", "smpl_betas", "T_camera_world", "keypoints_detected",
    "keypoints_confidence", "keypoints_size", "keypoints_intrinsics", "text_embedding", "text_mask",
    "segment_embedding", "segment_mask", "segment_window_s",
)  # fmt: skip
CLIPS = ProceduralConfig(num_frames=64, height=64, width=64, pixels=False)
"""Four seconds at 16 fps, long enough for two actions in a row; cameras and keypoints, no video."""


def tiny() -> Recipe:
    """Below one million parameters on two CPU workers; no download, minutes."""
    raw, encoded = paths.data() / "genmo", paths.data() / "genmo-encoded"
    return Recipe(
        prepare=PrepareConfig(
            root=raw, clip=CLIPS, num_train=2048, num_validation=256, num_test=256
        ),
        encode=EncodeConfig(
            raw_root=raw, root=encoded, video=None, segments=True, keep_video=(), clips_per_file=128
        ),
        training=training("genmo-tiny", GenmoConfig.tiny(), encoded, steps=500),
    )


def mixture() -> Recipe:
    """The tiny model on embedded clips and motion capture; `--mocap.mocap.folder` names it."""
    alone = tiny()
    assert alone.prepare is not None
    assert alone.encode is not None
    raw, encoded = paths.data() / "genmo-mixture", paths.data() / "genmo-mixture-encoded"
    captured = alone.prepare.model_copy(
        update={"root": paths.data() / "genmo-mocap", "source": "mocap", "num_train": 1024}
    )
    trained = training("genmo-mixture", GenmoConfig.tiny(), encoded, steps=500)
    return alone.model_copy(
        update={
            "mocap": captured,
            "encode": alone.encode.model_copy(update={"raw_root": raw, "root": encoded}),
            "training": trained,
        }
    )


def training(name: str, system: GenmoConfig, root: Path, *, steps: int) -> TrainConfig:
    """The tiny training."""
    return TrainConfig(
        name=name,
        system=system,
        data=DataConfig(root=root, columns=COLUMNS),
        optimizer=OptimizerConfig(
            learning_rate=3e-3,
            betas=(0.9, 0.99),
            warmup_steps=20,
            schedule="cosine",
            clip_norm=1.0,
        ),
        steps=steps,
        micro_batch=12,
        num_workers=2,
        ema_decay=0.99,
        checkpoint_every=max(50, steps // 2),
        validate_with=ValidateConfig(
            function="motion.evaluation.genmo:evaluate_export", every=1000
        ),
    )


def release(name: str, system: GenmoConfig) -> Recipe:
    """The release's training: batches of 128 per GPU, 500,000 steps, the learning rate constant
    where the release halves it twice."""
    root = paths.data() / "genmo-release-encoded"
    return Recipe(
        prepare=None,
        encode=None,
        training=TrainConfig(
            name=name,
            system=system,
            data=DataConfig(root=root, columns=COLUMNS, stream=StreamConfig(captions=1)),
            optimizer=OptimizerConfig(learning_rate=2e-4, weight_decay=0.01, clip_norm=0.5),
            steps=500_000,
            micro_batch=128,
            num_workers=8,
            use_gpu=True,
            zero_stage=2,
            precision="bf16",
            ema_decay=0.9999,
            checkpoint_every=5000,
        ),
    )


PRESETS = {
    "tiny": ("Embedded clips, minutes on a CPU.", tiny()),
    "mixture": ("Embedded clips and motion capture.", mixture()),
    "regression": (
        "The release's single-mode network, 39.6 M parameters.",
        release("genmo-regression", GenmoConfig.regression()),
    ),
    "genmo": (
        "The paper's size, 411 M parameters.",
        release("genmo", GenmoConfig.genmo()),
    ),
}


def main(recipe: Recipe) -> None:
    """Run the recipe on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING)
    chosen = recipe.training
    sources = [source for source in (recipe.prepare, recipe.mocap) if source is not None]
    if recipe.dry_run:
        for source in sources:
            print("prepare     " + describe(source))
        if recipe.encode is not None:
            print("encode      " + describe_encoding(recipe.encode))
    else:
        roots = [prepare(source) for source in sources]
        if recipe.encode is not None:
            if recipe.mocap is not None:
                merge(recipe.encode.raw_root, [Manifest.load(root) for root in roots])
            encode(recipe.encode)
        chosen = pinned(chosen)
    if read_commit(chosen.data.root) is not None:
        chosen = with_statistics(chosen)
    export = fit(chosen, dry_run=recipe.dry_run)
    print(f"export      {export}")
    if not recipe.dry_run:
        for file in sorted(paths.evaluation_samples(export, chosen.steps).glob("*")):
            print(f"sample      {file}")


if __name__ == "__main__":
    config = (tyro.conf.AvoidSubcommands,)
    main(tyro.extras.overridable_config_cli(PRESETS, description=__doc__, config=config))
