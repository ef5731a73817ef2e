"""First frames to sample from: an image, a pose, both, or neither (a person of the training data).

What the model needs is the picture, its motion map, the pose in the world and the camera. The pose
of an image comes from a file that names its camera, or from keypoints and the fitter; the map is
always rendered from the pose.
"""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from motion.body.fit import fit_keypoints
from motion.body.map_variants import draw_motion
from motion.body.model import BodyModel
from motion.body.placement import motion_in_world
from motion.body.shading import MapMode
from motion.camera import intrinsics as pinhole
from motion.conditioning.canvas import Canvas, Fill, canvas_for
from motion.conditioning.pose_detector import PoseDetector
from motion.data.procedural import ProceduralConfig, StartFrame
from motion.data.procedural.appearance import sample_appearance
from motion.data.procedural.film import film
from motion.data.procedural.script import stream
from motion.data.procedural.view import View
from motion.export.amass import read_amass, read_camera
from motion.importers import read_motion
from motion.sequence import Motion
from motion.view.render_motion import Camera


class FirstFrame(NamedTuple):
    """A start, and how it lies in the user's picture (None where there is none)."""

    start: StartFrame
    canvas: Canvas | None


class VideoSpace(NamedTuple):
    """What an export can make, as its first frame must fit it."""

    area: int
    """Pixels per frame of the training data."""
    cell: int
    """Pixels per side of a token."""
    map_mode: MapMode
    fps: float


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """An image file as RGB, turned upright as its EXIF data says.

    Raises:
        ValueError: no such file, or no image.
    """
    if not path.is_file():
        raise ValueError(f"no such image: {path}")
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image that Pillow reads: give a .png or .jpg") from error


def first_pose(path: Path, body: BodyModel) -> tuple[Motion, Camera | None]:
    """The first frame of a motion file in the world, and the camera where the file names one.

    Raises:
        ValueError: no such file, or it holds no motion of this body.
    """
    own = False
    if path.suffix.lower() == ".npz" and path.is_file():
        with np.load(path, allow_pickle=False) as archive:
            own = "body_id" in archive.files
    motion = read_amass(path, body) if own else read_motion(path, body).motion
    place = motion.require_translation()
    one = dataclasses.replace(
        motion, R_parent_child=motion.R_parent_child[:1], translation=place[:1]
    )
    return one, read_camera(path) if own else None


def frame_of_pose(
    seed: int, config: ProceduralConfig, body: BodyModel, motion: Motion
) -> StartFrame:
    """A pose without a picture: one of the embedded people in it, filmed by one of the cameras."""
    look = sample_appearance(stream(seed, "appearance"))
    footage = film(seed, config.model_copy(update={"pixels": True}), body, motion, look)
    assert footage.rgb is not None
    assert footage.motion_map is not None
    return StartFrame(
        rgb=footage.rgb[0], motion_map=footage.motion_map[0], motion=motion, view=footage.view
    )


def frame_of_image(
    image: UInt8[np.ndarray, "h w 3"],
    body: BodyModel,
    space: VideoSpace,
    *,
    pose: Motion | None = None,
    camera: Camera | None = None,
    detector: PoseDetector | None = None,
    focal_px: float | None = None,
    fill: Fill = "crop",
) -> FirstFrame:
    """A picture as a first frame, with the pose from a file or from the picture itself.

    Args:
        image: any size.
        body: the body of the motion.
        space: sizes of the export.
        pose: one frame in the world, where the pose is known.
        camera: the image's, in the pose's world; of the image's aspect ratio.
        detector: finds keypoints, where the pose is not known.
        focal_px: focal length in the image's pixels; by default its diagonal, about 53 degrees.
        fill: what happens where the aspect ratios differ.

    Raises:
        ValueError: neither pose and camera nor a detector; or the person is cut away.
    """
    canvas = canvas_for(
        (image.shape[0], image.shape[1]), area=space.area, cell=space.cell, fill=fill
    )
    if pose is None:
        if detector is None:
            raise ValueError(
                "an image needs the person's pose: give a file of it with its camera, or a "
                "ViTPose model (folder or hub id) that finds it in the image"
            )
        pose, seen = _pose_of_image(image, body, detector, focal_px, space.fps)
    elif camera is None:
        raise ValueError(
            "the pose's file names no camera, so it cannot be placed in the image: add "
            "camera_intrinsics, camera_size and T_camera_world to the .npz (docs/conventions.md), "
            "or leave the pose to a ViTPose model"
        )
    else:
        seen = View(_rescaled(camera, image.shape[0], image.shape[1]), camera.T_camera_world)
    view = View(canvas.intrinsics(seen.intrinsics), seen.T_camera_world)
    motion_map = _map_of_pose(body, pose, view, canvas, space.map_mode)
    start = StartFrame(rgb=canvas.place(image), motion_map=motion_map, motion=pose, view=view)
    return FirstFrame(start, canvas)


def _rescaled(camera: Camera, height: int, width: int) -> Float[Tensor, "3 3"]:
    """A camera's intrinsics in an image of another size but the same shape.

    Raises:
        ValueError: the image has another aspect ratio.
    """
    if abs(math.log(width * camera.height / (height * camera.width))) > 0.02:
        raise ValueError(
            f"the image is {height} x {width} pixels, the pose's camera made {camera.height} x "
            f"{camera.width}: another aspect ratio, so that it cannot be this camera's picture; "
            "give the whole picture of this camera"
        )
    matrix = camera.intrinsics.clone()
    matrix[0] *= width / camera.width
    matrix[1] *= height / camera.height
    return matrix


def _pose_of_image(
    image: UInt8[np.ndarray, "h w 3"],
    body: BodyModel,
    detector: PoseDetector,
    focal_px: float | None,
    fps: float,
) -> tuple[Motion, View]:
    """Fitted to keypoints; the camera is level and the person stands on the floor."""
    height, width = image.shape[:2]
    camera = pinhole(math.hypot(height, width) if focal_px is None else focal_px, width, height)
    found = detector.detect(image)
    fit = fit_keypoints(
        body, found.keypoints[None], camera, fps=fps, confidence=found.confidence[None]
    )
    T_camera_world = level_camera(body, fit.motion)
    return motion_in_world(body, fit.motion, T_camera_world), View(camera, T_camera_world)


def level_camera(body: BodyModel, motion: Motion) -> Float[Tensor, "4 4"]:
    """A level camera for a motion in its frame: the lowest vertex of the first frame stands on
    y = 0, the pelvis above the origin, and the camera looks along -z."""
    place = motion.require_translation()[:1]
    points = body.vertices(motion.R_parent_child[:1], motion.betas, place)[0]
    pelvis = body.joints(motion.R_parent_child[:1], motion.betas, place)[0, 0]
    T_camera_world = torch.eye(4)
    T_camera_world[:3, :3] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    T_camera_world[:3, 3] = torch.stack([pelvis[0], points[:, 1].max(), pelvis[2]])
    return T_camera_world


def _map_of_pose(
    body: BodyModel, pose: Motion, view: View, canvas: Canvas, mode: MapMode
) -> UInt8[np.ndarray, "h w 3"]:
    drawn = draw_motion(
        body, pose, view.T_camera_world, view.intrinsics, canvas.height, canvas.width, mode=mode
    )[0]
    if bool((drawn == drawn[0, 0]).all()):
        raise ValueError(
            "the pose is not in the picture: check the camera of the pose's file, or choose to "
            "pad the image instead of cropping it"
        )
    return drawn
