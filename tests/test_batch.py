"""The value that every Trainable consumes."""

from typing import Any

import numpy as np
import pytest
import torch

from motion.batch import Batch


def columns(**changes: Any) -> dict[str, Any]:
    return {
        "clip_ids": ("a", "b"),
        "fps": np.full(2, 16, dtype=np.float32),
        "frame_mask": np.ones((2, 5), dtype=bool),
        "noise_key": np.array([1, 2], dtype=np.int64),
    } | changes


def test_from_columns_keeps_values_and_leaves_the_rest_absent() -> None:
    betas = np.arange(20, dtype=np.float32).reshape(2, 10)
    batch = Batch.from_columns(columns(betas=betas, body_id="free-0", counts={"clips": 4}))
    assert batch.size == 2
    assert batch.betas is not None
    assert torch.equal(batch.betas, torch.from_numpy(betas))
    assert batch.R_parent_child is None
    assert batch.text is None
    assert batch.body_id == "free-0"


def test_a_read_only_or_strided_column_is_accepted() -> None:
    betas = np.zeros((10, 2), dtype=np.float32).T
    batch = Batch.from_columns(columns(betas=betas))
    assert batch.betas is not None
    assert batch.betas.is_contiguous()


def test_unknown_columns_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown batch columns \['beta'\].*betas"):
        Batch.from_columns(columns(beta=np.zeros((2, 10))))


def test_rows_must_match_the_clips() -> None:
    with pytest.raises(ValueError, match=r"Batch.fps has 2 rows, expected 1"):
        Batch.from_columns(columns(clip_ids=("a",)))


def test_stamp_gives_step_seed_and_progress() -> None:
    batch = Batch.from_columns(columns()).stamp(step=30, steps=120, seed=7)
    assert (batch.step, batch.progress, batch.seed) == (30, 0.25, 7)


def test_count_prefers_the_global_batch() -> None:
    local = Batch.from_columns(columns())
    assert local.count("motion") == 2
    assert local.count("motion", torch.tensor([True, False])) == 1
    stamped = Batch.from_columns(columns(counts={"motion": 12}))
    assert stamped.count("motion", torch.tensor([True, False])) == 12


def test_to_moves_every_tensor() -> None:
    batch = Batch.from_columns(columns(betas=np.zeros((2, 10), np.float32))).to("meta")
    assert batch.betas is not None
    assert {batch.betas.device.type, batch.fps.device.type, batch.noise_key.device.type} == {"meta"}
    assert batch.clip_ids == ("a", "b")
