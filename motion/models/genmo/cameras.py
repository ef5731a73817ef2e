"""Synthetic cameras for clips that were not filmed, batched and on the fly (release, section 8 of
its data code; GVHMR, Shen et al. 2024).

The release reads a 35 mm-equivalent focal length as an angle, which makes its field of view three
times too narrow; here f = diagonal / 43.27 mm x f_mm.
"""

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.diffusion.noise import clip_normal, clip_uniform
from motion.rotations import matrix_from_euler

SIDE_PX: Final = 1000
"""Side of the square image."""
FILM_DIAGONAL_MM: Final = 43.27
FOCAL_MM: Final = (24.0, 43.3)
"""Range of the 35 mm-equivalent focal length."""
LEAST_DEPTH_M: Final = 0.5
MOVES: Final = (
    ("static", 0.40), ("random", 0.25), ("track", 0.15), ("orbit", 0.10), ("push", 0.05),
    ("pull", 0.05),
)  # fmt: skip
"""How cameras move, and how often."""
_KNOTS: Final = 4


class Cameras(NamedTuple):
    """A pinhole camera per clip and frame."""

    T_camera_world: Float[Tensor, "b t 4 4"]
    intrinsics: Float[Tensor, "b 3 3"]


def focal_px(focal_mm: Float[Tensor, "*n"], width: int, height: int) -> Float[Tensor, "*n"]:
    """Focal length in pixels of a 35 mm-equivalent one, by the image's diagonal."""
    return (width**2 + height**2) ** 0.5 / FILM_DIAGONAL_MM * focal_mm


def synthetic_cameras(
    pelvis: Float[Tensor, "b t 3"],
    keys: Int[Tensor, "b"],
    use: str,
    *,
    static: Bool[Tensor, "b"],
) -> Cameras:
    """A camera for each clip that keeps the pelvis in its picture, 0.5 m away or more.

    Args:
        pelvis: in the world, metres.
        keys: the clips' noise keys.
        use: name of this drawing.
        static: clips whose camera must not move.
    """
    device = pelvis.device
    uniform = clip_uniform(keys, f"{use}/camera", (12,)).to(device)
    normal = clip_normal(keys, f"{use}/camera_normal", (8,)).to(device)
    low, high = FOCAL_MM
    focal = focal_px(low + (high - low) * uniform[:, 0], SIDE_PX, SIDE_PX)
    reach = SIDE_PX / 2 / focal
    start = _start(uniform, normal, reach)
    moved = _Moves.draw(pelvis, keys, use, static)
    R_first = _first_rotation(uniform, normal)[:, None]
    R_orbit = matrix_from_euler(F.pad(moved.orbit[..., None], (1, 1)), "xyz")
    R_pan = matrix_from_euler(moved.pan, "yxz")
    R = R_pan @ R_first @ R_orbit
    center = pelvis[:, :1] + moved.follow
    offset = (R_pan @ (start[:, None] + moved.shift)[..., None])[..., 0]
    translation = offset - (R @ center[..., None])[..., 0]
    seen = (R @ pelvis[..., None])[..., 0] + translation
    wanted = torch.cat([seen[..., :2].abs() / (0.8 * reach)[:, None, None]], -1).amax(-1)
    short = (wanted.clamp(min=LEAST_DEPTH_M) - seen[..., 2]).amax(1).clamp(min=0)
    translation = translation + F.pad(short[:, None], (2, 0))[:, None]
    T = torch.eye(4, device=device).repeat(*pelvis.shape[:2], 1, 1)
    T[..., :3, :3], T[..., :3, 3] = R, translation
    K = torch.eye(3, device=device).repeat(len(pelvis), 1, 1)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = SIDE_PX / 2
    return Cameras(T, K)


