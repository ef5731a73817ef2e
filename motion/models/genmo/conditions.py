"""What GENMO reads from a batch: conditions per frame, each with a mask of its presence."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.models.genmo.config import CONDITIONS, KEY_DIM, Condition, GenmoConfig
from motion.models.genmo.observed import Observed
from motion.rotations import rotation6d_from_matrix

_TURN_MEAN: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_TURN_STD: Final = (0.001, 0.1, 0.1, 0.1, 0.001, 0.1)
"""Standardization of the 6D turn from one frame's camera to the next (release)."""
_BY_CONDITION: Final[Mapping[str, tuple[str, ...]]] = {
    "keypoints": ("box",), "camera": ("turn",), "image": ("image",), "music": ("music",),
    "speech": ("speech",),
}  # fmt: skip
"""Signals that a condition brings, beside the keypoints themselves."""


class Signal(NamedTuple):
    """A frame-aligned condition."""

    value: Float[Tensor, "b t c"]
    mask: Bool[Tensor, "b t"]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """All conditions of a batch; absent ones are masked."""

    frame_mask: Bool[Tensor, "b t"]
    keypoints: Float[Tensor, "b t 17 2"]
    """Place in the box, from -1 to 1."""
    visible: Bool[Tensor, "b t 17"]
    signals: Mapping[str, Signal]
    """By the names of `GenmoConfig.signal_dims`."""
    text: Float[Tensor, "b k n e"]
    text_mask: Bool[Tensor, "b k n"]
    text_frames: Bool[Tensor, "b k t"]
    """Frames that a prompt speaks of."""

    def has(self, condition: Condition) -> Bool[Tensor, "b"]:
        """Clips that carry a condition in some frame."""
        if condition == "text":
            return self.text_frames.flatten(1).any(1)
        found = [self.signals[n].mask for n in _BY_CONDITION[condition] if n in self.signals]
        if condition == "keypoints":
            found.append(self.visible.any(-1))
        none = torch.zeros_like(self.frame_mask[:, 0])
        return torch.stack([mask.any(1) for mask in found]).any(0) if found else none

    def shown(self, keep: Mapping[str, Bool[Tensor, "b"] | Bool[Tensor, "b t"]]) -> "Conditions":
        """With less: per condition or signal, the clips or the frames that keep it."""
        signals = dict(self.signals)
        visible, frames = self.visible, self.text_frames
        for name, kept in keep.items():
            rows = kept if kept.dim() == 2 else kept[:, None]
            if name == "text":
                frames = frames & rows[:, None]
            if name == "keypoints":
                visible = visible & rows[..., None]
            for signal in _BY_CONDITION.get(name, (name,)):
                if signal in signals:
                    value, mask = signals[signal]
                    signals[signal] = Signal(value, mask & rows)
        return replace(self, signals=signals, visible=visible, text_frames=frames)

    def keyed(self, poses: Float[Tensor, "b t 151"], where: Bool[Tensor, "b t"]) -> "Conditions":
        """With key poses, from a normalized motion vector."""
        keys = Signal(poses[..., :KEY_DIM], where & self.frame_mask)
        return replace(self, signals={**self.signals, "keyframes": keys})

    def without(self, dropped: Collection[Condition]) -> "Conditions":
        """Without some conditions altogether."""
        nobody = torch.zeros_like(self.frame_mask[:, 0])
        return self.shown(dict.fromkeys(dropped, nobody))

    def swapped(self, names: Collection[Condition], shift: int) -> "Conditions":
        """With some conditions of the clip `shift` places before."""
        changes: dict[str, Any] = {}
        signals = dict(self.signals)
        for name in names:
            for signal in _BY_CONDITION.get(name, ()):
                if signal in signals:
                    value, mask = signals[signal]
                    signals[signal] = Signal(value.roll(shift, 0), mask.roll(shift, 0))
            fields: dict[str, tuple[str, ...]] = {
                "text": ("text", "text_mask", "text_frames"),
                "keypoints": ("keypoints", "visible"),
            }
            changes |= {
                field: getattr(self, field).roll(shift, 0) for field in fields.get(name, ())
            }
        return replace(self, signals=signals, **changes)


