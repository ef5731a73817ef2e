"""First guesses of a fit: bone directions down the tree in 3D, a standing person in 2D."""

from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.body.fit_markers import Markers, Pose
from motion.body.model import BodyModel
from motion.rotations import fit_rotation, matrix_from_euler, shortest_rotation
from motion.skeleton import NUM_JOINTS, SMPL_PARENTS, joint

NUM_YAWS: Final = 4
"""Directions in which a person in an image may face; a quarter turn apart."""

_TORSO: Final = tuple(
    joint(name)
    for name in (
        "pelvis", "left_hip", "right_hip", "spine1", "spine2", "spine3", "neck", "left_collar",
        "right_collar", "left_shoulder", "right_shoulder",
    )
)  # fmt: skip


def start_from_joints(
    body: BodyModel, joints: Float[Tensor, "b t 24 3"], seen: Bool[Tensor, "b t 24"]
) -> Pose:
    """Mean shape; root by Kabsch over the torso, then every bone by the shortest turn.

    Twists about a bone, which its direction does not show, stay as in the rest pose.
    """
    betas = joints.new_zeros(len(joints), 10)
    rest = body.rest_joints(betas[0])
    world: list[Tensor] = []
    local: list[Tensor] = []
    for index, parent in enumerate(SMPL_PARENTS):
        children = [child for child in range(NUM_JOINTS) if SMPL_PARENTS[child] == index]
        if parent < 0:
            turn = _torso(rest, joints, seen)
        elif children:
            both = (seen[..., children] & seen[..., index, None])[..., None]
            bones = (rest[children] - rest[index]) @ world[parent].mT
            observed = joints[..., children, :] - joints[..., index, None, :]
            turn = _turn(torch.where(both, bones, 0.0), torch.where(both, observed, 0.0))
        else:
            turn = torch.eye(3).to(rest).expand(*joints.shape[:2], 3, 3)
        above = turn if parent < 0 else world[parent]
        world.append(turn if parent < 0 else turn @ above)
        local.append(turn if parent < 0 else above.mT @ world[-1])
    R = torch.stack(local, -3)
    offset = joints - body.joints(R, betas)
    weight = seen[..., None].to(joints.dtype)
    translation = (offset * weight).sum(-2) / weight.sum(-2).clamp(min=1)
    return Pose(R, translation, betas)


def _torso(
    rest: Float[Tensor, "24 3"], joints: Float[Tensor, "b t 24 3"], seen: Bool[Tensor, "b t 24"]
) -> Float[Tensor, "b t 3 3"]:
    weight = seen[..., _TORSO, None].to(joints.dtype)
    count = weight.sum(-2, keepdim=True)
    total = count.clamp(min=1)
    template, observed = rest[list(_TORSO)], joints[..., _TORSO, :]
    template = (template - (template * weight).sum(-2, keepdim=True) / total) * weight
    observed = (observed - (observed * weight).sum(-2, keepdim=True) / total) * weight
    upright = torch.eye(3).to(rest)
    return torch.where(count >= 3, fit_rotation(template, observed), upright)


def _turn(
    bones: Float[Tensor, "b t k 3"], observed: Float[Tensor, "b t k 3"]
) -> Float[Tensor, "b t 3 3"]:
    """From bones to their observed directions; zero vectors are not observed."""
    single = shortest_rotation(bones.sum(-2), observed.sum(-2))
    if bones.shape[-2] == 1:
        return single
    several = (observed.square().sum(-1) > 0).sum(-1) > 1
    return torch.where(several[..., None, None], fit_rotation(bones, observed), single)


def start_from_keypoints(
    markers: Markers,
    relaxed: Float[Tensor, "24 3 3"],
    pixels: Float[Tensor, "n 17 2"],
    weight: Float[Tensor, "n 17"],
    intrinsics: Float[Tensor, "n 3 3"],
) -> Pose:
    """Each frame as clips of one frame: a relaxed person in `NUM_YAWS` directions.

    Upright in an OpenCV camera; placed so that center and size fit the seen keypoints. The starts
    of a frame follow one another: (n * NUM_YAWS) clips.
    """
    n = len(pixels)
    yaw = torch.arange(NUM_YAWS).to(pixels) * (2 * torch.pi / NUM_YAWS)
    angles = torch.stack([torch.full_like(yaw, torch.pi), yaw], -1)
    R = relaxed.expand(n, NUM_YAWS, NUM_JOINTS, 3, 3).clone()
    R[..., 0, :, :] = matrix_from_euler(angles, "xy")
    count = n * NUM_YAWS
    pose = Pose(
        R.flatten(0, 1)[:, None], pixels.new_zeros(count, 1, 3), pixels.new_zeros(count, 10)
    )
    points = markers.points(pose)[:, 0]
    share = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)).repeat_interleave(NUM_YAWS, 0)
    seen, matrix = (value.repeat_interleave(NUM_YAWS, 0) for value in (pixels, intrinsics))
    focal = matrix[:, [0, 1], [0, 1]]
    rays = (seen - matrix[:, None, :2, 2]) / focal[:, None]
    middle, size = _spread(rays, share)
    center, extent = _spread(points[..., :2], share)
    depth = (extent / size.clamp(min=1e-4)).clamp(0.3, 100.0)
    place = torch.cat([middle * depth[:, None] - center, depth[:, None]], -1)
    return pose._replace(translation=place[:, None])


def _spread(
    points: Float[Tensor, "n m 2"], share: Float[Tensor, "n m"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Weighted center, and the distance from it (root mean square)."""
    center = (points * share[..., None]).sum(-2)
    squares = (points - center[:, None]).square().sum(-1)
    return center, (squares * share).sum(-1).sqrt()


def nearest_seen(weight: Float[Tensor, "b t m"]) -> Int[Tensor, "b t"]:
    """The frame nearest to each that shows any of its points: itself where it does."""
    frame = torch.arange(weight.shape[1], device=weight.device)
    away = (frame[:, None] - frame).abs()
    unseen = (weight.sum(-1) <= 0)[:, None] * weight.shape[1]
    return (away + unseen).argmin(-1)


def best_path(
    energy: Float[Tensor, "b t k"], change: Float[Tensor, "b s k k"]
) -> Int[Tensor, "b t"]:
    """The choice of one start per frame with the least total energy (Viterbi 1967).

    `change` is the price of going from a start of one frame (third axis) to one of the next.
    """
    total, back = energy[:, 0], list[Tensor]()
    for step in range(1, energy.shape[1]):
        price, before = (total[..., None] + change[:, step - 1]).min(-2)
        total = price + energy[:, step]
        back.append(before)
    path = [total.argmin(-1)]
    for before in reversed(back):
        path.append(before.gather(-1, path[-1][..., None])[..., 0])
    return torch.stack(path[::-1], -1)
