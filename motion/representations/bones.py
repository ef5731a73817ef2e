"""Facing and bone rotations of joint positions, with time as the innermost axis.

Positions are (*b, j, 3, t): every operation then runs along a whole clip, where (..., 3) would run
over three numbers. Nothing here loops over frames or joints.
"""

import functools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from motion.representations.joint_skeleton import JointSkeleton
from motion.representations.smoothing import gaussian_smooth
from motion.rotations import turn_about_y


def bone_directions(
    points: Float[Tensor, "*b j 3 t"], skeleton: JointSkeleton, *, guarded: bool
) -> Float[Tensor, "*b bones 3 t"]:
    """Unit vectors from the near to the far joint; bone k ends in joint k + 1.

    A bone without length is NaN, or zero where guarded.
    """
    bones = points[..., 1:, :, :] - points[..., list(skeleton.parents[1:]), :, :]
    square = _squared_norm(bones)
    if guarded:
        square = square.clamp(min=torch.finfo(square.dtype).tiny)
    return bones * square.rsqrt()


def facing(
    points: Float[Tensor, "*b j 3 t"], skeleton: JointSkeleton, *, hip_sign: int, guarded: bool
) -> Float[Tensor, "*b 2 t"]:
    """Horizontal facing (x, z) from hips and shoulders, shorter where the body leans sideways.

    `hip_sign` -1 subtracts the hips' direction from the shoulders', as the published rotations do.
    """
    hips = points[..., skeleton.right_hip, :, :] - points[..., skeleton.left_hip, :, :]
    shoulders = (
        points[..., skeleton.right_shoulder, :, :] - points[..., skeleton.left_shoulder, :, :]
    )
    across = hip_sign * hips + shoulders
    square = _squared_norm(across)
    if guarded:
        square = square.clamp(min=torch.finfo(square.dtype).tiny)
    across = across * square.rsqrt()
    return torch.stack([across[..., 2, :], -across[..., 0, :]], -2)  # up x across


def half_angle(forward: Float[Tensor, "*b 2 t"], *, guarded: bool) -> Float[Tensor, "*b t"]:
    """Half the yaw that turns a horizontal direction (x, z) to +z, in [-pi/2, pi/2].

    Guarded: a direction without length counts as +z. Otherwise it is NaN, and so is one exactly
    opposite to +z, as with the published quaternion between two directions.
    """
    x, z = forward.unbind(-2)
    if not guarded:
        return torch.atan(-x / (torch.sqrt(x * x + z * z) + z))
    undirected = x * x + z * z < 1e-12
    return 0.5 * torch.atan2(torch.where(undirected, 0.0, -x), torch.where(undirected, 1.0, z))


class Turn(NamedTuple):
    """A turn about +y (which takes +z to +x) by an angle per frame."""

    cos: Float[Tensor, "*b 1 t"]
    sin: Float[Tensor, "*b 1 t"]

    @staticmethod
    def by(half_rad: Float[Tensor, "*b t"]) -> "Turn":
        """By twice the angle, as half the yaw is what features store."""
        angle = 2 * half_rad[..., None, :]
        return Turn(angle.cos(), angle.sin())

    def frames(self, chosen: slice) -> "Turn":
        """The turn of some frames."""
        return Turn(self.cos[..., chosen], self.sin[..., chosen])


def turned(points: Float[Tensor, "*b j 3 t"], turn: Turn) -> Float[Tensor, "*b j 3 t"]:
    """Points after a turn, which may be one for all frames."""
    x, y, z = points.unbind(-2)
    return torch.stack(
        [
            torch.addcmul(turn.cos * x, turn.sin, z),
            y,
            torch.addcmul(turn.cos * z, turn.sin, x, value=-1),
        ],
        -2,
    )


def posed(
    points: Float[Tensor, "*b j 3 t"], skeleton: JointSkeleton, *, retarget: bool, guarded: bool
) -> tuple[Float[Tensor, "*b j 3 t"], Float[Tensor, "*b bones 3 t"]]:
    """Points with the lowest at y = 0 and the root over the origin in frame 0, and the bones'
    directions.

    Retargeted, each bone keeps its direction and takes the skeleton's length. This equals inverse
    kinematics of every bone followed by forward kinematics, whose rotations cancel.
    """
    directions = bone_directions(points, skeleton, guarded=guarded)
    if retarget:
        lengths = skeleton.require_bone_lengths(points)
        leg = list(skeleton.leg)
        near = points[..., [skeleton.parents[joint] for joint in leg], :, 0]
        own = (points[..., leg, :, 0] - near).norm(dim=-1).sum(-1)
        scale = lengths[[joint - 1 for joint in leg]].sum() / own
        chain = skeleton.ancestors(points) * lengths
        root = points[..., :1, :, :] * scale[..., None, None, None]
        points = (chain @ directions.flatten(-2)).unflatten(-1, points.shape[-2:]) + root
    x, _, z = points[..., 0, :, :1].unbind(-2)
    floor = points[..., 1, :].amin((-2, -1))[..., None]
    return points - torch.stack([x, floor, z], -2)[..., None, :, :], directions


