"""K2M on held-out clips: how well keypoints are rebuilt, what 3D comes with them, and what captions
make.

The clips' 3D motion never enters a loss; here it is the truth that the recovered one is held
against.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body import load_body
from motion.data.motion_tokens import load_tokenizer
from motion.encoders import load_text_encoder
from motion.evaluation.conditions import log_to_run
from motion.exported import read_config, read_weights
from motion.metrics.distribution import all_pairs_distance, frechet_distance
from motion.metrics.embeddings import embed, retrieval_scores
from motion.metrics.evaluator import Evaluator, load_evaluator
from motion.metrics.pose import keypoint_error_px, pa_mpjpe_mm, pck
from motion.models.evaluator.features import (
    KEYPOINT_SLICES,
    SEEN,
    Features,
    keypoint_features,
)
from motion.models.k2m.config import STRIDE, K2MConfig, SampleOptions
from motion.models.k2m.keypoints import Keypoints, keypoints_of
from motion.models.k2m.smpl_head import Projection, Smpl
from motion.models.k2m.system import K2M
from motion.models.k2m.tokenizer import Tokenizer
from motion.training.evaluators import (
    KEYPOINT_COLUMNS,
    MOTION_COLUMNS,
    TEXT_COLUMNS,
    captions_of,
    joined,
    split_batches,
)

EXACT_COLUMNS: Final = ("keypoints", "keypoints_visible", "keypoints_size")
PCK_SHARE: Final = 0.05
"""Of the person's height in the image, within which a keypoint counts as found."""
_JOINTS: Final = 22
"""Joints that are compared: SMPL's without the hands."""


class Rebuilt(NamedTuple):
    """Numbers of some clips, per frame; NaN where there is none."""

    error_px: Float[Tensor, "b t"]
    """Distance to the exact keypoints that are in the image."""
    pck: Float[Tensor, "b t"]
    pa_mpjpe_mm: Float[Tensor, "b t"]
    """Of the recovered body."""
    mean_pose_mm: Float[Tensor, "b t"]
    """The same of the clips' mean pose, which needs no keypoints."""
    behind: Float[Tensor, "b t"]
    """Share of points that are not in front of the camera."""


def judge_tokenizer(
    export_dir: Path | str,
    *,
    run_id: str = "",
    step: int = 0,
    device: str = "cpu",
    split: str = "validation",
    evaluator: str = "",
    most: int | None = None,
) -> dict[str, float]:
    """Reconstruction of held-out clips by a tokenizer's export, for `validate_with`.

    Args:
        export_dir: the export.
        run_id: MLflow run that takes the metrics; none if empty.
        step: training step of the export.
        device: where the export computes.
        split: its data set's clips.
        evaluator: export of an evaluator of keypoints; with it, the FID of the reconstructions.
        most: only so many clips.

    Raises:
        ValueError: the export is no tokenizer's, or its data set has no such clips.
    """
    tokenizer = load_tokenizer(Path(export_dir), device=device)
    root = Path(read_config(Path(export_dir))["data"]["root"])
    judge = load_evaluator(evaluator) if evaluator else None
    found = tokenizer_scores(tokenizer, root, split, judge=judge, most=most)
    metrics = {f"eval/{name}": value for name, value in found.items()}
    if run_id:
        log_to_run(run_id, step, metrics, ())
    return metrics


def tokenizer_scores(
    tokenizer: Tokenizer,
    root: Path,
    split: str,
    *,
    judge: Evaluator | None = None,
    most: int | None = None,
) -> dict[str, float]:
    """Means of `Rebuilt` over a split's frames, use of the codes, and with a judge the FID."""
    rows: list[Rebuilt] = []
    codes: list[Tensor] = []
    real: list[Features] = []
    made: list[Features] = []
    mean_pose = _mean_pose(root, tokenizer.config.body, most)
    for seen, exact, moved in _triples(root, split, most):
        keypoints, truth = keypoints_of(seen.to(tokenizer.device)), keypoints_of(exact)
        tokens = tokenizer.encode(keypoints)
        smpl = tokenizer.decode(tokens)
        found = _on_cpu(tokenizer.projection(smpl, keypoints.size))
        rows.append(rebuilt(tokenizer, smpl, found, truth, moved, mean_pose))
        codes.append(tokens.cpu()[truth.token_mask])
        if judge is not None:
            real.append(features_of(judge, truth.xy, truth.mask, seen))
            made.append(features_of(judge, found.xy, truth.mask, seen))
    metrics = {
        name: float(torch.cat([getattr(row, name).flatten() for row in rows]).nanmean())
        for name in Rebuilt._fields
    } | code_use(torch.cat(codes), tokenizer.config.quantizer.num_codes)
    if judge is not None:
        spaces = [judge.embed_motion(*joined(part)) for part in (real, made)]
        metrics["fid"] = frechet_distance(*spaces)
    return metrics


