"""HumanML3D features: clips per second, all clips at once against one clip at a time in NumPy.

    python tests/benchmarks/bench_representations.py [--clips 1000] [--frames 200] [--workers 2]

Both arms compute the same features of the same clips (checked before they are timed), retargeting
included, into the same kind of memory, written before the clock starts. The NumPy loop runs on as
many clips as take it a second or two; its rate is per clip, so nothing is lost by that. The arms
run in turn and their least times are compared: quote the ratios. "Workers" are threads that encode
calls of their own with one thread each, as workers of a data pipeline do.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import per_clip_humanml
import torch
from alternation import alternate

from motion.representations.humanml import HumanML
from motion.representations.joint_skeleton import HUMANML3D

NUMPY_CLIPS = 100
CALL_CLIPS = 32


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
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

    @torch.inference_mode()
    def call(representation: HumanML, first: int) -> None:
        chunk = slice(first, first + CALL_CLIPS)
        store[chunk] = representation.encode_joints(joints[chunk])

    calls = range(0, len(joints), CALL_CLIPS)

    def batched(representation: HumanML) -> Callable[[], None]:
        def action() -> None:
            for first in calls:
                call(representation, first)

        return action

    def shared() -> None:
        for _ in pool.map(lambda first: call(published, first), calls):
            pass

    with torch.inference_mode(), ThreadPoolExecutor(options.workers) as pool:
        seconds = alternate(
            options.rounds,
            loop=loop,
            published=batched(published),
            corrected=batched(corrected),
            workers=shared,
            whole=lambda: published.encode_joints(joints),
            decode=lambda: published.decode_joints(features),
        )
    rate = {name: len(joints) / value.wall for name, value in seconds.items()}
    rate["loop"] = len(few) / seconds["loop"].wall
    labels = {
        "loop": "NumPy, one clip at a time",
        "published": f"batched, as published, calls of {CALL_CLIPS} clips",
        "corrected": f"batched, corrected, calls of {CALL_CLIPS} clips",
        "workers": f"batched, as published, {options.workers} workers",
        "whole": "batched, as published, one call, fresh memory",
        "decode": "back to joints, one call",
    }
    print(
        f"{options.clips} clips of {options.frames} frames, one torch thread per worker, "
        f"load {os.getloadavg()[0]:.1f}; largest difference of a feature {error:.1e}\n"
    )
    print("| | clips/s | times the loop |\n|---|---|---|")
    for name, label in labels.items():
        print(f"| {label} | {rate[name]:,.0f} | {rate[name] / rate['loop']:.1f} |")


if __name__ == "__main__":
    main()
