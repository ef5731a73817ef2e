"""What an evaluator sees of a clip: HumanML3D's features, or those of 2D keypoints, standardized.

Training, evaluation and benchmarks all take them from here, so that an evaluator never meets
features of another making.
"""

from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from motion.batch import Batch
from motion.body import load_body
from motion.body.model import BodyModel, motion_joints
from motion.data.statistics import FeatureStatistics, Statistics
from motion.metrics.halves import LOWER_DIMS, UPPER_DIMS
from motion.representations.group_statistics import with_group_deviation
from motion.representations.humanml import HumanML
from motion.sequence import Motion
from motion.skeleton import COCO_17

KEYPOINT_SLICES: Final = {
    "positions": slice(0, 34),
    "confidence": slice(34, 51),
    "root_velocity": slice(51, 53),
    "log_height": slice(53, 54),
    "log_height_change": slice(54, 55),
}
"""Features of 2D keypoints, 55 per frame."""
_HIPS: Final = [COCO_17.index("left_hip"), COCO_17.index("right_hip")]
SEEN: Final = 0.3
"""Least confidence of a keypoint that counts for the height of the box."""


class Features(NamedTuple):
    """Features of b clips, zero where the mask is False; not standardized."""

    values: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]


class FeatureConfig(BaseModel):
    """Which features, and what of them the motion encoder sees."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: Literal["humanml", "keypoints"] = "humanml"
    """HumanML3D's 263 per frame at 20 fps, or 55 per frame of COCO-17 keypoints."""
    part: Literal["all", "upper", "lower"] = "all"
    """What the encoder sees: all but the foot contacts, or the half of the body that FID-U and
    FID-L are computed from (CrossDiff 2023). Keypoints know only "all"."""
    compat: bool = False
    """Features with the faults of the published files, which published evaluators were trained
    on; see `HumanML`."""
    fps: float = Field(default=20.0, gt=0)
    """Frames per second of the features; clips are resampled. HumanML3D's are 20."""
    body: str = "free"
    """"free", or the path of a body model file: the body of the clips."""
    statistics: FeatureStatistics | None = None
    """Of the training clips. None until the recipe has taken them; an evaluator without them
    refuses to compute."""

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureConfig":
        if self.source == "keypoints" and self.part != "all":
            raise ValueError(f"part {self.part!r} of keypoints is unknown; choose part='all'")
        if self.source == "humanml" and abs(self.fps - HumanML().skeleton.fps) > 0.01:
            raise ValueError(
                f"HumanML3D's features have {HumanML().skeleton.fps:g} frames per second, not "
                f"{self.fps:g}: leave fps out"
            )
        found = self.statistics
        if found is not None and not (len(found.mean) == len(found.std) == self.dim):
            raise ValueError(
                f"statistics of {len(found.mean)} and {len(found.std)} features; {self.source} has "
                f"{self.dim}: take the statistics of these features"
            )
        return self

    @property
    def dim(self) -> int:
        """Features per frame that are given."""
        return HumanML().dim if self.source == "humanml" else 55

    @property
    def seen(self) -> tuple[int, ...]:
        """The features that the motion encoder sees."""
        if self.source == "keypoints":
            return tuple(range(self.dim))
        every = tuple(range(HumanML().slices["contacts"].start))
        return {"all": every, "upper": UPPER_DIMS, "lower": LOWER_DIMS}[self.part]

    @property
    def modality(self) -> Literal["motion", "keypoints"]:
        """What a clip must carry (`Batch.counts`)."""
        return "motion" if self.source == "humanml" else "keypoints"

    def of_batch(self, batch: Batch) -> Features:
        """Features of a batch's motions or keypoints.

        Raises:
            ValueError: the batch does not carry them.
        """
        if self.source == "keypoints":
            if batch.keypoints is None or batch.keypoints_confidence is None:
                raise ValueError("this evaluator needs keypoints: add them to data.columns")
            return keypoint_features(
                batch.keypoints, batch.keypoints_confidence, batch.frame_mask, batch.fps, self.fps
            )
        if batch.R_parent_child is None or batch.translation is None or batch.betas is None:
            raise ValueError(
                "this evaluator needs motion: add smpl_rotvec, smpl_translation and smpl_betas to "
                "data.columns"
            )
        body = load_body(self.body)
        parts = (batch.R_parent_child, batch.betas, batch.translation)
        joints = body.joints(*(part.cpu() for part in parts))  # the body is shared, on the CPU
        num_frames = batch.frame_mask.sum(1).cpu()
        found = joint_features(joints, num_frames, batch.fps.cpu(), compat=self.compat)
        return Features(*(part.to(batch.frame_mask.device) for part in found))

    def of_motion(
        self, motion: Motion, body: BodyModel, num_frames: Int[Tensor, "b"] | None = None
    ) -> Features:
        """Features of b motions in the world.

        Args:
            motion: with one batch axis, of any frame rate.
            body: of the motion's betas.
            num_frames: valid frames of each; all by default.

        Raises:
            ValueError: this evaluator sees keypoints, the motion has no path, or is seen from a
                camera.
        """
        if self.source != "humanml" or motion.frame != "world":
            raise ValueError(
                f"features of {self.source} cannot be taken from a motion in the {motion.frame} "
                "frame: give world motions to an evaluator of humanml features"
            )
        motion.require_translation()
        joints = motion_joints(body, motion)
        count = len(joints)
        if num_frames is None:
            num_frames = torch.full((count,), joints.shape[1])
        rate = torch.full((count,), motion.fps)
        return joint_features(joints, num_frames, rate, compat=self.compat)

    def fitted(self, statistics: Statistics) -> "FeatureConfig":
        """The same features with statistics; groups of HumanML3D's share one deviation."""
        if self.source == "humanml":
            statistics = with_group_deviation(statistics, HumanML().slices.values())
        return self.model_copy(update={"statistics": FeatureStatistics.of(statistics)})


