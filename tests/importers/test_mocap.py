"""Motion capture as clips: splits by take, licences, rows of the contract."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from motion.camera import project, to_camera
from motion.data.mocap import (
    MocapConfig,
    assign_splits,
    find_files,
    mocap_row,
    plan_windows,
)
from motion.data.prepare import PrepareConfig, make_shard, plan_shards, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.procedural.view import Placement, frame_person
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


def test_every_file_that_cannot_be_read_is_named_at_once(folder: Path, tmp_path: Path) -> None:
    first, third = (folder / f"mocap/cmu_a/01_0{number}.bvh" for number in (1, 3))
    first.write_text(first.read_text().replace("CHANNELS 3", "CHANNELS 4", 1))
    third.write_text("")
    mocap = MocapConfig(folder=folder)
    with pytest.raises(ValueError, match=r"2 of 5 files in .* cannot be imported") as caught:
        plan_windows(mocap, CLIP)
    lines = str(caught.value).splitlines()
    assert "01_01.bvh, line" in lines[1]
    assert "a channel is missing" in lines[1]
    assert "01_03.bvh: no HIERARCHY" in lines[2]
    assert lines[3].endswith("--mocap.leave-out mocap/cmu_a/01_01.bvh mocap/cmu_a/01_03.bvh")
    root = tmp_path / "out"
    config = PrepareConfig(root=root, source="mocap", mocap=mocap, clip=CLIP)
    with pytest.raises(ValueError, match="2 of 5"):
        prepare(config)
    assert not root.exists(), "the root is not claimed by a config that cannot be prepared"
    left = ("mocap/cmu_a/01_01.bvh", "mocap/cmu_a/01_03.bvh")
    rest = plan_windows(MocapConfig(folder=folder, leave_out=left, stride=50), CLIP)
    paths = sorted(window.path for found in rest.values() for window in found)
    # The take of the first file is on another rig too, but that one is flagged.
    assert paths == [f"mocap/cmu_a/01_0{number}.bvh" for number in (2, 4, 5)]


def test_only_files_that_are_there_can_be_left_out(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"leave_out names \['walk.bvh'\], but .* correct the paths"
    ):
        find_files(MocapConfig(folder=folder, leave_out=("walk.bvh",)))


def test_a_changed_file_is_read_again(folder: Path, bvh: Callable[..., Path]) -> None:
    config = MocapConfig(folder=folder, stride=1)

    def ends() -> dict[str, int]:
        found = plan_windows(config, CLIP).values()
        return {w.path: w.first for windows in found for w in windows}

    before = ends()
    path = folder / "mocap/cmu_a/01_02.bvh"
    bvh("longer.bvh", num_frames=90).rename(path)
    os.utime(path, ns=(1, 1))
    after = ends()
    name = "mocap/cmu_a/01_02.bvh"
    assert after.pop(name) == before.pop(name) + 8  # half a second at 16 frames per second
    assert after == before


def _smpl_file(path: Path, **more: float) -> None:
    poses = np.zeros((40, 72))
    poses[:, 3] = np.linspace(0, -0.5, 40)
    trans = np.tile([0.0, 0.95, 0.0], (40, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, poses=poses, trans=trans, **more)


def test_a_frame_rate_is_for_the_files_that_state_none(tmp_path: Path) -> None:
    _smpl_file(tmp_path / "silent.npz")
    _smpl_file(tmp_path / "own.npz", mocap_framerate=20.0)
    (tmp_path / "index.csv").write_text("file,text\nsilent.npz,kick\nown.npz,kick\n")
    with pytest.raises(
        ValueError, match=r"1 of 2 .*\n  silent.npz: .* states no frame rate"
    ) as caught:
        plan_windows(MocapConfig(folder=tmp_path), CLIP)
    assert "--mocap.source-fps" in str(caught.value)
    windows = plan_windows(MocapConfig(folder=tmp_path, source_fps=40, stride=1), CLIP)
    last = {w.path: w.first for found in windows.values() for w in found}
    assert last == {"silent.npz": 16 - CLIP.num_frames, "own.npz": 32 - CLIP.num_frames}


def test_identity_names_no_field_that_only_the_generator_reads(
    folder: Path, tmp_path: Path
) -> None:
    stated = PrepareConfig(
        root=tmp_path, source="mocap", mocap=MocapConfig(folder=folder), clip=CLIP
    )
    other = CLIP.model_copy(update={"families": ("walk",), "max_delay_s": 0.0, "chain_share": 1.0})
    changed = stated.model_copy(update={"clip": other, "first_clip": 7})
    assert changed.identity == stated.identity
    wider = CLIP.model_copy(update={"width": 64})
    assert stated.model_copy(update={"clip": wider}).identity != stated.identity
    generated = PrepareConfig(root=tmp_path, clip=CLIP)
    assert generated.model_copy(update={"clip": other}).identity != generated.identity


def test_a_dataset_of_the_old_identity_is_refused_field_by_field(
    folder: Path, tmp_path: Path
) -> None:
    config = PrepareConfig(
        root=tmp_path, source="mocap", mocap=MocapConfig(folder=folder), clip=CLIP
    )
    old = config.identity
    old["mocap"] = {**old["mocap"], "importer": "1"}
    old["clip"] = {**old["clip"], "families": ["walk"]}
    (tmp_path / "prepare.json").write_text(json.dumps(old))
    with pytest.raises(
        ValueError, match=r"another config:\n  clip.families.*\n  mocap.importer: '1'"
    ):
        prepare(config)


def test_a_long_path_is_filmed_with_a_longer_lens() -> None:
    time = torch.linspace(0, 1, 9)
    person = torch.tensor([[x, y, 0.0] for x in (-0.3, 0.3) for y in (0.0, 0.9, 1.7)])
    points = person + torch.stack([time * 0, time * 0, 5 * time], -1)[:, None]
    placement = Placement(azimuth=0.2, eye_height=1.2, focal=1.3, fill=0.7, drift=(0, 0))

    def filmed(most: float) -> tuple[float, torch.Tensor]:
        view = frame_person(placement, points, height=96, width=96, margin=0.04, max_growth=most)
        seen = to_camera(points, view.T_camera_world)
        depth = seen[..., 2].mean(1)
        return float(depth.max() / depth.min()), project(seen, view.intrinsics)

    assert filmed(float("inf"))[0] > 2
    growth, pixels = filmed(1.6)
    assert 1.4 < growth < 1.65
    assert pixels.min() > 0
    assert pixels.max() < 96
    height = pixels[..., 1].amax(1) - pixels[..., 1].amin(1)
    assert float(height[0]) > 96 / 2, "the person begins at half of the picture's height"


def test_a_kind_of_file_is_answered_with_the_right_source(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(PrepareConfig, args=["--root", "x", "--source", "bvh"])
    printed = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "--source mocap --mocap.folder DIR" in printed
    assert "--root is where the dataset goes" in printed
    with pytest.raises(SystemExit):
        tyro.cli(PrepareConfig, args=["--root", "x", "--source", "generator"])
    assert "'generator' is no source; expected procedural or" in capsys.readouterr().err
    found = tyro.cli(PrepareConfig, args=["--root", "x", "--source", "mocap"])
    assert found.source == "mocap"
