"""Estimation as frames arrive: one pass over the last window per frame, and the root's recursion.

The newest frame of the window is what is kept, so a frame never changes once it was given. There is
no smoothing over later frames, which do not exist yet.
"""

from collections import deque
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from motion.batch import Batch
from motion.models.genmo.config import SampleOptions
from motion.models.genmo.observed import level_camera
from motion.models.genmo.sampling import estimate, given_of
from motion.models.genmo.system import Genmo
from motion.rotations import matrix_from_rotation6d, matrix_from_rotvec
from motion.sequence import Motion

_OPTIONS = SampleOptions(mode="estimation", conditions=("keypoints", "camera"))


@dataclass(frozen=True)
class _Frame:
    keypoints: Float[Tensor, "17 2"]
    confidence: Float[Tensor, "17"]
    T_camera_world: Float[Tensor, "4 4"]


@dataclass(frozen=True)
class _Root:
    """State of the recursion."""

    heading_rad: Tensor
    translation: Float[Tensor, "3"]
    step: Float[Tensor, "3"]
    """To the next frame, in the world."""
    R_camera_world: Float[Tensor, "3 3"]


class StreamingEstimator:
    """Poses and path of one person from keypoints, frame by frame.

    The world has y up, its z axis is the first camera's heading, and the path starts at 0.
    """

    def __init__(
        self,
        system: Genmo,
        *,
        fps: float,
        image_size: tuple[int, int],
        intrinsics: Float[Tensor, "3 3"] | None = None,
    ) -> None:
        """
        Args:
            system: trained, in evaluation mode.
            fps: frames per second of the stream, that of the training.
            image_size: width and height in pixels.
            intrinsics: of the camera; its focal length is guessed from the image's diagonal unless
                given.
        """
        self.system, self.fps, self.image_size = system, fps, image_size
        self.intrinsics = intrinsics
        self._seen: deque[_Frame] = deque(maxlen=system.config.window)
        self._root: _Root | None = None

    @torch.no_grad()
    def push(
        self,
        keypoints: Float[Tensor, "17 2"],
        confidence: Float[Tensor, "17"],
        T_camera_world: Float[Tensor, "4 4"] | None = None,
    ) -> Motion:
        """The motion of one new frame (1, 24, 3, 3).

        Args:
            keypoints: COCO-17, pixels.
            confidence: of the detector.
            T_camera_world: where the camera moves; it stands still and is level unless given.
        """
        camera = level_camera() if T_camera_world is None else T_camera_world
        self._seen.append(_Frame(keypoints, confidence, camera))
        given = given_of(self.system, self._batch(), _OPTIONS)
        features = self.system.statistics.denormalize(estimate(self.system, given).x0)
        return self._stepped(features[0, -1], features[0].mean(0), camera, given.like)

    def _batch(self) -> Batch:
        frames = list(self._seen)
        t = len(frames)
        here = torch.ones(1, dtype=torch.bool)
        intrinsics = None if self.intrinsics is None else self.intrinsics[None]
        batch = Batch(
            clip_ids=("stream",),
            fps=torch.tensor([self.fps]),
            frame_mask=torch.ones(1, t, dtype=torch.bool),
            keypoints=torch.stack([frame.keypoints for frame in frames])[None],
            keypoints_confidence=torch.stack([frame.confidence for frame in frames])[None],
            keypoints_size=torch.tensor([self.image_size], dtype=torch.float32),
            keypoints_intrinsics=intrinsics,
            has_keypoints=here,
            T_camera_world=torch.stack([frame.T_camera_world for frame in frames])[None],
            has_camera=here,
            noise_key=torch.zeros(1, dtype=torch.int64),
        )
        return batch.to(self.system.mean.device)

    def _stepped(
        self,
        features: Float[Tensor, "151"],
        average: Float[Tensor, "151"],
        camera: Float[Tensor, "4 4"],
        like: Motion,
    ) -> Motion:
        """Advance the root by the last frame's velocity, and pose the new frame on it."""
        representation = self.system.representation
        slices, R_camera_world = representation.slices, camera[:3, :3].to(features)
        root = self._root
        if root is None:
            heading, place = torch.zeros((), device=features.device), torch.zeros_like(features[:3])
        else:
            pair = torch.stack([root.R_camera_world, R_camera_world])
            turn = representation.heading_steps(representation.camera_to_gravity(pair), pair)
            heading, place = root.heading_rad + turn[0], root.translation + root.step
        zero = torch.zeros_like(heading)
        R_world_gravity = matrix_from_rotvec(torch.stack([zero, heading, zero]))
        gravity = matrix_from_rotation6d(features[slices["root_gravity"]])
        R_world_root = representation.to_world_up(R_world_gravity @ gravity)
        step = R_world_root @ features[slices["velocity"]]
        self._root = _Root(heading, place, step, R_camera_world)
        return replace(
            like,
            R_parent_child=representation.pose(features[None, slices["body"]], R_world_root[None]),
            translation=place[None],
            betas=average[slices["betas"]],
        )
