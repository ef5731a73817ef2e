"""The pipeline against its own plan: same batches with and without Ray, in order, from any step,
for any split over ranks, and with broken rows."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load

from motion.batch import Batch
from motion.data.collate import chosen_captions
from motion.data.manifest import Manifest, write_dataset
from motion.data.pipeline import StreamConfig, pack, stream, unpack
from motion.data.plan import ClipRef, Plan
from motion.data.schema import SCHEMA, encode_tensor, present_columns, row_checksum, seal
from motion.data.storage import write_shard
from motion.rotations import matrix_from_rotvec

COLUMNS = (
    "smpl_rotvec", "smpl_translation", "smpl_betas", "contacts", "intrinsics", "T_camera_world",
    "keypoints", "keypoints_detected", "keypoints_confidence", "keypoints_visible",
    "keypoints_size", "latent_rgb", "latent_map", "text_embedding", "text_mask",
)  # fmt: skip
INLINE = StreamConfig(use_ray=False)
RAY = StreamConfig(readers=2, micro_batches_per_task=2)
FRAMES = 9


def row(index: int, *, frames: int = FRAMES, nan: bool = False) -> dict:
    """Clips 0, 3, 6 ... carry everything; 1, 4 ... lack video; 2, 5 ... lack detections, camera."""
    rng = np.random.default_rng(index)
    kind = index % 3

    def normal(*shape: int) -> dict:
        return encode_tensor(rng.standard_normal(shape).astype(np.float32))

    rotvec = rng.standard_normal((frames, 24, 3)).astype(np.float32)
    if nan:
        rotvec[2, 3, 1] = np.nan
    tokens = 3 + index % 4
    values = {
        "clip_id": f"clip-{index:03d}", "source": "ab"[index % 2], "split": "train",
        "licence": "CC0-1.0", "flagged": False, "fps": 16.0, "num_frames": frames,
        "bucket": f"{FRAMES}x16x16", "captions": ["one", "two", "three"], "body_id": "free-test",
        "metadata": "{}", "smpl_rotvec": encode_tensor(rotvec),
        "smpl_translation": normal(frames, 3), "smpl_betas": normal(10),
        "contacts": encode_tensor(rng.integers(0, 2, (frames, 4)).astype(np.uint8)),
        "keypoints": normal(frames, 17, 2),
        "keypoints_visible": encode_tensor(rng.integers(0, 2, (frames, 17)).astype(np.uint8)),
        "keypoints_size": encode_tensor(np.array([1920, 1080], dtype=np.int32)),
        "text_embedding": encode_tensor(rng.standard_normal((3, tokens, 8)).astype(np.float16)),
        "text_mask": encode_tensor(np.ones((3, tokens), dtype=np.uint8)),
    }  # fmt: skip
    if kind != 1:
        for name in ("latent_rgb", "latent_map"):
            values[name] = encode_tensor(rng.standard_normal((4, 3, 2, 2)).astype(np.float16))
    if kind != 2:
        values["intrinsics"] = normal(frames, 3, 3)
        values["T_camera_world"] = normal(frames, 4, 4)
        values["keypoints_detected"] = normal(frames, 17, 2)
        values["keypoints_confidence"] = encode_tensor(np.ones((frames, 17), dtype=np.float32) / 4)
    if nan:
        # What seal() refuses to write: such a row can only come from elsewhere.
        values = dict.fromkeys(SCHEMA.names) | values
        values["present"] = list(present_columns(values))
        return values | {"checksum": row_checksum(values)}
    return seal(values)


def dataset(root: Path, *, count: int = 40, nan: tuple[int, ...] = (), short: int = 5) -> Path:
    """Shards of 4 clips, one clip per row group; clip `short` has 6 of 9 frames."""
    rows = [row(i, frames=6 if i == short else FRAMES, nan=i in nan) for i in range(count)]
    files = []
    for start in range(0, count, 4):
        files.append(root / "shards" / f"{start:03d}.parquet")
        write_shard(files[-1], rows[start : start + 4], row_group_size=1)
    write_dataset(root, files, config={})
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return dataset(tmp_path_factory.mktemp("encoded"))


def plan(root: Path, *, world: int = 1, accumulation: int = 1, micro: int = 4) -> Plan:
    clips = map(ClipRef.of, Manifest.load(root).select("train"))
    return Plan(clips, seed=7, micro_batch=micro, accumulation=accumulation, world=world)


def batches(root: Path, it: Plan, config: StreamConfig = INLINE, **options) -> list[Batch]:
    arguments = {"rank": 0, "start_step": 0, "steps": 12, "columns": COLUMNS} | options
    return list(stream(it, root, config=config, **arguments))


def same(one: Batch, two: Batch) -> None:
    for item in dataclasses.fields(Batch):
        a, b = getattr(one, item.name), getattr(two, item.name)
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        else:
            assert a == b, item.name


def test_batch_holds_what_the_rows_hold(root: Path) -> None:
    seen = 0
    for batch in batches(root, plan(root)):
        for i, clip_id in enumerate(batch.clip_ids):
            index = int(clip_id[-3:])
            source = row(index, frames=6 if index == 5 else FRAMES)
            seen += 1
            rotvec = np.frombuffer(source["smpl_rotvec"]["data"], np.float32).reshape(-1, 24, 3)
            expected = matrix_from_rotvec(torch.tensor(rotvec))
            torch.testing.assert_close(batch.R_parent_child[i, : len(rotvec)], expected)
            torch.testing.assert_close(batch.R_parent_child[i, -1], expected[-1])
            assert batch.frame_mask[i].sum() == len(rotvec)
            assert bool(batch.has_rgb[i]) == bool(batch.has_map[i]) == (index % 3 != 1)
            assert bool(batch.has_camera[i]) == (index % 3 != 2)
            assert batch.text_window_s[i, 0].tolist() == [0, len(rotvec) / 16]
            chosen = chosen_captions(int(batch.noise_key[i]), 3, 1)[0]
            text = np.frombuffer(source["text_embedding"]["data"], np.float16).reshape(3, -1, 8)
            mask = batch.text_mask[i, 0]
            torch.testing.assert_close(
                batch.text[i, 0][mask], torch.tensor(text[chosen].astype(np.float32))
            )
            confidence = batch.keypoints_confidence[i]
            assert (confidence == 0.25).all() == (index % 3 != 2)
        assert batch.keypoints_size.tolist() == [[1920, 1080]] * 4
        assert batch.body_id == "free-test"
        assert batch.contacts.dtype == torch.bool
    assert seen == 48


def test_neutral_values_stand_where_a_clip_lacks_a_modality(root: Path) -> None:
    lacking = 0
    for batch in batches(root, plan(root)):
        if batch.latent_rgb is not None:
            assert (batch.latent_rgb[~batch.has_rgb] == 0).all()
        if batch.T_camera_world is not None:
            absent = batch.T_camera_world[~batch.has_camera]
            lacking += len(absent)
            torch.testing.assert_close(absent, torch.eye(4).expand_as(absent))
    assert lacking > 0


def test_absent_modality_and_unasked_columns_are_none(root: Path) -> None:
    for batch in batches(root, plan(root), columns=("smpl_rotvec",), steps=2):
        assert batch.has_motion.all()
        assert batch.latent_rgb is batch.text is batch.keypoints is batch.has_rgb is None


def test_a_path_that_was_not_read_is_not_there(root: Path) -> None:
    (batch,) = batches(root, plan(root), steps=1, columns=("smpl_rotvec",))
    assert batch.translation is None
    assert batch.has_motion is not None
    assert batch.has_motion.all()
    assert batch.has_path is not None
    assert not batch.has_path.any()


@pytest.mark.parametrize(("start", "accumulation"), [(0, 1), (5, 2)])
def test_ray_reads_the_same_batches_in_the_same_order(
    root: Path, ray_cluster, start: int, accumulation: int
) -> None:
    it = plan(root, accumulation=accumulation, micro=2)
    inline = batches(root, it, start_step=start, steps=25)
    read = batches(root, it, RAY, start_step=start, steps=25)
    assert len(read) == len(inline) == (25 - start) * accumulation
    assert [batch.step for batch in read] == [
        k for k in range(start, 25) for _ in range(accumulation)
    ]
    for one, two in zip(read, inline, strict=True):
        same(one, two)


def test_long_run_is_read_window_by_window(root: Path, ray_cluster) -> None:
    it = plan(root)
    windows = RAY.model_copy(update={"window": 3})  # the last one is not full
    for one, two in zip(
        batches(root, it, windows, steps=14, columns=("smpl_betas",)),
        batches(root, it, steps=14, columns=("smpl_betas",)),
        strict=True,
    ):
        same(one, two)


def test_resume_continues_where_the_run_stopped(root: Path) -> None:
    whole = batches(root, plan(root))
    for one, two in zip(whole[7:], batches(root, plan(root), start_step=7), strict=True):
        same(one, two)


def test_stopping_early_and_starting_again_works_with_ray(root: Path, ray_cluster) -> None:
    it = plan(root)
    running = stream(it, root, 0, 0, steps=40, columns=("smpl_betas",), config=RAY)
    first = [next(running) for _ in range(3)]
    running.close()
    again = batches(root, it, RAY, start_step=3, steps=6, columns=("smpl_betas",))
    for one, two in zip(
        [*first, *again], batches(root, it, steps=6, columns=("smpl_betas",)), strict=True
    ):
        same(one, two)


def test_two_ranks_see_what_one_rank_accumulates(root: Path) -> None:
    ranks = [batches(root, plan(root, world=2, micro=2), rank=rank) for rank in (0, 1)]
    alone = batches(root, plan(root, accumulation=2, micro=2))
    dealt = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    for one, two in zip(dealt, alone, strict=True):
        same(one, two)
        assert one.num_micro_batches == 2
        assert one.counts["clips"] == 4


def test_counts_equal_the_masks_of_the_global_batch(root: Path) -> None:
    ranks = [batches(root, plan(root, world=2, micro=2), rank=rank) for rank in (0, 1)]
    for pair in zip(*ranks, strict=True):
        for name in ("motion", "text", "camera", "keypoints", "rgb", "map"):
            masks = [getattr(batch, f"has_{name}") for batch in pair]
            total = sum(0 if mask is None else int(mask.sum()) for mask in masks)
            assert pair[0].counts[name] == pair[1].counts[name] == total, name


def damage(root: Path, index: int) -> None:
    """Flip bytes inside a clip's rotations."""
    path = root / "shards" / f"{index // 4 * 4:03d}.parquet"
    groups = pq.ParquetFile(path).metadata.row_group(index % 4)
    columns = {groups.column(i).path_in_schema: groups.column(i) for i in range(groups.num_columns)}
    chunk = columns["smpl_rotvec.data"]
    data = bytearray(path.read_bytes())
    at = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[at : at + 8] = bytes(255 - byte for byte in data[at : at + 8])
    path.write_bytes(data)


