"""Batches and a small GENMO for its tests; real motion in shape, random in content."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from motion.batch import Batch
from motion.body import load_body
from motion.data.statistics import FeatureStatistics
from motion.diffusion.noise import noise_key
from motion.models.genmo.config import GenmoConfig
from motion.models.genmo.system import Genmo
from motion.rotations import matrix_from_rotvec

TEXT_DIM = 10
FPS = 20.0


def config(**changes: Any) -> GenmoConfig:
    values: dict[str, Any] = {
        "width": 24,
        "num_layers": 2,
        "num_heads": 2,
        "mlp_ratio": 2,
        "window": 16,
        "gate": 0.5,
        "text_dim": TEXT_DIM,
        "music_dim": 5,
        "image_dim": 4,
        "statistics": FeatureStatistics(mean=(0.05,) * 151, std=(0.5,) * 148 + (0.05,) * 3),
    }
    return GenmoConfig(**(values | changes))


def system(**changes: Any) -> Genmo:
    torch.manual_seed(0)
    return config(**changes).build()


def ragged(lengths: list[int], frames: int) -> Tensor:
    return torch.arange(frames) < torch.tensor(lengths)[:, None]


def batch(lengths: list[int] | None = None, frames: int = 24, **changes: Any) -> Batch:
    """Clips with motion and text; pass `keypoints=...` and the like for more."""
    lengths = lengths or [frames, frames - 7]
    size = len(lengths)
    rng = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    swing = 0.4 * normal(size, 1, 24, 3)
    wave = torch.sin(torch.arange(frames) / 5)[None, :, None, None]
    mask = ragged(lengths, frames)
    values: dict[str, Any] = {
        "clip_ids": tuple(f"clip{i}" for i in range(size)),
        "fps": torch.full((size,), FPS),
        "frame_mask": mask,
        "R_parent_child": matrix_from_rotvec(swing * wave),
        "translation": 0.02 * normal(size, frames, 3).cumsum(1),
        "betas": 0.3 * normal(size, 10),
        "body_id": load_body("free").body_id,
        "text": normal(size, 2, 4, TEXT_DIM),
        "text_mask": torch.ones(size, 2, 4, dtype=torch.bool),
        "text_window_s": torch.tensor([[0.0, 0.6], [0.5, 2.0]]).expand(size, 2, 2),
        "noise_key": torch.tensor([noise_key(0, 0, f"clip{i}") for i in range(size)]),
    }
    return Batch(**(values | changes))


def watched(whole: Batch, has: list[bool] | None = None) -> Batch:
    """The batch seen by a camera that stands still 4 m away, with keypoints."""
    from motion.camera import project, to_camera
    from motion.models.genmo.observed import level_camera

    size, frames = whole.frame_mask.shape
    body = load_body("free")
    assert whole.R_parent_child is not None
    assert whole.betas is not None
    points = body.keypoints(whole.R_parent_child, whole.betas, whole.translation)
    T = level_camera().expand(size, frames, 4, 4)
    K = torch.tensor([[1200.0, 0, 500], [0, 1200, 500], [0, 0, 1]]).expand(size, 3, 3)
    present = torch.tensor(has or [True] * size)
    return dataclasses.replace(
        whole,
        keypoints=project(to_camera(points, T), K[:, None]),
        keypoints_confidence=torch.ones(size, frames, 17),
        keypoints_size=torch.full((size, 2), 1000.0),
        keypoints_intrinsics=K,
        has_keypoints=present,
        T_camera_world=T,
        has_camera=present,
    )


def rows(whole: Batch, index: slice, frames: int | None = None) -> Batch:
    """Some clips, cut to fewer frames."""
    timed = {
        "frame_mask", "R_parent_child", "translation", "keypoints", "keypoints_confidence",
        "T_camera_world", "music", "image_features", "keyframes",
    }  # fmt: skip
    values: dict[str, Any] = {}
    for item in dataclasses.fields(whole):
        value = getattr(whole, item.name)
        if isinstance(value, Tensor):
            value = value[index]
            value = value[:, :frames] if item.name in timed else value
        if value is not None:
            values[item.name] = value
    return Batch(**(values | {"clip_ids": whole.clip_ids[index]}))
