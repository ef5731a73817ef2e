"""Clips of one bucket to the columns of a Batch: padding, presence masks, chosen captions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from motion.data.plan import MODALITIES, carries
from motion.data.reading import Clip, bucket_frames
from motion.diffusion.noise import generator_for
from motion.rotations import matrix_from_rotvec

Array = Shaped[np.ndarray, "..."]
Columns = dict[str, Any]
_VIDEO: Final = (("rgb", "rgb"), ("motion_map", "map"))
_LATENTS: Final = (("latent_rgb", "rgb"), ("latent_map", "map"))


def collate(clips: Sequence[Clip], *, captions: int = 1) -> Columns:
    """Columns for `Batch.from_columns`.

    Clips shorter than their bucket repeat their last frame, with `frame_mask` False. A clip
    without a modality is filled with neutral values (identity, zero) and its `has_*` is False; a
    modality that no clip carries is left out.

    Args:
        clips: of one bucket, at least one.
        captions: caption(s) per clip, chosen by the clip's noise key.

    Raises:
        ValueError: clips of several buckets or several body models.
    """
    buckets = sorted({clip.ref.bucket for clip in clips})
    if len(buckets) != 1:
        raise ValueError(f"a batch needs clips of one bucket, got {buckets or 'no clip'}")
    frames = bucket_frames(buckets[0])
    for clip in clips:
        if clip.num_frames > frames:
            raise ValueError(
                f"clip {clip.ref.clip_id!r} has {clip.num_frames} frames, its bucket {buckets[0]}: "
                "make the data set again"
            )
    lengths = np.array([clip.num_frames for clip in clips])
    columns: Columns = {
        "clip_ids": tuple(clip.ref.clip_id for clip in clips),
        "fps": np.array([clip.fps for clip in clips], dtype=np.float32),
        "frame_mask": np.arange(frames)[None] < lengths[:, None],
        "noise_key": np.array([clip.noise_key for clip in clips], dtype=np.int64),
    }
    columns |= _motion(clips, frames) | _camera(clips, frames) | _keypoints(clips, frames)
    columns |= _text(clips, captions) | _video(clips, frames) | _features(clips, frames)
    columns |= _tokens(clips)
    return columns


def _carry(clips: Sequence[Clip], modality: str) -> Bool[np.ndarray, "b"]:
    """From the manifest, as the counts of the global batch are, never from what was read."""
    return np.array([carries(clip.ref.present, modality) for clip in clips])


def _asked(clips: Sequence[Clip], modality: str) -> bool:
    return any(column in clip.arrays for clip in clips for column in MODALITIES[modality])


def _padded(array: Array, frames: int) -> Array:
    """The array with its last frame repeated up to `frames`."""
    missing = frames - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _stack(
    clips: Sequence[Clip], column: str, prepare: Callable[[Array], Array], neutral: Array | float
) -> Array | None:
    """One column of all clips, `neutral` where a clip lacks it; None where all do."""
    rows = [prepare(clip.arrays[column]) if column in clip.arrays else None for clip in clips]
    known = next((row for row in rows if row is not None), None)
    if known is None:
        return None
    filler = np.broadcast_to(np.asarray(neutral, dtype=known.dtype), known.shape)
    return np.stack([filler if row is None else row for row in rows])


def _timed(
    clips: Sequence[Clip], column: str, frames: int, neutral: Array | float = 0.0
) -> Array | None:
    return _stack(clips, column, lambda array: _padded(array, frames), neutral)


def _some(columns: Columns) -> Columns:
    return {name: value for name, value in columns.items() if value is not None}


def _motion(clips: Sequence[Clip], frames: int) -> Columns:
    if not _asked(clips, "motion"):
        return {}
    bodies = sorted({clip.body_id for clip in clips if "smpl_rotvec" in clip.arrays})
    if len(bodies) > 1:
        raise ValueError(
            f"a batch mixes the body models {bodies}; betas never cross body models: "
            "prepare the data set with one body"
        )
    rotvec = _timed(clips, "smpl_rotvec", frames)
    path = _timed(clips, "smpl_translation", frames)
    contacts = _timed(clips, "contacts", frames)
    columns: Columns = {"has_motion": _carry(clips, "motion"), "body_id": bodies[0]}
    if any("smpl_rotvec" in c.arrays and "smpl_translation" not in c.arrays for c in clips):
        # Carried but not asked for, it is not there to be used.
        columns["has_path"] = _carry(clips, "path") & (path is not None)
    return columns | _some(
        {
            "R_parent_child": matrix_from_rotvec(torch.from_numpy(rotvec)).numpy(),
            "translation": path,
            "betas": _stack(clips, "smpl_betas", lambda array: array, 0.0),
            "contacts": None if contacts is None else contacts.astype(bool),
        }
    )


def _camera(clips: Sequence[Clip], frames: int) -> Columns:
    if not _asked(clips, "camera"):
        return {}
    columns = {
        "intrinsics": _timed(clips, "intrinsics", frames, np.eye(3)),
        "T_camera_world": _timed(clips, "T_camera_world", frames, np.eye(4)),
    }
    return {"has_camera": _carry(clips, "camera")} | _some(columns)


class SeenKeypoints(NamedTuple):
    """COCO-17 of one clip in pixels."""

    xy: Float[np.ndarray, "t 17 2"]
    confidence: Float[np.ndarray, "t 17"]
    size: Float[np.ndarray, "2"]
    """Width and height of the image; 1 where unknown."""


def seen_keypoints(arrays: Mapping[str, Array]) -> SeenKeypoints | None:
    """Detected keypoints where they were read, else exact ones with visibility as confidence."""
    detected = "keypoints_detected" in arrays
    xy = arrays.get("keypoints_detected" if detected else "keypoints")
    if xy is None:
        return None
    trust = arrays.get("keypoints_confidence" if detected else "keypoints_visible")
    known = np.ones(xy.shape[:2]) if trust is None else trust
    size = arrays.get("keypoints_size", np.ones(2))
    return SeenKeypoints(xy, known.astype(np.float32), size.astype(np.float32))


def _keypoints(clips: Sequence[Clip], frames: int) -> Columns:
    """Detected keypoints where they were read, else exact ones with visibility as confidence."""
    if not _asked(clips, "keypoints"):
        return {}
    points: list[Float[np.ndarray, "t 17 2"]] = []
    confidence: list[Float[np.ndarray, "t 17"]] = []
    for clip in clips:
        seen = seen_keypoints(clip.arrays)
        if seen is None:
            points.append(np.zeros((frames, 17, 2), dtype=np.float32))
            confidence.append(np.zeros((frames, 17), dtype=np.float32))
            continue
        points.append(_padded(seen.xy, frames))
        confidence.append(_padded(seen.confidence, frames))
    size = _stack(clips, "keypoints_size", lambda array: array.astype(np.float32), 1.0)
    return {
        "keypoints": np.stack(points),
        "keypoints_confidence": np.stack(confidence),
        "has_keypoints": _carry(clips, "keypoints"),
    } | _some(
        {
            "keypoints_size": size,
            "keypoints_intrinsics": _stack(clips, "keypoints_intrinsics", lambda a: a, np.eye(3)),
        }
    )


def chosen_captions(noise_key: int, available: int, wanted: int) -> Int[np.ndarray, "k"]:
    """Which captions a clip shows: a shuffle by its noise key, repeated where they are too few."""
    order = torch.randperm(available, generator=generator_for(noise_key, "captions")).numpy()
    return np.resize(order, wanted)


def _text(clips: Sequence[Clip], captions: int) -> Columns:
    known = next((c.arrays["text_embedding"] for c in clips if "text_embedding" in c.arrays), None)
    if known is None:
        return {}
    told = [_told(clip, captions, known.shape[-1]) for clip in clips]
    most = max(len(part.mask) for part in told)
    tokens = max(int(np.flatnonzero(part.mask.any(0)).max(initial=0)) + 1 for part in told)
    return {
        "text": np.stack([_to_length(_to_count(part.tokens, most), tokens) for part in told]),
        "text_mask": np.stack([_to_length(_to_count(part.mask, most), tokens) for part in told]),
        "text_window_s": np.stack([_to_count(part.window_s, most) for part in told]),
        "has_text": _carry(clips, "text"),
    }


class _Told(NamedTuple):
    """The prompts of one clip."""

    tokens: Float[np.ndarray, "k n d"]
    mask: Bool[np.ndarray, "k n"]
    window_s: Float[np.ndarray, "k 2"]


def _told(clip: Clip, captions: int, width: int) -> _Told:
    """Captions of the whole clip; or, where its parts were read, every second time theirs."""
    whole = np.array([[0.0, clip.num_frames / clip.fps]], dtype=np.float32)
    arrays = clip.arrays
    if "text_embedding" not in arrays or "text_mask" not in arrays:
        nothing = np.zeros((captions, 1, width), np.float32), np.zeros((captions, 1), dtype=bool)
        return _Told(*nothing, np.repeat(whole, captions, axis=0))
    if "segment_embedding" in arrays and _in_parts(clip.noise_key):
        chosen = _chosen_parts(clip.noise_key, arrays["segment_window_s"])
        tokens, mask = arrays["segment_embedding"][chosen], arrays["segment_mask"][chosen]
        window = arrays["segment_window_s"][chosen]
        return _Told(tokens.astype(np.float32), mask.astype(bool), window)
    chosen = chosen_captions(clip.noise_key, len(arrays["text_embedding"]), captions)
    tokens, mask = arrays["text_embedding"][chosen], arrays["text_mask"][chosen]
    return _Told(tokens.astype(np.float32), mask.astype(bool), np.repeat(whole, captions, axis=0))


def _in_parts(noise_key: int) -> bool:
    return bool(torch.rand((), generator=generator_for(noise_key, "segments")) < 0.5)


def _chosen_parts(noise_key: int, windows_s: Float[np.ndarray, "s 2"]) -> Int[np.ndarray, "k"]:
    """One wording of every part."""
    order = torch.randperm(len(windows_s), generator=generator_for(noise_key, "wording")).numpy()
    _, first = np.unique(windows_s[order], axis=0, return_index=True)
    return order[first]


def _to_count(array: Array, count: int) -> Array:
    """Zero-padded along the first axis."""
    return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _to_length(array: Array, tokens: int) -> Array:
    """Cut or zero-padded along the token axis (the second)."""
    missing = max(tokens - array.shape[1], 0)
    padding = [(0, missing) if axis == 1 else (0, 0) for axis in range(array.ndim)]
    return np.pad(array, padding)[:, :tokens]


def _tokens(clips: Sequence[Clip]) -> Columns:
    """Codes, padded to the longest clip's."""
    found = [clip.arrays["motion_tokens"] for clip in clips if "motion_tokens" in clip.arrays]
    if not found:
        return {}
    most = max(array.shape[1] for array in found)

    def padded(array: Array) -> Array:
        missing = most - array.shape[1]
        return np.pad(array, [(0, 0), (0, missing), (0, 0)], constant_values=-1).astype(np.int64)

    tokens = _stack(clips, "motion_tokens", padded, -1.0)
    return {"tokens": tokens, "has_tokens": _carry(clips, "tokens")}


def _features(clips: Sequence[Clip], frames: int) -> Columns:
    """Features per frame."""
    columns: Columns = {}
    for column, modality in (("image_features", "image"), ("music", "music"), ("speech", "speech")):
        values = _timed(clips, column, frames)
        if values is not None:
            columns |= {
                column: values.astype(np.float32),
                f"has_{modality}": _carry(clips, modality),
            }
    return columns


def _video(clips: Sequence[Clip], frames: int) -> Columns:
    columns: Columns = {}
    for column, modality in _VIDEO:
        pixels = _timed(clips, column, frames)
        if pixels is not None:
            columns[column] = (pixels.transpose(0, 4, 1, 2, 3) / np.float32(127.5)) - np.float32(1)
            columns[f"has_{modality}"] = _carry(clips, modality)
    for column, modality in _LATENTS:
        latent = _stack(clips, column, lambda array: array.astype(np.float32), 0.0)
        if latent is not None:
            columns[column] = latent
            columns[f"has_{modality}"] = _carry(clips, modality)
    return columns