def headings(
    points: Float[Tensor, "*b j 3 t"], skeleton: JointSkeleton, *, compat: bool
) -> tuple[Float[Tensor, "*b 1"], Float[Tensor, "*b t"]]:
    """Half the yaw that turns frame 0 to +z, and from there half the yaw of each frame; `compat` as
    in `HumanML`."""
    if not compat:
        half = half_angle(_smooth(facing(points, skeleton, hip_sign=1, guarded=True)), guarded=True)
        return half[..., :1], half - half[..., :1]
    forward = facing(points[..., :1], skeleton, hip_sign=1, guarded=False)
    start = half_angle(forward, guarded=False)
    x, z = facing(points, skeleton, hip_sign=-1, guarded=False).unbind(-2)
    forward = torch.stack(turn_about_y(x, z, start), -2)
    half = half_angle(_smooth(forward), guarded=False)
    return start, torch.cat([torch.zeros_like(start), half[..., 1:]], -1)


def _smooth(forward: Float[Tensor, "*b 2 t"]) -> Float[Tensor, "*b 2 t"]:
    """The published filter of the facing: 20 frames, cut at four deviations."""
    return gaussian_smooth(forward, sigma=20.0, radius=80)


def local_rotation_columns(
    directions: Float[Tensor, "*b bones 3 t"],
    root_half_rad: Float[Tensor, "*b t"],
    skeleton: JointSkeleton,
    *,
    guarded: bool,
) -> Float[Tensor, "*b bones 2 3 t"]:
    """First two columns of each bone's rotation relative to the one before it in its chain.

    A bone's rotation is the shortest one from its template axis u to its direction v:
    (2 s s^T - 1) D with s the unit bisector of u and v, and D = 2 u u^T - 1, a matrix of signs
    since u is an axis. The root's turn is of the same form, with u = +z and s = (sin h, 0, cos h).
    So a local rotation D_p (2 s_p s_p^T - 1) (2 s_c s_c^T - 1) D_c needs neither the chain of
    products nor any 3 x 3 matrix. Below, r is sqrt(2) s.
    """
    template = skeleton.template(directions)
    r_child = _bisectors(directions, template, guarded=guarded)
    h = root_half_rad[..., None, :]
    r_root = math.sqrt(2) * torch.stack([h.sin(), torch.zeros_like(h), h.cos()], -2)
    parents = list(skeleton.rotation_parents[1:])
    r_parent = torch.cat([r_root, r_child], -3)[..., parents, :, :]
    along = _dot(r_child, r_parent)
    reflected = torch.addcmul(-r_child, along, r_parent)
    products = r_child[..., :2, None, :] * reflected[..., None, :, :]
    products.addcmul_(r_parent[..., :2, None, :], r_parent[..., None, :, :], value=-1)
    signs, identity = _signs(skeleton, products.dtype, products.device)
    return torch.addcmul(identity, signs, products)


def _bisectors(
    directions: Float[Tensor, "*b bones 3 t"], template: Float[Tensor, "bones 3"], *, guarded: bool
) -> Float[Tensor, "*b bones 3 t"]:
    """sqrt(2) times the unit vectors midway between template and direction; where these are
    opposite, NaN, or any perpendicular where guarded."""
    between = directions + template[..., None]
    square = _squared_norm(between)
    if guarded:
        opposite = square < 64 * torch.finfo(square.dtype).eps ** 2
        between = torch.where(opposite, template.roll(1, -1)[..., None], between)
        square = torch.where(opposite, 1.0, square)
    return between * (0.5 * square).rsqrt()


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # else the cached tensors could take no part in a later gradient
def _signs(
    skeleton: JointSkeleton, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "bones 2 3 1"], Float[Tensor, "bones 2 3 1"]]:
    """Diagonal of D_child (column) times diagonal of D_parent (row), for the first two columns;
    and its product with the identity."""
    diagonal = 2 * skeleton.template(torch.empty((), dtype=dtype, device=device)).square() - 1
    root = diagonal.new_tensor([[-1.0, -1.0, 1.0]])
    parent = torch.cat([root, diagonal])[list(skeleton.rotation_parents[1:])]
    signs = (diagonal[:, :2, None] * parent[:, None, :])[..., None]
    return signs, signs * torch.eye(2, 3, dtype=dtype, device=device)[..., None]


def _squared_norm(vectors: Float[Tensor, "*k 3 t"]) -> Float[Tensor, "*k 1 t"]:
    return _dot(vectors, vectors)


def _dot(a: Float[Tensor, "*k 3 t"], b: Float[Tensor, "*k 3 t"]) -> Float[Tensor, "*k 1 t"]:
    (ax, ay, az), (bx, by, bz) = a.split(1, -2), b.split(1, -2)
    return torch.addcmul(torch.addcmul(ax * bx, ay, by), az, bz)