def rebuilt(
    tokenizer: Tokenizer,
    smpl: Smpl,
    found: Projection,
    truth: Keypoints,
    moved: Batch,
    mean_pose: Float[Tensor, "j 3"],
) -> Rebuilt:
    """A batch's reconstruction against exact keypoints and true motion."""
    mask = truth.mask
    visible = (truth.confidence > 0.5) & mask[..., None]
    height = truth.xy[..., 1].amax(-1) - truth.xy[..., 1].amin(-1)
    assert moved.R_parent_child is not None
    assert moved.betas is not None
    body = load_body(tokenizer.config.body)
    frames = mask.shape[1]
    true = body.joints(moved.R_parent_child, moved.betas)[:, :frames, :_JOINTS]
    R, betas = smpl.R_parent_child.cpu()[:, :, None], smpl.betas.cpu()
    recovered = body.joints(R, betas)[:, :, 0, :_JOINTS]
    flat = mean_pose.expand_as(true)
    behind = torch.where(mask, (~found.seen).float().mean(-1), torch.nan)
    return Rebuilt(
        keypoint_error_px(found.xy, truth.xy, visible),
        pck(found.xy, truth.xy, PCK_SHARE, scale=height, visible=visible),
        pa_mpjpe_mm(recovered, true, mask),
        pa_mpjpe_mm(flat, true, mask),
        behind,
    )


def code_use(codes: Tensor, num_codes: int) -> dict[str, float]:
    """Perplexity of the codes and share of codes that no token uses, mean over levels and base.

    Args:
        codes: tokens by level (n, q).
        num_codes: per level.
    """
    counts = torch.stack([level.bincount(minlength=num_codes) for level in codes.clamp(min=0).T])
    share = counts / counts.sum(1, keepdim=True)
    entropy = -torch.special.xlogy(share, share).sum(1)
    return {
        "perplexity": float(entropy.exp().mean()),
        "perplexity_base": float(entropy[0].exp()),
        "unused_codes": float((counts == 0).double().mean()),
    }