def test_broken_rows_are_replaced_by_rule_and_named(tmp_path: Path, ray_cluster) -> None:
    good = batches(dataset(tmp_path / "good"), plan(tmp_path / "good"), steps=10)
    bad_root = dataset(tmp_path / "bad", nan=(12,))
    damage(bad_root, 21)
    # Clips 12, 15, 18 ... carry the same: 12 is NaN, so 15 stands in; 21 is damaged, so 24 does.
    it = plan(bad_root)
    bad = batches(bad_root, it, steps=10)
    notes = [note for batch in bad for note in batch.replaced]
    assert sorted(note.split(":")[0] for note in notes) == [
        "clip-012 -> clip-015",
        "clip-021 -> clip-024",
    ]
    assert "NaN" in next(note for note in notes if "012" in note)
    for one, two in zip(good, bad, strict=True):
        assert one.counts == two.counts
        swapped = tuple(
            {"clip-012": "clip-015", "clip-021": "clip-024"}.get(i, i) for i in one.clip_ids
        )
        assert two.clip_ids == swapped
        kept = torch.tensor([a == b for a, b in zip(one.clip_ids, two.clip_ids, strict=True)])
        torch.testing.assert_close(one.R_parent_child[kept], two.R_parent_child[kept])
        assert torch.isfinite(two.R_parent_child).all()
    for one, two in zip(bad, batches(bad_root, it, RAY, steps=10), strict=True):
        same(one, two)


