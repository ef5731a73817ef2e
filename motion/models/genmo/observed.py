"""How a camera sees each clip: keypoints, boxes, intrinsics and where it stands."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch

SEEN: Final = 0.5
"""Confidence above which a keypoint counts as visible."""
LEAST_VISIBLE: Final = 4
"""Visible keypoints below which a frame counts as occluded."""
BOX_MARGIN: Final = 1.2
"""Side of a box over the larger extent of its keypoints."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """How a camera sees each clip."""

    keypoints: Float[Tensor, "b t 17 2"]
    """Pixels."""
    visible: Bool[Tensor, "b t 17"]
    box: Float[Tensor, "b t 3"]
    """Center and side in pixels; frames without one have their neighbor's."""
    boxed: Bool[Tensor, "b t"]
    """Frames with a box of their own."""
    intrinsics: Float[Tensor, "b 3 3"]
    T_camera_world: Float[Tensor, "b t 4 4"]
    turning: Bool[Tensor, "b t"]
    """Frames whose camera is known."""


def boxes_of(
    keypoints: Float[Tensor, "b t 17 2"], visible: Bool[Tensor, "b t 17"]
) -> tuple[Float[Tensor, "b t 3"], Bool[Tensor, "b t"]]:
    """Square boxes around visible keypoints, and the frames that have enough of them.

    A frame with too few takes the box of the last frame before it that has one, or the first such.
    """
    there = visible[..., None]
    low = torch.where(there, keypoints, torch.inf).amin(2)
    high = torch.where(there, keypoints, -torch.inf).amax(2)
    boxed = visible.sum(-1) >= LEAST_VISIBLE
    side = BOX_MARGIN * (high - low).amax(-1, keepdim=True)
    box = torch.cat([(low + high) / 2, side.clamp(min=1.0)], -1)
    return filled(torch.where(boxed[..., None], box, 1.0), boxed), boxed


def filled(values: Float[Tensor, "b t c"], known: Bool[Tensor, "b t"]) -> Float[Tensor, "b t c"]:
    """Unknown frames hold the last known one before them, or the first known one."""
    frame = torch.arange(known.shape[1], device=known.device)
    last = torch.where(known, frame, -1).cummax(1).values
    first = known.int().argmax(1, keepdim=True)
    source = torch.where(last < 0, first, last)
    return values.gather(1, source[..., None].expand_as(values))


def observed_of(batch: Batch) -> Observed:
    """The batch's own keypoints, boxes and camera; clips without any see nothing.

    Without intrinsics the focal length is taken as the image's diagonal; without a camera it is
    level, stands still before the person, and its turns count as unknown.
    """
    b, t = batch.frame_mask.shape
    device = batch.frame_mask.device
    nobody = torch.zeros(b, dtype=torch.bool, device=device)
    has = nobody if batch.keypoints is None else _present(batch.has_keypoints, ~nobody)
    points = batch.keypoints if batch.keypoints is not None else torch.zeros(b, t, 17, 2).to(device)
    trust = batch.keypoints_confidence
    visible = torch.ones(b, t, 17, device=device).bool() if trust is None else trust > SEEN
    visible = visible & has[:, None, None] & batch.frame_mask[..., None]
    points = torch.where(visible[..., None], points.float(), 0.0)
    box, boxed = boxes_of(points, visible)
    if batch.boxes is not None:
        boxed = (batch.boxes[..., 2] > 0) & batch.frame_mask
        box = filled(torch.where(boxed[..., None], batch.boxes.float(), 1.0), boxed)
    camera = level_camera().to(device).expand(b, t, 4, 4)
    turning = torch.zeros_like(batch.frame_mask)
    if batch.T_camera_world is not None:
        known = _present(batch.has_camera, ~nobody)
        camera = torch.where(known[:, None, None, None], batch.T_camera_world.float(), camera)
        turning = known[:, None] & batch.frame_mask
        if batch.camera_mask is not None:
            turning = turning & batch.camera_mask
    return Observed(
        keypoints=points,
        visible=visible,
        box=box,
        boxed=boxed,
        intrinsics=_intrinsics(batch),
        T_camera_world=camera,
        turning=turning,
    )


def level_camera() -> Float[Tensor, "4 4"]:
    """T_camera_world of a camera 1 m above the floor, 4 m before the origin, looking along -z."""
    T = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    T[:3, 3] = torch.tensor([0.0, 1.0, 4.0])
    return T


def _present(has: Bool[Tensor, "b"] | None, default: Bool[Tensor, "b"]) -> Bool[Tensor, "b"]:
    return default if has is None else has


def _intrinsics(batch: Batch) -> Float[Tensor, "b 3 3"]:
    size = batch.keypoints_size
    if size is None:
        size = torch.full((batch.size, 2), 1000.0, device=batch.frame_mask.device)
    focal = size.float().norm(dim=-1)
    guess = torch.eye(3, device=size.device).repeat(batch.size, 1, 1)
    guess[:, 0, 0] = guess[:, 1, 1] = focal
    guess[:, :2, 2] = size / 2
    if batch.keypoints_intrinsics is None:
        return guess
    known = batch.keypoints_intrinsics.float()
    return torch.where((known[:, 0, 0] > 1.0)[:, None, None], known, guess)
