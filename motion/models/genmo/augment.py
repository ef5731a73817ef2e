"""What training does to conditions: synthetic views, noisy keypoints, things hidden or dropped.

Everything is batched, derives from the clips' noise keys, and happens on the fly. The tables of the
keypoint noise are WHAM's (Shin et al. 2024), which GVHMR and the release take over.
"""

from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.camera import project, to_camera
from motion.diffusion.noise import clip_normal, clip_uniform
from motion.models.genmo.cameras import synthetic_cameras
from motion.models.genmo.conditions import Conditions
from motion.models.genmo.config import MAX_KEYS, Augmentation
from motion.models.genmo.observed import Observed, boxes_of, observed_of
from motion.skeleton import COCO_17

JITTER: Final = (
    0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1,
)  # fmt: skip
BIAS: Final = (
    0.4, 0.1, 0.1, 0.1, 0.1, 0.15, 0.15, 0.25, 0.25, 0.35, 0.35, 0.1, 0.1, 0.15, 0.15, 0.25, 0.25,
)  # fmt: skip
PEAK: Final = (
    0.08, 0.08, 0.08, 0.08, 0.08, 0.15, 0.15, 0.25, 0.25, 0.4, 0.4, 0.08, 0.08, 0.3, 0.3, 0.4, 0.4,
)  # fmt: skip
PEAK_SHARE: Final = (
    0.05, 0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3,
)  # fmt: skip
_CHAINS: Final = (
    ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"),
)  # fmt: skip
_LEGS: Final = [i for i, name in enumerate(COCO_17) if name.endswith(("knee", "ankle"))]
_MAX_SPANS: Final = 3


def observe(
    batch: Batch,
    pelvis: Float[Tensor, "b t 3"],
    points: Float[Tensor, "b t 17 3"],
    config: Augmentation | None,
    *,
    told: Bool[Tensor, "b"],
    use: str,
) -> Observed:
    """How each clip is seen: by its own camera and detector, or by a synthetic camera.

    Args:
        batch: the clips.
        pelvis: true pelvis in the world, metres; anything where there is no path.
        points: true COCO-17 keypoints in the world, likewise.
        config: what training does; None for held-out clips, which keep what they have.
        told: clips that are described, whose synthetic camera stands still.
        use: name of this drawing.
    """
    own = observed_of(batch)
    clips = synthetic_clips(batch, own, config, use)
    keys = batch.noise_key
    cameras = synthetic_cameras(pelvis, keys, use, static=told)
    noise = keypoint_noise(keys, use, points.shape[1]).to(points)
    scale = 0.0 if config is None else config.keypoint_noise
    seen = to_camera(points + scale * noise, cameras.T_camera_world)
    image = project(seen, cameras.intrinsics[:, None])
    visible = (seen[..., 2] > 0.3) & batch.frame_mask[..., None] & image.isfinite().all(-1)
    image = torch.where(visible[..., None], image, 0.0)
    box, boxed = boxes_of(image, visible)
    made = Observed(
        keypoints=image,
        visible=visible,
        box=box,
        boxed=boxed,
        intrinsics=cameras.intrinsics,
        T_camera_world=cameras.T_camera_world,
        turning=batch.frame_mask,
    )
    return _chosen(made, own, clips)


def synthetic_clips(
    batch: Batch, own: Observed, config: Augmentation | None, use: str
) -> Bool[Tensor, "b"]:
    """Clips with a path in the world that were not filmed, and a share of those that were."""
    filmed = own.visible.flatten(1).any(1) & own.turning.any(1)
    clips = ~filmed
    if config is not None:
        drawn = clip_uniform(batch.noise_key, f"{use}/synthetic").to(filmed.device)
        clips = clips | (drawn < config.synthetic_camera)
    return clips & has_path(batch)


def has_path(batch: Batch) -> Bool[Tensor, "b"]:
    """Clips whose motion lies in the world."""
    device = batch.frame_mask.device
    if batch.R_parent_child is None or batch.translation is None:
        return torch.zeros(batch.size, dtype=torch.bool, device=device)
    known = torch.ones(batch.size, dtype=torch.bool, device=device)
    for has in (batch.has_motion, batch.has_path):
        known = known if has is None else known & has
    return known