def test_a_missing_file_ends_the_run_with_its_name(tmp_path: Path, ray_cluster) -> None:
    root = dataset(tmp_path)
    it = plan(root)
    for file in (root / "shards").iterdir():
        file.unlink()
    with pytest.raises(RuntimeError, match=r"clip 'clip-\d+' in .*parquet, row group \d, row 0"):
        batches(root, it)
    with pytest.raises(Exception, match=r"clip 'clip-\d+' in .*parquet, row group \d, row 0"):
        batches(root, it, RAY)


def test_columns_that_clips_lack_are_refused_before_training(root: Path) -> None:
    with pytest.raises(ValueError, match=r"'rgb' was asked for.*latent_rgb"):
        batches(root, plan(root), columns=("rgb",))
    with pytest.raises(
        ValueError, match=r"keypoints_detected'\] were asked.* only \['keypoints'\]"
    ):
        batches(root, plan(root), columns=("keypoints_detected", "keypoints_confidence"))
    with pytest.raises(ValueError, match="unknown columns"):
        batches(root, plan(root), columns=("smpl",))
    with pytest.raises(ValueError, match="rank is 1"):
        batches(root, plan(root), rank=1)
    with pytest.raises(ValueError, match="start_step is 13"):
        batches(root, plan(root), start_step=13)


def test_several_captions_differ_and_repeat_only_when_they_run_out(root: Path) -> None:
    config = INLINE.model_copy(update={"captions": 3})
    batch = batches(root, plan(root), config, steps=1)[0]
    assert batch.text.shape[:2] == (4, 3)
    assert sorted(chosen_captions(5, 3, 3).tolist()) == [0, 1, 2]
    assert sorted(chosen_captions(5, 2, 4).tolist()) == [0, 0, 1, 1]
    picks = {tuple(chosen_captions(key, 3, 1)) for key in range(50)}
    assert len(picks) == 3


def test_pack_and_unpack() -> None:
    columns = {"a": np.array([[True, False]]), "b": np.arange(3), "c": ("x", "y"), "d": {"n": 1}}
    blob = pack(columns)
    assert set(load(blob)) == {"a", "b"}
    out = unpack(blob)
    np.testing.assert_array_equal(out["a"], columns["a"])
    np.testing.assert_array_equal(out["b"], columns["b"])
    assert (out["c"], out["d"]) == (columns["c"], columns["d"])
