"""Recorded videos as clips without motion, and their place in a training's losses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motion.batch import Batch
from motion.body import load_body
from motion.conditioning.canvas import fitted
from motion.data.collate import collate
from motion.data.plan import ClipRef
from motion.data.prepare import PrepareConfig, make_shard, plan_shards
from motion.data.procedural import ProceduralConfig
from motion.data.reading import Clip
from motion.data.recordings import (
    Stretch,
    VideoConfig,
    find_videos,
    identity,
    plan_videos,
    video_row,
)
from motion.data.schema import check_row, present_columns, seal
from motion.data.video import decode_mp4, encode_mp4
from motion.diffusion.noise import noise_key
from motion.models.comovi.config import CoMoViConfig

CLIP = ProceduralConfig(num_frames=9, fps=16.0, height=32, width=48)


def write_video(path: Path, num_frames: int = 40, fps: float = 20.0) -> np.ndarray:
    """Frames whose brightness counts them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.linspace(20, 220, num_frames).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, 64, 64, 3)).copy()
    path.write_bytes(encode_mp4(frames, fps, lossless=False))
    return levels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        write_video(tmp_path / "videos" / f"{name}.mp4")
    (tmp_path / "videos" / "a.txt").write_text("a person walks\n\na man strolls\n")
    rows = ["file,text,licence,flag", "videos/b.mp4,someone jumps,CC0-1.0,",
            "videos/c.mp4,someone sits,CC BY-NC 4.0,"]  # fmt: skip
    (tmp_path / "index.csv").write_text("\n".join(rows))
    return tmp_path / "videos"


