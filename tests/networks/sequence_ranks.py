"""Two gloo processes that compute one CoMoVi step together; started by test_attention.py."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import comovi_models
import torch
import torch.distributed as dist
from torch import Tensor

from motion.batch import Batch
from motion.diffusion.noise import noise_key
from motion.models.comovi.system import CoMoVi
from motion.networks.attention import sequence_groups
from motion.rotations import matrix_from_rotvec
from motion.training.execution import share_sequence

FRAMES = 9
WORLD = 2


def system(**changes: Any) -> CoMoVi:
    return comovi_models.system(**({"supervised_layers": 2} | changes))


def batch() -> Batch:
    """Two clips of 48 tokens, the second one short."""
    torch.manual_seed(1)
    T = torch.eye(4).repeat(2, FRAMES, 1, 1)
    T[:, :, :3, :3] = matrix_from_rotvec(torch.tensor([3.0, 0.3, 0.1]))
    mask = torch.ones(2, FRAMES, dtype=torch.bool)
    mask[1, 5:] = False
    return Batch(
        clip_ids=("clip0", "clip1"),
        fps=torch.full((2,), 16.0),
        frame_mask=mask,
        R_parent_child=matrix_from_rotvec(0.5 * torch.randn(2, FRAMES, 24, 3)),
        betas=torch.randn(2, 10) * 0.1,
        T_camera_world=T,
        text=torch.randn(2, 2, 4, 10),
        latent_rgb=torch.randn(2, 3, 3, 4, 4),
        latent_map=torch.randn(2, 3, 3, 4, 4),
        noise_key=torch.tensor([noise_key(0, 0, f"clip{i}") for i in range(2)]),
    )


def gradients(model: CoMoVi, data: Batch) -> dict[str, Tensor]:
    """The loss, and the gradient of every trained parameter."""
    loss, _ = model(data)
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "recomputed": {"gradient_checkpointing": True},
    "dual": {"interaction": "dual"},
    "frozen": {"trainable": ("motion", "bridges", "fusion", "smpl")},
}


def work(rank: int, folder: str) -> None:
    """One step per case; rank 0 writes the mean of the ranks' results."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=60)
    )
    sequence = sequence_groups(WORLD)
    found: dict[str, dict[str, Tensor]] = {}
    for name, changes in CASES.items():
        model = system(**changes)
        share_sequence(model, sequence)
        found[name] = gradients(model, dataclasses.replace(batch()))
        for value in found[name].values():
            dist.all_reduce(value)
            value /= WORLD
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.destroy_process_group()
