"""In-betweening, dance, and the kinetic and geometric features of GENMO's text-to-motion table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel, motion_joints
from motion.data.plan import ClipRef
from motion.evaluation.estimation import pooled_interval
from motion.evaluation.motions import real_motion
from motion.evaluation.sampling import Request, read_motion
from motion.evaluation.tables import Row
from motion.importers.audio import SLICES
from motion.metrics.dance import beat_alignment, dance_scores, kinematic_beats
from motion.metrics.dance_features import geometric_features, kinetic_features
from motion.metrics.inbetween import keyframe_errors, keyframes
from motion.metrics.interval import Interval
from motion.metrics.physics import pfc

if TYPE_CHECKING:
    from motion.evaluation.scores import Run

KEYS: Final = (2, 5)
"""Key poses of in-betweening (GENMO, table 6)."""


class Points(NamedTuple):
    """A chunk of clips; chunks differ in the number and the length of theirs."""

    joints: Float[Tensor, "b t 24 3"]
    mask: Bool[Tensor, "b t"]
    """Valid frames."""
    fps: float


def motion_features(
    chunks: Sequence[Points],
) -> tuple[Float[Tensor, "n 72"], Float[Tensor, "n 32"]]:
    """Kinetic and geometric features of every clip, less the root of its first frame."""
    kinetic: list[Tensor] = []
    geometric: list[Tensor] = []
    for joints, mask, fps in chunks:
        centered = joints - joints[:, :1, :1]
        kinetic.append(kinetic_features(centered, mask, fps=fps, convention="corrected"))
        geometric.append(geometric_features(centered, mask, fps=fps, convention="corrected"))
    return torch.cat(kinetic), torch.cat(geometric)


def feature_values(real: Sequence[Points], made: Sequence[Points]) -> dict[str, Interval]:
    """FID and diversity in both feature spaces; without intervals, as published."""
    values: dict[str, Interval] = {}
    pairs = zip(("k", "g"), motion_features(real), motion_features(made), strict=True)
    for space, of_real, of_made in pairs:
        scores = dance_scores(of_real, of_made, convention="corrected")
        values[f"fid_{space}"] = _single(scores.fid, len(of_made))
        values[f"div_{space}"] = _single(scores.diversity, len(of_made))
    return values


def real_points(body: BodyModel, batches: Sequence[Batch]) -> list[Points]:
    """The clips' own joints."""
    pairs = [(real_motion(batch), batch.frame_mask) for batch in batches]
    return [Points(motion_joints(body, motion), mask, motion.fps) for motion, mask in pairs]


def made_points(
    request: Request, chunks: Sequence[Sequence[ClipRef]], batches: Sequence[Batch], draw: int,
    body: BodyModel,
) -> list[Points]:  # fmt: skip
    """Joints of a draw's samples."""
    found: list[Points] = []
    for chunk, batch in zip(chunks, batches, strict=True):
        motion = read_motion(request.file(chunk, draw), batch.clip_ids)
        found.append(Points(motion_joints(body, motion), batch.frame_mask, motion.fps))
    return found


def _single(value: float, count: int) -> Interval:
    return Interval(value, float("nan"), float("nan"), count)


def dance_rows(run: "Run", requests: Sequence[Request]) -> tuple[Row, list[Row], dict[str, str]]:
    """Features, foot contact and beats of dances against the clips' own.

    Raises:
        ValueError: the clips carry no music.
    """
    chunks = run.clips.chunks()
    batches = [run.clips.batch(chunk, 0) for chunk in chunks]
    if any(batch.music is None for batch in batches):
        raise ValueError(
            "this protocol measures dances to music, and the clips carry none: prepare motion "
            "capture with the sound beside it (--mocap.music)"
        )
    real = real_points(run.body, batches)
    row = Row(name="real data", kind="real", values=_dance_values(real, real, batches))
    ours: list[Row] = []
    for request in requests:
        run.sample(request, run.clips, range(run.protocol.passes))
        made = made_points(request, chunks, batches, 0, run.body)
        values = _dance_values(real, made, batches)
        ours.append(Row(name=request.name, kind="ours", values=values))
    facts = {
        "clips": str(len(run.clips.refs)),
        "features": "both corrected (motion.metrics.dance_features), at the data's frame rate",
        "beats": "of the music, by librosa; tolerance 3 frames",
    }
    return row, ours, facts


