"""The table of joint limits for K2M: percentiles of captured and generated poses.

    python -m motion.data.pose_limits --folders DIR DIR --output motion/models/k2m/pose_limits.json

Files whose licence restricts use do not count. The paper takes AMASS and adjusts by hand, without
giving its numbers.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from motion.body import load_body
from motion.body.pose_prior import PosePrior
from motion.data.mocap import MocapConfig, find_files
from motion.data.procedural import ProceduralConfig, generate_motion
from motion.importers import read_motion
from motion.rotations import rotvec_from_matrix
from motion.skeleton import SMPL_JOINTS, mirror_permutation


class LimitsConfig(BaseModel):
    """Which poses, and how much room around them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folders: tuple[Path, ...]
    """Motion capture; see `MocapConfig.folder`."""
    output: Path
    """JSON file to write."""
    fps: float = Field(default=5.0, gt=0)
    """Frames per second that are looked at."""
    generated: int = Field(default=1000, ge=0)
    """Generated clips beside the captured ones."""
    percentile: float = Field(default=0.1, gt=0, lt=50)
    """Share of the poses that lies beyond each limit, per cent."""
    margin: float = Field(default=0.1, ge=0)
    """Room on both sides, as a share of the range."""
    least_rad: float = Field(default=0.2, ge=0)
    """A limit is at least this far from zero: some rigs lack hands and toes."""
    slack_rad: float = Field(default=0.3, ge=0)
    """A limit is at most this far beyond the fitter's anatomical one: some rigs' feet lie on their
    sides, which no percentile can tell from people."""


def limits_of(
    rotvec: Float[Tensor, "n 24 3"], config: LimitsConfig
) -> tuple[Float[Tensor, "23 3"], Float[Tensor, "23 3"]]:
    """Least and largest component of joints 1 to 23, radians, alike on both sides of the body."""
    mirror = torch.tensor(mirror_permutation(SMPL_JOINTS))
    sign = rotvec.new_tensor([1.0, -1.0, -1.0])  # of a reflection in x
    both = torch.cat([rotvec, rotvec[:, mirror] * sign])[:, 1:].double()
    share = config.percentile / 100
    low, high = both.quantile(share, 0), both.quantile(1 - share, 0)
    room = config.margin * (high - low)
    least = (low - room).clamp(max=-config.least_rad)
    most = (high + room).clamp(min=config.least_rad)
    return within_anatomy(least, most, config.slack_rad)


def within_anatomy(
    low: Float[Tensor, "23 3"], high: Float[Tensor, "23 3"], slack_rad: float
) -> tuple[Float[Tensor, "23 3"], Float[Tensor, "23 3"]]:
    """Limits that exceed the fitter's by at most a slack."""
    prior = PosePrior.anatomical()
    least, most = (part.to(low) for part in (prior.low - slack_rad, prior.high + slack_rad))
    return low.maximum(least), high.minimum(most)


def poses(config: LimitsConfig) -> Iterator[tuple[str, Float[Tensor, "t 24 3"]]]:
    """Poses of every file and generated clip, with the kind of their origin."""
    body = load_body("free")
    for folder in config.folders:
        for path, _ in find_files(MocapConfig(folder=folder)):
            # Files of CMU's .amc state no frame rate.
            rate = 120.0 if path.suffix.lower() == ".amc" else None
            found = read_motion(path, body, fps=config.fps, betas=torch.zeros(10), source_fps=rate)
            yield "captured", rotvec_from_matrix(found.motion.R_parent_child)
    clip = ProceduralConfig(render=False, fps=config.fps, num_frames=int(4 * config.fps))
    for seed in range(config.generated):
        yield "generated", rotvec_from_matrix(generate_motion(seed, clip).motion.R_parent_child)


def write_limits(config: LimitsConfig, found: Iterable[tuple[str, Tensor]]) -> None:
    """Write the table."""
    rows = list(found)
    low, high = limits_of(torch.cat([pose for _, pose in rows]), config)
    counts = {
        kind: sum(len(pose) for name, pose in rows if name == kind)
        for kind in ("captured", "generated")
    }
    table = {
        "joints": SMPL_JOINTS[1:],
        "low_rad": low.numpy().round(3).tolist(),
        "high_rad": high.numpy().round(3).tolist(),
        "percentile": config.percentile,
        "margin": config.margin,
        "slack_rad": config.slack_rad,
        "poses": counts,
    }
    config.output.write_text(json.dumps(table) + "\n")


def main(config: Annotated[LimitsConfig, tyro.conf.arg(name="")]) -> None:
    """Measure and write the table."""
    write_limits(config, poses(config))


if __name__ == "__main__":
    tyro.cli(main)
