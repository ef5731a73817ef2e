"""Fits: errors and times, from exact, noisy and missing joints and from keypoints.

    python tests/benchmarks/bench_fit.py [--clips 8]

Clips come from the procedural generator; MOTION_REAL_DATA adds real joints and keypoints. The
last column puts a fit beside Adam on the same energy for 200 steps with automatic derivatives.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from motion.body import load_body
from motion.body.fit import Fit, FitConfig, _problem, fit_joints, fit_keypoints
from motion.body.fit_markers import Markers, Pose
from motion.body.fit_start import start_from_joints
from motion.body.model import BodyModel, motion_joints
from motion.data.procedural.clip import Clip, ProceduralConfig, generate_clip
from motion.rotations import matrix_from_rotvec

ADAM_STEPS = 200


def row(name: str, fit: Fit, truth_mm: float | None = None) -> None:
    truth = "" if truth_mm is None else f"{truth_mm:.2f}"
    high = float(fit.error.nanquantile(0.95))
    print(
        f"| {name} | {fit.mean_error:.2f} {fit.unit} | {high:.2f} {fit.unit} | {truth} "
        f"| {1e3 * fit.seconds_per_frame:.1f} |"
    )


def to_truth_mm(body: BodyModel, fit: Fit, truth: torch.Tensor, *, relative: bool = False) -> float:
    joints = motion_joints(body, fit.motion)
    if relative:
        joints, truth = joints - joints[..., :1, :], truth - truth[..., :1, :]
    return float(1e3 * (joints - truth).norm(dim=-1).mean())


def adam(body: BodyModel, joints: torch.Tensor, fps: float) -> tuple[float, float]:
    """Seconds per frame and mm of Adam from the same start on the same energy."""
    started = time.perf_counter()
    weight = torch.ones(joints.shape[:-1])
    markers = Markers(body, torch.arange(24))
    problem = _problem(body, markers, joints, weight, None, fps, FitConfig())
    start = start_from_joints(body, joints, weight > 0)
    turns = torch.zeros(*joints.shape, requires_grad=True)
    place = start.translation.clone().requires_grad_()
    betas = start.betas.clone().requires_grad_()
    optimizer = torch.optim.Adam([turns, place, betas], lr=0.02)
    pose = start
    for _ in range(ADAM_STEPS):
        pose = Pose(matrix_from_rotvec(turns) @ start.R_parent_child, place, betas)
        optimizer.zero_grad()
        problem.energy(pose).sum().backward()
        optimizer.step()
    error = float(1e3 * problem.residual(markers.points(pose)).norm(dim=-1).mean())
    return (time.perf_counter() - started) / weight[..., 0].numel(), error


def bench_joints(body: BodyModel, truth: torch.Tensor, fps: float) -> None:
    generator = torch.Generator().manual_seed(0)
    fit = fit_joints(body, truth, fps=fps)
    row("24 exact joints", fit, to_truth_mm(body, fit, truth))
    seconds, error = adam(body, truth, fps)
    ratio = seconds / fit.seconds_per_frame
    print(f"| Adam, {ADAM_STEPS} steps, {ratio:.1f} x the time | {error:.2f} mm | | | |")
    fit = fit_joints(body, truth[..., :22, :], fps=fps)
    row("22 exact joints", fit, to_truth_mm(body, fit, truth))
    seen = (torch.rand(truth.shape[:-1], generator=generator) > 0.3).float()
    fit = fit_joints(body, truth, fps=fps, confidence=seen)
    row("30 % missing", fit, to_truth_mm(body, fit, truth))
    noise = 0.02 * torch.randn(truth.shape, generator=generator)
    fit = fit_joints(body, truth + noise, fps=fps, config=FitConfig(joint_noise_m=0.02))
    row("noise of 20 mm per axis", fit, to_truth_mm(body, fit, truth))


def bench_keypoints(body: BodyModel, clips: list[Clip], truth: torch.Tensor, fps: float) -> None:
    for kind in ("exact", "detected"):
        for clip, joints in zip(clips, truth, strict=True):
            seen = clip.keypoints
            confidence = torch.from_numpy(seen.confidence) if kind == "detected" else None
            fit = fit_keypoints(
                body,
                torch.from_numpy(np.asarray(getattr(seen, kind))).float(),
                torch.from_numpy(seen.intrinsics).float(),
                fps=fps,
                confidence=confidence,
                T_camera_world=clip.view.T_camera_world.float(),
            )
            row(f"{kind} keypoints", fit, to_truth_mm(body, fit, joints, relative=True))


def bench_real(body: BodyModel, root: Path) -> None:
    joints = torch.from_numpy(np.load(root / "humanml3d/new_joints/012314.npy")).float()
    for noise_m in (0.005, 0.02):
        fit = fit_joints(body, joints, fps=20.0, config=FitConfig(joint_noise_m=noise_m))
        row(f"HumanML3D 012314, noise {1e3 * noise_m:.0f} mm", fit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8, help="procedural clips")
    number = parser.parse_args().clips
    torch.set_num_threads(1)
    body, config = load_body("free"), ProceduralConfig(num_frames=33, height=64, width=64)
    clips = [generate_clip(seed, config) for seed in range(number)]
    truth = torch.stack([motion_joints(body, clip.motion.to(torch.float32)) for clip in clips])
    print("| observation | error | 95 % of frames | to the truth, mm | ms/frame |")
    print("|---|---|---|---|---|")
    bench_joints(body, truth, clips[0].motion.fps)
    bench_keypoints(body, clips, truth, clips[0].motion.fps)
    if root := os.environ.get("MOTION_REAL_DATA"):
        bench_real(body, Path(root))
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: quote the ratios")


if __name__ == "__main__":
    main()
