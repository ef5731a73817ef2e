"""What an optimizer step reports, over ranks that are played by a fake."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_toy import make_batch, toy_train_config

from motion.batch import Batch
from motion.models.system import Logs
from motion.training import step
from motion.training.engine import Engine


class FakeEngine(Engine):
    def __init__(self, storage: Path) -> None:
        self.config = toy_train_config(storage)
        self.device = torch.device("cpu")

    def forward_backward(self, batch: Batch) -> tuple[Tensor, Logs]:
        return torch.tensor(0.5), {"map": torch.tensor(0.25)}

    def skip(self) -> None:
        pass

    def update(self, step: int) -> float:
        return 1.0


def test_replaced_clips_are_summed_over_ranks_and_leave_the_means_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step.dist, "all_reduce", lambda total: total.mul_(3))
    monkeypatch.setattr(step.dist, "get_world_size", lambda: 3)

    def batches() -> Iterator[Batch]:
        for index, replaced in enumerate([("a -> b",), ("c -> d", "e -> f")]):
            yield replace(make_batch([index], [0, 1], 2, 0, 0), replaced=replaced)

    result = step.run_step(FakeEngine(tmp_path), batches(), 0)
    assert result.replaced == ("a -> b", "c -> d", "e -> f")
    assert result.num_replaced == 9
    assert (result.loss, result.terms) == (0.5, {"map": 0.25})
