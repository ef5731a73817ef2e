"""Train CoMoVi (text and a first frame to video, motion map and motion), from data to samples.

    ray job submit -- python rayjobs/train_comovi.py                 # embedded data, two CPU cores
    ray job submit -- python rayjobs/train_comovi.py --stage2.steps 2000
    ray job submit -- python rayjobs/train_comovi.py --preset wan5b  # the paper's, 24 GPUs

Wan's weights, which `wan5b` starts from, are converted once by rayjobs/convert_weights.py.

Prepares clips, encodes them, trains stage 1 and stage 2, and evaluates the latter with samples.
Results, under the outputs root: exports/comovi-tiny-1 and -2, samples/, curves in MLflow.

Every step is skipped where it is already committed, so a job that died is simply submitted again.
`--dry-run` checks configuration, resources, storage, shapes and memory, and starts nothing.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
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
from motion.encoders import TransformersTextConfig, WanAutoencoderConfig
from motion.models.comovi.config import CoMoViConfig, LoRAConfig
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


WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
"""Text encoder and video autoencoder of `wan5b`; its transformer is converted once."""
WAN_EXPORT = "wan2.2-ti2v-5b"
"""Its name among the exports."""

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


def wan5b(lora: LoRAConfig | None = None) -> Recipe:
    """The paper's size and numbers: 2,000 + 4,000 steps of 96 clips of 81 frames at 704 x 1280.

    Stage 1 starts from Wan's weights (rayjobs/convert_weights.py). The embedded clips stand in for
    the paper's data set, which is not public: `--prepare.source`, `--prepare.video.folder` and
    `--encode.raw-root` bring others.
    """
    raw, encoded = paths.data() / "comovi-704x1280", paths.data() / "comovi-704x1280-wan"
    clip = ProceduralConfig(num_frames=81, fps=16.0, height=704, width=1280)
    text = TransformersTextConfig(
        source=WAN, subfolder="text_encoder", tokenizer_subfolder="tokenizer", max_tokens=512
    )
    name = "comovi-wan5b" if lora is None else "comovi-wan5b-lora"
    start = InitConfig(export=paths.exports() / WAN_EXPORT)
    systems = [CoMoViConfig.wan5b(1), CoMoViConfig.wan5b(2)]
    if lora is not None:
        start = start.model_copy(update={"allow_missing": ("*.lora_*",)})
        systems = [system.with_adapters(lora) for system in systems]
    return Recipe(
        prepare=PrepareConfig(root=raw, clip=clip, num_train=9600),
        encode=EncodeConfig(
            raw_root=raw,
            root=encoded,
            text=text,
            video=WanAutoencoderConfig(source=WAN),
            actors=24,
            actor_gpus=1.0,
        ),
        stage1=wan5b_stage(f"{name}-1", systems[0], encoded, steps=2000, init_from=start),
        stage2=wan5b_stage(f"{name}-2", systems[1], encoded, steps=4000),
    )


def wan5b_stage(
    name: str,
    system: CoMoViConfig,
    encoded: Path,
    *,
    steps: int,
    init_from: InitConfig | None = None,
) -> TrainConfig:
    """One stage as the paper and its public code have it; the clip norm is what the latter asks
    for and, through an "auto", does not get."""
    return TrainConfig(
        name=name,
        system=system,
        data=DataConfig(root=encoded, columns=COLUMNS),
        optimizer=OptimizerConfig(
            learning_rate=2e-5,
            betas=(0.9, 0.999),
            eps=1e-10,
            weight_decay=0.03,
            warmup_steps=100,
            schedule="constant",
            clip_norm=0.5,
        ),
        steps=steps,
        micro_batch=1,
        accumulation=4,
        num_workers=24,
        use_gpu=True,
        zero_stage=3,
        precision="bf16",
        seed=42,
        init_from=init_from,
        checkpoint_every=500,
        peak_tflops=312.0,  # A100, dense bfloat16
        validate_with=ValidateConfig(
            function="motion.evaluation:evaluate_export",
            every=1000,
            arguments={"num_clips": 8, "batch_size": 2},  # clips swap their conditions
        ),
    )


COLUMNS = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "smpl_rotvec", "smpl_translation",
    "smpl_betas", "intrinsics", "T_camera_world",
)  # fmt: skip


PRESETS: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "wan5b": wan5b,
    "wan5b-lora": lambda: wan5b(LoRAConfig(branches=("motion",))),
}


def chosen(arguments: Sequence[str]) -> Recipe:
    """The recipe of a command line: `--preset NAME`, then overrides of its fields."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    known, rest = parser.parse_known_args(arguments)
    return tyro.cli(
        Recipe,
        args=rest,
        default=PRESETS[known.preset](),
        description=f"{__doc__}\nPresets (--preset, shown: {known.preset}): {', '.join(PRESETS)}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def estimate(recipe: Recipe) -> str:
    """Memory, time and the ZeRO stage that fits, from the real step on fake tensors: both stages at
    their size, forward and backward, so that all shapes are checked."""
    assert recipe.prepare is not None
    # Imported here: nothing but this needs the planner.
    from cluster.planner import Request, plan

    clip, stage = recipe.prepare.clip, recipe.stage2
    request = Request(
        gpu="a100-40g",
        gpus=stage.num_workers,
        global_batch=stage.global_batch,
        micro_batch=stage.micro_batch,
        frames=clip.num_frames,
        height=clip.height,
        width=clip.width,
    )
    return plan(request)


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
        if recipe.prepare is not None and stage2.system == CoMoViConfig.wan5b(2):
            print(estimate(recipe))
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
    main(chosen(sys.argv[1:]))
