"""The rows of a protocol's table: the real data, and each export."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.evaluation.clips import Clips
from motion.evaluation.dance import (
    dance_rows,
    feature_values,
    inbetween_rows,
    made_points,
    real_points,
)
from motion.evaluation.embedding import (
    Rows,
    caption_embeddings,
    crops,
    eligible,
    embedded,
    gather,
    made_features,
    real_features,
)
from motion.evaluation.estimation import (
    Sums,
    estimation_sums,
    pooled_intervals,
    real_sums,
)
from motion.evaluation.motions import real_motion
from motion.evaluation.protocols import Protocol
from motion.evaluation.sampling import (
    EXTRA_DRAWS,
    Request,
    read_motion,
    sample_all,
)
from motion.evaluation.tables import Row
from motion.evaluation.videos import video_rows
from motion.metrics.distribution import size_bias
from motion.metrics.evaluator import Evaluator
from motion.metrics.interval import Interval
from motion.metrics.text_to_motion import TextToMotionConfig, text_to_motion

Scored = tuple[Row | None, list[Row], dict[str, str]]
"""Row of the real data, rows of the exports, facts."""

SMALLER_DIVERSITY = (300, 100, 10)
"""Pairs of Diversity: the first that the clips fill, as MoMask's and CrossDiff's code."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all rows share."""

    protocol: Protocol
    clips: Clips
    body: BodyModel
    evaluator: Evaluator | None
    native_video: bool
    workers: int | None
    num_gpus: float | None

    def sample(self, request: Request, clips: Clips, draws: Sequence[int]) -> None:
        sample_all(request, clips, draws, workers=self.workers, num_gpus=self.num_gpus)


def score(run: Run, requests: Sequence[Request]) -> Scored:
    """Sample what is missing and score it.

    Raises:
        ValueError: an export lacks what the protocol measures, or there are too few clips.
    """
    if run.protocol.kind == "estimation":
        return _estimation(run, requests)
    if run.protocol.kind == "video":
        dimensions = () if run.native_video else run.protocol.video_dimensions
        return video_rows(run.clips, requests, run.sample, dimensions)
    if run.protocol.kind == "dance":
        return dance_rows(run, requests)
    if run.protocol.kind == "inbetween":
        return inbetween_rows(run, requests)
    return _text_to_motion(run, requests)


def require_packages(protocol: Protocol, *, native: bool) -> None:
    """Refuse the video protocol before anything is sampled where VBench is not installed.

    Raises:
        RuntimeError: with the remedy.
    """
    missing = importlib.util.find_spec("vbench") is None
    if protocol.kind == "video" and missing and not native:
        raise RuntimeError(
            f"protocol {protocol.name!r} runs the vbench package, which is not installed: install "
            "it in an environment of its own, or set native_video for temporal flickering alone"
        )


@dataclass(frozen=True)
class RealSide:
    """The real clips of a text-to-motion protocol, crops and captions drawn per pass."""

    rows: Rows
    texts: Float[Tensor, "q n e"]
    lengths: Sequence[np.ndarray]
    """Rows of each clip in each pass; generated clips take as many."""
    embeddings: Float[Tensor, "q n e"]
    again: Float[Tensor, "q n e"]
    """Other crops of the same clips: the table's first row."""


def _text_to_motion(run: Run, requests: Sequence[Request]) -> Scored:
    evaluator, protocol = run.evaluator, run.protocol
    assert evaluator is not None
    every = gather(
        run.clips, evaluator, 0, lambda _, batch: real_features(batch, evaluator, run.body)
    )
    keep = eligible(every.lengths, protocol)
    clips, rows = run.clips.kept(keep), every.kept(keep)
    made_clips = clips
    if protocol.max_generated is not None and protocol.max_generated < len(clips.refs):
        made_clips = clips.first(protocol.max_generated)
    chosen = {ref.clip_id for ref in made_clips.refs}
    places = torch.tensor([i for i, ref in enumerate(clips.refs) if ref.clip_id in chosen])
    real = _real_side(run, clips, rows)
    config = _fitted(protocol.metrics, len(places))
    row = Row(
        name="real data",
        kind="real",
        values=_metrics(real.texts, real.again, real.embeddings, config),
        note="a second pass over the real clips, with other crops",
    )
    ours: list[Row] = []
    for request in requests:
        run.sample(request, made_clips, range(protocol.passes))
        made = torch.stack(
            [
                _made(run, request, made_clips, draw, real.lengths[draw][places.numpy()])
                for draw in range(protocol.passes)
            ]
        )
        many = _multimodal(run, request, made_clips)
        values = _metrics(real.texts[:, places], made, real.embeddings, config, many)
        values |= _features(run, made_clips, request)
        ours.append(Row(name=request.name, kind="ours", values=values))
    facts = {
        "real clips": f"{len(clips.refs)} of {len(run.clips.refs)}",
        "generated clips": f"{len(places)} x {protocol.passes}",
        "batches": f"{config.batch_size} clips, {config.repeats} repeats, {config.direction}",
        "diversity pairs": str(config.diversity_pairs),
        "intervals": "1.96 sd / sqrt(repeats)",
    }
    return row, ours, facts