def conditions_of(
    batch: Batch,
    observed: Observed,
    config: GenmoConfig,
    *,
    read: Collection[Condition] = CONDITIONS,
) -> Conditions:
    """Every condition that the batch carries, is asked for and the network has an input for.

    Raises:
        ValueError: a condition is of another width than the network's.
    """
    side = observed.box[..., 2:]
    relative = 2 * (observed.keypoints - observed.box[:, :, None, :2]) / side[..., None]
    inside = (relative.abs() <= 1).all(-1)
    boxed = observed.boxed[..., None]
    b, t = batch.frame_mask.shape
    nothing = torch.zeros(b, t, KEY_DIM, device=batch.frame_mask.device)
    keyframes = Signal(nothing, torch.zeros_like(batch.frame_mask))
    signals = {"box": _box(observed), "turn": _turn(observed), "keyframes": keyframes}
    for name, dim in config.signal_dims.items():
        if name not in signals:
            signals[name] = _features(batch, name, dim)
    conditions = Conditions(
        frame_mask=batch.frame_mask,
        keypoints=relative,
        visible=observed.visible & inside & boxed,
        signals=signals,
        **_text(batch, config.text_dim),
    )
    return conditions.without([name for name in CONDITIONS if name not in read])


def _box(observed: Observed) -> Signal:
    """Center relative to the principal point and side, over the focal length."""
    focal = observed.intrinsics[:, None, :1, 0]
    center = observed.intrinsics[:, None, :2, 2]
    box = torch.cat([observed.box[..., :2] - center, observed.box[..., 2:]], -1)
    return Signal(box / focal, observed.boxed)


def _turn(observed: Observed) -> Signal:
    """Rotation from each frame's camera to the next one's; the last repeats the one before."""
    R = observed.T_camera_world[..., :3, :3]
    turn = R[:, 1:] @ R[:, :-1].mT
    still = torch.eye(3, device=R.device).expand(len(R), 1, 3, 3)
    turn = torch.cat([turn, turn[:, -1:] if turn.shape[1] else still], 1)
    value = rotation6d_from_matrix(turn)
    mean, std = (torch.tensor(x, device=R.device) for x in (_TURN_MEAN, _TURN_STD))
    return Signal((value - mean) / std, observed.turning)


def _features(batch: Batch, name: str, dim: int) -> Signal:
    value = batch.image_features if name == "image" else getattr(batch, name)
    has = {"image": batch.has_image, "music": batch.has_music, "speech": batch.has_speech}[name]
    frames = {"image": batch.image_mask, "music": batch.music_mask, "speech": batch.speech_mask}
    b, t = batch.frame_mask.shape
    if value is None:
        empty = torch.zeros(b, t, dim, device=batch.frame_mask.device)
        return Signal(empty, torch.zeros_like(batch.frame_mask))
    if value.shape[-1] != dim:
        raise ValueError(
            f"{name} features are {value.shape[-1]} wide, the network expects {dim}: set "
            f"{name}_dim to the encoder's"
        )
    mask = batch.frame_mask if has is None else batch.frame_mask & has[:, None]
    shown = frames[name]
    return Signal(value.float(), mask if shown is None else mask & shown)


def _text(batch: Batch, dim: int) -> dict[str, Tensor]:
    b, t = batch.frame_mask.shape
    device = batch.frame_mask.device
    if batch.text is None or not dim:
        return {
            "text": torch.zeros(b, 1, 1, dim, device=device),
            "text_mask": torch.zeros(b, 1, 1, dtype=torch.bool, device=device),
            "text_frames": torch.zeros(b, 1, t, dtype=torch.bool, device=device),
        }
    if batch.text.shape[-1] != dim:
        raise ValueError(
            f"text tokens are {batch.text.shape[-1]} wide, the network expects {dim}: set text_dim "
            "to the text encoder's"
        )
    mask = batch.text_mask
    mask = torch.ones_like(batch.text[..., 0], dtype=torch.bool) if mask is None else mask
    told = mask.any(-1)
    if batch.has_text is not None:
        told = told & batch.has_text[:, None]
    frames = batch.frame_mask[:, None] & told[..., None]
    if batch.text_window_s is not None:
        window = torch.round(batch.text_window_s * batch.fps[:, None, None])[..., None, :]
        frame = torch.arange(t, device=device)
        frames = frames & (frame >= window[..., 0]) & (frame < window[..., 1])
    text = torch.where(mask[..., None], batch.text.float(), 0.0)
    return {"text": text, "text_mask": mask & told[..., None], "text_frames": frames}
