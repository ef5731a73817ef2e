"""Scores of embeddings: hits per clip, intervals over groups, damage of known strength, words."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.metrics.corruption import CORRUPTIONS, foot_sliding, joint_shuffling, time_reversal
from motion.metrics.embeddings import Embeddings, hit_rates, ids_of, retrieval_scores, rises
from motion.metrics.interval import clustered_interval
from motion.metrics.retrieval import Direction, retrieval
from motion.metrics.words import CLASSES, LISTED, PublishedWords


def _pairs(n: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(n, 6, generator=generator)
    return text, text + 0.8 * torch.randn(n, 6, generator=generator)


@pytest.mark.parametrize("direction", ["text_to_motion", "motion_to_text"])
def test_hit_rates_average_to_r_precision(direction: Direction) -> None:
    text, motion = _pairs()
    ids = torch.arange(96) // 2
    given = {"direction": direction, "caption_ids": ids}
    hits, chance = hit_rates(text, motion, **given, repeats=1, seed=5)
    generator = torch.Generator().manual_seed(5)
    whole = retrieval(text, motion, **given, generator=generator)
    assert hits.mean(0).tolist() == pytest.approx(list(whole.r_precision))
    assert chance.mean(0).tolist() == pytest.approx(list(whole.chance))


def test_scores_carry_what_they_were_measured_with() -> None:
    text, motion = _pairs()
    found = Embeddings(
        text=text,
        motion=motion,
        caption_ids=torch.arange(96),
        groups=torch.arange(96) // 4,
        evaluator_hash="a" * 64,
        statistics_hash="b" * 64,
    )
    scores = retrieval_scores(found, seed=3)
    assert [score.name for score in scores] == ["R@1", "R@2", "R@3"]
    for k, score in enumerate(scores, start=1):
        assert (score.n, score.seed, score.interval.n) == (96, 3, 24)
        assert score.evaluator_hash == "a" * 64
        assert score.chance == pytest.approx(k / 32)
        assert score.chance < score.interval.low < score.interval.mean < score.interval.high
        assert "evaluator aaaaaaaa" in str(score)
    shuffled = Embeddings(**{**vars(found), "motion": motion.roll(7, 0)})
    assert retrieval_scores(shuffled)[0].interval.low < 1 / 32 < 0.09


def test_too_few_clips_are_refused() -> None:
    text, motion = _pairs(20)
    with pytest.raises(ValueError, match="no batch of 32"):
        hit_rates(text, motion)
    with pytest.raises(ValueError, match="in no batch of 1 passes"):
        hit_rates(*_pairs(40), repeats=1)


def test_groups_that_repeat_one_value_widen_the_interval() -> None:
    values = torch.tensor([0.0, 1.0]).repeat(50)
    alone = clustered_interval(values, torch.arange(100))
    grouped = clustered_interval(values.sort().values, torch.arange(100) // 20)
    assert alone.mean == grouped.mean == 0.5
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert (alone.n, grouped.n) == (100, 5)
    uneven = clustered_interval(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([3, 3, 3, 8]))
    assert uneven.mean == 0.75
    with pytest.raises(ValueError, match="1 groups"):
        clustered_interval(values, torch.zeros(100, dtype=torch.long))


def test_equal_names_have_equal_numbers() -> None:
    assert ids_of(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert rises([1.0, 2.0, 2.5])
    assert not rises([1.0, 1.0])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_is_repeatable_and_none_at_strength_zero(name: str) -> None:
    joints = torch.randn(6, 12, 22, 3)
    lengths = torch.tensor([12, 12, 8, 5, 12, 3])
    damage, _, strengths = CORRUPTIONS[name]
    assert rises(strengths)
    assert len(strengths) >= 5
    assert torch.equal(damage(joints, lengths, 0.0, torch.Generator().manual_seed(0)), joints)
    one, two = (
        damage(joints, lengths, strengths[-1], torch.Generator().manual_seed(0)) for _ in "ab"
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, joints)


def test_reversal_keeps_to_the_valid_frames() -> None:
    joints = torch.arange(2 * 6).float().reshape(2, 6, 1, 1).expand(2, 6, 22, 3)
    found = time_reversal(joints, torch.tensor([6, 4]), 1.0, torch.Generator())
    assert found[0, :, 0, 0].tolist() == [5, 4, 3, 2, 1, 0]
    assert found[1, :, 0, 0].tolist() == [9, 8, 7, 6, 10, 11]


def test_shuffling_moves_the_share_that_is_asked_for() -> None:
    joints = torch.arange(22).float()[None, None, :, None].expand(50, 3, 22, 3)
    for strength in (0.2, 0.5, 1.0):
        found = joint_shuffling(joints, torch.full((50,), 3), strength, torch.Generator())
        moved = (found != joints)[..., 0].sum(-1)
        assert (moved == round(strength * 21)).all()
        assert (found[:, :, 0] == 0).all()
        assert torch.equal(found[:, 0].sort(1).values, joints[:, 0])


def test_sliding_is_horizontal_and_of_constant_speed() -> None:
    joints = torch.randn(4, 9, 22, 3, dtype=torch.float64)
    found = foot_sliding(joints, torch.full((4,), 9), 0.02, torch.Generator()) - joints
    torch.testing.assert_close(
        found.diff(dim=1).norm(dim=-1), torch.full((4, 8, 22), 0.02, dtype=torch.float64)
    )
    assert not found[..., 1].any()


def _vocabulary(folder: Path) -> PublishedWords:
    words = ["unk", "sos", "eos", "walk", "person", "left"]
    np.save(folder / "our_vab_data.npy", np.arange(6 * 300).reshape(6, 300))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({w: i for i, w in enumerate(words)}))
    return PublishedWords.load(folder)


def test_published_tokens(tmp_path: Path) -> None:
    words = _vocabulary(tmp_path)
    tokens, mask = words.encode([["person/NOUN", "walk/VERB", "left/NOUN", "zebra/NOUN"], []])
    assert tokens.shape == (2, 6, 315)
    assert mask.tolist() == [[True] * 6, [True] * 2 + [False] * 4]
    classes = [CLASSES[i] for i in tokens[0, :, 300:].argmax(-1).tolist()]
    assert classes == ["OTHER", "NOUN", "Act_VIP", "Loc_VIP", "OTHER", "OTHER"]
    assert tokens[0, 2, 0] == 3 * 300
    assert tokens[0, 4, 0] == 0  # zebra reads as "unk"
    long, _ = words.encode([["walk/VERB"] * 40])
    assert long.shape[1] == 22
    with pytest.raises(ValueError, match="no part of speech"):
        words.encode([["walk"]])


def test_published_lists_have_the_published_sizes() -> None:
    # 35 actions are listed there, one of them twice.
    assert {name: len(set(words.split())) for name, words in LISTED.items()} == {
        "Loc_VIP": 12, "Body_VIP": 13, "Obj_VIP": 10, "Act_VIP": 34, "Desc_VIP": 12,
    }  # fmt: skip
    assert len(CLASSES) == 15


def test_damaged_vocabularies_are_refused(tmp_path: Path) -> None:
    _vocabulary(tmp_path)
    (tmp_path / "our_vab_idx.pkl").write_bytes(pickle.dumps({"walk": 9}))
    with pytest.raises(ValueError, match="different vocabularies"):
        PublishedWords.load(tmp_path)
    (tmp_path / "our_vab_idx.pkl").write_bytes(pickle.dumps({"walk": Path("x")}))
    with pytest.raises(ValueError, match="refused"):
        PublishedWords.load(tmp_path)
