"""Evaluation of an export on held-out clips: does it use its conditions, and does it move?

Runs as a Ray task beside the training, or alone. Everything is paired: the same clips, noise and
times under the right condition and under a wrong one, the same clips for a sample and for the
baseline that repeats the first frame.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from motion import paths
from motion.batch import Batch
from motion.body.render import decode_motion_map
from motion.data.collate import collate
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef, Plan
from motion.data.reading import Reader
from motion.data.video import to_frames
from motion.inference import Pipeline, write_result
from motion.metrics.frames import per_clip
from motion.metrics.interval import Interval, paired_interval
from motion.metrics.motion_map import part_accuracy
from motion.metrics.pose import ROOT, mpjpe_mm
from motion.models.comovi.system import CoMoVi

COLUMNS = (
    "latent_rgb", "latent_map", "motion_map", "text_embedding", "text_mask", "smpl_rotvec",
    "smpl_translation", "smpl_betas", "intrinsics", "T_camera_world",
)  # fmt: skip


class EvaluationConfig(BaseModel):
    """How much is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path | None = None
    """Encoded dataset; the one that the export was trained on unless given."""
    split: Literal["train", "validation", "test"] = "validation"
    """Held-out clips."""
    num_clips: int = Field(default=32, ge=2)
    """Clips of the paired losses, and of the samples' metrics."""
    batch_size: int = Field(default=16, ge=2)
    """Clips per forward pass; the results do not depend on it, but for which clips swap their
    conditions."""
    num_noises: int = Field(default=2, ge=1)
    """Noise and time draws per clip and condition."""
    seed: int = 0
    """Seed of the choice of clips, the noise and the samples."""
    prompts: tuple[str, ...] = (
        "a person waves the right hand",
        "a person kicks with the left leg",
        "a person squats",
    )
    """Sampled for the pictures."""

    @model_validator(mode="after")
    def _whole_batches(self) -> "EvaluationConfig":
        size = min(self.batch_size, self.num_clips)
        if self.num_clips % size:
            raise ValueError(
                f"num_clips {self.num_clips} is no multiple of batch_size {size}: "
                "some clips would be left out; change one of them"
            )
        return self


