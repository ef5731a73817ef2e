"""What the benchmarks of CoMoVi's step share: a mid-size config, random clips, a step, a clock."""

import time
from typing import Any

import torch

from motion.batch import Batch
from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.system import CoMoVi

MID = CoMoViConfig(
    latent_channels=48,
    text_dim=256,
    text_tokens=128,
    width=768,
    num_heads=12,
    num_layers=12,
    ffn_dim=3072,
    pose_layers=6,
    pose_heads=12,
    pose_ffn_dim=1024,
    pose_positions=32,
    trainable=("motion", "bridges", "fusion", "smpl"),
)
"""Between tiny and 5B: stage 2 as the paper trains it, RGB branch and embedders frozen."""

MID_LATENT = (9, 22, 22)
"""33 frames of 352 x 352: 1,089 tokens per branch."""

SMALL_LATENT = (2, 4, 4)
"""To warm up with."""

WAN_LATENT = (21, 44, 80)
"""81 frames of 704 x 1280: 18,480 tokens per branch."""


def random_clips(
    config: CoMoViConfig, latent: tuple[int, int, int], *, clips: int = 1, seed: int = 0
) -> Batch:
    """Clips of noise with everything that a training step reads."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(clips, *shape, generator=generator)

    frames = 1 + config.temporal_stride * (latent[0] - 1)
    return Batch(
        clip_ids=tuple(str(index) for index in range(clips)),
        fps=torch.full((clips,), 16.0),
        frame_mask=torch.ones(clips, frames, dtype=torch.bool),
        R_parent_child=torch.eye(3).expand(clips, frames, 24, 3, 3).clone(),
        betas=0.1 * normal(10),
        T_camera_world=torch.eye(4).repeat(clips, frames, 1, 1),
        text=normal(1, config.text_tokens, config.text_dim),
        latent_rgb=normal(config.latent_channels, *latent),
        latent_map=normal(config.latent_channels, *latent),
        noise_key=torch.arange(clips) + seed,
        counts=dict.fromkeys(("clips", "rgb", "map", "motion"), clips),
    )


def one_step(system: CoMoVi, batch: Any, optimizer: Any = None) -> None:
    loss, _ = system(batch)
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    system.zero_grad()


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
