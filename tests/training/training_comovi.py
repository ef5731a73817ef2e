"""CoMoVi at its smallest, with clips without files, for parity tests of the training loop."""

from collections.abc import Iterator
from pathlib import Path

import torch

from motion.batch import Batch
from motion.diffusion.noise import noise_key
from motion.models.comovi.config import CoMoViConfig
from motion.rotations import matrix_from_rotvec
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig

FRAMES = 9


def comovi_train_config(storage: Path, **changes: object) -> TrainConfig:
    """Two ranks, two of four motion layers supervised per step, the second one at random."""
    fields: dict[str, object] = {
        "name": "comovi",
        "system": CoMoViConfig(
            latent_channels=3,
            text_dim=10,
            text_tokens=6,
            width=24,
            num_heads=2,
            num_layers=4,
            ffn_dim=32,
            patch=(1, 1, 1),
            time_freq_dim=16,
            pose_layers=1,
            pose_heads=2,
            pose_ffn_dim=16,
            pose_positions=8,
            supervised_layers=2,
        ),
        "data": DataConfig(root=storage / "data"),
        "optimizer": OptimizerConfig(
            # Attention keys' biases have no gradient but rounding, which a small eps enlarges.
            learning_rate=1e-2,
            eps=1e-4,
            weight_decay=0.1,
        ),
        "steps": 6,
        "micro_batch": 1,
        "num_workers": 2,
        "checkpoint_every": 100,
        "record_steps": True,
        "storage": storage,
    }
    return TrainConfig.model_validate({**fields, **changes})


def comovi_batches(config: TrainConfig, rank: int, start_step: int) -> Iterator[Batch]:
    """Endless micro-batches of one rank: a new clip each, shared by the ranks of a group."""
    micro, group = start_step * config.accumulation, rank // config.sequence_parallel
    while True:
        yield _batch(micro * config.data_ranks + group, config.global_batch)
        micro += 1


def _batch(index: int, clips: int) -> Batch:
    generator = torch.Generator().manual_seed(index)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    name = f"clip{index:03d}"
    T_camera_world = torch.eye(4).repeat(1, FRAMES, 1, 1)
    T_camera_world[:, :, :3, :3] = matrix_from_rotvec(torch.tensor([3.0, 0.3, 0.1]))
    return Batch(
        clip_ids=(name,),
        fps=torch.full((1,), 16.0),
        frame_mask=torch.ones(1, FRAMES, dtype=torch.bool),
        R_parent_child=matrix_from_rotvec(0.5 * normal(FRAMES, 24, 3)),
        betas=0.1 * normal(10),
        T_camera_world=T_camera_world,
        text=normal(1, 4, 10),
        text_mask=torch.ones(1, 1, 4, dtype=torch.bool),
        latent_rgb=normal(3, 3, 4, 4),
        latent_map=normal(3, 3, 4, 4),
        noise_key=torch.tensor([noise_key(0, 0, name)]),
        num_micro_batches=clips,
        counts=dict.fromkeys(("clips", "rgb", "map", "motion"), clips),
    )