def _chosen(first: Observed, second: Observed, take: Bool[Tensor, "b"]) -> Observed:
    """The first view of the clips to take, the second of the others."""
    parts = {
        name: torch.where(take.reshape(-1, *[1] * (value.dim() - 1)), value, getattr(second, name))
        for name, value in vars(first).items()
    }
    return Observed(**parts)


def keypoint_noise(keys: Int[Tensor, "b"], use: str, num_frames: int) -> Float[Tensor, "b t 17 3"]:
    """Errors of a detector in metres: a bias per clip, rare peaks, and jitter per frame."""
    jitter, bias, peak, share = (torch.tensor(x) for x in (JITTER, BIAS, PEAK, PEAK_SHARE))
    steady = 0.1 * bias[:, None] * clip_normal(keys, f"{use}/bias", (1, 17, 3))
    drawn = clip_uniform(keys, f"{use}/peak", (num_frames, 17))
    jump = clip_normal(keys, f"{use}/jump", (num_frames, 1, 3)) * 0.3 * peak[:, None]
    jump = torch.where((drawn * share < 0.005)[..., None], jump, 0.0)
    shiver = 0.05 * jitter[:, None] * clip_normal(keys, f"{use}/jitter", (num_frames, 17, 3))
    return steady + jump + shiver


def hidden_keypoints(
    keys: Int[Tensor, "b"], config: Augmentation, use: str, num_frames: int
) -> Bool[Tensor, "b t 17"]:
    """Keypoints that training hides: single ones, legs, spans of frames, a quarter of all."""
    drawn = clip_uniform(keys, f"{use}/hide", (num_frames, 17))
    often = clip_uniform(keys, f"{use}/hide_often", (num_frames, 17))
    clip = clip_uniform(keys, f"{use}/hide_clip", (5,))
    hidden = drawn < config.hide_joint
    hidden |= (often < 0.25) & (clip[:, 0] < config.hide_spans)[:, None, None]
    hidden = _with_children(hidden)
    frame = torch.arange(num_frames)
    first, length = clip[:, 1:2] * num_frames, 30 + 60 * clip[:, 2:3]
    legs = (frame >= first) & (frame < first + length) & (clip[:, 3:4] < config.hide_legs)
    leg = torch.zeros(17, dtype=torch.bool)
    leg[_LEGS] = True
    hidden |= legs[..., None] & leg
    hidden |= _spans(keys, config, use, frame)[..., None]
    return hidden


def _spans(
    keys: Int[Tensor, "b"], config: Augmentation, use: str, frame: Int[Tensor, "t"]
) -> Bool[Tensor, "b t"]:
    """Frames in which nothing is seen."""
    spans = clip_uniform(keys, f"{use}/spans", (_MAX_SPANS, 2))
    clip = clip_uniform(keys, f"{use}/spans_clip", (2,))
    count = 1 + (clip[:, :1] * _MAX_SPANS).floor()
    used = (torch.arange(_MAX_SPANS) < count) & (clip[:, 1:] < config.hide_spans)
    first, length = spans[..., :1] * len(frame), 1 + 29 * spans[..., 1:]
    within = (frame >= first) & (frame < first + length) & used[..., None]
    return within.any(1)


def _with_children(hidden: Bool[Tensor, "b t 17"]) -> Bool[Tensor, "b t 17"]:
    """A hidden keypoint hides those farther out on its limb."""
    for inner, outer in _CHAINS:
        for side in ("left", "right"):
            near, far = COCO_17.index(f"{side}_{inner}"), COCO_17.index(f"{side}_{outer}")
            hidden[..., far] |= hidden[..., near]
    return hidden


def jittered(observed: Observed, keys: Int[Tensor, "b"], use: str) -> Observed:
    """Boxes a little larger or smaller and off their middle, frame by frame."""
    drawn = clip_uniform(keys, f"{use}/box", (observed.box.shape[1], 3)).to(observed.box)
    scale = 1.05 + 0.3 * drawn[..., :1]
    shift = (1.6 * drawn[..., 1:] - 0.8) * (scale - 1) / 2 * observed.box[..., 2:]
    side = scale * observed.box[..., 2:] / 1.2  # the box already has a margin
    box = torch.cat([observed.box[..., :2] + shift, side], -1)
    return replace(observed, box=box)


