"""K2M: sparse against full-mesh projection, stored against fresh tokens, clips per second.

    python tests/benchmarks/bench_k2m.py [--rounds 5] [--device cpu]

Alternatives run in turn in one process on one thread, so that a busy neighbor slows all of them;
ratios of the least times are to be quoted. Weights are random: speed does not depend on them.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from alternation import alternate, print_ratios
from torch import Tensor, nn

from motion.batch import Batch
from motion.body.keypoint_map import KeypointMap
from motion.models.k2m import tokenizer as stage1
from motion.models.k2m.config import HeadConfig, K2MConfig, TokenizerConfig
from motion.models.k2m.keypoints import keypoints_of
from motion.models.k2m.smpl_head import Smpl, points_of
from motion.models.k2m.tokens import phases

CLIPS, FRAMES = 16, 64
MESH_CLIPS = 4
"""Full meshes of more would not fit into two gigabytes."""


def clips(count: int, device: str) -> Batch:
    """Random keypoints and captions of tiny's length."""
    draw = torch.Generator().manual_seed(0)
    present = torch.ones(count, dtype=torch.bool)
    batch = Batch(
        clip_ids=tuple(map(str, range(count))),
        fps=torch.full((count,), 20.0),
        frame_mask=torch.ones(count, FRAMES, dtype=torch.bool),
        keypoints=400 + 300 * torch.rand(count, FRAMES, 17, 2, generator=draw),
        keypoints_confidence=torch.ones(count, FRAMES, 17),
        keypoints_size=torch.tensor([1920.0, 1080.0]).repeat(count, 1),
        has_keypoints=present,
        text=torch.randn(count, 1, 12, 64, generator=draw),
        text_mask=torch.ones(count, 1, 12, dtype=torch.bool),
        has_text=present,
        noise_key=torch.arange(count),
    )
    return batch.to(device)


def points_of_mesh(smpl: Smpl, keypoints: KeypointMap) -> Tensor:
    """COCO-17 as the paper takes them: skin every vertex, then pick; here with one shape per clip,
    since a mesh of another shape in every frame would not fit into memory."""
    body, parts = keypoints.body, (smpl.R_parent_child, smpl.betas[:, 0], smpl.translation)
    of_joint, of_vertex, _ = body.keypoint_weights
    mesh, joints = body.vertices(*parts), body.joints(*parts)
    return of_joint @ joints + of_vertex @ mesh[:, :, body.keypoint_vertices]


def tokenizer_steps(device: str) -> dict[str, Callable[[], object]]:
    """A training step of the tokenizer with each projection; one shape per clip, or per frame."""
    head = HeadConfig(rotation="6d", depth="exp")
    apart = TokenizerConfig.tiny().model_copy(update={"head": head}).build().to(device)
    shared = TokenizerConfig.tiny().build().to(device)
    batch = clips(MESH_CLIPS, device)

    def step(
        module: nn.Module, points: Callable[[Smpl, KeypointMap], Tensor]
    ) -> Callable[[], object]:
        def run() -> None:
            stage1.points_of = points
            loss, _ = module(batch)
            loss.backward()
            module.zero_grad()

        return run

    return {
        "full_mesh": step(apart, points_of_mesh),
        "a_shape_per_frame": step(apart, points_of),
        "a_shape_per_clip": step(shared, points_of),
    }


def second_stage_steps(device: str) -> dict[str, Callable[[], object]]:
    """A training step of the transformers on keypoints, and on stored tokens."""
    system = K2MConfig.tiny().build().to(device)
    batch = clips(CLIPS, device)
    found = phases(system.tokenizer, keypoints_of(batch))
    most = max(part.shape[1] for part in found)
    padded = [torch.nn.functional.pad(p, (0, 0, 0, most - p.shape[1]), value=-1) for p in found]
    stored = replace(batch, tokens=torch.stack(padded, 1), has_tokens=batch.has_text)

    def step(batch: Batch) -> Callable[[], object]:
        def run() -> None:
            loss, _ = system(batch)
            loss.backward()
            system.zero_grad()

        return run

    return {"on_the_fly": step(batch), "stored_tokens": step(stored)}


def generations(device: str) -> dict[str, Callable[[], object]]:
    """Sampling at batch 1 and 32."""
    system = K2MConfig.tiny().build().to(device).eval()

    def sample(count: int) -> Callable[[], object]:
        batch = clips(count, device)
        draw = torch.Generator().manual_seed(0)
        return lambda: system.sample(batch, system.config.sampling, generator=draw)

    return {"batch_1": sample(1), "batch_32": sample(32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    device, rounds = given.device, given.rounds
    title = f"training step of the tokenizer, {MESH_CLIPS} clips of {FRAMES} frames"
    print_ratios(title, alternate(rounds, **tokenizer_steps(device)))
    title = f"training step of the second stage, {CLIPS} clips"
    print_ratios(title, alternate(rounds, **second_stage_steps(device)))
    costs = alternate(rounds, **generations(device))
    print_ratios("generation", costs)
    for name, cost in costs.items():
        count = int(name.split("_")[-1])
        print(f"\n{name}: {count / cost.wall:.1f} clips/s, {count / cost.cpu:.1f} per CPU second")


if __name__ == "__main__":
    main()
