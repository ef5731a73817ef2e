"""Damage of known strength, which a distance of motions must rank: by it evaluators are judged.

Each takes world joints of padded clips, a strength and a generator. The same seed draws the same
clips, joints and directions at every strength, so that a stronger damage contains a weaker one.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

Corrupt = Callable[
    [Float[Tensor, "b t j 3"], Int[Tensor, "b"], float, torch.Generator], Float[Tensor, "b t j 3"]
]
"""(joints in metres with y up, valid frames, strength, generator) -> joints."""


def noise(
    joints: Float[Tensor, "b t j 3"],
    num_frames: Int[Tensor, "b"],
    strength: float,
    generator: torch.Generator,
) -> Float[Tensor, "b t j 3"]:
    """Normal noise of `strength` metres on every joint of every frame."""
    del num_frames
    drawn = torch.randn(joints.shape, generator=generator)
    return joints + strength * drawn.to(joints)


def time_reversal(
    joints: Float[Tensor, "b t j 3"],
    num_frames: Int[Tensor, "b"],
    strength: float,
    generator: torch.Generator,
) -> Float[Tensor, "b t j 3"]:
    """A share `strength` of the clips is played backwards, within its valid frames."""
    order = torch.randperm(len(joints), generator=generator)
    chosen = torch.zeros(len(joints), dtype=torch.bool)
    chosen[order[: round(strength * len(joints))]] = True
    time = torch.arange(joints.shape[1])
    back = (num_frames[:, None] - 1 - time).clamp(min=0)
    index = torch.where(chosen[:, None] & (time < num_frames[:, None]), back, time)
    return joints[torch.arange(len(joints))[:, None], index]


def joint_shuffling(
    joints: Float[Tensor, "b t j 3"],
    num_frames: Int[Tensor, "b"],
    strength: float,
    generator: torch.Generator,
) -> Float[Tensor, "b t j 3"]:
    """A share `strength` of each clip's joints, but for the root, take each other's places in a
    circle; the same ones throughout the clip."""
    del num_frames
    b, _, j, _ = joints.shape
    count = round(strength * (j - 1))
    if count < 2:
        return joints
    order = torch.rand(b, j - 1, generator=generator).argsort(-1)[:, :count] + 1
    source = torch.arange(j).repeat(b, 1)
    source.scatter_(1, order, order.roll(1, 1))
    return joints.gather(2, source[:, None, :, None].expand(joints.shape))


def foot_sliding(
    joints: Float[Tensor, "b t j 3"],
    num_frames: Int[Tensor, "b"],
    strength: float,
    generator: torch.Generator,
) -> Float[Tensor, "b t j 3"]:
    """The whole body drifts by `strength` metres per frame in one horizontal direction, another for
    each clip, so that standing feet slide."""
    del num_frames
    angle = 2 * torch.pi * torch.rand(len(joints), generator=generator)
    step = torch.stack([angle.cos(), torch.zeros_like(angle), angle.sin()], -1).to(joints)
    time = torch.arange(joints.shape[1]).to(joints)
    return joints + strength * (time[:, None] * step[:, None])[:, :, None]


CORRUPTIONS: Final[Mapping[str, tuple[Corrupt, str, tuple[float, ...]]]] = {
    "noise": (noise, "m", (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)),
    "time reversal": (time_reversal, "share of clips", (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)),
    "joint shuffling": (joint_shuffling, "share of joints", (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)),
    "foot sliding": (foot_sliding, "m per frame", (0.005, 0.01, 0.02, 0.03, 0.05, 0.08)),
}
"""By name: the damage, the unit of its strength, and strengths from mild to severe."""
