"""Joint clips that need no data: a random skeleton that walks, bends and turns."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from motion.representations.joint_skeleton import HUMANML3D, JointSkeleton


def smooth_noise(generator: torch.Generator, *shape: int, time: int) -> torch.Tensor:
    """Slow random curves (*shape, t) of unit size: a few sines of random phase."""
    t = torch.arange(time, dtype=torch.float64)
    phase = 6.3 * torch.rand(*shape, 4, 1, generator=generator, dtype=torch.float64)
    speed = torch.tensor([0.03, 0.07, 0.11, 0.17], dtype=torch.float64)[:, None]
    return (torch.sin(speed * t + phase)).mean(-2)


def random_joints(
    skeleton: JointSkeleton = HUMANML3D, *, clips: int = 3, time: int = 40, seed: int = 0
) -> torch.Tensor:
    """(clips, t, j, 3) float64: bones near their true rest directions, swaying, on a curved path.

    KIT's hip and shoulder templates point to the wrong side; the rest pose here does not.
    """
    generator = torch.Generator().manual_seed(seed)
    reference = torch.zeros(1, dtype=torch.float64)
    rest = skeleton.template(reference).clone()
    for joint, side in ((skeleton.right_hip, -1), (skeleton.left_hip, 1)):
        rest[joint - 1] = torch.tensor([side, -0.3, 0.0])
    for chain, side in zip(skeleton.chains[3:], (-1, 1), strict=True):
        rest[chain[1] - 1] = torch.tensor([side, 0.2, 0.0])
    lengths = 0.1 + 0.3 * torch.rand(clips, len(rest), 1, generator=generator).double()
    sway = 0.4 * smooth_noise(generator, clips, len(rest), 3, time=time)
    directions = torch.nn.functional.normalize(rest[..., None] + sway, dim=-2)
    bones = (directions * lengths[..., None]).movedim(-1, 1)
    root = 2 * smooth_noise(generator, clips, 3, time=time).mT + torch.tensor([0.5, 1.0, -0.7])
    joints = skeleton.ancestors(reference) @ bones + root[..., None, :]
    heading = 1.5 * smooth_noise(generator, clips, time=time)
    return turn(joints, heading[..., None])


def turn(joints: torch.Tensor, yaw: torch.Tensor | float) -> torch.Tensor:
    """Joints after a turn about +y, which takes +z to +x."""
    yaw = torch.as_tensor(yaw, dtype=joints.dtype)
    x, y, z = joints.unbind(-1)
    return torch.stack(
        [x * yaw.cos() + z * yaw.sin(), y.expand_as(x), z * yaw.cos() - x * yaw.sin()], -1
    )


@pytest.fixture(scope="session")
def per_clip() -> ModuleType:
    """The per-clip NumPy features that the benchmark measures against."""
    path = Path(__file__).resolve().parents[1] / "benchmarks/per_clip_humanml.py"
    specification = importlib.util.spec_from_file_location("per_clip_humanml", path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def joints_of() -> Callable[..., torch.Tensor]:
    return random_joints


@pytest.fixture(scope="session")
def turn_joints() -> Callable[..., torch.Tensor]:
    return turn