def test_captions_come_from_where_they_are_stated(folder: Path, tmp_path: Path) -> None:
    found = {source.path.name: source for source in find_videos(VideoConfig(folder=folder))}
    assert set(found) == {"a.mp4", "b.mp4"}  # c is non-commercial, d untold
    assert found["a.mp4"].captions == ("a person walks", "a man strolls")
    assert found["b.mp4"].captions == ("someone jumps",)
    assert found["b.mp4"].told.licence == "CC0-1.0"
    flagged = find_videos(VideoConfig(folder=folder, include_flagged=True))
    assert [s.path.name for s in flagged if s.told.flagged] == ["c.mp4"]
    table = tmp_path / "table.csv"
    table.write_text("file,caption\nd.mp4,one\nd.mp4,two\n")
    (only,) = find_videos(VideoConfig(folder=folder, captions=table))
    assert (only.path.name, only.captions) == ("d.mp4", ("one", "two"))
    table.write_text("name,caption\n")
    with pytest.raises(ValueError, match=r"has no column \['file'\]"):
        find_videos(VideoConfig(folder=folder, captions=table))
    with pytest.raises(ValueError, match=r"existing \.csv"):
        find_videos(VideoConfig(folder=folder, captions=tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"--video\.folder"):
        find_videos(VideoConfig())


def test_files_are_cut_into_few_clips_that_share_a_split(folder: Path) -> None:
    config = VideoConfig(folder=folder, include_flagged=True)
    plan = plan_videos(config, CLIP)  # 2 s hold three clips of 9 / 16 s, two are taken
    assert sorted(map(len, plan.values())) == [2, 2, 2]
    for split, stretches in plan.items():
        assert len({stretch.path for stretch in stretches}) == 1
        assert [stretch.start_s for stretch in stretches] == [0.0, 0.5625]
        assert {stretch.split for stretch in stretches} == {split}
    with pytest.raises(ValueError, match=r"lasts 10\.00 s"):
        plan_videos(config, CLIP.model_copy(update={"num_frames": 161}))


def test_a_row_shows_the_frames_of_its_times(folder: Path) -> None:
    levels = write_video(folder / "a.mp4")
    row = seal(video_row(Stretch("a.mp4", 0.5, "train"), VideoConfig(folder=folder), CLIP))
    check_row(row)
    assert present_columns(row) == ("rgb",)
    assert (row["body_id"], row["bucket"], row["fps"]) == ("", "9x32x48", 16.0)
    frames = decode_mp4(row["rgb"])
    assert frames.shape == (9, 32, 48, 3)
    wanted = levels[np.floor((0.5 + np.arange(9) / 16) * 20 + 1e-6).astype(int)]
    np.testing.assert_allclose(frames.mean((1, 2, 3)), wanted, atol=3)
    assert json.loads(row["metadata"])["source_size"] == [64, 64]


@pytest.mark.parametrize("size", [(64, 64), (32, 120), (200, 50)])
def test_pictures_are_cropped_and_never_stretched(size: tuple[int, int]) -> None:
    h, w = size
    y, x = np.mgrid[:h, :w]
    disk = np.hypot(y - (h - 1) / 2, x - (w - 1) / 2) < 0.2 * min(h, w)
    picture = np.repeat((255 * disk).astype(np.uint8)[..., None], 3, axis=2)
    shown = fitted(size, 32, 48).place(picture)[..., 0] > 127
    assert shown.shape == (32, 48)
    assert abs(int(shown.any(0).sum()) - int(shown.any(1).sum())) <= 1  # a disk stays one
    assert shown[15:17, 23:25].all()


def test_other_captions_or_files_are_another_dataset(folder: Path) -> None:
    config = VideoConfig(folder=folder)
    before = identity(config)
    assert identity(config) == before
    (folder / "a.txt").write_text("something else\n")
    assert identity(config) != before
    plain = PrepareConfig(root=folder, clip=CLIP).identity
    assert "video" not in plain
    joined = PrepareConfig(root=folder, clip=CLIP, video=config).identity
    assert {k: v for k, v in joined.items() if k != "video"} == plain


def test_recorded_clips_join_generated_ones(folder: Path, tmp_path: Path) -> None:
    config = PrepareConfig(
        root=tmp_path / "raw",
        clip=CLIP,
        video=VideoConfig(folder=folder, include_flagged=True),
        num_train=4, num_validation=0, num_test=0,
    )  # fmt: skip
    shards = plan_shards(config)
    assert [shard.file for shard in shards if shard.stretches] == [
        f"shards/{split}-video-00000.parquet" for split in ("train", "validation", "test")
    ]
    assert sum(shard.num_clips for shard in shards if not shard.stretches) == 4
    alone = plan_shards(config.model_copy(update={"source": "video", "num_train": 1}))
    assert [shard.num_clips for shard in alone] == [1]
    (shard,) = alone
    row: dict[str, Any] = shard._asdict() | {"stretches": json.dumps(shard.stretches)}
    assert make_shard(row, root=config.root, config=config)["error"] == ""
    assert (config.root / shard.file).is_file()


def clip(name: str, *, recorded: bool) -> Clip:
    """A clip as the pipeline reads it; a recorded one carries RGB and text alone."""
    rng = np.random.default_rng(len(name) + ord(name[-1]))

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    arrays = {
        "latent_rgb": normal(3, 3, 4, 4),
        "text_embedding": normal(2, 4, 10),
        "text_mask": np.ones((2, 4), np.uint8),
    }
    if not recorded:
        arrays |= {
            "latent_map": normal(3, 3, 4, 4),
            "smpl_rotvec": 0.4 * normal(9, 24, 3),
            "smpl_translation": normal(9, 3),
            "smpl_betas": 0.1 * normal(10),
            "T_camera_world": np.tile(np.eye(4, dtype=np.float32), (9, 1, 1)),
            "intrinsics": np.tile(np.eye(3, dtype=np.float32), (9, 1, 1)),
        }
    ref = ClipRef(name, "f", 0, 0, "9x32x32", "video" if recorded else "mocap", tuple(arrays))
    body_id = "" if recorded else load_body("free").body_id
    return Clip(ref, noise_key(0, 0, name), 16.0, 9, body_id, arrays)


def system() -> Any:
    torch.manual_seed(0)
    model = CoMoViConfig(
        latent_channels=3, text_dim=10, text_tokens=6, width=24, num_heads=2, num_layers=2,
        ffn_dim=32, patch=(1, 1, 1), time_freq_dim=16, pose_layers=1, pose_heads=2,
        pose_ffn_dim=16, pose_positions=8, supervised_layers=2, text_dropout=0.0,
    ).build()  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


MOTION_TERMS = ("flow_map", "rotation", "vertices", "joints")


def test_clips_without_motion_leave_its_terms_as_they_were() -> None:
    """Paired: with recorded clips in the batch, and without them."""
    moving = [clip("m1", recorded=False), clip("m2", recorded=False)]
    recorded = [clip("r1", recorded=True), clip("r2", recorded=True), clip("r3", recorded=True)]
    model = system()

    def run(clips: list[Clip]) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        batch = Batch.from_columns(collate(clips, captions=1))
        model.zero_grad()
        terms, present = model._terms(batch, "train")
        logs = model(batch)[1]
        loss = sum(terms[name][present[name]].mean() for name in MOTION_TERMS)
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        zero = torch.zeros(())
        return logs, [zero if g is None else g for g in gradients]

    mixed, with_recorded = run([recorded[0], moving[0], recorded[1], moving[1], recorded[2]])
    alone, without = run(moving)
    for name in MOTION_TERMS:
        torch.testing.assert_close(mixed[name], alone[name], atol=1e-6, rtol=1e-5)
    for one, two in zip(with_recorded, without, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
    assert abs(float(mixed["flow_rgb"] - alone["flow_rgb"])) > 1e-3  # they do count there


def test_shares_of_the_global_batch_add_up_whoever_has_the_recorded_clips() -> None:
    """One rank with recorded clips alone, one with motion: together one batch of all."""
    clips = [clip("m1", recorded=False), clip("m2", recorded=False)]
    clips += [clip("r1", recorded=True), clip("r2", recorded=True)]
    model = system()
    whole = Batch.from_columns(collate(clips, captions=1))
    counts = {"clips": 4, "rgb": 4, "map": 2, "motion": 2}
    parts = [
        dataclasses.replace(
            Batch.from_columns(collate(half, captions=1)), counts=counts, num_micro_batches=2
        )
        for half in (clips[:2], clips[2:])
    ]
    loss, logs = model(whole)
    loss.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    split_logs = []
    for part in parts:
        part_loss, part_logs = model(part)
        (part_loss / 2).backward()
        split_logs.append(part_logs)
    assert parts[1].R_parent_child is None  # nothing of a motion in this micro-batch
    assert parts[1].latent_map is None
    for name, value in logs.items():
        both = (split_logs[0][name] + split_logs[1][name]) / 2
        torch.testing.assert_close(both, value, atol=1e-6, rtol=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_real_videos_become_clips(real_data: Path) -> None:
    config = VideoConfig(folder=real_data / "video")
    wide = CLIP.model_copy(update={"height": 64, "width": 112})
    plan = plan_videos(config, wide)
    names = {stretch.path for stretches in plan.values() for stretch in stretches}
    assert "comovi_example.mp4" in names
    row = seal(video_row(Stretch("comovi_example.mp4", 0.0, "train"), config, wide))
    assert row["captions"] == ["a woman in a red outfit holds a plank on a mat outdoors at dusk"]
    assert decode_mp4(row["rgb"]).shape == (9, 64, 112, 3)
    assert (row["licence"], row["flagged"]) == ("Apache-2.0 (repo)", False)