def estimation_conditions(
    full: Conditions, keys: Int[Tensor, "b"], config: Augmentation, told: Bool[Tensor, "b"]
) -> Conditions:
    """What the estimation mode sees: all observations, but for hidden keypoints and lost frames."""
    return _observed(_described(full, keys, config, told, "estimation"), keys, config, "estimation")


def generation_conditions(
    full: Conditions, keys: Int[Tensor, "b"], config: Augmentation, told: Bool[Tensor, "b"]
) -> Conditions:
    """What the generation mode sees: of a told clip, never the camera, and the rest at times."""
    seen = _observed(_described(full, keys, config, told, "generation"), keys, config, "generation")
    drawn = clip_uniform(keys, "generation/observed").to(told.device)
    kept = ~told | (drawn >= config.drop_observed)
    return seen.shown({"camera": ~told, "keypoints": kept, "image": kept})


def _described(
    full: Conditions,
    keys: Int[Tensor, "b"],
    config: Augmentation,
    told: Bool[Tensor, "b"],
    use: str,
) -> Conditions:
    """Text, music and speech of told clips, each dropped for itself now and then."""
    drawn = clip_uniform(keys, f"{use}/told_dropout", (3,)).to(told.device)
    kept = told[:, None] & (drawn >= config.drop_told)
    return full.shown(dict(zip(("text", "music", "speech"), kept.unbind(1), strict=True)))


def _observed(
    full: Conditions, keys: Int[Tensor, "b"], config: Augmentation, use: str
) -> Conditions:
    """Hidden keypoints; an occluded frame loses its box and image; other signals lose frames."""
    t, device = full.frame_mask.shape[1], full.frame_mask.device
    hidden = hidden_keypoints(keys, config, use, t).to(device)
    visible = full.visible & ~hidden
    seen = visible.sum(-1) >= 4
    visible = visible & seen[..., None]
    names = tuple(full.signals)
    drawn = clip_uniform(keys, f"{use}/frames", (len(names), t)).to(device)
    keep = {name: drawn[:, i] >= config.drop_frame for i, name in enumerate(names)}
    keep |= {name: keep[name] & seen for name in ("box", "image") if name in keep}
    return replace(full, visible=visible).shown(keep)


def key_frames(
    keys: Int[Tensor, "b"], config: Augmentation, use: str, frame_mask: Bool[Tensor, "b t"]
) -> Bool[Tensor, "b t"]:
    """Random frames whose pose generation is given: 1 to 5 of a share of the clips."""
    drawn = clip_uniform(keys, f"{use}/keys", (MAX_KEYS + 2,))
    count = 1 + (MAX_KEYS * drawn[:, :1]).floor()
    used = (torch.arange(MAX_KEYS) < count) & (drawn[:, 1:2] < config.keyframes)
    place = (drawn[:, 2:] * frame_mask.sum(1, keepdim=True).cpu()).long()
    chosen = torch.zeros(frame_mask.shape, dtype=torch.int64).scatter_add(1, place, used.long())
    return (chosen > 0).to(frame_mask.device)


def world_points(
    body: BodyModel, batch: Batch
) -> tuple[Float[Tensor, "b t 3"], Float[Tensor, "b t 17 3"]]:
    """Pelvis and keypoints of the batch's motions in the world; zeros where there is none."""
    b, t = batch.frame_mask.shape
    if batch.R_parent_child is None or batch.betas is None or batch.translation is None:
        zero = torch.zeros(b, t, 17, 3, device=batch.frame_mask.device)
        return zero[:, :, 0], zero
    R, betas, path = batch.R_parent_child.float(), batch.betas.float(), batch.translation.float()
    pelvis = body.rest_joints(betas)[:, None, 0] + path
    return pelvis, body.keypoints(R, betas, path)
