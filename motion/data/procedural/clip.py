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
    motion, vertices, view = _film(seed, config, person, posed)
    raster = _rasterize(vertices, view, person.body, config)
    points = person.body.keypoints(motion.R_parent_child, motion.betas, motion.translation)
    return Clip(
        seed=seed,
        config=config,
        action=action,
        captions=tuple(captions(action, stream(seed, "captions"), config.num_captions)),
        motion=motion,
        contacts=posed.contacts,
        view=view,
        keypoints=observe_keypoints(points, view, raster.depth, stream(seed, "detector")),
        rgb=_render_rgb(config, person, posed, vertices, view),
        motion_map=_render_map(config, person, vertices, view, raster),
    )


def start_frame(seed: int, config: ProceduralConfig) -> StartFrame:
    """A person who stands still, seen by a camera that leaves room to act."""
    person = _person(seed, config)
    stage = Stage(person.figure, Action(family="stand"), person.style, 1, config.fps)
    posed = solve(stage.controls, person.figure)
    motion, vertices, view = _film(seed, config, person, posed)
    raster = _rasterize(vertices, view, person.body, config)
    return StartFrame(
        rgb=_render_rgb(config, person, posed, vertices, view)[0],
        motion_map=_render_map(config, person, vertices, view, raster)[0],
        motion=motion,
        view=view,
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


def _film(
    seed: int, config: ProceduralConfig, person: _Person, posed: Posed
) -> tuple[Motion, Float[Tensor, "t v 3"], View]:
    """The motion, its vertices in the camera frame, and the camera that keeps it in the frame."""
    motion = Motion(
        R_parent_child=posed.R_parent_child,
        translation=posed.translation,
        betas=person.betas,
        body_id=person.body.body_id,
        fps=config.fps,
    )
    vertices = person.body.vertices(posed.R_parent_child, person.betas, posed.translation)
    placement = sample_placement(stream(seed, "camera"), np.radians(config.max_azimuth_deg))
    view = frame_person(
        placement, vertices[:, ::7], height=config.height, width=config.width, margin=config.margin
    )
    return motion, to_camera(vertices, view.T_camera_world), view


def _rasterize(
    vertices: Float[Tensor, "t v 3"], view: View, body: BodyModel, config: ProceduralConfig
) -> Raster:
    return rasterize(
        vertices.numpy(), body.faces.numpy(), view.intrinsics.numpy(), config.height, config.width
    )


def _render_rgb(
    config: ProceduralConfig,
    person: _Person,
    posed: Posed,
    vertices: Float[Tensor, "t v 3"],
    view: View,
) -> UInt8[np.ndarray, "t h w 3"]:
    rest = torch.eye(3).expand(1, NUM_JOINTS, 3, 3)
    colors = color_vertices(
        person.look,
        person.body.part_of_vertex.numpy(),
        person.body.vertices(rest, person.betas)[0].numpy(),
    )
    pelvis = posed.translation.numpy() + person.figure.joints[0]
    room = render_room(
        person.look,
        view.intrinsics.numpy(),
        view.T_camera_world.numpy(),
        pelvis[:, [0, 2]],
        config.height,
        config.width,
    )
    return render_person(
        vertices.numpy(),
        person.body.faces.numpy(),
        colors,
        view.intrinsics.numpy(),
        config.height,
        config.width,
        background=room,
    )


def _render_map(
    config: ProceduralConfig,
    person: _Person,
    vertices: Float[Tensor, "t v 3"],
    view: View,
    raster: Raster,
) -> UInt8[np.ndarray, "t h w 3"]:
    return render_motion_map(
        vertices.numpy(),
        person.body.faces.numpy(),
        person.body.part_of_vertex.numpy(),
        view.intrinsics.numpy(),
        config.height,
        config.width,
        mode=config.map_mode,
        raster=raster,
    )


def clip_row(clip: Clip, split: str) -> dict[str, Any]:
    """The clip as an unsealed row of the shard contract."""
    config, motion, points = clip.config, clip.motion, clip.keypoints
    num_frames = config.num_frames
    tensors = {
        "smpl_rotvec": rotvec_from_matrix(motion.R_parent_child).numpy(),
        "smpl_translation": motion.require_translation().numpy(),
        "smpl_betas": motion.betas.numpy(),
        "contacts": clip.contacts,
        "intrinsics": clip.view.intrinsics.expand(num_frames, 3, 3).numpy(),
        "T_camera_world": clip.view.T_camera_world.expand(num_frames, 4, 4).numpy(),
        "keypoints": points.exact,
        "keypoints_detected": points.detected,
        "keypoints_confidence": points.confidence,
        "keypoints_visible": points.visible.astype(np.uint8),
        "keypoints_intrinsics": points.intrinsics,
        "keypoints_size": np.array(KEYPOINT_SIZE, np.int32),
    }
    return {
        "clip_id": f"procedural-{clip.seed:010d}",
        "source": "procedural",
        "split": split,
        "licence": "CC0-1.0",
        "flagged": False,
        "fps": config.fps,
        "num_frames": num_frames,
        "bucket": bucket_name(num_frames, config.height, config.width),
        "captions": list(clip.captions),
        "body_id": motion.body_id,
        "rgb": encode_mp4(clip.rgb, config.fps, lossless=False),
        "motion_map": encode_mp4(clip.motion_map, config.fps, lossless=True),
        "video_size": [config.height, config.width],
        "metadata": json.dumps({"seed": clip.seed} | asdict(clip.action), sort_keys=True),
        **{name: encode_tensor(array) for name, array in tensors.items()},
    }
