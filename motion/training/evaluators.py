"""What only evaluators need around their training: statistics before it, a judgment after it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from motion.batch import Batch
from motion.body import load_body
from motion.body.model import motion_joints
from motion.data.collate import collate
from motion.data.manifest import Manifest, ManifestRow
from motion.data.plan import ClipRef, MicroBatch, Plan
from motion.data.reading import Reader
from motion.data.statistics import fit_statistics
from motion.data.storage import read_rows
from motion.diffusion.noise import generator_for
from motion.evaluation.conditions import log_to_run
from motion.exported import read_config
from motion.metrics.corruption import CORRUPTIONS
from motion.metrics.distribution import frechet_distance
from motion.metrics.embeddings import Embeddings, embed, retrieval_scores
from motion.metrics.evaluator import Evaluator, load_evaluator
from motion.models.evaluator.features import FeatureConfig, Features, joint_features
from motion.models.evaluator.system import EvaluatorConfig
from motion.sequence import Motion
from motion.training.config import TrainConfig

MOTION_COLUMNS = ("smpl_rotvec", "smpl_translation", "smpl_betas")
KEYPOINT_COLUMNS = ("keypoints_detected", "keypoints_confidence", "keypoints_size")
TEXT_COLUMNS = ("text_embedding", "text_mask")
_AT_ONCE = 64


def columns_of(features: FeatureConfig) -> tuple[str, ...]:
    """Columns of the shards that the features are made of."""
    return MOTION_COLUMNS if features.source == "humanml" else KEYPOINT_COLUMNS


def with_statistics(training: TrainConfig) -> TrainConfig:
    """The training with the statistics of its features over all training clips.

    Statistics that it has already stay.

    Raises:
        ValueError: it trains no evaluator, or a clip is damaged.
    """
    system = training.system
    if not isinstance(system, EvaluatorConfig):
        raise ValueError(f"{training.name} trains a {type(system).__name__}, not an evaluator")
    if system.features.statistics is not None:
        return training
    batches = split_batches(training.data.root, training.data.split, columns_of(system.features))
    pairs = (system.features.of_batch(batch) for batch in batches)
    found = fit_statistics((values, mask) for values, mask in pairs)
    update = {"features": system.features.fitted(found)}
    return training.model_copy(update={"system": system.model_copy(update=update)})


def split_batches(
    root: Path,
    split: str,
    columns: tuple[str, ...],
    *,
    most: int | None = None,
    flagged: bool = False,
) -> Iterator[Batch]:
    """Every clip of a split once, in order of clip ids within each bucket, and flagged ones not.

    Args:
        root: data set.
        split: train, validation or test.
        columns: payload columns to read.
        most: only so many clips; all by default.
        flagged: the clips whose licence restricts use, instead of all others.

    Raises:
        ValueError: a clip cannot be read; none is replaced here.
    """
    rows = [row for row in Manifest.load(root).select(split) if row.flagged == flagged]
    for refs in _chunks(rows[:most]):
        plan = Plan(refs, seed=0, micro_batch=len(refs), accumulation=1, world=1)
        keys = tuple(plan.noise_key(0, ref) for ref in refs)
        micro = MicroBatch(0, 0, tuple(refs), keys, {"clips": len(refs)}, 1)
        clips, replaced = Reader(plan, Path(root), columns).read(micro)
        if replaced:
            raise ValueError(f"clips of {root} cannot be read: {'; '.join(replaced)}")
        yield Batch.from_columns(collate(clips))


def _chunks(rows: list[ManifestRow]) -> Iterator[list[ClipRef]]:
    for bucket in sorted({row.bucket for row in rows}):
        refs = [ClipRef.of(row) for row in rows if row.bucket == bucket]
        for first in range(0, len(refs), _AT_ONCE):
            yield refs[first : first + _AT_ONCE]


def captions_of(root: Path, split: str, clip_ids: list[str], seed: int) -> list[str]:
    """One caption of each clip, drawn from the seed and the clip's id."""
    rows = {row.clip_id: row for row in Manifest.load(root).select(split)}
    found: list[str] = []
    for clip_id in clip_ids:
        row = rows[clip_id]
        (read,) = read_rows(root / row.file, row.row_group, [row.row], ["captions"])
        draw = generator_for(seed, clip_id)
        found.append(
            read["captions"][int(torch.randint(len(read["captions"]), (), generator=draw))]
        )
    return found