class Evaluation(BaseModel):
    """Metrics with their intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    values: dict[str, float]
    """Means over the clips."""
    differences: dict[str, Interval]
    """Paired differences: mean, 95 % interval, clips. Positive means that the right condition, or
    the model, is better."""

    def metrics(self) -> dict[str, float]:
        """Flat names for MLflow."""
        flat = {f"eval/{name}": value for name, value in self.values.items()}
        for name, (mean, low, high, _) in self.differences.items():
            flat |= {f"eval/{name}": mean, f"eval/{name}_low": low, f"eval/{name}_high": high}
        return flat


def evaluate_export(
    export_dir: str, *, run_id: str = "", step: int = 0, device: str = "cpu", **arguments: Any
) -> dict[str, float]:
    """Evaluate an export and log metrics and pictures to its MLflow run.

    Args:
        export_dir: the export.
        run_id: MLflow run that takes metrics and pictures (`MLFLOW_TRACKING_URI`); none if empty.
        step: training step of the export.
        device: where the export computes, "cpu" or "cuda".
        arguments: fields of `EvaluationConfig`.

    Raises:
        ValueError: the export or the dataset do not fit.
    """
    config = EvaluationConfig.model_validate(arguments)
    pipeline = Pipeline.load(export_dir, device=device)
    metrics = evaluate(pipeline, config).metrics()
    folder = paths.evaluation_samples(Path(export_dir), step)
    pictures = picture_samples(pipeline, config.prompts, folder, config.seed)
    if run_id:
        log_to_run(run_id, step, metrics, pictures)
    return metrics


def log_to_run(run_id: str, step: int, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
    """Metrics and pictures of an evaluation, in the MLflow run of the training."""
    client, now = MlflowClient(), int(time.time() * 1000)
    client.log_batch(run_id, [Metric(name, value, now, step) for name, value in metrics.items()])
    for path in files:
        client.log_artifact(run_id, str(path), f"samples/step{step:06d}")


def picture_samples(
    pipeline: Pipeline, prompts: Sequence[str], folder: Path, seed: int = 0
) -> list[Path]:
    """One sample per prompt as mp4, PNG strip and AMASS .npz; the written files."""
    return [
        path
        for index, result in enumerate(pipeline.sample(prompts, seed=seed))
        for path in write_result(result, folder / f"sample_{index:02d}")
    ]


def evaluate(pipeline: Pipeline, config: EvaluationConfig) -> Evaluation:
    """Paired losses under right and wrong conditions, and samples against the held first frame."""
    system = pipeline.system
    if not isinstance(system, CoMoVi):
        raise ValueError(f"no evaluation for {type(system).__name__} yet; it needs a CoMoVi export")
    generator = torch.Generator().manual_seed(config.seed)
    losses: list[Mapping[str, Tensor]] = []
    samples: list[Mapping[str, Tensor]] = []
    for batch in held_out(pipeline, config):
        losses.append(condition_losses(system, batch.to(pipeline.device), config.num_noises))
        samples.append(sample_errors(pipeline, batch, generator))
    columns = _joined(losses) | _joined(samples)
    values = {name: float(column.nanmean()) for name, column in columns.items()}
    differences = {
        f"{name}_gain": _gain(columns, name)
        for name in columns
        if "_other_" in name or name.endswith("_held")
    }
    return Evaluation(values=values, differences=differences)


def held_out(pipeline: Pipeline, config: EvaluationConfig) -> Iterator[Batch]:
    """Batches of held-out clips, none flagged, the same for every export of a dataset.

    Raises:
        ValueError: the dataset has other encoders than the export, or too few clips.
    """
    manifest = Manifest.load(config.root or Path(pipeline.config["data"]["root"]))
    require_encoders(pipeline, manifest)
    clips = [ClipRef.of(row) for row in manifest.select(config.split) if not row.flagged]
    size = min(config.batch_size, config.num_clips)
    plan = Plan(clips, seed=config.seed, micro_batch=size, accumulation=1, world=1)
    num_batches = config.num_clips // size
    if num_batches > plan.steps_per_epoch:
        raise ValueError(
            f"{config.num_clips} clips asked for, but split {config.split!r} of {manifest.root} "
            f"fills only {plan.steps_per_epoch} batches of {size}: lower num_clips or add data"
        )
    reader = Reader(plan, manifest.root, COLUMNS)
    for index in range(num_batches):
        found, replaced = reader.read(plan.step(index)[0][0])
        if replaced:
            raise ValueError(f"held-out clips cannot be read: {'; '.join(replaced)}")
        yield Batch.from_columns(collate(found))


def require_encoders(pipeline: Pipeline, manifest: Manifest) -> None:
    """Refuse a dataset whose latents or texts the export cannot read.

    Raises:
        ValueError: another encoder made them.
    """
    for name, encoder in {"text": pipeline.text, **pipeline.autoencoders}.items():
        found = manifest.encoders.get(name, {}).get("hash", "none")
        if found != encoder.hash:
            raise ValueError(
                f"{manifest.root} was encoded by {name} encoder {found[:16]}, the export has "
                f"{encoder.hash[:16]}: evaluate on the dataset that it was trained on"
            )


def condition_losses(system: CoMoVi, batch: Batch, num_noises: int) -> dict[str, Tensor]:
    """Flow losses per clip under the right conditions and under those of another clip.

    The other clip is half a batch away. Noise and times are equal in all three.
    """
    variants = {"": batch, "_other_text": other_text(batch), "_other_frame": other_frame(batch)}
    system.eval()
    columns: dict[str, Tensor] = {}
    with torch.no_grad():
        for suffix, variant in variants.items():
            draws = [
                system.clip_losses(variant, use=f"evaluation/{draw}") for draw in range(num_noises)
            ]
            for name in draws[0]:
                columns[name + suffix] = torch.stack([draw[name] for draw in draws]).mean(0).cpu()
    return columns


def other_text(batch: Batch) -> Batch:
    """Every clip with another clip's captions."""
    assert batch.text is not None
    assert batch.text_mask is not None
    half = batch.size // 2
    return dataclasses.replace(
        batch, text=batch.text.roll(half, 0), text_mask=batch.text_mask.roll(half, 0)
    )


