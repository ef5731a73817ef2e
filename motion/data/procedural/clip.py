"""Clips: seed in; captions, motion, camera, video, motion map and keypoints out."""

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from motion.body import load_body
from motion.body.model import BodyModel
from motion.body.render import Raster, rasterize, render_motion_map, render_person
from motion.camera import to_camera
from motion.data.procedural.appearance import Appearance, render_room, sample_appearance
from motion.data.procedural.appearance import vertex_colors as color_vertices
from motion.data.procedural.captions import captions
from motion.data.procedural.families import FAMILIES, animate, sample_action
from motion.data.procedural.keypoints import KEYPOINT_SIZE, Keypoints, observe_keypoints
from motion.data.procedural.rig import Figure, Posed, measure, solve
from motion.data.procedural.stage import Action, Stage, Style, sample_style
from motion.data.procedural.view import View, frame_person, sample_placement
from motion.data.schema import bucket_name, encode_tensor
from motion.data.video import encode_mp4
from motion.rotations import rotvec_from_matrix
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS

GENERATOR_VERSION = "1"
"""Raised whenever the same seed and config give another clip."""
SPLIT_SEED = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
"""First seed of each split; a split holds at most a billion clips, so splits are disjoint."""


class ProceduralConfig(BaseModel):
    """What the generator makes; part of the dataset's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_frames: int = Field(default=33, ge=2)
    """Frames per clip; 1 + a multiple of the autoencoder's temporal stride."""
    fps: float = Field(default=16.0, gt=0)
    """Frames per second."""
    height: int = Field(default=128, ge=16)
    """Video height in pixels; even."""
    width: int = Field(default=128, ge=16)
    """Video width in pixels; even."""
    map_mode: Literal["flat", "lit"] = "flat"
    """Motion map as pure part and normal codes, or lit like the published renderings."""
    num_captions: int = Field(default=4, ge=3, le=9)
    """Wordings per clip."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Names of the action families, in the order in which seeds go round them."""
    body: str = "free"
    """"free", or the path of a body model file."""
    shape_std: float = Field(default=0.7, ge=0)
    """Standard deviation of the body shape coefficients, which are cut at 2."""
    max_azimuth_deg: float = Field(default=50.0, ge=0, le=180)
    """Largest angle between the camera and the front of the person, in degrees."""
    margin: float = Field(default=0.04, ge=0, lt=0.3)
    """Free border around the person over the whole clip, as a share of the image side."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One generated clip; t frames, world frame in metres unless stated."""

    seed: int
    config: ProceduralConfig
    action: Action
    captions: tuple[str, ...]
    motion: Motion
    contacts: UInt8[np.ndarray, "t 4"]
    view: View
    keypoints: Keypoints
    rgb: UInt8[np.ndarray, "t h w 3"]
    motion_map: UInt8[np.ndarray, "t h w 3"]


class Footage(NamedTuple):
    """A motion as a camera records it, over t frames."""

    view: View
    depth: Float[np.ndarray, "t h w"]
    """Metres, infinite where there is no person."""
    rgb: UInt8[np.ndarray, "t h w 3"]
    motion_map: UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True, kw_only=True)
class StartFrame:
    """A neutral first frame to sample from where the user gives no image."""

    rgb: UInt8[np.ndarray, "h w 3"]
    motion_map: UInt8[np.ndarray, "h w 3"]
    motion: Motion
    """One frame, world frame."""
    view: View


class _Person(NamedTuple):
    """Who acts in a clip, and where the camera stands."""

    body: BodyModel
    betas: Float[Tensor, "10"]
    figure: Figure
    style: Style
    look: Appearance


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose in one clip, independent of every other purpose and clip."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def generate_clip(seed: int, config: ProceduralConfig) -> Clip:
    """The clip of a seed: the same whatever was generated before, in whichever process.

    Raises:
        ValueError: an unknown family, odd video sides, or a missing body file.
    """
    person = _person(seed, config)
    action = sample_action(stream(seed, "action"), config.families, seed)
    controls = animate(
        action, person.style, person.figure, num_frames=config.num_frames, fps=config.fps
    )
    posed = solve(controls, person.figure)
    motion = _motion(config, person, posed)
    footage = film(seed, config, person.body, motion, person.look)
    return Clip(
        seed=seed,
        config=config,
        action=action,
        captions=tuple(captions(action, stream(seed, "captions"), config.num_captions)),
        motion=motion,
        contacts=posed.contacts,
        view=footage.view,
        keypoints=detect(seed, person.body, motion, footage),
        rgb=footage.rgb,
        motion_map=footage.motion_map,
    )


def start_frame(seed: int, config: ProceduralConfig) -> StartFrame:
    """A person who stands still, seen by a camera that leaves room to act."""
    person = _person(seed, config)
    stage = Stage(person.figure, Action(family="stand"), person.style, 1, config.fps)
    motion = _motion(config, person, solve(stage.controls, person.figure))
    footage = film(seed, config, person.body, motion, person.look)
    return StartFrame(
        rgb=footage.rgb[0],
        motion_map=footage.motion_map[0],
        motion=motion,
        view=footage.view,
    )


def _person(seed: int, config: ProceduralConfig) -> _Person:
    body = load_body(config.body)
    drawn = stream(seed, "shape").normal(scale=config.shape_std, size=10)
    betas = torch.from_numpy(np.clip(drawn, -2.0, 2.0)).float()
    return _Person(
        body=body,
        betas=betas,
        figure=measure(body, betas),
        style=sample_style(stream(seed, "style")),
        look=sample_appearance(stream(seed, "appearance")),
    )