def embed_split(
    evaluator: Evaluator,
    root: Path,
    split: str,
    *,
    seed: int = 0,
    most: int | None = None,
    flagged: bool = False,
) -> Embeddings:
    """Clips of a split with a caption each, in an evaluator's space; `flagged` as in
    `split_batches`.

    Raises:
        ValueError: the data set has no such clips, or they lack what the evaluator sees.
    """
    columns = columns_of(evaluator.features)
    batches = list(split_batches(root, split, columns, most=most, flagged=flagged))
    found = [evaluator.features.of_batch(batch) for batch in batches]
    clip_ids = [clip_id for batch in batches for clip_id in batch.clip_ids]
    return embed(evaluator, joined(found), captions_of(root, split, clip_ids, seed))


def joined(parts: list[Features]) -> Features:
    """Features of several batches, padded to one length."""
    most = max(part.mask.shape[1] for part in parts)
    values = [_padded(part.values, most) for part in parts]
    return Features(torch.cat(values), torch.cat([_padded(part.mask, most) for part in parts]))


def _padded(values: Tensor, length: int) -> Tensor:
    filler = values.new_zeros(len(values), length - values.shape[1], *values.shape[2:])
    return torch.cat([values, filler], 1)


def corruption_curves(
    evaluator: Evaluator, root: Path, split: str, *, seed: int = 0, most: int | None = None
) -> dict[str, dict[float, float]]:
    """FID of a split's motions and the same motions damaged, by kind and strength of the damage.

    Raises:
        ValueError: the evaluator does not see motions.
    """
    batches = list(split_batches(root, split, MOTION_COLUMNS, most=most))
    joints = [_joints(batch, evaluator.features.body) for batch in batches]
    num_frames = [batch.frame_mask.sum(1) for batch in batches]
    rates = [batch.fps for batch in batches]
    return fid_curves(evaluator, joints, num_frames, rates, seed=seed)


def fid_curves(
    evaluator: Evaluator,
    joints: list[Tensor],
    num_frames: list[Tensor],
    rates: list[Tensor],
    *,
    seed: int = 0,
) -> dict[str, dict[float, float]]:
    """FID of clips and the same clips damaged; each list has one entry per batch."""

    def embedded(points: list[Tensor]) -> Tensor:
        compat = evaluator.features.compat
        found = [
            joint_features(p, n, fps, compat=compat)
            for p, n, fps in zip(points, num_frames, rates, strict=True)
        ]
        return torch.cat([evaluator.embed_motion(*part) for part in found])

    real = embedded(joints)
    curves: dict[str, dict[float, float]] = {}
    for name, (damage, _, strengths) in CORRUPTIONS.items():
        curves[name] = {}
        for strength in strengths:
            draw = generator_for(seed, name)
            altered = [
                damage(p, n, strength, draw) for p, n in zip(joints, num_frames, strict=True)
            ]
            curves[name][strength] = frechet_distance(real, embedded(altered))
    return curves


def _joints(batch: Batch, body_name: str) -> Tensor:
    if batch.R_parent_child is None or batch.betas is None or batch.translation is None:
        raise ValueError("damage is done to motions, which these clips do not carry")
    motion = Motion(
        R_parent_child=batch.R_parent_child,
        translation=batch.translation,
        betas=batch.betas,
        body_id=batch.body_id,
        fps=float(batch.fps[0]),
    )
    return motion_joints(load_body(body_name), motion)


def judge(
    export_dir: Path | str,
    *,
    run_id: str = "",
    step: int = 0,
    device: str = "cpu",
    split: str = "validation",
    seed: int = 0,
) -> Mapping[str, float]:
    """R-precision of an evaluator's export on held-out clips of its data set, for `validate_with`.

    Returns:
        `eval/r_precision_k`, the bounds of its 95 % interval, and chance.

    Raises:
        ValueError: the export is of another system, or the data set has no such clips.
    """
    evaluator = load_evaluator(export_dir, device=device)
    root = Path(read_config(Path(export_dir))["data"]["root"])
    found = embed_split(evaluator, root, split, seed=seed)
    metrics: dict[str, float] = {}
    for k, score in enumerate(retrieval_scores(found, seed=seed), start=1):
        name = f"eval/r_precision_{k}"
        metrics |= {
            name: score.interval.mean,
            f"{name}_low": score.interval.low,
            f"{name}_high": score.interval.high,
            f"{name}_chance": score.chance,
        }
    if run_id:
        log_to_run(run_id, step, metrics, ())
    return metrics
