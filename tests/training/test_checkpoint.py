import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.training import checkpoint
from motion.training.checkpoint import (
    DamagedCheckpointError,
    load_average,
    read_state,
    rng_state,
    save_average,
    set_rng_state,
    sha256,
    verify,
)
from motion.training.restore import SNAPSHOT, folder_name, listed, repair_snapshot
from motion.training.shards import Fragment, MovingAverage


def write_checkpoint(run_dir: Path, step: int, world: int = 2) -> Path:
    """A checkpoint with one shard and one manifest per rank."""
    folder = run_dir / folder_name(step, 1)
    (folder / "native").mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"format": 1, "world": world, "step": step}))
    for rank in range(world):
        shard = folder / "native" / f"shard{rank}.pt"
        shard.write_bytes(bytes([rank]) * 100)
        manifest = {f"native/{shard.name}": [100, sha256(shard)]}
        (folder / f"manifest_rank{rank}.json").write_text(json.dumps(manifest))
    return folder


def write_snapshot(run_dir: Path, folders: list[Path]) -> None:
    entries = [{"checkpoint_dir_name": f.name, "metrics": {}} for f in folders]
    snapshot = {
        "ray_version": "2.60.0",
        "checkpoint_results": entries,
        "checkpoint_report_indices": list(range(len(entries))),
        "latest_checkpoint_result": entries[-1],
        "pending_training_results": entries[-1:],
        "pending_validation_specs": [True],
        "current_report_index": len(entries),
    }
    (run_dir / SNAPSHOT).write_text(json.dumps(snapshot))


def test_every_kind_of_damage_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 4)
    verify(folder)
    shard = folder / "native" / "shard1.pt"
    shard.write_bytes(b"\x01" * 99 + b"\x02")
    verify(folder, contents=False)
    verify(folder, rank=0, world=2)  # rank 0 of 2 checks only the files of rank 0
    with pytest.raises(DamagedCheckpointError, match=r"shard1\.pt does not match its SHA-256"):
        verify(folder, rank=1, world=2)
    shard.write_bytes(b"\x01" * 98)
    with pytest.raises(DamagedCheckpointError, match=r"shard1\.pt has 98 bytes, expected 100"):
        verify(folder, contents=False)
    shard.unlink()
    with pytest.raises(DamagedCheckpointError, match=r"shard1\.pt is missing"):
        verify(folder)
    (folder / "manifest_rank0.json").write_bytes(b"\xff{}")
    with pytest.raises(DamagedCheckpointError, match=r"manifest_rank0\.json is unreadable"):
        verify(folder)
    (folder / "manifest_rank0.json").unlink()
    with pytest.raises(DamagedCheckpointError, match=r"manifest_rank0\.json"):
        verify(folder)
    for content in (b"{", b"\xff\xfe"):
        (folder / "state.json").write_bytes(content)
        with pytest.raises(DamagedCheckpointError, match=r"state\.json is unreadable"):
            read_state(folder)
    (folder / "state.json").write_text("7")
    with pytest.raises(DamagedCheckpointError, match=r"state\.json is no JSON object"):
        read_state(folder)


def test_a_file_that_cannot_be_read_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError on one rank would leave the others waiting: it must go through the agreement."""
    folder = write_checkpoint(tmp_path, 4)

    def broken(_: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint, "sha256", broken)
    with pytest.raises(DamagedCheckpointError, match=r"shard0\.pt cannot be read .*Input/output"):
        verify(folder)


def test_snapshot_loses_missing_and_truncated_checkpoints_and_says_so(tmp_path: Path) -> None:
    folders = [write_checkpoint(tmp_path, step) for step in (4, 8, 12)]
    write_snapshot(tmp_path, folders)
    (folders[2] / "state.json").unlink()
    orphan = write_checkpoint(tmp_path, 16)
    said: list[str] = []
    repair_snapshot(tmp_path, said.append)
    snapshot = json.loads((tmp_path / SNAPSHOT).read_text())
    names = [entry["checkpoint_dir_name"] for entry in snapshot["checkpoint_results"]]
    assert names == [folders[0].name, folders[1].name]
    assert snapshot["latest_checkpoint_result"]["checkpoint_dir_name"] == folders[1].name
    assert snapshot["checkpoint_report_indices"] == [0, 1]
    assert snapshot["pending_training_results"] == snapshot["pending_validation_specs"] == []
    assert len(said) == 1
    assert "falling back to the one before: checkpoint_00000012_001" in said[0]
    assert listed(tmp_path) == [folders[1], folders[0]]
    assert not orphan.exists(), "an uncommitted upload must not be taken for a checkpoint"
    assert (tmp_path / f"damaged_{folders[2].name}").is_dir()


def test_snapshot_without_an_intact_checkpoint_is_an_error(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 4)
    write_snapshot(tmp_path, [folder])
    (folder / "native" / "shard0.pt").unlink()
    with pytest.raises(RuntimeError, match=r"none of the 1 checkpoints .* choose another name"):
        repair_snapshot(tmp_path, lambda _: None)


def test_an_intact_snapshot_is_not_touched(tmp_path: Path) -> None:
    write_snapshot(tmp_path, [write_checkpoint(tmp_path, 4)])
    before = (tmp_path / SNAPSHOT).stat().st_mtime_ns
    repair_snapshot(tmp_path, pytest.fail)
    assert (tmp_path / SNAPSHOT).stat().st_mtime_ns == before


def test_generators_come_back_through_json() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    torch.manual_seed(3)
    torch.randn(1)
    random.gauss(0, 1)
    np.random.randn()
    state = json.loads(json.dumps(rng_state()))
    first = draw()
    assert draw() != first
    set_rng_state(state)
    assert draw() == first


def test_average_follows_its_formula_and_restores_from_other_cuts(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    average = MovingAverage(0.75, [Fragment("a", 0, whole)])
    average.update([Fragment("a", 0, whole + 4)])
    torch.testing.assert_close(average.parts[0].values, whole + 1)
    cuts = [(0, 3), (3, 8), (8, 10)]
    pieces: list[Fragment] = []
    for index, (low, high) in enumerate(cuts):
        part = MovingAverage(0.75, [Fragment("a", low, whole[low:high] * 2)])
        save_average(tmp_path / f"{index}.safetensors", part)
        pieces += load_average(tmp_path / f"{index}.safetensors", {"a", "b"})
    halves = MovingAverage(0.75, [Fragment("a", 0, whole[:5]), Fragment("a", 5, whole[5:])])
    halves.load(pieces)
    assert torch.equal(torch.cat([part.values for part in halves.parts]), whole * 2)
    with pytest.raises(ValueError, match="lacks 2 elements of a"):
        halves.load(pieces[:-1])
