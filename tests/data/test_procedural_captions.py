"""How generated clips are told, and what the test split holds out."""

import json

import numpy as np
import pytest

from motion.data.procedural import (
    FAMILIES,
    HELD_OUT,
    SPLIT_SEED,
    Action,
    ProceduralConfig,
    clip_row,
    generate_clip,
)
from motion.data.procedural.captions import (
    LINKS,
    SUBJECTS,
    UNSEEN_LINKS,
    UNSEEN_SUBJECTS,
    captions,
    chain_captions,
    parts,
    predicates,
)
from motion.data.procedural.config import families_of
from motion.data.segments import Segment, read_segments

TEST = SPLIT_SEED["test"]
SMALL = ProceduralConfig(height=32, width=32, num_frames=9)
ACTIONS = [
    Action(family=name, side=side, direction=direction, speed=speed)
    for name, family in FAMILIES.items()
    for side in family.sides
    for direction in family.phrases
    for speed in family.speeds
]


@pytest.mark.parametrize("unseen", [False, True])
def test_captions_name_action_side_and_speed(unseen: bool) -> None:
    for action in ACTIONS:
        told = captions(action, np.random.default_rng(1), 6, unseen=unseen)
        assert len(set(told)) == 6
        assert len(predicates(action, unseen=unseen)) >= (2 if unseen else 3)
        for caption in told:
            if action.side in ("left", "right"):
                assert action.side in caption.split()
            if action.side == "both":
                assert "both" in caption.split()
            if not unseen:
                slow = any(word in caption for word in ("slow",))
                fast = any(word in caption.split() for word in ("quickly", "fast", "rapidly"))
                assert (slow, fast) == (action.speed == "slow", action.speed == "fast")
        assert not any("{" in caption or "  " in caption for caption in (*told, *parts(action)))


def test_no_caption_is_shared_by_two_actions() -> None:
    owner: dict[str, Action] = {}
    for action in ACTIONS:
        if action.speed == FAMILIES[action.family].speeds[0]:
            for predicate in predicates(action) + predicates(action, unseen=True):
                assert owner.setdefault(predicate, action) == action


def test_every_wording_exists_for_every_direction() -> None:
    for name, family in FAMILIES.items():
        assert family.phrases.keys() == family.unseen.keys(), name
    assert len(FAMILIES) >= 24
    assert set(HELD_OUT) < set(FAMILIES)


def test_too_many_captions_are_refused() -> None:
    with pytest.raises(ValueError, match="the grammar has 12"):
        captions(Action(family="squat"), np.random.default_rng(0), 13)


def test_a_chain_tells_both_actions_in_order() -> None:
    pair = (Action(family="squat"), Action(family="wave", side="left", speed="fast"))
    told = chain_captions(pair, np.random.default_rng(0), 6)
    assert len(set(told)) == 6
    for caption in told:
        first = next(p for p in predicates(pair[0]) if f" {p}" in caption)
        second = next(p for p in predicates(pair[1]) if f" {p}" in caption)
        assert caption.index(first) < caption.index(second)
        assert any(link in caption for link in LINKS)


def _wordings(first: int, count: int, config: ProceduralConfig) -> set[str]:
    return {
        caption
        for seed in range(first, first + count)
        for caption in generate_clip(seed, config).captions
    }


def test_test_clips_are_told_in_wordings_that_training_never_hears() -> None:
    for action in ACTIONS:
        assert not set(predicates(action)) & set(predicates(action, unseen=True))
    assert not set(SUBJECTS) & set(UNSEEN_SUBJECTS)
    assert not set(LINKS) & set(UNSEEN_LINKS)
    clip = generate_clip(TEST, SMALL)
    for told in clip.captions:
        assert any(phrase in told for phrase in predicates(clip.action, unseen=True))
    plain = generate_clip(TEST, SMALL.model_copy(update={"held_out_wordings": False}))
    for told in plain.captions:
        assert any(phrase in told for phrase in predicates(plain.action))
    assert not _wordings(0, 3, SMALL) & _wordings(TEST, 3, SMALL)


def test_every_second_test_clip_is_of_a_held_out_family() -> None:
    config = ProceduralConfig(families=("walk", "jog", "wave"), held_out_families=("duck", "cheer"))

    def family(seed: int) -> str:
        names, index = families_of(seed, config)
        return names[index % len(names)]

    assert {family(TEST + index) for index in range(1, 12, 2)} == {"duck", "cheer"}
    assert {family(TEST + index) for index in range(0, 12, 2)} == {"walk", "jog", "wave"}
    for split in ("train", "validation"):
        seen = {family(SPLIT_SEED[split] + index) for index in range(12)}
        assert seen == {"walk", "jog", "wave"}
    none = config.model_copy(update={"held_out_families": ()})
    assert families_of(TEST + 1, none) == (config.families, TEST + 1)


def test_segments_cover_the_clip_and_survive_the_row() -> None:
    config = SMALL.model_copy(update={"num_frames": 73, "chain_share": 1.0})
    for seed in range(2):
        clip = generate_clip(seed, config)
        assert len(clip.actions) == len(clip.segments) == 2
        row = clip_row(clip, "train")
        segments = read_segments(row)
        assert segments == clip.segments
        spans = [segment.frames(config.fps) for segment in segments]
        assert spans[0][0] == 0
        assert spans[0][1] == spans[1][0]
        assert spans[1][1] == 73
        for action, segment in zip(clip.actions, segments, strict=True):
            assert len(segment.captions) == config.num_captions
            for told in segment.captions:
                assert any(phrase in told for phrase in predicates(action))
            assert (segment.upper, segment.lower) == tuple((part,) for part in parts(action))
        assert not json.loads(row["metadata"])["held_out_family"]


def test_bad_segments_are_refused() -> None:
    stated = Segment(1.0, 0.5, ("a person walks",))._asdict()
    row = {"clip_id": "x", "metadata": json.dumps({"segments": [stated]})}
    with pytest.raises(ValueError, match=r"clip 'x' has the segment .* start_s < end_s"):
        read_segments(row)
    assert read_segments({"clip_id": "x", "metadata": "{}"}) == ()
