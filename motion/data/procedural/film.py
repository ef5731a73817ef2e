"""Filming a motion: a static camera, a room, the shaded person, its motion map and keypoints."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body.map_variants import draw_motion
from motion.body.model import BodyModel
from motion.body.render import Raster, rasterize, render_person
from motion.camera import to_camera
from motion.data.procedural.appearance import Appearance, render_room
from motion.data.procedural.appearance import vertex_colors as color_vertices
from motion.data.procedural.config import ProceduralConfig
from motion.data.procedural.keypoints import Keypoints, observe_keypoints
from motion.data.procedural.script import stream
from motion.data.procedural.view import View, frame_person, sample_placement
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS


class Footage(NamedTuple):
    """A motion as a camera records it, over t frames."""

    view: View
    depth: Float[np.ndarray, "t h w"]
    """Metres, infinite where there is no person."""
    rgb: UInt8[np.ndarray, "t h w 3"] | None
    """None, like the map, where the config wants no pixels."""
    motion_map: UInt8[np.ndarray, "t h w 3"] | None


def film(
    seed: int,
    config: ProceduralConfig,
    body: BodyModel,
    motion: Motion,
    look: Appearance,
    *,
    max_growth: float = math.inf,
) -> Footage:
    """Record a motion: a static camera that keeps all of it in the frame, and what it sees.

    Args:
        seed: of the camera's place.
        config: size, frame rate and camera range of the picture.
        motion: in the world, floor at y = 0; faces +z in the first frame if the camera's azimuth
            is to count from the front.
        look: the person's colors and the room.
        max_growth: how much a path to or from the camera may change the person's size.
    """
    translation = motion.require_translation()
    vertices = body.vertices(motion.R_parent_child, motion.betas, translation)
    placement = sample_placement(stream(seed, "camera"), np.radians(config.max_azimuth_deg))
    view = frame_person(
        placement,
        vertices[:, ::7],
        height=config.height,
        width=config.width,
        margin=config.margin,
        max_growth=max_growth,
    )
    seen = to_camera(vertices, view.T_camera_world)
    raster = rasterize(
        seen.numpy(), body.faces.numpy(), view.intrinsics.numpy(), config.height, config.width
    )
    return Footage(
        view=view,
        depth=raster.depth,
        rgb=_render_rgb(config, body, motion, look, seen, view) if config.pixels else None,
        motion_map=_render_map(config, body, motion, seen, view, raster) if config.pixels else None,
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
    motion: Motion,
    vertices: Float[Tensor, "t v 3"],
    view: View,
    raster: Raster,
) -> UInt8[np.ndarray, "t h w 3"]:
    return draw_motion(
        body,
        motion,
        view.T_camera_world,
        view.intrinsics,
        config.height,
        config.width,
        mode=config.map_mode,
        vertices=vertices,
        raster=raster,
    )