def other_frame(batch: Batch) -> Batch:
    """Every clip with another clip's clean first frame, in both streams."""
    assert batch.latent_rgb is not None
    assert batch.latent_map is not None

    def swapped(latent: Tensor) -> Tensor:
        first = latent[:, :, :1].roll(batch.size // 2, 0)
        return torch.cat((first, latent[:, :, 1:]), dim=2)

    return dataclasses.replace(
        batch, latent_rgb=swapped(batch.latent_rgb), latent_map=swapped(batch.latent_map)
    )


def sample_errors(
    pipeline: Pipeline, batch: Batch, generator: torch.Generator
) -> dict[str, Tensor]:
    """Errors of one sample per clip, and of repeating the clip's first frame.

    part_accuracy: share of the person's pixels with the right part, after the first frame; held is
        the true first frame, losslessly repeated.
    joint_error_mm: mean joint distance relative to the pelvis, after the first frame.
    """
    sample = pipeline.generate(batch, pipeline.options(), generator)
    assert sample.motion_map is not None
    assert batch.motion_map is not None
    errors = _part_errors(sample.motion_map, batch) if pipeline.map_mode == "flat" else {}
    if sample.motion is None:
        return errors
    assert batch.R_parent_child is not None
    assert batch.betas is not None
    truth = pipeline.body.joints(batch.R_parent_child, batch.betas)
    joints = pipeline.body.joints(sample.motion.R_parent_child, batch.betas)
    valid = batch.frame_mask[:, 1:]

    def error_mm(predicted: Tensor) -> Tensor:
        error = per_clip(mpjpe_mm(predicted, truth[:, 1:], valid, hips=ROOT))
        return error if batch.has_motion is None else error.where(batch.has_motion, torch.nan)

    held_joints = truth[:, :1].expand_as(truth[:, 1:])
    return errors | {
        "joint_error_mm": error_mm(joints[:, 1:]),
        "joint_error_mm_held": error_mm(held_joints),
    }


def _part_errors(made: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Part accuracy of sampled maps, and of the true first map repeated, on real frames."""
    assert batch.motion_map is not None
    found: list[float] = []
    held: list[float] = []
    for sampled, true, mask in zip(made, batch.motion_map, batch.frame_mask, strict=True):
        frames = mask.numpy().nonzero()[0][1:]
        truth = decode_motion_map(to_frames(true)).part
        found.append(
            part_accuracy(decode_motion_map(to_frames(sampled)).part[frames], truth[frames])
        )
        held.append(part_accuracy(np.repeat(truth[:1], len(frames), axis=0), truth[frames]))
    return {"part_accuracy": torch.tensor(found), "part_accuracy_held": torch.tensor(held)}


def _joined(columns: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in columns]) for name in columns[0]}


def _gain(columns: Mapping[str, Tensor], wrong: str) -> Interval:
    """How much better the right condition (or the model) is than `wrong`, per clip."""
    right = wrong.split("_other_")[0].removesuffix("_held")
    sign = -1.0 if right == "part_accuracy" else 1.0  # the only one where more is better
    difference = sign * (columns[wrong] - columns[right])
    return paired_interval(difference[torch.isfinite(difference)])  # NaN: a clip without the term
