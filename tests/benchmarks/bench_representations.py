"""HumanML3D features: clips per second, all clips at once against one clip at a time in NumPy.

    python tests/benchmarks/bench_representations.py [--clips 1000] [--frames 200] [--rounds 3]

Both arms compute the same features of the same clips (checked before they are timed), retargeting
included, into the same kind of memory, written before the clock starts. The NumPy loop runs on as
many clips as take it a second or two; its rate is per clip, so nothing is lost by that. The arms
run in turn and their least times are compared: quote the ratios.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import per_clip_humanml
import torch

from motion.representations.humanml import HumanML
from motion.representations.joint_skeleton import HUMANML3D

NUMPY_CLIPS = 100


def synthetic_clips(clips: int, frames: int) -> torch.Tensor:
    """(clips, frames, 22, 3) float32: limbs that sway on a body that walks a curve."""
    generator = torch.Generator().manual_seed(0)
    like = torch.zeros(1)
    rest = HUMANML3D.template(like).clone()
    rest[[0, 1]] = torch.tensor([[1.0, -0.3, 0.0], [-1.0, -0.3, 0.0]])
    rest[[12, 13]] = torch.tensor([[1.0, 0.2, 0.0], [-1.0, 0.2, 0.0]])
    phase = 6.3 * torch.rand(clips, 1, 21, 3, generator=generator)
    time_s = torch.arange(frames)[:, None, None] / 20
    directions = torch.nn.functional.normalize(rest + 0.4 * torch.sin(3 * time_s + phase), dim=-1)
    bones = directions * HUMANML3D.require_bone_lengths(like)[:, None]
    root = torch.sin(0.5 * time_s + phase[:, :, :1]) + torch.tensor([0.0, 1.0, 0.0])
    return HUMANML3D.ancestors(like) @ bones + root


def alternate(rounds: int, **actions: Callable[[], object]) -> dict[str, float]:
    """Least seconds of each action, run in turn; the first round warms up and is not counted."""
    measured: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            measured[name].append(time.perf_counter() - start)
    return {name: min(values[1:]) for name, values in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds")
    options = parser.parse_args()
    joints = synthetic_clips(options.clips, options.frames)
    few = joints[:NUMPY_CLIPS].numpy()
    published, corrected = HumanML(compat=True), HumanML()
    features = published.encode_joints(joints)
    error = max(
        float(np.abs(per_clip_humanml.features(clip, HUMANML3D) - own.numpy()).max())
        for clip, own in zip(few[:5], features[:5], strict=True)
    )
    assert error < 1e-3, error
    store = torch.zeros_like(features)

    def loop() -> None:
        for clip, own in zip(few, store[: len(few)].numpy(), strict=True):
            own[:] = per_clip_humanml.features(clip, HUMANML3D)

    def batched(representation: HumanML, size: int) -> Callable[[], None]:
        def action() -> None:
            for first in range(0, len(joints), size):
                chunk = slice(first, first + size)
                store[chunk] = representation.encode_joints(joints[chunk])

        return action

    with torch.inference_mode():
        seconds = alternate(
            options.rounds,
            loop=loop,
            published=batched(published, 100),
            corrected=batched(corrected, 100),
            whole=lambda: published.encode_joints(joints),
            decode=lambda: published.decode_joints(features),
        )
    rate = {name: len(joints) / value for name, value in seconds.items()}
    rate["loop"] = len(few) / seconds["loop"]
    labels = {
        "loop": "NumPy, one clip at a time",
        "published": "batched, as published, calls of 100 clips",
        "corrected": "batched, corrected, calls of 100 clips",
        "whole": "batched, as published, one call, fresh memory",
        "decode": "back to joints, one call",
    }
    print(f"{options.clips} clips of {options.frames} frames, {torch.get_num_threads()} threads, ")
    print(f"load {os.getloadavg()[0]:.1f}; largest difference of a feature {error:.1e}\n")
    print("| | clips/s | times the loop |\n|---|---|---|")
    for name, label in labels.items():
        print(f"| {label} | {rate[name]:,.0f} | {rate[name] / rate['loop']:.1f} |")


if __name__ == "__main__":
    main()
