"""The static camera that keeps the whole clip in the frame."""

import math
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.camera import intrinsics as pinhole
from motion.camera import look_at, project, to_camera

DISTANCE_STEPS: Final = 6
"""Fixed-point steps of the camera distance; each brings it within a few per cent of the last."""


class View(NamedTuple):
    """A pinhole camera in the world."""

    intrinsics: Float[Tensor, "3 3"]
    T_camera_world: Float[Tensor, "4 4"]


class Placement(NamedTuple):
    """What is free in a camera's place."""

    azimuth: float
    """About the vertical, 0 in front of the person, in radians."""
    eye_height: float
    """In metres."""
    focal: float
    """Focal length over image height."""
    fill: float
    """Height of the person in the first frame over the image height, where the clip allows it."""
    drift: tuple[float, float]
    """Shift of the picture's middle, as shares of the free margin, in [-1, 1]."""


def sample_placement(rng: np.random.Generator, max_azimuth: float) -> Placement:
    """A camera place from one stream of random numbers."""
    return Placement(
        azimuth=rng.uniform(-max_azimuth, max_azimuth),
        eye_height=rng.uniform(0.8, 1.6),
        focal=rng.uniform(1.1, 1.7),
        fill=rng.uniform(0.62, 0.8),
        drift=(rng.uniform(-1, 1), rng.uniform(-1, 1)),
    )


def frame_person(
    placement: Placement,
    points: Float[Tensor, "t n 3"],
    *,
    height: int,
    width: int,
    margin: float,
    max_growth: float = math.inf,
) -> View:
    """The camera nearest to the wanted size that keeps every point inside, with a margin.

    Args:
        placement: where to stand and how large to show the person.
        points: points on the person's outline over time, world, metres.
        height: image height in pixels.
        width: image width in pixels.
        margin: free border on every side, as a share of the image side.
        max_growth: largest size of the person over the smallest, as far as the distance to the
            camera makes it; a longer lens from further away keeps it.
    """
    path = points.mean(1) @ _outward(placement)
    tall = float(points[..., 1].max() - points[..., 1].min())
    nearest = float(path.max() - path.min()) / (max_growth - 1)
    # The focal length at which a person of that height fills the picture at that distance.
    focal = max(placement.focal, (1 - 2 * margin) * nearest / tall)
    return _framed(placement._replace(focal=focal), points, height, width, margin)


def _framed(
    placement: Placement, points: Float[Tensor, "t n 3"], height: int, width: int, margin: float
) -> View:
    """The camera of a placement, at the distance that the clip asks for."""
    target = (points.amin((0, 1)) + points.amax((0, 1))) / 2
    camera = pinhole(placement.focal * height, width, height)
    size = torch.tensor([width, height])
    distance = placement.focal * float(points[0, :, 1].max()) / placement.fill
    for _ in range(DISTANCE_STEPS):
        image = _image(points, _pose(placement, target, distance), camera) / size
        extent = image.amax((0, 1)) - image.amin((0, 1))
        tall = float(image[0, :, 1].max() - image[0, :, 1].min())
        distance *= max(float(extent.max()) / (1 - 2 * margin), tall / placement.fill)
    T_camera_world = _pose(placement, target, distance)
    image = _image(points, T_camera_world, camera) / size
    low, high = image.amin((0, 1)), image.amax((0, 1))
    free = (1 - 2 * margin - (high - low)).clamp(min=0.0) / 2
    # Moving the principal point centers the clip without turning the camera again.
    camera[:2, 2] += (0.5 - (low + high) / 2 + free * torch.tensor(placement.drift)) * size
    return View(camera, T_camera_world)


def _pose(
    placement: Placement, target: Float[Tensor, "3"], distance: float
) -> Float[Tensor, "4 4"]:
    eye = target + distance * _outward(placement)
    eye[1] = placement.eye_height
    return look_at(eye, target, torch.tensor([0.0, 1.0, 0.0]))


def _outward(placement: Placement) -> Float[Tensor, "3"]:
    """Horizontal direction from the person to the camera."""
    return torch.tensor([np.sin(placement.azimuth), 0.0, np.cos(placement.azimuth)]).float()


def _image(
    points: Float[Tensor, "t n 3"], T_camera_world: Float[Tensor, "4 4"], camera: Tensor
) -> Float[Tensor, "t n 2"]:
    return project(to_camera(points, T_camera_world), camera)