def _dance_values(
    real: Sequence[Points], made: Sequence[Points], batches: Sequence[Batch]
) -> dict[str, Interval]:
    values = feature_values(real, made)
    contact: list[Tensor] = []
    beats: list[Tensor] = []
    for (joints, mask, fps), batch in zip(made, batches, strict=True):
        assert batch.music is not None
        music = batch.music[..., SLICES["beat"].start] > 0.5
        contact.append(pfc(joints, mask, fps=fps))
        beats.append(beat_alignment(kinematic_beats(joints, mask), music & mask))
    return values | {"pfc": _over_clips(contact), "bas": _over_clips(beats)}


def _over_clips(values: Sequence[Float[Tensor, "_"]]) -> Interval:
    """Mean over clips with a bootstrap interval; a clip without a value takes no part."""
    joined = torch.cat(list(values)).double()
    known = joined[torch.isfinite(joined)]
    return pooled_interval(torch.stack([known, torch.ones_like(known)], 1))


def inbetween_rows(
    run: "Run", requests: Sequence[Request]
) -> tuple[Row, list[Row], dict[str, str]]:
    """Errors at 2 and 5 key poses, the least over the passes (GENMO, table 6)."""
    chunks = run.clips.chunks()
    batches = [run.clips.batch(chunk, 0) for chunk in chunks]
    truths = [motion_joints(run.body, real_motion(batch)) for batch in batches]
    ours: list[Row] = []
    for request in requests:
        values: dict[str, Interval] = {}
        for count in KEYS:
            keyed = replace(
                request,
                options={**request.options, "keyframes": count},
                folder=request.folder / f"keys_{count}",
            )
            run.sample(keyed, run.clips, range(run.protocol.passes))
            values |= _key_values(run, keyed, count, chunks, batches, truths)
        ours.append(Row(name=request.name, kind="ours", values=values))
    still = {f"{kind}_{count}": _single(0.0, len(run.clips.refs)) for kind in ("pa", "wa")
             for count in KEYS}  # fmt: skip
    row = Row(name="real data", kind="real", values=still, note="zero against itself")
    facts = {
        "clips": str(len(run.clips.refs)),
        "samples": f"the least of {run.protocol.passes} (the paper does not say of how many)",
        "keyframes": "first, last and uniform ones between them",
        "intervals": "bootstrap over clips",
    }
    return row, ours, facts


def _key_values(
    run: "Run",
    request: Request,
    count: int,
    chunks: Sequence[Sequence[ClipRef]],
    batches: Sequence[Batch],
    truths: Sequence[Float[Tensor, "_ _ 24 3"]],
) -> Mapping[str, Interval]:
    pa: list[Tensor] = []
    wa: list[Tensor] = []
    for chunk, batch, truth in zip(chunks, batches, truths, strict=True):
        draws = list(_draws(run, request, chunk, batch))
        errors = keyframe_errors(torch.stack(draws, 1), truth, key_mask(batch, count))
        pa.append(errors.pa_mm)
        wa.append(errors.wa_mm)
    return {f"pa_{count}": _over_clips(pa), f"wa_{count}": _over_clips(wa)}


def _draws(
    run: "Run", request: Request, chunk: Sequence[ClipRef], batch: Batch
) -> Iterator[Float[Tensor, "b t 24 3"]]:
    for draw in range(run.protocol.passes):
        yield motion_joints(run.body, read_motion(request.file(chunk, draw), batch.clip_ids))


def key_mask(batch: Batch, count: int) -> Bool[Tensor, "b t"]:
    """The frames that a system is given."""
    mask = torch.zeros_like(batch.frame_mask)
    for row, length in zip(mask, batch.frame_mask.sum(1).tolist(), strict=True):
        row[keyframes(int(length), min(count, int(length)))] = True
    return mask
