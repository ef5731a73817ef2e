import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.metrics.interval import repeat_interval
from motion.metrics.retrieval import retrieval
from motion.metrics.text_to_motion import TextToMotionConfig, text_to_motion


def pairs(n: int = 96, d: int = 16, noise: float = 1.0, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(n, d, generator=generator)
    return [text, text + noise * torch.randn(n, d, generator=generator)]


def loops(
    text: torch.Tensor, motion: torch.Tensor, order: torch.Tensor
) -> tuple[list[float], float]:
    """Guo et al.'s evaluation loop, a batch and a row at a time."""
    hits, distance, count = np.zeros(3), 0.0, 0
    for start in range(0, len(order) - 31, 32):
        rows = order[start : start + 32]
        matrix = np.linalg.norm(text[rows].numpy()[:, None] - motion[rows].numpy()[None], axis=2)
        distance += np.trace(matrix)
        for row, line in enumerate(matrix):
            place = list(np.argsort(line)).index(row)
            hits += np.arange(3) >= place
        count += 32
    return list(hits / count), distance / count


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_published_loop_in_both_directions(seed: int) -> None:
    text, motion = pairs(100, seed=seed)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
    found = retrieval(text, motion, order=order)
    hits, distance = loops(text, motion, order)
    assert found.r_precision == pytest.approx(hits)
    assert found.mm_dist == pytest.approx(distance, rel=1e-5)
    assert found.n == 96
    back = retrieval(text, motion, order=order, direction="motion_to_text")
    assert back.r_precision == pytest.approx(loops(motion, text, order)[0])


def test_directions_differ_where_one_motion_is_near_every_text() -> None:
    text, motion = pairs(32, noise=0.1)
    motion[0] = text.mean(0)
    apart = torch.full((32, 1), 9.0)
    apart[0] = 0
    text, motion = torch.cat((text, 0 * apart), 1), torch.cat((motion, apart), 1)
    forth, back = retrieval(text, motion), retrieval(text, motion, direction="motion_to_text")
    assert forth.r_precision[0] == pytest.approx(1 / 32)
    assert back.r_precision[0] > 0.5


def test_collapsed_embeddings_score_chance() -> None:
    same = torch.ones(64, 8)
    found = retrieval(same, same)
    assert found.r_precision == found.chance == pytest.approx([1 / 32, 2 / 32, 3 / 32])
    assert found.mm_dist == 0


def test_equal_captions_count_as_hits_where_their_ids_are_given() -> None:
    text, _ = pairs(32)
    text[16:] = text[:16]
    swapped = text.roll(16, 0) + 0.01 * torch.randn(32, 16)
    ids = torch.arange(32) % 16
    plain, mended = retrieval(text, swapped), retrieval(text, swapped, caption_ids=ids)
    assert plain.r_precision[0] < 1
    assert mended.r_precision[0] == 1
    assert mended.chance[0] == pytest.approx(2 / 32)
    assert mended.chance[1] == pytest.approx(1 - 30 * 29 / (32 * 31))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_invariances(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    text, motion = (x.double() for x in pairs(64, seed=seed))
    Q = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(64, generator=generator)
    inside = torch.cat(
        [order[s : s + 32][torch.randperm(32, generator=generator)] for s in (0, 32)]
    )
    first = retrieval(text, motion, order=order)
    moved = retrieval(text @ Q + 2, motion @ Q + 2, order=inside)
    assert moved.r_precision == pytest.approx(first.r_precision)
    assert moved.mm_dist == pytest.approx(first.mm_dist)
    assert list(first.r_precision) == sorted(first.r_precision)


def test_refuses_less_than_a_batch() -> None:
    text, motion = pairs(31)
    with pytest.raises(ValueError, match="at least batch_size"):
        retrieval(text, motion)


def test_row_of_a_table() -> None:
    text, made = pairs(96)
    config = TextToMotionConfig(repeats=4, diversity_pairs=50)
    more = torch.randn(1, 3, 12, 16)
    row = text_to_motion(text[None], made[None], text[None], config=config, multimodal=more)
    assert set(row) == {
        "fid", "r_precision_1", "r_precision_2", "r_precision_3", "mm_dist", "diversity",
        "multimodality",
    }  # fmt: skip
    assert row["mm_dist"].mean == pytest.approx(float((text - made).norm(dim=1).mean()), rel=1e-5)
    assert row["fid"].low == row["fid"].high, "one set of embeddings, all of them kept"
    assert row["r_precision_1"].low < row["r_precision_1"].high
    again = text_to_motion(text[None], made[None], text[None], config=config, multimodal=more)
    assert again == row
    per_repeat = text_to_motion(
        text.expand(4, -1, -1), made.expand(4, -1, -1), text.expand(4, -1, -1), config=config,
        multimodal=more,
    )  # fmt: skip
    for name, interval in row.items():
        assert per_repeat[name] == pytest.approx(interval)


def test_incomplete_batch_is_left_out_of_every_metric() -> None:
    text, made = pairs(70)
    config = TextToMotionConfig(repeats=3, diversity_pairs=20, convention="corrected")
    row = text_to_motion(text[None], made[None], text[None], config=config)
    assert row["fid"].low < row["fid"].high
    assert row["diversity"].low < row["diversity"].high
    fixed = TextToMotionConfig(repeats=3, convention="corrected", batch_size=35)
    row = text_to_motion(text[None], made[None], text[None], config=fixed)
    assert row["diversity"].low == pytest.approx(row["diversity"].high)


def test_refuses_a_wrong_number_of_sets() -> None:
    text, made = pairs(64)
    with pytest.raises(ValueError, match="made holds 3 sets"):
        text_to_motion(
            text[None], made.expand(3, -1, -1), text[None], config=TextToMotionConfig(repeats=5)
        )


def test_interval_of_repeats() -> None:
    found = repeat_interval([1.0, 3.0])
    assert (found.mean, found.n) == (2.0, 2)
    assert found.high == pytest.approx(2 + 1.96 / math.sqrt(2))
    assert math.isnan(repeat_interval([1.0]).low)
    with pytest.raises(ValueError, match="no repeat"):
        repeat_interval([])
