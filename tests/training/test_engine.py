import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from training_toy import ToyConfig, batches, toy_train_config

from motion.training.config import OptimizerConfig, TrainConfig
from motion.training.engine import (
    Engine,
    build_module,
    build_sharded,
    count_parameters,
    deepspeed_config,
    import_deepspeed,
    learning_rate,
    zero_block,
)


def _leaves(tree: Any) -> list[Any]:
    return (
        [leaf for value in tree.values() for leaf in _leaves(value)]
        if isinstance(tree, dict)
        else [tree]
    )


@pytest.mark.parametrize("stage", range(4))
def test_deepspeed_sees_numbers_only(tmp_path: Path, stage: int) -> None:
    settings = deepspeed_config(toy_train_config(tmp_path, zero_stage=stage))
    assert settings["zero_optimization"]["stage"] == stage
    assert settings["train_batch_size"] == 4
    assert settings["gradient_clipping"] == 1.0
    assert not any(isinstance(leaf, str) and leaf == "auto" for leaf in _leaves(settings))
    assert "overlap_comm" not in zero_block(0, use_gpu=True)
    assert zero_block(3, use_gpu=True)["overlap_comm"] is True
    assert zero_block(3, use_gpu=False)["overlap_comm"] is False


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.25, 0.5, 0.75, 1.0, 1.0, 0.775, 0.55, 0.325, 0.1]),
        ("cosine", [0.25, 0.5, 0.75, 1.0, 1.0, 0.8682, 0.55, 0.2318, 0.1]),
    ],
)
def test_learning_rate_warms_up_peaks_and_ends_at_its_ratio(
    schedule: str, expected: list[float]
) -> None:
    config = OptimizerConfig.model_validate(
        {"learning_rate": 2.0, "warmup_steps": 4, "schedule": schedule, "final_ratio": 0.1}
    )
    found = [learning_rate(config, step, 9) / 2.0 for step in range(9)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_parameters_are_counted_without_memory(tmp_path: Path) -> None:
    total, trainable = count_parameters(toy_train_config(tmp_path))
    module = ToyConfig().build()
    assert total == sum(p.numel() for p in module.parameters())
    assert total - trainable == sum(p.numel() for p in module.gate.parameters())


def _compare_builds(rank: int, store: str, config: TrainConfig, report: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    plain = build_module(config)
    sharded = build_sharded(config, plain.state_dict().__getitem__ if rank == 0 else None)
    shapes = {tuple(parameter.shape) for parameter in sharded.parameters()}
    zero = import_deepspeed().zero
    worst = 0.0
    for parameter, value in zip(sharded.parameters(), plain.parameters(), strict=True):
        with zero.GatheredParameters([parameter]):
            worst = max(worst, float((parameter - value).detach().abs().max()))
    batch = next(batches(config, rank, 0))
    loss, _ = Engine(config, sharded).forward_backward(batch)
    worst = max(worst, float(abs(loss - plain(batch)[0])))
    Path(f"{report}{rank}").write_text(json.dumps([worst, list(shapes)]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_sharded_build_has_the_weights_of_a_plain_one(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path, zero_stage=3)
    arguments = (str(tmp_path / "store"), config, str(tmp_path / "report"))
    mp.spawn(_compare_builds, args=arguments, nprocs=2)
    for rank in range(2):
        worst, shapes = json.loads((tmp_path / f"report{rank}").read_text())
        assert worst < 1e-6
        assert shapes == [[0]], "every parameter must be sharded"


def test_the_shared_memory_op_needs_no_compiler() -> None:
    import_deepspeed()
    import deepspeed.ops

    assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