def _motion(config: ProceduralConfig, person: _Person, posed: Posed) -> Motion:
    return Motion(
        R_parent_child=posed.R_parent_child,
        translation=posed.translation,
        betas=person.betas,
        body_id=person.body.body_id,
        fps=config.fps,
    )


def film(
    seed: int, config: ProceduralConfig, body: BodyModel, motion: Motion, look: Appearance
) -> Footage:
    """Record a motion: a static camera that keeps all of it in the frame, and what it sees.

    Args:
        seed: of the camera's place.
        config: size, frame rate and camera range of the picture.
        body: the body of the motion's betas.
        motion: in the world, floor at y = 0; faces +z in the first frame if the camera's azimuth
            is to count from the front.
        look: the person's colors and the room.
    """
    translation = motion.require_translation()
    vertices = body.vertices(motion.R_parent_child, motion.betas, translation)
    placement = sample_placement(stream(seed, "camera"), np.radians(config.max_azimuth_deg))
    view = frame_person(
        placement, vertices[:, ::7], height=config.height, width=config.width, margin=config.margin
    )
    seen = to_camera(vertices, view.T_camera_world)
    raster = rasterize(
        seen.numpy(), body.faces.numpy(), view.intrinsics.numpy(), config.height, config.width
    )
    return Footage(
        view=view,
        depth=raster.depth,
        rgb=_render_rgb(config, body, motion, look, seen, view),
        motion_map=_render_map(config, body, seen, view, raster),
    )


def detect(seed: int, body: BodyModel, motion: Motion, footage: Footage) -> Keypoints:
    """Keypoints of a filmed motion of two frames or more; the seed is the detector's noise."""
    points = body.keypoints(motion.R_parent_child, motion.betas, motion.translation)
    return observe_keypoints(points, footage.view, footage.depth, stream(seed, "detector"))


def _render_rgb(
    config: ProceduralConfig,
    body: BodyModel,
    motion: Motion,
    look: Appearance,
    vertices: Float[Tensor, "t v 3"],
    view: View,
) -> UInt8[np.ndarray, "t h w 3"]:
    rest = torch.eye(3).expand(1, NUM_JOINTS, 3, 3)
    colors = color_vertices(
        look, body.part_of_vertex.numpy(), body.vertices(rest, motion.betas)[0].numpy()
    )
    pelvis = (motion.require_translation() + body.rest_joints(motion.betas)[0]).numpy()
    room = render_room(
        look,
        view.intrinsics.numpy(),
        view.T_camera_world.numpy(),
        pelvis[:, [0, 2]],
        config.height,
        config.width,
    )
    return render_person(
        vertices.numpy(),
        body.faces.numpy(),
        colors,
        view.intrinsics.numpy(),
        config.height,
        config.width,
        background=room,
    )


def _render_map(
    config: ProceduralConfig,
    body: BodyModel,
    vertices: Float[Tensor, "t v 3"],
    view: View,
    raster: Raster,
) -> UInt8[np.ndarray, "t h w 3"]:
    return render_motion_map(
        vertices.numpy(),
        body.faces.numpy(),
        body.part_of_vertex.numpy(),
        view.intrinsics.numpy(),
        config.height,
        config.width,
        mode=config.map_mode,
        raster=raster,
    )


def clip_row(clip: Clip, split: str) -> dict[str, Any]:
    """The clip as an unsealed row of the shard contract."""
    return {
        "clip_id": f"procedural-{clip.seed:010d}",
        "source": "procedural",
        "split": split,
        "licence": "CC0-1.0",
        "flagged": False,
        "captions": list(clip.captions),
        "metadata": json.dumps({"seed": clip.seed} | asdict(clip.action), sort_keys=True),
        **filmed_columns(
            clip.motion, clip.contacts, clip.view, clip.keypoints, clip.rgb, clip.motion_map
        ),
    }


def filmed_columns(
    motion: Motion,
    contacts: UInt8[np.ndarray, "t 4"],
    view: View,
    points: Keypoints,
    rgb: UInt8[np.ndarray, "t h w 3"],
    motion_map: UInt8[np.ndarray, "t h w 3"],
) -> dict[str, Any]:
    """The columns of the shard contract that hold a motion and what was filmed of it."""
    num_frames, (height, width) = motion.num_frames, rgb.shape[1:3]
    tensors = {
        "smpl_rotvec": rotvec_from_matrix(motion.R_parent_child).numpy(),
        "smpl_translation": motion.require_translation().numpy(),
        "smpl_betas": motion.betas.numpy(),
        "contacts": contacts,
        "intrinsics": view.intrinsics.expand(num_frames, 3, 3).numpy(),
        "T_camera_world": view.T_camera_world.expand(num_frames, 4, 4).numpy(),
        "keypoints": points.exact,
        "keypoints_detected": points.detected,
        "keypoints_confidence": points.confidence,
        "keypoints_visible": points.visible.astype(np.uint8),
        "keypoints_intrinsics": points.intrinsics,
        "keypoints_size": np.array(KEYPOINT_SIZE, np.int32),
    }
    return {
        "fps": motion.fps,
        "num_frames": num_frames,
        "bucket": bucket_name(num_frames, height, width),
        "body_id": motion.body_id,
        "rgb": encode_mp4(rgb, motion.fps, lossless=False),
        "motion_map": encode_mp4(motion_map, motion.fps, lossless=True),
        "video_size": [height, width],
        **{name: encode_tensor(array) for name, array in tensors.items()},
    }
