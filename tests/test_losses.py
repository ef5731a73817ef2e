"""Masks, and the normalization that makes a loss independent of how clips are dealt."""

import pytest
import torch

from motion.batch import Batch
from motion.losses import global_mean, mean_over_valid


def batch(size: int, **changes) -> Batch:
    return Batch(
        clip_ids=tuple(map(str, range(size))),
        fps=torch.full((size,), 16.0),
        frame_mask=torch.ones(size, 4, dtype=torch.bool),
        noise_key=torch.arange(size),
        **changes,
    )


def test_mean_over_valid_ignores_padding_even_where_it_is_nan() -> None:
    values = torch.tensor([[[1.0, 3.0], [5.0, 7.0]], [[2.0, 4.0], [torch.nan, torch.inf]]])
    mask = torch.tensor([[True, True], [True, False]])
    assert mean_over_valid(values, mask).tolist() == [4.0, 3.0]


def test_padding_gets_no_gradient() -> None:
    values = torch.ones(1, 3, requires_grad=True)
    mean_over_valid(values**2, torch.tensor([[True, True, False]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1.0, 1.0, 0.0]]


def test_a_clip_without_valid_entries_is_zero() -> None:
    assert mean_over_valid(torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool)).item() == 0


def test_without_mask_every_entry_counts() -> None:
    assert mean_over_valid(torch.tensor([[1.0, 3.0]])).item() == 2


@pytest.mark.parametrize("split", [(4,), (2, 2), (1, 3), (1, 1, 1, 1)])
def test_global_mean_does_not_depend_on_the_split(split) -> None:
    per_clip = torch.tensor([1.0, 2.0, 4.0, 100.0])
    present = torch.tensor([True, False, True, True])
    shares = [
        global_mean(
            values,
            batch(len(values), counts={"motion": 3}, num_micro_batches=len(split)),
            "motion",
            has,
        )
        for values, has in zip(per_clip.split(split), present.split(split), strict=True)
    ]
    assert torch.stack(shares).mean().item() == pytest.approx((1 + 4 + 100) / 3)


def test_without_counts_the_batch_itself_is_counted() -> None:
    per_clip = torch.tensor([1.0, 3.0])
    assert global_mean(per_clip, batch(2), "clips").item() == 2
    present = torch.tensor([True, False])
    assert global_mean(per_clip, batch(2), "motion", present).item() == 1


def test_a_micro_batch_without_the_modality_gives_a_zero_on_the_graph() -> None:
    per_clip = torch.tensor([torch.nan, 3.0]).requires_grad_()
    share = global_mean(per_clip, batch(2, counts={"rgb": 5}), "rgb", torch.zeros(2).bool())
    assert share.item() == 0
    share.backward()
    assert per_clip.grad is not None
    assert per_clip.grad.tolist() == [0.0, 0.0]
