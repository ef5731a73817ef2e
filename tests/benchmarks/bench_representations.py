"""HumanML3D features: clips per second, all clips at once against one clip at a time in NumPy.

    python tests/benchmarks/bench_representations.py [--clips 1000] [--frames 200] [--workers 2]

Both arms compute the same features of the same clips (checked before they are timed), retargeting
included, into the same kind of memory, written before the clock starts. The NumPy loop runs on as
many clips as take it a second or two; its rate is per clip, so nothing is lost by that. The arms
run in turn and their least times are compared: quote the ratios. "Workers" are processes that
encode a share of the calls with one thread each, as workers of a data pipeline do.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import per_clip_humanml
import torch
from alternation import alternate

from motion.representations.humanml import HumanML
from motion.representations.joint_skeleton import HUMANML3D

NUMPY_CLIPS = 100
CALL_CLIPS = 8
"""What a core's cache holds: larger calls are slower."""


JOINTS, FEATURES = "joints", "features"
SHARED: dict[str, torch.Tensor] = {}
"""Clips and their features in shared memory; forked workers find them here."""


@torch.inference_mode()
def encode(representation: HumanML, start: int, step: int) -> None:
    """Encode every `step`-th call of the shared clips, beginning with call `start`."""
    joints, store = SHARED[JOINTS], SHARED[FEATURES]
    for first in range(start * CALL_CLIPS, len(joints), step * CALL_CLIPS):
        chunk = slice(first, first + CALL_CLIPS)
        store[chunk] = representation.encode_joints(joints[chunk])


def encode_share(part: tuple[int, int]) -> None:
    encode(HumanML(compat=True), *part)


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
    joints = synthetic_clips(options.clips, options.frames).share_memory_()
    few = joints[:NUMPY_CLIPS].numpy()
    published, corrected = HumanML(compat=True), HumanML()
    features = published.encode_joints(joints)
    error = max(
        float(np.abs(per_clip_humanml.features(clip, HUMANML3D) - own.numpy()).max())
        for clip, own in zip(few[:5], features[:5], strict=True)
    )
    assert error < 1e-3, error
    store = torch.zeros_like(features).share_memory_()
    SHARED.update({JOINTS: joints, FEATURES: store})

    def loop() -> None:
        for clip, own in zip(few, store[: len(few)].numpy(), strict=True):
            own[:] = per_clip_humanml.features(clip, HUMANML3D)

    parts = [(start, options.workers) for start in range(options.workers)]

    def shared() -> None:
        for _ in pool.map(encode_share, parts):
            pass

    forked = get_context("fork")
    with (
        torch.inference_mode(),
        ProcessPoolExecutor(options.workers, mp_context=forked) as pool,
    ):
        seconds = alternate(
            options.rounds,
            loop=loop,
            published=lambda: encode(published, 0, 1),
            corrected=lambda: encode(corrected, 0, 1),
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
        "workers": f"batched, as published, {options.workers} worker processes",
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
