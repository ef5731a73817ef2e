"""What a user gives a system of motion: a timeline, keypoints or a video, music, key poses.

Any of them together: a clip may follow a video, do what the timeline says and end in a key pose.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, JsonValue, model_validator
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.conditioning.pose_detector import Detection, NobodyFound, PoseDetector
from motion.data.clip_reader import index_video, read_clip
from motion.data.segments import Segment
from motion.encoders import TextEncoder
from motion.importers import read_motion
from motion.importers.audio import read_music
from motion.importers.keypoints import KeypointClip, keypoint_batch, read_keypoints
from motion.timeline import described, read_timeline

_AT_ONCE = 64
"""Frames of a video that are held: 0.4 GB of full HD."""


class Observations(BaseModel):
    """Files and texts that a motion follows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    timeline: str | None = None
    """What happens from when to when: "0-4: walks forward; 3.5-8: turns and sits", in seconds."""
    keypoints: Path | None = None
    """.npz of 2D keypoints (docs/models/genmo.md)."""
    video: Path | None = None
    """Video of one person, whose keypoints `pose_model` finds; the camera is taken to stand still
    unless `camera` says otherwise."""
    pose_model: str | None = None
    """ViTPose by folder or hub id."""
    camera: Path | None = None
    """.npz with `T_camera_world` (t, 4, 4), one per frame of the video, as a SLAM gives it."""
    music: Path | None = None
    """Sound file to dance to."""
    key_motion: Path | None = None
    """Motion file (.npz, .pkl, .bvh, .amc) that key poses are taken from."""
    key_times_s: tuple[float, ...] = ()
    """Seconds, in that file and in the result, of the key poses."""

    @model_validator(mode="after")
    def _meaningful(self) -> "Observations":
        pairs = (
            ("video", self.video, "pose_model", self.pose_model),
            ("key_motion", self.key_motion, "key_times_s", self.key_times_s or None),
        )
        for name, value, partner, other in pairs:
            if (value is None) != (other is None):
                raise ValueError(f"{name} and {partner} go together: give both or none")
        if self.video is not None and self.keypoints is not None:
            raise ValueError("give keypoints or the video that they are found in, not both")
        if self.camera is not None and self.video is None:
            raise ValueError("camera is the trajectory of a video's camera: give the video")
        return self

    def given(self) -> dict[str, JsonValue]:
        """What is given, by option name: enough to sample again."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def batch(
        self,
        prompt: str,
        encoder: TextEncoder,
        body: BodyModel,
        *,
        fps: float,
        num_frames: int | None,
        device: str = "cpu",
    ) -> Batch:
        """One clip of which only what is given is known.

        Args:
            prompt: a text for the whole clip; empty for none.
            encoder: of the texts.
            body: of the motion.
            fps: frames per second of the system.
            num_frames: of the clip; as long as what is given unless stated.
            device: where the pose model computes.

        Raises:
            ValueError: a file cannot be used, or nothing says how long the clip is.
        """
        parts = list(read_timeline(self.timeline)) if self.timeline else []
        watched = self._watched(fps, body.body_id, device)
        music = None if self.music is None else read_music(self.music, fps)
        count = num_frames or _longest(parts, watched, music, self.key_times_s, fps)
        if prompt:
            parts.insert(0, Segment(0.0, count / fps, (prompt,)))
        if not parts and watched is None and music is None and self.key_motion is None:
            raise ValueError("nothing is given: a text, a timeline, keypoints, a video or music")
        clip = _empty(count, fps, body.body_id)
        if parts:
            told = described(parts, encoder, fps=fps, num_frames=count, body_id=body.body_id)
            clip = dataclasses.replace(clip, **_known(told, ("text", "has_text")))
        if watched is not None:
            clip = dataclasses.replace(clip, **_fitted(watched, count))
        if music is not None:
            sound = torch.from_numpy(_to_length(music, count))[None]
            mask = torch.arange(count)[None] < len(music)
            clip = dataclasses.replace(
                clip, music=sound, music_mask=mask, has_music=torch.ones(1, dtype=torch.bool)
            )
        return self._keyed(clip, body, fps)

    def _watched(self, fps: float, body_id: str, device: str) -> Batch | None:
        if self.keypoints is not None:
            return keypoint_batch(read_keypoints(self.keypoints), fps=fps, body_id=body_id)
        if self.video is None or self.pose_model is None:
            return None
        found = detect(self.video, PoseDetector(self.pose_model, device=device), fps)
        if self.camera is not None:
            with np.load(self.camera, allow_pickle=False) as archive:
                poses = np.asarray(archive["T_camera_world"], dtype=np.float32)
            place = np.linspace(0, len(poses) - 1, len(found.keypoints)).round().astype(int)
            found = found._replace(T_camera_world=poses[place])
        return keypoint_batch(found, fps=fps, body_id=body_id)

    def _keyed(self, clip: Batch, body: BodyModel, fps: float) -> Batch:
        """The clip with key poses."""
        if self.key_motion is None:
            return clip
        motion = read_motion(self.key_motion, body, fps=fps).motion
        frames = [round(time * fps) for time in self.key_times_s]
        count = clip.frame_mask.shape[1]
        last = min(motion.num_frames, count) - 1
        if min(frames) < 0 or max(frames) > last:
            raise ValueError(
                f"key_times_s {self.key_times_s}: expected 0 to {last / fps:g} s, which both "
                f"{self.key_motion} and the clip have"
            )
        place = torch.arange(count).clamp(max=motion.num_frames - 1)
        keyframes = torch.zeros(1, count, dtype=torch.bool)
        keyframes[0, frames] = True
        return dataclasses.replace(
            clip,
            R_parent_child=motion.R_parent_child[place][None].float(),
            translation=motion.require_translation()[place][None].float(),
            betas=motion.betas[None].float(),
            has_motion=torch.ones(1, dtype=torch.bool),
            keyframes=keyframes,
        )


@runtime_checkable
class Detector(Protocol):
    """Finds the keypoints of the person in an image."""

    def detect(self, image: UInt8[np.ndarray, "h w 3"]) -> Detection:
        """Raises NobodyFound where it sees nobody."""
        ...


def detect(video: Path | str, detector: Detector, fps: float) -> KeypointClip:
    """Keypoints of the one person of a video, at a frame rate.

    Frames in which nobody is found have confidence zero.
    """
    index = index_video(video)
    times = np.arange(max(1, math.floor(index.duration_s * fps))) / fps
    points = np.zeros((len(times), 17, 2), dtype=np.float32)
    trust = np.zeros((len(times), 17), dtype=np.float32)
    size = (0, 0)
    for start in range(0, len(times), _AT_ONCE):
        frames = read_clip(video, times[start : start + _AT_ONCE])
        size = (frames.shape[2], frames.shape[1])
        for place, frame in enumerate(frames, start):
            try:
                found = detector.detect(frame)
            except NobodyFound:
                continue
            points[place], trust[place] = found.keypoints.numpy(), found.confidence.numpy()
    return KeypointClip(points, trust, size, fps, None, None)


def _longest(
    parts: Sequence[Segment],
    watched: Batch | None,
    music: np.ndarray | None,
    key_times_s: Sequence[float],
    fps: float,
) -> int:
    lengths = [round(part.end_s * fps) for part in parts]
    lengths += [1 + round(time * fps) for time in key_times_s]
    lengths += [] if watched is None else [watched.frame_mask.shape[1]]
    lengths += [] if music is None else [len(music)]
    if not lengths:
        raise ValueError("nothing says how long the motion is: give duration_s")
    return max(2, *lengths)


def _empty(count: int, fps: float, body_id: str) -> Batch:
    return Batch(
        clip_ids=("given",),
        fps=torch.tensor([fps]),
        frame_mask=torch.ones(1, count, dtype=torch.bool),
        body_id=body_id,
        noise_key=torch.zeros(1, dtype=torch.int64),
    )


def _known(batch: Batch, starts: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in vars(batch).items() if name.startswith(starts)}


def _fitted(watched: Batch, count: int) -> dict[str, Any]:
    """Keypoints and camera over the clip's frames; beyond their end, nothing is seen."""
    fields = _known(watched, ("keypoints", "has_keypoints", "T_camera_world", "has_camera"))
    seen = watched.frame_mask.shape[1]
    timed = ("keypoints", "keypoints_confidence", "T_camera_world")
    place = torch.arange(count).clamp(max=seen - 1)
    for name in timed:
        if isinstance(value := fields[name], Tensor):
            fields[name] = value[:, place]
    shown = torch.arange(count) < seen
    fields["keypoints_confidence"] = fields["keypoints_confidence"] * shown[None, :, None]
    if watched.T_camera_world is not None:
        fields["camera_mask"] = shown[None]
    return fields


def _to_length(features: np.ndarray, count: int) -> np.ndarray:
    held = np.pad(features, [(0, max(0, count - len(features))), (0, 0)], mode="edge")
    return held[:count]
