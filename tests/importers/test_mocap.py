"""Motion capture as clips: splits by take, licences, rows of the contract."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from motion.data.mocap import (
    MocapConfig,
    assign_splits,
    find_files,
    mocap_row,
    plan_windows,
)
from motion.data.prepare import PrepareConfig, make_shard, plan_shards
from motion.data.procedural import ProceduralConfig
from motion.data.schema import decode_tensor, seal
from motion.data.storage import read_rows

CLIP = ProceduralConfig(num_frames=5, height=32, width=32)


@pytest.fixture
def folder(tmp_path: Path, bvh: Callable[..., Path]) -> Path:
    """Five takes, one of them on two rigs, one flagged, one without a description."""
    root = tmp_path / "data"
    rows = ["file,licence,flag,text"]
    for number in range(1, 6):
        path = root / f"mocap/cmu_a/01_0{number}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        bvh(num_frames=60).rename(path)
        rows.append(f"mocap/cmu_a/01_0{number}.bvh,free,,walk")
    for name, text in (("mocap/cmu_b/01_01.bvh", "walk"), ("flagged/bow.bvh", "bow")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bvh(rest="down").rename(path)
        rows.append(f"{name},CC BY-NC 4.0,,{text}")
    bvh().rename(root / "mocap/untold.bvh")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


def test_each_take_once_and_flagged_ones_only_when_asked(folder: Path) -> None:
    found = find_files(MocapConfig(folder=folder))
    names = [path.relative_to(folder).as_posix() for path, _ in found]
    assert names == [f"mocap/cmu_a/01_0{number}.bvh" for number in range(1, 6)]
    everything = find_files(MocapConfig(folder=folder, include_flagged=True))
    flagged = [path.name for path, told in everything if told.flagged]
    assert flagged == ["bow.bvh"]


def test_nothing_to_import(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mocap.folder is None; give a folder"):
        find_files(MocapConfig())
    with pytest.raises(ValueError, match=r"nothing to import: 0 files"):
        find_files(MocapConfig(folder=tmp_path))


def test_windows_of_a_take_stay_in_one_split(folder: Path) -> None:
    windows = plan_windows(MocapConfig(folder=folder, stride=3), CLIP)
    takes = {split: {window.path for window in found} for split, found in windows.items()}
    assert all(takes.values())
    assert sum(len(found) for found in takes.values()) == 5  # no take in two splits
    for found in windows.values():
        for window in found:
            assert window.first % 3 == 0
            assert window.first + CLIP.num_frames <= 16  # 59 / 60 s at 16 frames per second
    with pytest.raises(ValueError, match=r"none of 5 files in .* lasts 6.25 s"):
        plan_windows(MocapConfig(folder=folder), CLIP.model_copy(update={"num_frames": 100}))


def test_splits_depend_on_the_takes_alone() -> None:
    takes = [f"cmu_{number:02d}_01" for number in range(40)]
    split_of = assign_splits(takes)
    assert split_of == assign_splits(takes[::-1] + takes)
    counts = {split: list(split_of.values()).count(split) for split in set(split_of.values())}
    assert counts == {"train": 32, "validation": 4, "test": 4}


def test_a_row_holds_the_contract(folder: Path) -> None:
    config = MocapConfig(folder=folder)
    window = plan_windows(config, CLIP)["train"][0]
    row = seal(mocap_row(window, config, CLIP))
    assert row["clip_id"].startswith("mocap-cmu_01_0")
    assert (row["source"], row["licence"], row["flagged"]) == ("mocap", "free", False)
    assert row["captions"][0] == "a person walks"
    assert decode_tensor(row["smpl_rotvec"]).shape == (5, 24, 3)
    assert json.loads(row["metadata"])["convention"] == "MotionBuilder"
    assert seal(mocap_row(window, config, CLIP))["checksum"] == row["checksum"]


def test_prepare_writes_shards_of_motion_capture(folder: Path, tmp_path: Path) -> None:
    config = PrepareConfig(
        root=tmp_path / "out",
        source="mocap",
        mocap=MocapConfig(folder=folder),
        clip=CLIP,
        num_train=2,
        num_validation=1,
        num_test=1,
        shard_clips=2,
    )
    shards = plan_shards(config)
    assert [(shard.split, shard.num_clips) for shard in shards] == [
        ("train", 2), ("validation", 1), ("test", 1),
    ]  # fmt: skip
    row = {**shards[0]._asdict(), "windows": json.dumps(shards[0].windows)}
    assert make_shard(row, root=config.root, config=config)["error"] == ""
    found = read_rows(config.root / shards[0].file, 0, [0, 1])
    assert {clip["split"] for clip in found} == {"train"}
    assert len({clip["clip_id"] for clip in found}) == 2


def test_identity_follows_the_files_not_their_place(folder: Path, tmp_path: Path) -> None:
    config = PrepareConfig(root=tmp_path, source="mocap", mocap=MocapConfig(folder=folder))
    before = config.identity
    assert before["kind"] == "mocap"
    assert str(folder) not in json.dumps(before)
    moved = folder.rename(folder.with_name("elsewhere"))
    there = config.model_copy(update={"mocap": MocapConfig(folder=moved)})
    assert there.identity == before
    path = moved / "mocap/cmu_a/01_01.bvh"
    path.write_text(path.read_text().replace("0.9", "0.8", 1))
    assert there.identity != before
    assert PrepareConfig(root=tmp_path).identity["kind"] == "procedural"