def joint_features(
    joints: Float[Tensor, "b t j 3"],
    num_frames: Int[Tensor, "b"],
    fps: Float[Tensor, "b"],
    *,
    compat: bool = False,
) -> Features:
    """HumanML3D's features of world joints of any frame rate, resampled to 20 fps first.

    Args:
        joints: metres, y up, of SMPL's joint order; the first 22 count.
        num_frames: valid frames of each clip.
        fps: frames per second of each clip.
        compat: see `HumanML`.

    Raises:
        ValueError: a clip shorter than two frames at 20 fps.
    """
    layout = HumanML(compat=compat)
    points, lengths = at_rate(
        joints[:, :, : layout.skeleton.num_joints], num_frames, fps, layout.skeleton.fps
    )
    values = layout.encode_joints(points, lengths)
    mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None] - 1
    return Features(values, mask)


def at_rate(
    points: Float[Tensor, "b t j d"],
    num_frames: Int[Tensor, "b"],
    fps: Float[Tensor, "b"],
    rate: float,
) -> tuple[Float[Tensor, "b s j d"], Int[Tensor, "b"]]:
    """Points of padded clips at another frame rate, on straight lines between frames, and their
    valid frames. The first frame stays; the last stays where it falls on the new grid.

    Raises:
        ValueError: a clip shorter than two frames of the new rate.
    """
    last = (num_frames - 1).clamp(min=0)
    counts = (last * rate / fps + 1e-4).long() + 1
    if int(counts.min()) < 2:
        raise ValueError(
            f"a clip of {int(num_frames.min())} frames is shorter than 2 frames at {rate:g} fps: "
            "evaluate longer clips"
        )
    place = torch.arange(int(counts.max()), device=points.device) * (fps / rate)[:, None]
    place = torch.minimum(place, last[:, None].to(place))
    low = place.floor().long()
    high = torch.minimum(low + 1, last[:, None])
    clip = torch.arange(len(points), device=points.device)[:, None]
    weight = (place - low).to(points)[..., None, None]
    return torch.lerp(points[clip, low], points[clip, high], weight), counts


def keypoint_features(
    keypoints: Float[Tensor, "b t 17 2"],
    confidence: Float[Tensor, "b t 17"],
    frame_mask: Bool[Tensor, "b t"],
    fps: Float[Tensor, "b"],
    rate: float,
) -> Features:
    """55 features per frame of COCO-17 keypoints in pixels (`KEYPOINT_SLICES`).

    Positions relative to the middle of the hips, in heights of the clip's box; their confidence;
    the hips' velocity per frame in the same unit; the logarithm of the box's height in pixels
    relative to the clip's first frame, and its change. So they do not depend on the image's size.
    The paper (K2M) leaves the layout open; this one is ours.
    """
    both = torch.cat([keypoints, confidence[..., None]], -1)
    points, lengths = at_rate(both, frame_mask.sum(1), fps, rate)
    mask = torch.arange(points.shape[1], device=points.device) < lengths[:, None]
    xy, trust = points[..., :2], points[..., 2]
    root = xy[:, :, _HIPS].mean(2)
    height = _box_height(xy, trust)
    scale = torch.where(mask, height, 0).sum(1) / lengths
    local = (xy - root[:, :, None]) / scale[:, None, None, None]
    step = torch.diff(root, dim=1, append=root[:, -1:]) / scale[:, None, None]
    log_height = torch.log(height / height[:, :1])
    change = torch.diff(log_height, dim=1, append=log_height[:, -1:])
    moving = torch.arange(points.shape[1], device=points.device) < lengths[:, None] - 1
    rows = [
        local.flatten(2),
        trust,
        torch.where(moving[..., None], step, 0),
        log_height[..., None],
        torch.where(moving, change, 0)[..., None],
    ]
    return Features(torch.where(mask[..., None], torch.cat(rows, -1), 0), mask)


def _box_height(xy: Float[Tensor, "b t 17 2"], trust: Float[Tensor, "b t 17"]) -> Tensor:
    """Height in pixels of the seen keypoints; at least one pixel."""
    seen = trust >= SEEN
    top = torch.where(seen, xy[..., 1], torch.inf).amin(-1)
    bottom = torch.where(seen, xy[..., 1], -torch.inf).amax(-1)
    return torch.where(seen.any(-1), bottom - top, 1.0).clamp(min=1.0)
