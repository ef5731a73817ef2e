"""The cascade that co-generation is compared with (Zhao et al. 2026, Table 3): first a video, then
motion estimated from it.

The video is the RGB stream's. A ViTPose finds 2D keypoints in its frames, and an estimator of
motion from keypoints, a GENMO export or the body's fitter, makes the motion. The errors stand
beside those of the poses that the system made together with the same video.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import BaseModel
from torch import Tensor

from motion import models
from motion.batch import Batch
from motion.body.fit import fit_keypoints
from motion.body.model import BodyModel
from motion.conditioning.pose_detector import Detection, NobodyFound, PoseDetector
from motion.data.video import to_frames
from motion.exported import read_config
from motion.inference import Pipeline
from motion.metrics.frames import per_clip
from motion.metrics.pose import ROOT, mpjpe_mm
from motion.models.system import Sample
from motion.sequence import Motion

Detector = Callable[[UInt8[np.ndarray, "h w 3"]], Detection]
Estimator = Callable[[Batch], Motion]
"""Motions of clips with keypoints, in the world."""


@runtime_checkable
class VideoMaker(Protocol):
    """What makes the videos: of motion.inference.Pipeline, no more than is needed here."""

    @property
    def body(self) -> BodyModel:
        """On the CPU."""
        ...

    def options(self) -> BaseModel:
        """Sampling options of the export."""
        ...

    def generate(self, batch: Batch, options: BaseModel, generator: torch.Generator) -> Sample:
        """Decoded samples for the batch's conditions."""
        ...


def estimator(export: Path | None, body: BodyModel, *, device: str = "cpu") -> Estimator:
    """A GENMO export's estimation from keypoints, or the fitter where none is named.

    Raises:
        ValueError: the export is of another system.
    """
    if export is None:
        return lambda batch: _fitted(body, batch)
    kind = read_config(export)["system"]["kind"]
    if kind != "genmo" or kind not in models.sampled():
        raise ValueError(
            f"{export} holds {kind!r}: the cascade needs an estimator of motion from keypoints, an "
            "export of genmo (rayjobs/train_genmo.py); without one the body's fitter estimates"
        )
    pipeline = Pipeline.load(export, device=device)
    options = pipeline.options(mode="estimation", conditions=["keypoints", "camera"])

    def estimate(batch: Batch) -> Motion:
        generator = torch.Generator().manual_seed(0)
        motion = pipeline.generate(batch, options, generator).motion
        assert motion is not None
        return motion

    return estimate


def detector(source: str | None, *, device: str = "cpu") -> Detector:
    """A ViTPose, on which the cascade depends.

    Raises:
        ValueError: none is named.
    """
    if source is None:
        raise ValueError(
            "the cascade finds 2D keypoints in generated videos: name a ViTPose as --pose-model, a "
            "folder or hub id such as usyd-community/vitpose-base-simple"
        )
    return PoseDetector(source, device=device).detect


def cascade_errors(
    pipeline: VideoMaker,
    batch: Batch,
    find: Detector,
    estimate: Estimator,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Joint errors per clip in mm, relative to the pelvis, after the first frame.

    cascade: of the motion estimated from the sampled video. joint_error: of the motion that the
    system made with it, where it makes one. held: of the true first pose, repeated. NaN for a clip
    without motion, of which there is no truth.

    Raises:
        ValueError: no clip of the batch carries motion.
    """
    if batch.R_parent_child is None or batch.betas is None:
        raise ValueError(
            f"none of the clips {', '.join(batch.clip_ids)} carries motion, which the cascade is "
            "compared with: evaluate on a data set whose clips do"
        )
    sample = pipeline.generate(batch, pipeline.options(), generator)
    assert sample.rgb is not None
    seen = with_keypoints(batch, sample.rgb, find)
    truth = pipeline.body.joints(batch.R_parent_child, batch.betas)
    found = {"cascade_mm": estimate(seen)}
    if sample.motion is not None:
        found["joint_error_mm"] = sample.motion
    held = batch.R_parent_child[:, :1].expand_as(batch.R_parent_child)
    poses = {name: motion.R_parent_child for name, motion in found.items()} | {"held_mm": held}
    known = batch.frame_mask[:, 1:]
    if batch.has_motion is not None:
        known = known & batch.has_motion[:, None]
    made = {name: pipeline.body.joints(R, batch.betas) for name, R in poses.items()}
    return {
        name: per_clip(mpjpe_mm(joints[:, 1:], truth[:, 1:], known, hips=ROOT))
        for name, joints in made.items()
    }


def with_keypoints(batch: Batch, rgb: Tensor, find: Detector) -> Batch:
    """The batch with what a detector finds in videos (b, 3, t, h, w); a frame in which it finds
    no person has the confidence 0."""
    height, width = rgb.shape[3:]
    places, shares = list[Tensor](), list[Tensor]()
    for video in rgb:
        for frame in to_frames(video):
            try:
                detection = find(frame)
            except NobodyFound:
                detection = Detection(torch.zeros(17, 2), torch.zeros(17))
            places.append(detection.keypoints)
            shares.append(detection.confidence)
    shape = (len(rgb), rgb.shape[2])
    return dataclasses.replace(
        batch,
        keypoints=torch.stack(places).unflatten(0, shape),
        keypoints_confidence=torch.stack(shares).unflatten(0, shape),
        keypoints_size=torch.tensor([[float(width), float(height)]]).expand(len(rgb), 2),
        keypoints_intrinsics=None if batch.intrinsics is None else batch.intrinsics[:, 0],
        has_keypoints=torch.ones(len(rgb), dtype=torch.bool),
    )


def _fitted(body: BodyModel, batch: Batch) -> Motion:
    assert batch.keypoints is not None
    assert batch.intrinsics is not None
    assert batch.T_camera_world is not None
    assert batch.keypoints_confidence is not None
    found = [
        fit_keypoints(
            body,
            batch.keypoints[index],
            batch.intrinsics[index, 0],
            fps=float(batch.fps[index]),
            confidence=batch.keypoints_confidence[index],
            T_camera_world=batch.T_camera_world[index, 0],
        ).motion
        for index in range(batch.size)
    ]
    return dataclasses.replace(
        found[0],
        R_parent_child=torch.stack([motion.R_parent_child for motion in found]),
        translation=torch.stack([motion.require_translation() for motion in found]),
        betas=torch.stack([motion.betas for motion in found]),
    )