def judge_generation(
    export_dir: Path | str,
    *,
    evaluator: str,
    run_id: str = "",
    step: int = 0,
    device: str = "cpu",
    split: str = "validation",
    most: int | None = None,
    passes: int = 1,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """R-precision, FID and diversity of what captions of held-out clips make, in the 2D evaluator.

    Beside them the same numbers of the real clips, of their reconstruction through tokens (what
    generation can reach at best), and chance.

    Args:
        export_dir: K2M's export.
        evaluator: export of an evaluator of keypoints.
        run_id: MLflow run that takes the metrics; none if empty.
        step: training step of the export.
        device: where the export computes.
        split: its data set's clips.
        most: only so many clips.
        passes: samples per caption, averaged over.
        seed: of captions and draws.
        options: fields of `SampleOptions` to replace.

    Raises:
        ValueError: the export is not K2M's, or the evaluator does not see keypoints.
    """
    system = load_k2m(Path(export_dir), device=device)
    root = Path(read_config(Path(export_dir))["data"]["root"])
    judge = load_evaluator(evaluator)
    if judge.features.source != "keypoints":
        raise ValueError(f"{evaluator} sees {judge.features.source}; give one of keypoints")
    chosen = {**system.config.sampling.model_dump(), **(options or {})}
    sampling = type(system.config.sampling).model_validate(chosen)
    batches = list(split_batches(root, split, (*EXACT_COLUMNS, *TEXT_COLUMNS), most=most))
    names = [name for batch in batches for name in batch.clip_ids]
    captions = captions_of(root, split, names, seed)
    told = _told(batches, *load_text_encoder(Path(export_dir) / "encoders/text").encode(captions))
    clips = [keypoints_of(batch) for batch in batches]
    real = [features_of(judge, k.xy, k.mask, b) for k, b in zip(clips, batches, strict=True)]
    sides = {"real": [joined(real)], "tokens": [_made(system, judge, told)], "made": []}
    for number in range(passes):
        draw = torch.Generator().manual_seed(seed + number)
        sides["made"].append(_made(system, judge, told, sampling, draw))
    metrics = scores(judge, sides, captions, seed)
    if run_id:
        log_to_run(run_id, step, metrics, ())
    return metrics


def scores(
    judge: Evaluator, sides: Mapping[str, list[Features]], captions: list[str], seed: int
) -> dict[str, float]:
    """Numbers of each side, mean over its passes; FID is against `real`."""
    truth = judge.embed_motion(*sides["real"][0])
    metrics: dict[str, float] = {}
    for side, passes in sides.items():
        found: list[dict[str, float]] = []
        for features in passes:
            space = embed(judge, features, captions)
            one = {"fid": frechet_distance(truth, space.motion)}
            one["diversity"] = all_pairs_distance(space.motion)
            for k, score in enumerate(retrieval_scores(space, seed=seed), start=1):
                one[f"r_precision_{k}"] = score.interval.mean
                metrics[f"eval/chance/r_precision_{k}"] = score.chance
            found.append(one)
        for name in found[0]:
            metrics[f"eval/{side}/{name}"] = sum(one[name] for one in found) / len(found)
    return metrics


def load_k2m(export: Path, *, device: str = "cpu") -> K2M:
    """K2M of an export, in evaluation mode.

    Raises:
        ValueError: the folder holds no export of K2M.
    """
    system = read_config(export)["system"]
    if system["kind"] != "k2m":
        raise ValueError(
            f"{export} holds {system['kind']!r}; expected 'k2m': "
            "`ray job submit -- python rayjobs/train_k2m.py tiny` makes one"
        )
    module = K2MConfig.model_validate(system).build()
    module.load_state_dict(read_weights(export), strict=True)
    return module.to(device).eval()


def features_of(
    judge: Evaluator, xy: Float[Tensor, "b t 17 2"], mask: Bool[Tensor, "b t"], batch: Batch
) -> Features:
    """Features of keypoints that are equally sure on all sides: each has its mean confidence over
    the evaluator's training clips. Generated ones have none of their own."""
    found = judge.features.statistics
    assert found is not None  # load_evaluator refuses others
    mean = torch.tensor(found.mean[KEYPOINT_SLICES["confidence"]]).clamp(min=SEEN)
    return keypoint_features(xy, mean.expand(xy.shape[:3]), mask, batch.fps, judge.features.fps)


def _made(
    system: K2M,
    judge: Evaluator,
    batches: list[Batch],
    sampling: SampleOptions | None = None,
    draw: torch.Generator | None = None,
) -> Features:
    """Features of keypoints that tokens decode to: drawn ones, or else the clips' own."""
    parts: list[Features] = []
    for batch in batches:
        moved = batch.to(system.tokenizer.device)
        keypoints = keypoints_of(moved)
        if sampling is None or draw is None:
            ids = system.tokenizer.encode(keypoints)
        else:
            ids = system.sample_tokens(moved, sampling, generator=draw).ids
        smpl = system.tokenizer.decode(ids)
        found = _on_cpu(system.tokenizer.projection(smpl, keypoints.size))
        mask = (ids[..., 0] >= 0).repeat_interleave(STRIDE, 1).cpu()
        parts.append(features_of(judge, found.xy, mask, batch))
    return joined(parts)


def _told(
    batches: list[Batch], tokens: Float[Tensor, "m n d"], mask: Bool[Tensor, "m n"]
) -> list[Batch]:
    """The batches with these captions: those that are scored are those that are sampled from."""
    sizes = [batch.size for batch in batches]
    pairs = zip(batches, tokens.float().split(sizes), mask.split(sizes), strict=True)
    return [replace(b, text=text[:, None], text_mask=real[:, None]) for b, text, real in pairs]


def _triples(root: Path, split: str, most: int | None) -> Iterator[tuple[Batch, Batch, Batch]]:
    """The same clips with the keypoints that are read, the exact ones and the motion."""
    sets = (KEYPOINT_COLUMNS, EXACT_COLUMNS, MOTION_COLUMNS)
    return zip(*(split_batches(root, split, columns, most=most) for columns in sets), strict=True)


def _mean_pose(root: Path, body_name: str, most: int | None) -> Float[Tensor, "j 3"]:
    """Joints of the training clips about the pelvis, turned to one root direction, averaged."""
    sums, count, body = torch.zeros(_JOINTS, 3), 0, load_body(body_name)
    for batch in split_batches(root, "train", MOTION_COLUMNS, most=most):
        assert batch.R_parent_child is not None
        assert batch.betas is not None
        R = batch.R_parent_child.clone()
        R[:, :, 0] = torch.eye(3)
        kept = body.joints(R, batch.betas)[..., :_JOINTS, :][batch.frame_mask]
        sums, count = sums + (kept - kept[:, :1]).sum(0), count + len(kept)
    return sums / count


def _on_cpu(found: Projection) -> Projection:
    return Projection(*(part.cpu() for part in found))
