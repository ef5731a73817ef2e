"""Clips: seed in; captions, motion, camera, video, motion map and keypoints out."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body import load_body
from motion.body.model import BodyModel
from motion.body.render import Raster, rasterize, render_motion_map, render_person
from motion.camera import to_camera
from motion.data.procedural.appearance import Appearance, render_room, sample_appearance
from motion.data.procedural.appearance import vertex_colors as color_vertices
from motion.data.procedural.config import ProceduralConfig
from motion.data.procedural.keypoints import KEYPOINT_SIZE, Keypoints, observe_keypoints
from motion.data.procedural.rig import Figure, Posed, measure, solve
from motion.data.procedural.script import perform, sample_script, stream, tell
from motion.data.procedural.stage import Action, Stage, Style, sample_style
from motion.data.procedural.view import View, frame_person, sample_placement
from motion.data.schema import bucket_name, encode_tensor
from motion.data.segments import Segment
from motion.data.video import encode_mp4
from motion.rotations import rotvec_from_matrix
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS


@dataclass(frozen=True, kw_only=True)
class MotionClip:
    """One generated clip before it is filmed; t frames, world frame in metres."""

    seed: int
    config: ProceduralConfig
    actions: tuple[Action, ...]
    """One, or two in a row."""
    captions: tuple[str, ...]
    """Wordings of the whole clip."""
    segments: tuple[Segment, ...]
    """Captions of each action, with its time window."""
    motion: Motion
    contacts: UInt8[np.ndarray, "t 4"]

    @property
    def action(self) -> Action:
        """The first action."""
        return self.actions[0]


@dataclass(frozen=True, kw_only=True)
class Clip(MotionClip):
    """One generated clip with what a camera saw of it."""

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


def generate_clip(seed: int, config: ProceduralConfig) -> Clip:
    """The clip of a seed: the same whatever was generated before, in whichever process.

    Raises:
        ValueError: odd video sides, or a missing body file.
    """
    person = _person(seed, config)
    acted = _act(seed, config, person)
    footage = film(seed, config, person.body, acted.motion, person.look)
    return Clip(
        **vars(acted),
        view=footage.view,
        keypoints=detect(seed, person.body, acted.motion, footage),
        rgb=footage.rgb,
        motion_map=footage.motion_map,
    )


def generate_motion(seed: int, config: ProceduralConfig) -> MotionClip:
    """The clip of a seed, not filmed: motion and captions are those of `generate_clip`."""
    return _act(seed, config, _person(seed, config))


def _act(seed: int, config: ProceduralConfig, person: "_Person") -> MotionClip:
    script = sample_script(seed, config, person.style)
    performance = perform(script, person.style, person.figure, config)
    told, segments = tell(script, performance, seed, config)
    posed = solve(performance.controls, person.figure)
    return MotionClip(
        seed=seed,
        config=config,
        actions=script.actions,
        captions=told,
        segments=segments,
        motion=_motion(config, person, posed),
        contacts=posed.contacts,
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
        look=look_of(seed, config),
    )


def look_of(seed: int, config: ProceduralConfig) -> Appearance:
    """The person's colors and the room of a seed: its own, or one of few that all clips share."""
    if config.num_looks is not None:
        seed = int(stream(seed, "look").integers(config.num_looks))
    return sample_appearance(stream(seed, "appearance"))


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


def motion_columns(
    motion: Motion, contacts: UInt8[np.ndarray, "t 4"], size: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """The columns of the shard contract that hold a motion.

    Args:
        motion: in the world.
        contacts: 1 where left heel, left toe, right heel, right toe is on the floor.
        size: height and width of the video; zero where there is none.
    """
    tensors = {
        "smpl_rotvec": rotvec_from_matrix(motion.R_parent_child).numpy(),
        "smpl_translation": motion.require_translation().numpy(),
        "smpl_betas": motion.betas.numpy(),
        "contacts": contacts,
    }
    return {
        "fps": motion.fps,
        "num_frames": motion.num_frames,
        "bucket": bucket_name(motion.num_frames, *size),
        "body_id": motion.body_id,
        **{name: encode_tensor(array) for name, array in tensors.items()},
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
    num_frames, height, width = rgb.shape[:3]
    tensors = {
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
        **motion_columns(motion, contacts, (height, width)),
        "rgb": encode_mp4(rgb, motion.fps, lossless=False),
        "motion_map": encode_mp4(motion_map, motion.fps, lossless=True),
        "video_size": [height, width],
        **{name: encode_tensor(array) for name, array in tensors.items()},
    }
