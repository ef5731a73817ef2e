"""Batch: the value that every Trainable consumes.

A modality that a clip lacks is absent, never a zero that looks like data: each optional group
carries a presence mask `has_*` of shape (b,), and a group that no clip of the batch carries is
None.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A micro-batch of b clips that share one shape bucket: t frames, video of h x w pixels."""

    clip_ids: tuple[str, ...]
    fps: Float[Tensor, "b"]
    frame_mask: Bool[Tensor, "b t"]
    """True where a frame is real; False where a short clip was padded with its last frame."""

    # Motion, in the world frame (y up, metres).
    R_parent_child: Float[Tensor, "b t 24 3 3"] | None = None
    translation: Float[Tensor, "b t 3"] | None = None
    betas: Float[Tensor, "b 10"] | None = None
    has_motion: Bool[Tensor, "b"] | None = None
    has_path: Bool[Tensor, "b"] | None = None
    """True where the motion lies in the world; elsewhere its root rotation is the camera's and the
    translation says nothing (labels of a camera alone). None: wherever there is motion."""
    keyframes: Bool[Tensor, "b t"] | None = None
    """Frames whose pose is given to in-betweening."""
    body_id: str = ""
    contacts: Bool[Tensor, "b t 4"] | None = None
    """Left heel, left toe, right heel, right toe on the ground."""

    # Text: k captions per clip, n tokens of width d.
    text: Float[Tensor, "b k n d"] | None = None
    text_mask: Bool[Tensor, "b k n"] | None = None
    text_window_s: Float[Tensor, "b k 2"] | None = None
    """Start and end of each caption in seconds; the whole clip unless stated."""
    has_text: Bool[Tensor, "b"] | None = None

    # Camera (OpenCV axes) and 2D keypoints (COCO-17, pixels of an image of `keypoints_size`).
    intrinsics: Float[Tensor, "b t 3 3"] | None = None
    T_camera_world: Float[Tensor, "b t 4 4"] | None = None
    has_camera: Bool[Tensor, "b"] | None = None
    keypoints: Float[Tensor, "b t 17 2"] | None = None
    keypoints_confidence: Float[Tensor, "b t 17"] | None = None
    keypoints_size: Float[Tensor, "b 2"] | None = None
    """Width and height of the keypoint image in pixels."""
    keypoints_intrinsics: Float[Tensor, "b 3 3"] | None = None
    """Pinhole matrix of the keypoint image in pixels; its extrinsics are `T_camera_world`."""
    has_keypoints: Bool[Tensor, "b"] | None = None
    boxes: Float[Tensor, "b t 3"] | None = None
    """Square around the person in the keypoint image: center x, y and side in pixels; side 0 where
    there is none. Where not given, it follows from the keypoints."""
    camera_mask: Bool[Tensor, "b t"] | None = None
    """Frames whose camera is known; all frames of a clip that has one unless given."""

    # Features per frame.
    image_features: Float[Tensor, "b t d_image"] | None = None
    image_mask: Bool[Tensor, "b t"] | None = None
    """Frames that have them; all frames of a clip that has any unless given. So below."""
    has_image: Bool[Tensor, "b"] | None = None
    music: Float[Tensor, "b t d_music"] | None = None
    music_mask: Bool[Tensor, "b t"] | None = None
    has_music: Bool[Tensor, "b"] | None = None
    speech: Float[Tensor, "b t d_speech"] | None = None
    speech_mask: Bool[Tensor, "b t"] | None = None
    has_speech: Bool[Tensor, "b"] | None = None

    # Video, as pixels in [-1, 1] or as normalized latents of the autoencoder.
    rgb: Float[Tensor, "b 3 t h w"] | None = None
    motion_map: Float[Tensor, "b 3 t h w"] | None = None
    latent_rgb: Float[Tensor, "b c tl hl wl"] | None = None
    latent_map: Float[Tensor, "b c tl hl wl"] | None = None
    has_rgb: Bool[Tensor, "b"] | None = None
    has_map: Bool[Tensor, "b"] | None = None

    # Motion as codes of a tokenizer, which the system that reads them knows.
    tokens: Int[Tensor, "b phases codes levels"] | None = None
    """By first frame (0 to phases - 1), token and level; -1 where there is none."""
    has_tokens: Bool[Tensor, "b"] | None = None

    # Stamped by the plan and the loop.
    noise_key: Int[Tensor, "b"]
    """hash(seed, epoch, clip id): the only source of per-clip randomness."""
    step: int = 0
    """Optimizer step, counted from 0."""
    progress: float = 0.0
    """step / steps of the run, in [0, 1)."""
    num_micro_batches: int = 1
    """World size x accumulation: micro-batches in the global batch this one belongs to."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Clips of the *global* batch that carry "clips" (all), "motion", "path", "text", "camera",
    "keypoints", "rgb", "map", "image", "music", "speech", "tokens". Empty means: count in
    this batch alone."""
    seed: int = 0
    """The run's seed: choices of modules derive from (seed, step)."""
    replaced: tuple[str, ...] = ()
    """`bad clip -> substitute: reason` for every broken row that the pipeline replaced."""

    def __post_init__(self) -> None:
        size = len(self.clip_ids)
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor) and value.shape[0] != size:
                raise ValueError(
                    f"Batch.{item.name} has {value.shape[0]} rows, expected {size}, one per clip id"
                )

    @property
    def size(self) -> int:
        return len(self.clip_ids)

    @staticmethod
    def from_columns(columns: Mapping[str, Any]) -> "Batch":
        """Build a batch from the pipeline's columns: numpy arrays by field name.

        Raises:
            ValueError: a column is no field of Batch, or its rows do not match the clip ids.
        """
        known = {item.name for item in dataclasses.fields(Batch)}
        unknown = sorted(set(columns) - known)
        if unknown:
            raise ValueError(f"unknown batch columns {unknown}; expected some of {sorted(known)}")
        values: dict[str, Any] = {
            name: torch.from_numpy(np.ascontiguousarray(value))
            if isinstance(value, np.ndarray)
            else value
            for name, value in columns.items()
        }
        return Batch(**values)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            item.name: value.to(device, non_blocking=True)
            for item in dataclasses.fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    def stamp(self, *, step: int, steps: int, seed: int) -> "Batch":
        """The same batch at an optimizer step of a run of `steps` steps."""
        return dataclasses.replace(self, step=step, progress=step / steps, seed=seed)

    def count(self, name: str, present: Bool[Tensor, "b"] | None = None) -> int:
        """Clips of the global batch that carry a modality (see `counts`)."""
        if name in self.counts:
            return self.counts[name]
        return self.size if present is None else int(present.sum())
