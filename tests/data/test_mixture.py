"""Mixtures: sources by weight, clips whose 3D is hidden, merged data sets, parts of clips."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from motion.data.collate import collate
from motion.data.manifest import Manifest, write_dataset
from motion.data.merge import merge
from motion.data.plan import ClipRef, Plan
from motion.data.procedural import ProceduralConfig, clip_row, generate_clip, generate_motion
from motion.data.reading import Clip
from motion.data.schema import seal
from motion.data.storage import read_rows, write_shard
from motion.training.dataset import shown as shown_of

FILMED = ("smpl_rotvec", "smpl_translation", "smpl_betas", "keypoints", "T_camera_world")


def refs(**sources: int) -> list[ClipRef]:
    return [
        ClipRef(f"{name}-{i:03d}", "f", 0, i, "9x8x8", name, FILMED)
        for name, count in sources.items()
        for i in range(count)
    ]


def plan(weights: dict[str, float] | None = None) -> Plan:
    clips = refs(a=40, b=20)
    return Plan(clips, seed=1, micro_batch=5, accumulation=1, world=2, weights=weights)


def shown(order: Plan, epoch: int) -> list[ClipRef]:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [clip for k in steps for rank in order.step(k) for micro in rank for clip in micro.clips]


def test_an_epoch_shows_a_source_as_often_as_it_weighs() -> None:
    order = plan({"a": 0.5, "b": 3.0})
    assert order.steps_per_epoch == 8
    clips = shown(order, 0)
    assert Counter(clip.source for clip in clips) == {"a": 20, "b": 60}
    assert set(Counter(clip.clip_id for clip in clips if clip.source == "b").values()) == {3}
    first, second = ({c.clip_id for c in shown(order, e) if c.source == "a"} for e in (0, 1))
    assert first != second, "another half"


def test_a_clip_has_another_noise_at_every_turn() -> None:
    order = plan({"b": 2.0})
    keys = [key for k in range(order.steps_per_epoch) for r in order.step(k) for m in r
            for key in m.noise_keys]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_without_weights_nothing_changes() -> None:
    assert [plan().step(k) for k in range(6)] == [plan({}).step(k) for k in range(6)]
    assert all(clip.turn == 0 for clip in shown(plan(), 0))


def test_a_weight_too_small_to_show_a_clip_is_named() -> None:
    with pytest.raises(ValueError, match=r"weight 0\.02 of source 'b' shows none"):
        plan({"b": 0.02})
    clips = [*refs(a=40, b=20), ClipRef("b-long", "f", 0, 0, "17x8x8", "b", FILMED)]
    with pytest.warns(UserWarning, match=r"weight 0\.4 of source 'b'.*\['17x8x8'\]"):
        Plan(clips, seed=1, micro_batch=5, accumulation=1, world=2, weights={"b": 0.4})


@pytest.mark.parametrize("weights", [{"c": 1.0}, {"a": 0.0}, {"a": -1.0}])
def test_refuses_weights_that_mean_nothing(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        plan(weights)


def test_a_repeated_clip_s_substitute_is_of_its_kind() -> None:
    order = plan({"b": 2.0})
    again = next(clip for clip in shown(order, 0) if clip.turn)
    assert all(other.clip_id != again.clip_id for other in order.substitutes(again))


def test_hidden_motion_takes_the_3d_of_a_share_and_leaves_the_rest() -> None:
    clips = refs(a=400)
    hidden = [clip for clip in clips if "smpl_rotvec" not in shown_of(clip, 0.3).present]
    assert 90 < len(hidden) < 150
    assert all("keypoints" in shown_of(clip, 0.3).present for clip in clips)
    assert [shown_of(clip, 0.0) for clip in clips] == clips
    blind = [ClipRef("x", "f", 0, 0, "9x8x8", "a", ("smpl_rotvec",))]
    assert shown_of(blind[0], 0.99) == blind[0], "without keypoints nothing would be left"


def test_merged_data_sets_are_read_where_they_lie(tmp_path: Path) -> None:
    config = ProceduralConfig(num_frames=5, render=False)
    parts = []
    for name, seeds in (("one", (0, 1)), ("two", (2,))):
        rows = [seal(clip_row(generate_motion(seed, config), "train")) for seed in seeds]
        file = tmp_path / name / "shards/train.parquet"
        file.parent.mkdir(parents=True)
        write_shard(file, rows, row_group_size=8)
        parts.append(write_dataset(tmp_path / name, [file], config={"clip": {"fps": 16}}))
    merge(tmp_path / "both", parts)
    both = Manifest.load(tmp_path / "both")
    assert [row.clip_id for row in both.rows] == [f"procedural-{i:010d}" for i in range(3)]
    for row in both.rows:
        (read,) = read_rows(both.root / row.file, row.row_group, [row.row])
        assert read["clip_id"] == row.clip_id
    assert both.config["clip"] == {"fps": 16}
    with pytest.raises(ValueError, match="twice"):
        merge(tmp_path / "again", [parts[0], parts[0]])


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ({"fps": 16}, {"fps": 30}, "fps"),
        ({"fps": 16, "map_mode": "flat"}, {"fps": 16, "map_mode": "shaded"}, "map_mode"),
    ],
)
def test_data_sets_that_differ_in_what_they_share_are_not_merged(
    tmp_path: Path, one: dict[str, object], two: dict[str, object], name: str
) -> None:
    parts = [Manifest(tmp_path / at, (), {"clip": c}, {}, {}) for at, c in (("p", one), ("q", two))]
    with pytest.raises(ValueError, match=rf"/p was made with clip\.{name} .*/q with .*prepare"):
        merge(tmp_path / "both", parts)
    assert not (tmp_path / "both").exists()


def test_a_part_without_maps_takes_the_other_s_kind(tmp_path: Path) -> None:
    silent = Manifest(tmp_path / "p", (), {"clip": {"fps": 16}}, {}, {})
    derived = {"kind": "projected", "raw": {"clip": {"fps": 16, "map_mode": "shaded"}}}
    both = merge(tmp_path / "both", [silent, Manifest(tmp_path / "q", (), derived, {}, {})])
    assert both.config["clip"] == {"fps": 16, "map_mode": "shaded"}


def told(key: int, *, parts: bool = True) -> Clip:
    arrays = {
        "text_embedding": np.ones((3, 4, 2), np.float16),
        "text_mask": np.ones((3, 4), np.uint8),
    }
    if parts:
        arrays |= {
            "segment_embedding": np.arange(4 * 4 * 2).reshape(4, 4, 2).astype(np.float16),
            "segment_mask": np.ones((4, 4), np.uint8),
            "segment_window_s": np.array([[0, 1], [0, 1], [1, 2], [1, 2]], np.float32),
        }
    ref = ClipRef(f"c{key}", "f", 0, 0, "20x0x0", "a", tuple(arrays))
    return Clip(ref=ref, noise_key=key, fps=10.0, num_frames=20, body_id="", arrays=arrays)


def test_a_clip_shows_its_parts_every_second_time_one_wording_each() -> None:
    columns = [collate([told(key)]) for key in range(40)]
    in_parts = [c for c in columns if c["text"].shape[1] == 2]
    assert 10 < len(in_parts) < 30
    for found in in_parts:
        assert found["text_window_s"][0].tolist() == [[0, 1], [1, 2]]
    wordings = {float(c["text"][0, 0, 0, 0]) for c in in_parts}
    assert len(wordings) == 2
    whole = next(c for c in columns if c["text"].shape[1] == 1)
    assert whole["text_window_s"][0].tolist() == [[0, 2]]


def test_clips_with_and_without_parts_share_a_batch() -> None:
    key = next(k for k in range(99) if collate([told(k)])["text"].shape[1] == 2)
    columns = collate([told(key), told(key, parts=False)])
    assert columns["text"].shape[:2] == (2, 2)
    assert columns["text_mask"][1].any(-1).tolist() == [True, False]


def test_a_clip_without_pixels_has_a_camera_and_keypoints() -> None:
    config = ProceduralConfig(num_frames=5, height=32, width=32, pixels=False)
    row = seal(clip_row(generate_clip(3, config), "train"))
    assert {"keypoints_detected", "T_camera_world", "smpl_rotvec"} <= set(row["present"])
    assert not {"rgb", "motion_map"} & set(row["present"])
    assert row["bucket"] == "5x0x0"
    filmed = seal(clip_row(generate_clip(3, config.model_copy(update={"pixels": True})), "train"))
    assert filmed["keypoints_detected"] == row["keypoints_detected"]
    assert "pixels" not in ProceduralConfig().model_dump(mode="json"), "an identity as before"
