"""Real and generated clips in an evaluator's space, cropped as the published loaders crop."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef
from motion.evaluation.clips import COLUMNS, KEYPOINTS, Clips
from motion.evaluation.motions import projected_keypoints, real_motion
from motion.evaluation.protocols import Protocol
from motion.metrics.evaluator import Evaluator
from motion.models.evaluator.features import Features, keypoint_features
from motion.sequence import Motion

TOKENS = ("text_embedding", "text_mask")
AT_ONCE = 128
"""Clips that are embedded together."""


@dataclass(frozen=True)
class Rows:
    """Features of n clips; each clip's valid rows come first."""

    values: tuple[Float[Tensor, "t d"], ...]

    @property
    def lengths(self) -> list[int]:
        return [len(value) for value in self.values]

    @staticmethod
    def joined(parts: Sequence[Features]) -> "Rows":
        """Features of chunks, without their padding."""
        return Rows(
            tuple(
                values[mask].float()
                for part in parts
                for values, mask in zip(part.values, part.mask, strict=True)
            )
        )

    def kept(self, keep: Sequence[bool]) -> "Rows":
        """Those of the clips that are marked."""
        return Rows(tuple(v for v, good in zip(self.values, keep, strict=True) if good))


def require_features(protocol: Protocol, evaluator: Evaluator) -> None:
    """Refuse an evaluator that sees something else than the protocol says.

    Raises:
        ValueError: another kind of features or frame rate.
    """
    found = evaluator.features
    rate = protocol.fps is None or abs(found.fps - protocol.fps) < 0.01
    if found.source != protocol.features or not rate:
        raise ValueError(
            f"protocol {protocol.name!r} needs an evaluator of {protocol.features} features"
            f"{'' if protocol.fps is None else f' at {protocol.fps:g} fps'}; this one sees "
            f"{found.source} at {found.fps:g} fps: train or name another evaluator"
        )


def require_texts(evaluator: Evaluator) -> None:
    """Refuse an evaluator that cannot read captions, before anything is sampled.

    Raises:
        ValueError: a published evaluator without its vocabulary.
        RuntimeError: the tagger of a published evaluator's words is not installed.
    """
    evaluator.encode_text(["a person walks"])


def reads_tokens_of(evaluator: Evaluator, manifest: Manifest) -> bool:
    """Whether the evaluator's text encoder made the dataset's tokens; otherwise it encodes the
    captions itself."""
    own = evaluator.text_encoder
    return own is not None and own.hash == manifest.encoders["text"]["hash"]


def columns_of(evaluator: Evaluator) -> tuple[str, ...]:
    """What must be read of the clips."""
    return KEYPOINTS if evaluator.features.source == "keypoints" else COLUMNS


def real_features(batch: Batch, evaluator: Evaluator, body: BodyModel) -> Features:
    """Features of the clips themselves: of their motion, or of the keypoints that they carry."""
    found = evaluator.features
    if found.source == "humanml":
        return found.of_motion(real_motion(batch), body, batch.frame_mask.sum(1))
    if batch.keypoints is None or batch.keypoints_confidence is None:
        raise ValueError("the clips carry no 2D keypoints, which this protocol's evaluator sees")
    return keypoint_features(
        batch.keypoints, batch.keypoints_confidence, batch.frame_mask, batch.fps, found.fps
    )


def made_features(motion: Motion, batch: Batch, evaluator: Evaluator, body: BodyModel) -> Features:
    """Features of generated motions. Projected keypoints take the confidence of the real clip's,
    because a model of motions makes none."""
    found = evaluator.features
    if found.source == "humanml":
        return found.of_motion(motion, body, batch.frame_mask.sum(1))
    if batch.keypoints_confidence is None:
        raise ValueError("the clips carry no 2D keypoints, which this protocol's evaluator sees")
    points = projected_keypoints(motion, batch, body)
    return keypoint_features(
        points, batch.keypoints_confidence, batch.frame_mask, batch.fps, found.fps
    )


def gather(
    clips: Clips,
    evaluator: Evaluator,
    draw: int,
    features_of: Callable[[Sequence[ClipRef], Batch], Features],
) -> Rows:
    """Features of all clips."""
    columns = columns_of(evaluator)
    return Rows.joined(
        [features_of(chunk, clips.batch(chunk, draw, columns)) for chunk in clips.chunks()]
    )


def caption_embeddings(clips: Clips, evaluator: Evaluator, draw: int) -> Float[Tensor, "n e"]:
    """Embeddings of the captions that the clips show in a draw."""
    stored = reads_tokens_of(evaluator, Manifest.load(clips.root))
    found: list[Tensor] = []
    for chunk in clips.chunks():
        if stored:
            batch = clips.batch(chunk, draw, TOKENS)
            if batch.text is None or batch.text_mask is None:
                raise ValueError("the clips carry no text: this protocol compares it with motions")
            tokens, mask = batch.text[:, 0], batch.text_mask[:, 0]
        else:
            tokens, mask = evaluator.encode_text(clips.captions(chunk, draw))
        found.append(evaluator.embed_text(tokens, mask))
    return torch.cat(found)


def crops(
    lengths: Sequence[int], unit: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """First row and number of rows of each clip (Guo et al. 2022).

    A length is a multiple of `unit`, for one clip of three one unit less than possible; the start
    is anywhere. Clips shorter than a unit, and all where `unit` is 1, stay whole.
    """
    whole = np.asarray(lengths)
    if unit == 1:
        return np.zeros_like(whole), whole
    kept = whole // unit * unit
    kept = np.where((generator.random(len(whole)) < 1 / 3) & (kept > unit), kept - unit, kept)
    kept = np.where(kept == 0, whole, kept)
    return generator.integers(0, whole - kept + 1), kept


def embedded(
    rows: Rows, start: Int[np.ndarray, "n"], length: Int[np.ndarray, "n"], evaluator: Evaluator
) -> Float[Tensor, "n e"]:
    """Embeddings of a part of each clip.

    Raises:
        ValueError: an evaluator gave values that are not finite.
    """
    found: list[Tensor] = []
    for first in range(0, len(rows.values), AT_ONCE):
        index = range(first, min(first + AT_ONCE, len(rows.values)))
        parts = [rows.values[i][start[i] : start[i] + length[i]] for i in index]
        padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        sizes = torch.tensor([len(part) for part in parts])
        mask = torch.arange(padded.shape[1]) < sizes[:, None]
        found.append(evaluator.embed_motion(padded, mask))
    joined = torch.cat(found)
    bad = int((~torch.isfinite(joined)).any(1).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(joined)} clips have no finite embedding: their motions or features "
            "hold NaN; look at the samples"
        )
    return joined


def eligible(lengths: Sequence[int], protocol: Protocol) -> list[bool]:
    """Clips whose number of rows the protocol admits; the others are announced.

    Raises:
        ValueError: none is.
    """
    keep = [protocol.min_frames <= length <= protocol.max_frames for length in lengths]
    if not any(keep):
        raise ValueError(
            f"no clip has {protocol.min_frames} to {protocol.max_frames} frames, as protocol "
            f"{protocol.name!r} asks (they have {min(lengths)} to {max(lengths)}): use longer "
            "clips, or lower min_frames, which the table then states"
        )
    if not all(keep):
        warnings.warn(
            f"{keep.count(False)} of {len(keep)} clips are left out: not within "
            f"{protocol.min_frames} to {protocol.max_frames} frames",
            stacklevel=2,
        )
    return keep
