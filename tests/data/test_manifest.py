"""The manifest and the version of a dataset."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.data.manifest import Manifest, dataset_hash, read_commit, write_dataset
from motion.data.schema import encode_tensor, seal
from motion.data.storage import write_shard


def _row(clip_id: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "clip_id": clip_id,
        "source": "example",
        "split": "validation" if clip_id.endswith("3") else "train",
        "licence": "CC0-1.0",
        "flagged": False,
        "fps": 16.0,
        "num_frames": 2,
        "bucket": "2x8x8",
        "captions": ["a person waves"],
        "body_id": "",
        "metadata": "{}",
        "rgb": b"video of " + clip_id.encode(),
    }
    return seal(row | changes)


def _write(root: Path, groups: list[list[dict[str, Any]]], **options: Any) -> Manifest:
    files: list[Path] = []
    for index, rows in enumerate(groups):
        path = root / "shards" / f"{index}.parquet"
        write_shard(path, rows, row_group_size=2, encoders=options.get("encoders"))
        files.append(path)
    return write_dataset(root, files, config={"a": 1}, **options)


def test_load_gives_back_what_was_written(tmp_path: Path) -> None:
    betas = encode_tensor(np.zeros(10, np.float32))
    rows = [_row(f"c{i}", smpl_betas=betas if i % 2 else None) for i in range(5)]
    written = _write(tmp_path, [rows[3:], rows[:3]], facts={"psnr_rgb_db": 30.0})
    loaded = Manifest.load(tmp_path)
    assert loaded.rows == written.rows
    assert loaded.facts == {"psnr_rgb_db": 30.0}
    assert [row.clip_id for row in loaded.rows] == [f"c{i}" for i in range(5)]
    assert [row.present for row in loaded.rows[:2]] == [("rgb",), ("smpl_betas", "rgb")]
    third = loaded.rows[2]
    assert (third.file, third.row_group, third.row) == ("shards/1.parquet", 1, 0)
    assert [row.clip_id for row in loaded.select("validation")] == ["c3"]
    with pytest.raises(ValueError, match="no clip of split 'test'"):
        loaded.select("test")


def test_hash_does_not_depend_on_order_or_files(tmp_path: Path) -> None:
    rows = [_row(f"c{i}") for i in range(4)]
    one = _write(tmp_path / "one", [rows])
    two = _write(tmp_path / "two", [rows[2:][::-1], rows[:2]])
    assert one.hash == two.hash
    assert dataset_hash(reversed(one.rows), {}) == one.hash


def test_hash_depends_on_contents_and_encoders(tmp_path: Path) -> None:
    rows = [_row(f"c{i}") for i in range(3)]
    base = _write(tmp_path / "base", [rows]).hash
    fewer = _write(tmp_path / "fewer", [rows[:2]]).hash
    changed = _write(tmp_path / "changed", [[*rows[:2], _row("c2", rgb=b"other")]]).hash
    encoded = _write(tmp_path / "encoded", [rows], encoders={"text": {"hash": "1"}}).hash
    assert len({base, fewer, changed, encoded}) == 4


def test_hash_is_stable_across_versions_of_the_code(tmp_path: Path) -> None:
    manifest = _write(tmp_path, [[_row("c0"), _row("c3")]])
    assert manifest.hash.startswith("1a0aa7aaa9bb49a0")


def test_no_commit_no_dataset(tmp_path: Path) -> None:
    _write(tmp_path, [[_row("c0")]])
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match="prepare_data"):
        Manifest.load(tmp_path)


def test_tampering_is_noticed(tmp_path: Path) -> None:
    _write(tmp_path, [[_row("c0")]])
    commit = read_commit(tmp_path)
    assert commit is not None
    (tmp_path / "dataset.json").write_text(json.dumps(commit | {"hash": "0" * 64}))
    with pytest.raises(ValueError, match="was changed"):
        Manifest.load(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(commit | {"schema_version": "0"}))
    with pytest.raises(ValueError, match="schema version 0"):
        Manifest.load(tmp_path)


def test_doubled_clips_and_foreign_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="occur twice"):
        _write(tmp_path, [[_row("c0")], [_row("c0")]])
    with pytest.raises(ValueError, match="encode again"):
        write_dataset(
            tmp_path, [tmp_path / "shards" / "0.parquet"], config={}, encoders={"text": {}}
        )
