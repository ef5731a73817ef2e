"""Pinhole cameras, OpenCV axes: x right, y down, z forward; pixels from the image's corner.

The center of the top left pixel is (0.5, 0.5), as in the rasterizer: `project` of a surface point
and the pixel that shows it agree.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def intrinsics(focal_px: float, width: int, height: int) -> Float[Tensor, "3 3"]:
    """Camera matrix with square pixels and the principal point in the middle of the image."""
    return torch.tensor([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])


def to_camera(
    points_world: Float[Tensor, "*#b n 3"], T_camera_world: Float[Tensor, "*#b 4 4"]
) -> Float[Tensor, "*#b n 3"]:
    """World points in the camera's frame, metres; n points per transform, broadcast over frames."""
    rotation, translation = T_camera_world[..., :3, :3], T_camera_world[..., None, :3, 3]
    return points_world @ rotation.mT + translation


def to_world(
    points_camera: Float[Tensor, "*#b n 3"], T_camera_world: Float[Tensor, "*#b 4 4"]
) -> Float[Tensor, "*#b n 3"]:
    """Camera points in the world's frame: the inverse of `to_camera`."""
    rotation, translation = T_camera_world[..., :3, :3], T_camera_world[..., None, :3, 3]
    return (points_camera - translation) @ rotation


def project(
    points: Float[Tensor, "*#b n 3"], intrinsics: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*#b n 2"]:
    """Pixel coordinates of points in the camera frame; n points per matrix, broadcast over frames.

    A point at or behind the camera has no image: it comes back as NaN, never mirrored.
    """
    image = points @ intrinsics.to(points.dtype).mT
    depth = image[..., 2:]
    safe = torch.where(depth > 0, depth, 1.0)  # no NaN gradient from the points without image
    return torch.where(depth > 0, image[..., :2] / safe, torch.nan)


def look_at(
    eye: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"], up: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 4 4"]:
    """T_camera_world of a camera at `eye` that sees `target` in its middle, `up` upwards.

    Raises:
        ValueError: eye and target coincide, or the view runs along `up`.
    """
    forward = target - eye
    right = torch.linalg.cross(forward, up)
    if not (right.norm(dim=-1) > 1e-6 * forward.norm(dim=-1)).all():
        raise ValueError(
            f"no camera at {eye.tolist()} looks at {target.tolist()} with {up.tolist()} upwards: "
            "the points must differ and the view must not run along up"
        )
    x, z = (torch.nn.functional.normalize(axis, dim=-1) for axis in (right, forward))
    rotation = torch.stack([x, torch.linalg.cross(z, x), z], -2)
    T_camera_world = torch.eye(4, dtype=eye.dtype, device=eye.device).repeat(*eye.shape[:-1], 1, 1)
    T_camera_world[..., :3, :3] = rotation
    T_camera_world[..., :3, 3] = -(rotation @ eye[..., None])[..., 0]
    return T_camera_world
