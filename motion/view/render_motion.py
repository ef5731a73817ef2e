"""A motion as frames: one camera that sees the whole path, a floor, and the body's shadow on it."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from motion.body.model import BodyModel, motion_vertices
from motion.body.render import rasterize, render_person
from motion.camera import intrinsics, look_at, to_camera
from motion.sequence import Motion

_SKIN = (0.62, 0.72, 0.86)
_SKY = np.array([232.0, 236.0, 242.0])
_TILES = np.array([[214.0, 219.0, 227.0], [196.0, 203.0, 214.0]])
_SHADOW = 0.62
"""Brightness of the floor under the body."""
_FADE_M = (6.0, 16.0)
"""Distance from the camera between which the floor fades into the background."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera with its image."""

    T_camera_world: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]
    height: int
    """Pixels."""
    width: int
    """Pixels."""

    def enlarged(self, factor: int) -> "Camera":
        """The same view with `factor` times as many pixels."""
        matrix = self.intrinsics.clone()
        matrix[:2] *= factor
        return dataclasses.replace(
            self, intrinsics=matrix, height=self.height * factor, width=self.width * factor
        )


def frame_points(
    points_world: Float[Tensor, "*n 3"],
    *,
    height: int,
    width: int,
    azimuth_deg: float = 25.0,
    elevation_deg: float = 12.0,
    fov_deg: float = 35.0,
    margin: float = 0.9,
) -> Camera:
    """The nearest camera in a direction whose image holds all points.

    Args:
        azimuth_deg: direction of the camera seen from the points, from +z (0) towards +x.
        elevation_deg: its height above the horizon.
        fov_deg: vertical field of view.
        margin: part of the image's half width and height that the points may fill.
    """
    points = points_world.reshape(-1, 3)
    middle = (points.amax(0) + points.amin(0)) / 2
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    direction = points.new_tensor(
        [
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ]
    )
    up = points.new_tensor([0.0, 1.0, 0.0])
    focal = height / 2 / math.tan(math.radians(fov_deg) / 2)
    half = points.new_tensor([width / 2, height / 2]) / focal * margin
    # Seen from the middle, a point at (x, y, z) needs |x| <= half * (z + distance).
    seen = to_camera(points, look_at(middle + direction, middle, up))
    distance = (seen[:, :2].abs() / half - seen[:, 2:]).max() + 1.0
    return Camera(
        T_camera_world=look_at(middle + direction * distance, middle, up),
        intrinsics=intrinsics(focal, width, height),
        height=height,
        width=width,
    )


@torch.no_grad()
def render_motion(
    body: BodyModel,
    motion: Motion,
    *,
    height: int = 288,
    width: int = 288,
    camera: Camera | None = None,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames of one world-frame motion on a floor at its lowest point.

    `camera` defaults to the one of `frame_points`, which sees the whole path. A motion without
    translation is shown on the spot.

    Raises:
        ValueError: a batch of motions, or one in the camera's frame.
    """
    if motion.R_parent_child.dim() != 4 or motion.frame != "world":
        raise ValueError(
            f"expected one motion (t, 24, 3, 3) in the world frame, found "
            f"{tuple(motion.R_parent_child.shape)} in the {motion.frame} frame"
        )
    vertices = motion_vertices(body, motion).float().cpu()
    if camera is None:
        camera = frame_points(vertices, height=height, width=width)
    faces = body.faces.cpu().numpy().astype(np.int32)
    matrix = camera.intrinsics.float().numpy()
    size = (camera.height, camera.width)
    floor_m = float(vertices[..., 1].min())
    background = np.repeat(_floor(camera, floor_m)[None], len(vertices), 0)
    flat = vertices.clone()
    flat[..., 1] = floor_m
    shadow = rasterize(_seen(flat, camera), faces, matrix, *size).face >= 0
    background[shadow] *= _SHADOW
    color = np.tile(np.array(_SKIN, np.float32), (len(vertices[0]), 1))
    return render_person(
        _seen(vertices, camera), faces, color, matrix, *size, background=background.astype(np.uint8)
    )


def _seen(points: Float[Tensor, "t v 3"], camera: Camera) -> Float32[np.ndarray, "t v 3"]:
    return np.ascontiguousarray(to_camera(points, camera.T_camera_world).numpy())


def _floor(camera: Camera, floor_m: float) -> Float[np.ndarray, "h w 3"]:
    """Tiles of half a metre, by the intersection of every pixel's ray with the floor."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1)
    rays = pixels @ np.linalg.inv(camera.intrinsics.double().numpy()).T
    transform = camera.T_camera_world.double().numpy()
    rays = rays @ transform[:3, :3]  # to the world: the inverse rotation from the right
    eye = -transform[:3, :3].T @ transform[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = (floor_m - eye[1]) / rays[..., 1]
    hit = np.isfinite(reach) & (reach > 0)
    places = eye + np.where(hit, reach, 0.0)[..., None] * rays
    tile = np.floor(places[..., [0, 2]] * 2).astype(int).sum(-1) % 2
    away_m = np.linalg.norm(places - eye, axis=-1)
    fade = np.clip((away_m - _FADE_M[0]) / (_FADE_M[1] - _FADE_M[0]), 0, 1)
    fade = np.where(hit, fade, 1.0)[..., None]
    return _TILES[tile] * (1 - fade) + _SKY * fade
