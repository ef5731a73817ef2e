"""Preparing a dataset on Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from motion.data.manifest import Manifest
from motion.data.prepare import PrepareConfig, describe, make_shard, plan_shards, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.schema import check_row
from motion.data.storage import read_rows

CLIP = ProceduralConfig(num_frames=5, height=32, width=32)


def _config(root: Path, **changes: int) -> PrepareConfig:
    options = {"num_train": 5, "num_validation": 2, "num_test": 1, "shard_clips": 2}
    return PrepareConfig(root=root, clip=CLIP, row_group_size=2, **(options | changes))


def test_plan_covers_every_clip_once_and_splits_are_disjoint(tmp_path: Path) -> None:
    shards = plan_shards(_config(tmp_path))
    assert [(shard.split, shard.num_clips) for shard in shards] == [
        ("train", 2), ("train", 2), ("train", 1), ("validation", 2), ("test", 1),
    ]  # fmt: skip
    seeds = [s.first_seed + i for s in shards for i in range(s.num_clips)]
    assert len(set(seeds)) == 8
    assert len({shard.file for shard in shards}) == 5


@pytest.mark.usefixtures("ray_cluster")
def test_prepare_is_complete_and_idempotent(tmp_path: Path) -> None:
    config = _config(tmp_path / "data")
    manifest = Manifest.load(prepare(config))
    assert len(manifest.rows) == 8
    assert {split: len(manifest.select(split)) for split in ("train", "validation", "test")} == {
        "train": 5,
        "validation": 2,
        "test": 1,
    }
    for row in manifest.rows:
        (found,) = read_rows(manifest.root / row.file, row.row_group, [row.row])
        check_row(found)
        assert (found["clip_id"], found["split"]) == (row.clip_id, row.split)
    times = {path: path.stat().st_mtime_ns for path in manifest.root.rglob("*") if path.is_file()}
    prepare(config)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.usefixtures("ray_cluster")
def test_restart_makes_only_what_is_missing(tmp_path: Path) -> None:
    whole = Manifest.load(prepare(_config(tmp_path / "whole")))
    config = _config(tmp_path / "broken")
    root = prepare(config)
    (root / "dataset.json").unlink()
    lost, kept = root / "shards" / "train-00001.parquet", root / "shards" / "train-00000.parquet"
    lost.unlink()
    before = kept.stat().st_mtime_ns
    assert "4 of them written" in describe(config)
    again = Manifest.load(prepare(config))
    assert lost.is_file()
    assert kept.stat().st_mtime_ns == before
    assert again.hash == whole.hash, "a restart gives the same dataset"


@pytest.mark.usefixtures("ray_cluster")
def test_another_config_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    config = _config(root)
    prepare(config)
    for run in (prepare, describe):
        with pytest.raises(
            ValueError, match=r"another config:\n  num_train: 5 there, 6 now\nChoose another root"
        ):
            run(_config(root, num_train=6))
    (root / "dataset.json").unlink()
    for run in (prepare, describe):
        with pytest.raises(ValueError, match="another config"):
            run(_config(root, num_train=6))
    assert json.loads((root / "prepare.json").read_text())["num_train"] == 5


@pytest.mark.usefixtures("ray_cluster")
def test_failure_in_a_task_says_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "shards").write_text("a file where the shards' folder belongs")
    with pytest.raises(RuntimeError, match=r"is not complete: .*cannot write .*give a --root"):
        prepare(_config(root))
    assert not (root / "dataset.json").exists()


def test_clips_do_not_depend_on_the_shard_size(tmp_path: Path) -> None:
    clips: list[list[dict[str, object]]] = []
    for size in (1, 3):
        config = _config(tmp_path / str(size), num_train=3, shard_clips=size)
        found: list[dict[str, object]] = []
        for shard in plan_shards(config)[: 3 // size]:
            assert make_shard(shard._asdict(), root=config.root, config=config)["error"] == ""
            for group in range(-(-shard.num_clips // 2)):
                rows = range(min(2, shard.num_clips - 2 * group))
                found += read_rows(config.root / shard.file, group, rows)
        clips.append(found)
    assert clips[0] == clips[1]


@pytest.mark.slow
def test_recipe_runs(tmp_path: Path) -> None:
    options = "--num-train 2 --num-validation 1 --num-test 1 --clip.height 32 --clip.width 32"
    command = [sys.executable, "rayjobs/prepare_data.py", "--root", str(tmp_path / "data")]
    command += options.split()
    checkout = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "RAY_ADDRESS": "local"}
    for extra in (["--dry-run"], []):
        done = subprocess.run(
            command + extra, cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "4 clips (2 train, 1 validation, 1 test)" in done.stdout
        assert (tmp_path / "data" / "dataset.json").is_file() == (not extra)