def _features(run: Run, clips: Clips, request: Request) -> dict[str, Interval]:
    """FID and diversity of kinetic and geometric features, where the protocol has them."""
    if not any(column.name == "fid_k" for column in run.protocol.columns):
        return {}
    chunks = clips.chunks()
    batches = [clips.batch(chunk, 0) for chunk in chunks]
    made = made_points(request, chunks, batches, 0, run.body)
    return feature_values(real_points(run.body, batches), made)


def _fitted(config: TextToMotionConfig, clips: int) -> TextToMotionConfig:
    """The protocol with as many pairs of Diversity as the clips of whole batches fill."""
    whole = clips // config.batch_size * config.batch_size
    pairs = next((pairs for pairs in SMALLER_DIVERSITY if pairs < whole), None)
    if pairs is None:
        raise ValueError(f"{clips} clips fill no batch of {config.batch_size}: evaluate more clips")
    return config.model_copy(update={"diversity_pairs": min(pairs, config.diversity_pairs)})


def _real_side(run: Run, clips: Clips, rows: Rows) -> RealSide:
    evaluator, protocol = run.evaluator, run.protocol
    assert evaluator is not None
    texts: list[Tensor] = []
    once: list[Tensor] = []
    again: list[Tensor] = []
    lengths: list[np.ndarray] = []
    for draw in range(protocol.passes):
        generator = np.random.default_rng(np.random.SeedSequence((clips.seed, draw, 2)))
        start, length = crops(rows.lengths, protocol.crop_unit, generator)
        once.append(embedded(rows, start, length, evaluator))
        lengths.append(length)
        start, length = crops(rows.lengths, protocol.crop_unit, generator)
        again.append(embedded(rows, start, length, evaluator))
        texts.append(caption_embeddings(clips, evaluator, draw))
    return RealSide(rows, torch.stack(texts), lengths, torch.stack(once), torch.stack(again))


def _made(
    run: Run, request: Request, clips: Clips, draw: int, lengths: np.ndarray
) -> Float[Tensor, "n e"]:
    """Embeddings of a draw's samples, cut to the lengths of the real clips."""
    evaluator = run.evaluator
    assert evaluator is not None
    rows = gather(
        clips,
        evaluator,
        draw,
        lambda chunk, batch: made_features(
            read_motion(request.file(chunk, draw), batch.clip_ids), batch, evaluator, run.body
        ),
    )
    kept = np.minimum(lengths, rows.lengths)
    return embedded(rows, np.zeros_like(kept), kept, evaluator)


def _multimodal(run: Run, request: Request, clips: Clips) -> Float[Tensor, "1 p g e"] | None:
    """Many samples of a few prompts."""
    protocol = run.protocol
    if not protocol.multimodal_prompts:
        return None
    few = clips.first(protocol.multimodal_prompts)
    draws = range(EXTRA_DRAWS, EXTRA_DRAWS + protocol.multimodal_samples)
    run.sample(request, few, draws)
    whole = np.full(len(few.refs), 1 << 30)
    return torch.stack([_made(run, request, few, draw, whole) for draw in draws], 1)[None]


def _metrics(
    text: Float[Tensor, "q n e"],
    made: Float[Tensor, "q n e"],
    real: Float[Tensor, "q m e"],
    config: TextToMotionConfig,
    multimodal: Float[Tensor, "1 p g e"] | None = None,
) -> dict[str, Interval]:
    """All text-to-motion metrics, and FID for infinitely many clips from the first pass."""
    repeats = config.repeats if len(made) == 1 else len(made)
    config = config.model_copy(update={"repeats": repeats})
    values = text_to_motion(text, made, real, config=config, multimodal=multimodal)
    n = min(made.shape[1], real.shape[1])
    if n >= 8:
        generator = torch.Generator().manual_seed(config.seed)
        bias = size_bias(real[0], made[0], generator=generator)
        nan = float("nan")
        values["fid_inf"] = Interval(bias.fid_inf, nan, nan, n)
    return values


def _estimation(run: Run, requests: Sequence[Request]) -> Scored:
    chunks = run.clips.chunks()
    batches = [run.clips.batch(chunk, 0) for chunk in chunks]
    truths = [real_motion(batch) for batch in batches]
    masks = [batch.frame_mask for batch in batches]
    own = [real_sums(t, m, run.body) for t, m in zip(truths, masks, strict=True)]
    real = Row(
        name="real data",
        kind="real",
        values=pooled_intervals(own),
        note="errors against itself are zero; jitter and sliding are the real data's own",
    )
    ours: list[Row] = []
    for request in requests:
        run.sample(request, run.clips, range(run.protocol.passes))
        sums: list[Sums] = [
            estimation_sums(
                read_motion(request.file(chunk, draw), batch.clip_ids), truth, mask, run.body
            )
            for draw in range(run.protocol.passes)
            for chunk, batch, truth, mask in zip(chunks, batches, truths, masks, strict=True)
        ]
        ours.append(Row(name=request.name, kind="ours", values=pooled_intervals(sums)))
    rates = sorted({truth.fps for truth in truths})
    facts = {
        "clips": str(len(run.clips.refs)),
        "frame rate": f"{', '.join(f'{rate:g}' for rate in rates)} fps (published: 30)",
        "foot points": "the body's heels and toes",
        "intervals": "bootstrap over clips of the mean over frames",
    }
    return real, ours, facts
