"""How many millimetres a motion map is worth: path and poses recovered from it, against the truth.

    python tests/benchmarks/bench_map_fit.py --clips 8
    python tests/benchmarks/bench_map_fit.py --clips 8 --export outputs/exports/comovi-tiny-2

True maps are rendered from embedded clips; poses are the true ones, or perturbed by smooth turns.
With an export, held-out clips are sampled, and its poses are refined by the maps that it generated
and, for comparison, by the true ones.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from motion.body import load_body
from motion.body.fit_map import MapFitConfig, fit_map
from motion.body.model import BodyModel, motion_joints
from motion.data.procedural import ProceduralConfig, generate_clip
from motion.data.procedural.view import View
from motion.data.video import to_frames
from motion.evaluation.conditions import EvaluationConfig, held_out
from motion.evaluation.motions import real_motion
from motion.inference import Pipeline
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion

Frames = UInt8[np.ndarray, "t h w 3"]
EVAL_SEED = 1_900_000_000


class Case(NamedTuple):
    """A clip, and what is known of it."""

    truth: Motion
    poses: Motion
    map: Frames
    view: View


def errors_mm(body: BodyModel, found: Motion, truth: Motion) -> tuple[float, float]:
    """Joints relative to the pelvis, and the pelvis, after the first frame."""
    a, b = motion_joints(body, found)[1:], motion_joints(body, truth)[1:]
    relative = (a - a[:, :1]) - (b - b[:, :1])
    path = (a - b)[:, 0]
    return tuple(1000 * float(x.norm(dim=-1).mean()) for x in (relative, path))  # type: ignore[return-value]  # two of them


def measured(body: BodyModel, cases: Iterator[Case], config: MapFitConfig) -> list[list[float]]:
    """Per case: joints and path of the poses held in place, then after the fit; seconds."""
    rows: list[list[float]] = []
    for case in cases:
        first = case.truth.require_translation()[0]
        held = replace(case.poses, translation=first.expand(case.truth.num_frames, 3))
        lost = replace(case.poses, translation=None)
        fit = fit_map(body, lost, case.map, *case.view, first=first, config=config)
        before, after = (errors_mm(body, m, case.truth) for m in (held, fit.motion))
        rows.append([*before, *after, fit.seconds_per_frame * case.truth.num_frames])
    return rows


def perturbed(motion: Motion, std_rad: float, seed: int) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    knots = std_rad * torch.randn(1, 72, 5, generator=generator)
    frames = motion.num_frames
    noise = torch.nn.functional.interpolate(knots, size=frames, mode="linear", align_corners=True)
    turns = matrix_from_rotvec(noise[0].T.reshape(frames, 24, 3))
    turns[0] = torch.eye(3)
    return replace(motion, R_parent_child=motion.R_parent_child @ turns)


def embedded(count: int, std_rad: float) -> Iterator[Case]:
    for index in range(count):
        clip = generate_clip(EVAL_SEED + index, ProceduralConfig())
        assert clip.motion_map is not None
        poses = perturbed(clip.motion, std_rad, index) if std_rad else clip.motion
        yield Case(clip.motion, poses, clip.motion_map, clip.view)


def sampled(pipeline: Pipeline, count: int, *, true_map: bool) -> Iterator[Case]:
    config = EvaluationConfig(num_clips=count, batch_size=min(8, count))
    for batch in held_out(pipeline, config):
        made = pipeline.generate(batch, pipeline.options(), torch.Generator().manual_seed(0))
        maps = batch.motion_map if true_map else made.motion_map
        assert made.motion is not None
        assert maps is not None
        assert batch.intrinsics is not None
        assert batch.T_camera_world is not None
        truth = real_motion(batch)
        for index in range(batch.size):
            view = View(batch.intrinsics[index, 0], batch.T_camera_world[index, 0])
            yield Case(truth[index], made.motion[index], to_frames(maps[index]), view)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--export", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    body, config = load_body("free"), MapFitConfig()
    cases: dict[str, Callable[[], Iterator[Case]]] = {
        "true poses, true map": lambda: embedded(given.clips, 0.0),
        "perturbed poses (0.15 rad), true map": lambda: embedded(given.clips, 0.15),
    }
    if given.export is not None:
        pipeline = Pipeline.load(given.export)
        cases |= {
            "sampled poses, generated map": lambda: sampled(pipeline, given.clips, true_map=False),
            "sampled poses, true map": lambda: sampled(pipeline, given.clips, true_map=True),
        }
    print("| case | joints before (mm) | after | path held (mm) | from the map | s/clip |")
    print("|---|---|---|---|---|---|")
    for name, make in cases.items():
        joints, held, after, path, seconds = np.mean(measured(body, make(), config), 0)
        print(f"| {name} | {joints:.0f} | {after:.0f} | {held:.0f} | {path:.0f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
