"""2D keypoints of motions that nobody filmed, seen by random cameras: exact, or as detected.

K2M learns from keypoints alone. For clips of motion capture (its HumanML3D variant) and for
generated ones that were not rendered, a long lens like the one it assumes sees the body's COCO-17
points. The motion stays in the rows, as the truth to evaluate with. What another camera saw of a
clip does not: a row has one camera, and pictures and keypoints are all of it.
"""

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from motion.body import load_body
from motion.body.model import BodyModel
from motion.camera import project as to_image
from motion.camera import to_camera
from motion.data.derive import DeriveConfig, Row, derive, describe_derived
from motion.data.procedural.keypoints import KEYPOINT_SIZE, simulate_detector
from motion.data.procedural.script import stream
from motion.data.procedural.view import Placement, View, frame_person
from motion.data.schema import bucket_name, decode_tensor, encode_tensor
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion

PROJECTION_VERSION: Final = "1"
"""Raised whenever the same rows and config give other keypoints."""
_OF_ANOTHER_CAMERA: Final = (
    "intrinsics", "T_camera_world", "keypoints", "keypoints_detected", "keypoints_confidence",
    "keypoints_visible", "keypoints_intrinsics", "keypoints_size", "image_features", "rgb",
    "motion_map", "video_size", "latent_rgb", "latent_map", "motion_tokens",
)  # fmt: skip
"""What a row may hold of the camera that it had, and what was made from that."""


class ProjectConfig(BaseModel):
    """Which cameras see the clips."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: DeriveConfig
    """Motions, and where their keypoints go."""
    views: int = Field(default=1, ge=1)
    """Cameras per clip; each makes a clip of its own."""
    max_azimuth_deg: float = Field(default=180.0, ge=0, le=180)
    """Largest angle between the camera and the front of the person, degrees."""
    eye_height_m: tuple[float, float] = (0.8, 1.6)
    """Lowest and highest camera, metres above the floor."""
    focal: tuple[float, float] = (4.63, 4.63)
    """Focal length over the image's height, least and greatest; 4.63 is 5000 pixels at 1080."""
    fill: tuple[float, float] = (0.45, 0.75)
    """Height of the person in the first frame over the image's, least and greatest."""
    detector: bool = True
    """Add keypoints with a detector's errors and confidences to the exact ones."""
    body: str = "free"
    """"free", or the path of the body model file of the clips."""
    seed: int = 0
    """Of cameras and errors."""

    @property
    def described(self) -> dict[str, Any]:
        """What decides the keypoints."""
        stated = self.model_dump(mode="json", exclude={"data", "body"})
        body_id = load_body(self.body).body_id
        return {"kind": "projected", "version": PROJECTION_VERSION, "body": body_id, **stated}


def project_dataset(config: ProjectConfig) -> Path:
    """Make the data set; returns its root. Clips without motion are left out.

    Raises:
        FileNotFoundError: there is no committed source.
        ValueError: the root holds a data set made otherwise, or the clips are of another body.
    """
    make = functools.partial(_Projector, config)
    return derive(config.data, make, config.described, phase="projected", row_group_size=8)


def describe_projection(config: ProjectConfig) -> str:
    """What `project_dataset` would do, in one line."""
    return describe_derived(config.data, config.described)


class _Projector:
    """Rows with motion to rows with keypoints too."""

    def __init__(self, config: ProjectConfig) -> None:
        self._config, self._body = config, load_body(config.body)

    def __call__(self, rows: list[Row]) -> Iterator[Row]:
        for row in rows:
            if row["smpl_rotvec"] is not None and row["smpl_translation"] is not None:
                for view in range(self._config.views):
                    yield self._seen(row, view)

    def _seen(self, row: Row, number: int) -> Row:
        if row["body_id"] != self._body.body_id:
            raise ValueError(
                f"clip {row['clip_id']!r} has the body {row['body_id']!r}, config.body "
                f"{self._config.body!r} is {self._body.body_id!r}: give the clips' body"
            )
        name = row["clip_id"] if self._config.views == 1 else f"{row['clip_id']}-view{number}"
        seed = zlib.crc32(f"{self._config.seed}/{name}".encode())
        names = ("smpl_rotvec", "smpl_betas", "smpl_translation")
        rotvec, betas, path = (torch.from_numpy(decode_tensor(row[column])) for column in names)
        motion = Motion(
            R_parent_child=matrix_from_rotvec(rotvec),
            betas=betas,
            translation=path,
            body_id=row["body_id"],
            fps=float(row["fps"]),
        )
        seen = seen_from(self._config, self._body, motion, seed)
        unseen = {**row, "clip_id": name, **dict.fromkeys(_OF_ANOTHER_CAMERA)}
        if row.get("rgb") is not None or row.get("latent_rgb") is not None:
            unseen["bucket"] = bucket_name(motion.num_frames, 0, 0)  # no longer of its pictures
        return unseen | self._columns(seed, seen, motion.num_frames)

    def _columns(self, seed: int, seen: "Seen", frames: int) -> dict[str, Any]:
        exact, view = seen
        inside = (exact >= 0) & (exact < np.array(KEYPOINT_SIZE))
        visible = np.asarray(inside.all(-1))
        tensors: dict[str, np.ndarray] = {
            "T_camera_world": view.T_camera_world.expand(frames, 4, 4).numpy(),
            "keypoints": exact.astype(np.float32),
            "keypoints_visible": visible.astype(np.uint8),
            "keypoints_intrinsics": view.intrinsics.numpy(),
            "keypoints_size": np.array(KEYPOINT_SIZE, np.int32),
        }
        if self._config.detector:
            draw = stream(seed, "detector")
            found, confidence = simulate_detector(exact, visible, draw)
            tensors |= {"keypoints_detected": found, "keypoints_confidence": confidence}
        return {column: encode_tensor(array) for column, array in tensors.items()}


class Seen(NamedTuple):
    """Keypoints of a motion in an image."""

    exact: Float[np.ndarray, "t 17 2"]
    """Pixels of an image of `KEYPOINT_SIZE`."""
    view: View


def seen_from(config: ProjectConfig, body: BodyModel, motion: Motion, seed: int) -> Seen:
    """A world motion in the image of the camera of a seed, which keeps all of it in view."""
    draw, azimuth = stream(seed, "projection"), np.radians(config.max_azimuth_deg)
    placement = Placement(
        azimuth=draw.uniform(-azimuth, azimuth),
        eye_height=draw.uniform(*config.eye_height_m),
        focal=draw.uniform(*config.focal),
        fill=draw.uniform(*config.fill),
        drift=(draw.uniform(-1, 1), draw.uniform(-1, 1)),
    )
    parts = motion.R_parent_child, motion.betas, motion.require_translation()
    outline = body.vertices(*parts, index=body.loss_vertices)
    width, height = KEYPOINT_SIZE
    view = frame_person(placement, outline, height=height, width=width, margin=0.04)
    points = to_camera(body.keypoints(*parts), view.T_camera_world)
    return Seen(to_image(points, view.intrinsics).numpy(), view)
