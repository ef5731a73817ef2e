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
        return torch.tensor(0.5), dict.fromkeys(self.terms(batch), torch.tensor(0.25))

    def terms(self, batch: Batch) -> list[str]:
        return ["map"]

    def skip(self) -> None:
        pass

    def update(self, step: int) -> float:
        return 1.0


def test_replaced_clips_are_summed_over_ranks_and_leave_the_means_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over_ranks(values: Tensor, op: object = None) -> None:
        if op != step.dist.ReduceOp.MAX:
            values.mul_(3)

    monkeypatch.setattr(step.dist, "all_reduce", over_ranks)
    monkeypatch.setattr(step.dist, "get_world_size", lambda: 3)

    def batches() -> Iterator[Batch]:
        for index, replaced in enumerate([("a -> b",), ("c -> d", "e -> f")]):
            yield replace(make_batch([index], [0, 1], 2, 0, 0), replaced=replaced)

    result = step.run_step(FakeEngine(tmp_path), batches(), 0)
    assert result.replaced == ("a -> b", "c -> d", "e -> f")
    assert result.num_replaced == 9
    assert (result.loss, result.terms) == (0.5, {"map": 0.25})


class UnequalEngine(FakeEngine):
    def terms(self, batch: Batch) -> list[str]:
        return ["map", "text"] if batch.clip_ids == ("clip001",) else ["map", "pose"]


@pytest.mark.parametrize("split", ["micro-batches", "ranks"])
def test_terms_that_differ_are_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    """As many terms of other names would be summed as if they were the same."""
    theirs = "rank 1, micro-batch 0: map"
    monkeypatch.setattr(step.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(step.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        step.dist,
        "all_gather_object",
        lambda out, own: out.__setitem__(slice(None), [own, [theirs]]),
    )
    clips = [0, 1] if split == "micro-batches" else [1, 1]

    def over_ranks(values: Tensor, op: object = None) -> None:
        if split == "ranks":  # the other rank has other terms
            values.copy_(torch.maximum(values, torch.tensor([5, -5])))

    monkeypatch.setattr(step.dist, "all_reduce", over_ranks)
    stream = (make_batch([index], [0, 1], 2, 0, 0) for index in clips)
    engine = UnequalEngine(tmp_path)
    monkeypatch.setattr(engine, "update", lambda _: pytest.fail("the weights were changed"))
    with pytest.raises(
        step.UnequalTermsError, match=r"step 7: .*micro-batch 1: map, text.*"
    ) as said:
        step.run_step(engine, stream, 7)
    assert theirs in str(said.value)
