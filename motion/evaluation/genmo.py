"""Evaluation of a GENMO export on held-out clips: does it use its conditions, does it estimate?

Paired like CoMoVi's: the same clips, cameras, noise and times under the right condition and under
another clip's, and the estimate of a clip against the mean pose.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from motion import paths
from motion.batch import Batch
from motion.body.model import motion_joints
from motion.data.manifest import Manifest
from motion.evaluation.clips import Clips
from motion.evaluation.conditions import Evaluation, log_to_run, require_encoders
from motion.evaluation.motions import real_motion
from motion.inference import Pipeline, write_result
from motion.metrics.interval import paired_interval
from motion.metrics.pose import mpjpe_mm, pa_mpjpe_mm
from motion.metrics.trajectory import world_mpjpe_mm
from motion.models.genmo.config import Condition, SampleOptions
from motion.models.genmo.system import Genmo
from motion.sequence import Motion

ESTIMATION = SampleOptions(mode="estimation", conditions=("keypoints", "camera"))
_PAIRS: Mapping[str, tuple[str, tuple[Condition, ...], Condition]] = {
    "text": ("generation_simple", ("text",), "text"),
    "keypoints": ("estimation_joints", ("keypoints", "camera"), "keypoints"),
}
"""By condition: the compared term, the conditions that are seen, the one that is swapped."""


class GenmoEvaluationConfig(BaseModel):
    """How much is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path | None = None
    """Encoded dataset; the one that the export was trained on unless given."""
    split: Literal["train", "validation", "test"] = "validation"
    """Held-out clips."""
    num_clips: int = Field(default=64, ge=4)
    """Clips."""
    batch_size: int = Field(default=32, ge=2)
    """Clips per forward pass; it decides which clips swap their conditions."""
    num_noises: int = Field(default=2, ge=1)
    """Noise and time draws per clip and condition."""
    seed: int = 0
    """Seed of the choice of clips, the noise and the samples."""
    prompts: tuple[str, ...] = ("a person walks forward", "a person waves the right hand")
    """Sampled for the pictures."""


def evaluate_export(
    export_dir: str, *, run_id: str = "", step: int = 0, device: str = "cpu", **arguments: Any
) -> dict[str, float]:
    """Evaluate an export and log metrics and pictures to its MLflow run.

    Args:
        export_dir: the export.
        run_id: MLflow run that takes metrics and pictures; none if empty.
        step: training step of the export.
        device: where the export computes, "cpu" or "cuda".
        arguments: fields of `GenmoEvaluationConfig`.

    Raises:
        ValueError: the export or the dataset do not fit.
    """
    config = GenmoEvaluationConfig.model_validate(arguments)
    pipeline = Pipeline.load(export_dir, device=device)
    metrics = evaluate(pipeline, config).metrics()
    folder = paths.evaluation_samples(Path(export_dir), step)
    pictures = [
        path
        for index, result in enumerate(pipeline.sample(config.prompts, seed=config.seed))
        for path in write_result(result, folder / f"sample_{index:02d}")
    ]
    if run_id:
        log_to_run(run_id, step, metrics, pictures)
    return metrics


def evaluate(pipeline: Pipeline, config: GenmoEvaluationConfig) -> Evaluation:
    """Losses under right and wrong conditions, estimates against the mean pose, and their speed."""
    system = pipeline.system
    if not isinstance(system, Genmo):
        raise ValueError(f"{pipeline.export} holds a {type(system).__name__}, not GENMO")
    manifest = Manifest.load(config.root or Path(pipeline.config["data"]["root"]))
    require_encoders(pipeline, manifest)
    clips = Clips.select(
        manifest,
        config.split,
        num_clips=config.num_clips,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    parts: list[Mapping[str, Tensor]] = []
    frames, seconds = 0, 0.0
    for chunk in clips.pairable():
        batch = clips.batch(chunk, 0)
        losses = condition_losses(system, batch.to(pipeline.device), config.num_noises)
        started = time.perf_counter()
        made = estimated(pipeline, batch)
        seconds += time.perf_counter() - started
        frames += int(batch.frame_mask.sum())
        parts.append({**losses, **estimation_errors(pipeline, batch, made)})
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    values = {name: float(column.nanmean()) for name, column in columns.items()}
    values["estimation_fps"] = frames / seconds
    gains = {
        f"{wrong}_gain": columns[wrong] - columns[right]
        for wrong in columns
        for right in [wrong.split("_other_")[0].removesuffix("_of_mean_pose")]
        if wrong != right
    }
    known = {name: gain[torch.isfinite(gain)] for name, gain in gains.items()}
    return Evaluation(
        values=values, differences={name: paired_interval(gain) for name, gain in known.items()}
    )


def condition_losses(system: Genmo, batch: Batch, num_noises: int) -> dict[str, Float[Tensor, "b"]]:
    """One term per condition, with the clip's own and with that of the clip half a batch away.

    A clip alone has no other: NaN.
    """
    system.eval()
    columns: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, (term, read, swapped) in _PAIRS.items():
            pairs: tuple[tuple[str, tuple[Condition, ...]], ...] = (
                ("", ()),
                (f"_other_{name}", (swapped,)),
            )
            for suffix, other in pairs:
                draws = [
                    system.clip_losses(batch, use=f"evaluation/{draw}", read=read, swapped=other)
                    for draw in range(num_noises)
                ]
                mean = torch.stack([draw[term] for draw in draws]).mean(0)
                alone = bool(other) and batch.size == 1
                columns[f"{term}_from_{name}{suffix}"] = mean.cpu() * (torch.nan if alone else 1.0)
    return columns


def estimated(pipeline: Pipeline, batch: Batch) -> Motion:
    """What one pass makes of the clips' keypoints and cameras."""
    made = pipeline.generate(batch, ESTIMATION, torch.Generator().manual_seed(0)).motion
    assert made is not None
    return made


def estimation_errors(
    pipeline: Pipeline, batch: Batch, made: Motion
) -> dict[str, Float[Tensor, "b"]]:
    """Errors of an estimate in mm, and of the mean pose with the true root's turn and path."""
    system, body = pipeline.system, pipeline.body
    assert isinstance(system, Genmo)
    truth = real_motion(batch)
    real, found = motion_joints(body, truth), motion_joints(body, made)
    flat = _mean_pose(system, truth)
    mean = body.joints(flat, truth.betas, truth.translation)
    mask = batch.frame_mask
    return {
        "pa_mpjpe_mm": pa_mpjpe_mm(found, real, mask).nanmean(1),
        "pa_mpjpe_mm_of_mean_pose": pa_mpjpe_mm(mean, real, mask).nanmean(1),
        "mpjpe_mm": mpjpe_mm(found, real, mask).nanmean(1),
        "mpjpe_mm_of_mean_pose": mpjpe_mm(mean, real, mask).nanmean(1),
        "w_mpjpe_mm": world_mpjpe_mm(found, real, mask, align="start").nanmean(1),
    }


def _mean_pose(system: Genmo, truth: Motion) -> Float[Tensor, "b t 24 3 3"]:
    """The mean of the training clips at the true root."""
    where = system.representation.slices["body"]
    body = system.statistics.mean[where].cpu().expand(*truth.R_parent_child.shape[:2], -1)
    return system.representation.pose(body, truth.R_parent_child[:, :, 0])