def _start(
    uniform: Float[Tensor, "b 12"], normal: Float[Tensor, "b 8"], reach: Float[Tensor, "b"]
) -> Float[Tensor, "b 3"]:
    """Where the first pelvis stands in the camera's frame: near and spread over the picture (40 %),
    or farther and around its middle."""
    near = uniform[:, 1] < 0.4
    depth = torch.where(near, 1 + 5 * uniform[:, 2], 4 + 8 * uniform[:, 2])
    across = torch.where(near, 0.7 * (2 * uniform[:, 3] - 1) * depth * reach, 1.6 * normal[:, 0])
    down = torch.where(near, 0.5 * (2 * uniform[:, 4] - 1) * depth * reach, 0.8 * normal[:, 1])
    limit = 0.8 * depth * reach
    return torch.stack([across.clamp(-limit, limit), down.clamp(-limit, limit), depth], -1)


def _first_rotation(
    uniform: Float[Tensor, "b 12"], normal: Float[Tensor, "b 8"]
) -> Float[Tensor, "b 3 3"]:
    """Roll N(0, 7.5), pitch N(5, 22.5) and yaw U(360) degrees of a camera that looks along -z."""
    roll, pitch = torch.deg2rad(7.5 * normal[:, 2]), torch.deg2rad(5 + 22.5 * normal[:, 3])
    yaw = 2 * torch.pi * uniform[:, 5]
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], device=yaw.device))
    zero = torch.zeros_like(yaw)
    tilt = matrix_from_euler(torch.stack([roll, pitch], -1), "zx")
    turn = matrix_from_euler(torch.stack([zero, yaw, zero], -1), "xyz")
    return tilt @ upright @ turn


class _Moves(NamedTuple):
    """How cameras move over time; zero for a camera that stands still."""

    pan: Float[Tensor, "b t 3"]
    """About its own center: yaw, pitch, roll, radians."""
    orbit: Float[Tensor, "b t"]
    """About the person, radians."""
    shift: Float[Tensor, "b t 3"]
    """Of the person in the camera's frame, metres."""
    follow: Float[Tensor, "b t 3"]
    """What of the person's way it goes along with, metres."""

    @staticmethod
    def draw(
        pelvis: Float[Tensor, "b t 3"],
        keys: Int[Tensor, "b"],
        use: str,
        static: Bool[Tensor, "b"],
    ) -> "_Moves":
        b, t = pelvis.shape[:2]
        device = pelvis.device
        pick = clip_uniform(keys, f"{use}/move").to(device)
        bounds = torch.tensor([share for _, share in MOVES], device=device).cumsum(0)
        kind = torch.bucketize(pick, bounds[:-1], right=True)
        kind = torch.where(static, 0, kind)

        def of(name: str) -> Float[Tensor, "b 1"]:
            return (kind == [move for move, _ in MOVES].index(name)).float()[:, None]

        knots = clip_normal(keys, f"{use}/knots", (6, _KNOTS)).to(device)
        knots = knots - knots[..., :1]
        curves = F.interpolate(knots, size=t, mode="linear", align_corners=True).mT
        impulse = clip_normal(keys, f"{use}/impulse", (t, 3)).to(device)
        struck = clip_uniform(keys, f"{use}/struck", (t + 1,)).to(device)
        shaken = (struck[:, 1:] < 0.05) & (struck[:, :1] < 0.5) & (kind > 0)[:, None]
        moving = of("random") + 0.3 * (of("track") + of("orbit"))
        pan = moving[..., None] * curves[..., :3] * 0.15
        pan = pan + torch.where(shaken[..., None], 0.01 * impulse, 0.0).cumsum(1)
        ramp = torch.linspace(0, 1, t, device=device)
        far = clip_uniform(keys, f"{use}/amount").to(device)[:, None]
        depth = ramp * (1 + 2 * far) * (of("pull") - of("push"))
        shift = moving[..., None] * curves[..., 3:] * 0.4 + F.pad(depth[..., None], (2, 0))
        way = pelvis - pelvis[:, :1]
        follow = (of("track") + of("orbit"))[..., None] * way
        orbit = of("orbit") * ramp * (2 * far - 1) * torch.pi / 2
        return _Moves(pan, orbit.expand(b, t), shift, follow)
