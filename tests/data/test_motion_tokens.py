"""Keypoints of random cameras and K2M's tokens as columns of a data set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from motion.batch import Batch
from motion.body import load_body
from motion.camera import project, to_camera
from motion.data import derive as derive_module
from motion.data.collate import collate
from motion.data.derive import DeriveConfig
from motion.data.manifest import Manifest, write_dataset
from motion.data.merge import merge
from motion.data.motion_tokens import TokensConfig, load_tokenizer, tokenize_dataset
from motion.data.plan import ClipRef, MicroBatch, Plan
from motion.data.procedural import ProceduralConfig, clip_row, generate_clip, generate_motion
from motion.data.project import ProjectConfig, _Projector, project_dataset, seen_from
from motion.data.reading import Reader
from motion.data.schema import decode_tensor, seal
from motion.data.storage import write_shard
from motion.models.k2m.config import AdapterConfig, QuantizerConfig, TokenizerConfig
from motion.models.k2m.tokens import Crop, cropped, made, random_crop
from motion.rotations import matrix_from_rotvec

CLIP = ProceduralConfig(render=False, num_frames=22, fps=20.0)
SMALL = TokenizerConfig.tiny().model_copy(
    update={
        "adapter": AdapterConfig(width=8, representation=4, heads=2),
        "width": 8,
        "quantizer": QuantizerConfig(num_codes=16, num_levels=3, sample_rows=8),
    }
)


def rows(count: int) -> list[dict[str, object]]:
    return [seal(clip_row(generate_motion(seed, CLIP), "train")) for seed in range(count)]


def config(**changes: object) -> ProjectConfig:
    where = DeriveConfig(source_root=Path("-"), root=Path("-"))
    return ProjectConfig.model_validate({"data": where, **changes})


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed data set of motions in two shards."""
    root = tmp_path_factory.mktemp("motions")
    found = rows(6)
    files = [root / "shards" / f"{part}.parquet" for part in "ab"]
    write_shard(files[0], found[:4], row_group_size=2)
    write_shard(files[1], found[4:], row_group_size=2)
    write_dataset(root, files, config={"kind": "procedural"})
    return root


def test_a_merged_data_set_is_derived_beside_its_parts(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray: its shards are named from another root, where they may be the source's own."""

    def here(where, make, encoders, names, phase, size) -> None:  # type: ignore[no-untyped-def]
        derive_module._ShardWriter(where, make, encoders, size)({"file": names})

    monkeypatch.setattr(derive_module.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(derive_module, "cluster_nodes", list)
    monkeypatch.setattr(derive_module, "require_room", lambda *_, **__: "")
    monkeypatch.setattr(derive_module, "_run", here)
    before = {file: file.read_bytes() for file in raw.glob("shards/*")}
    merged, root = raw.with_name("merged"), raw.with_name("merged-projected")
    merge(merged, [Manifest.load(raw)])
    project_dataset(config(data=DeriveConfig(source_root=merged, root=root)))
    found = Manifest.load(root)
    assert len(found.rows) == 6
    assert all("keypoints" in row.present for row in found.rows)
    assert all((root / row.file).resolve().is_relative_to(root) for row in found.rows)
    assert {file: file.read_bytes() for file in raw.glob("shards/*")} == before


def test_keypoints_are_the_body_s_in_the_row_s_camera() -> None:
    (row,) = rows(1)
    (found,) = _Projector(config())([row])
    sealed = seal(found)
    body = load_body("free")
    R = matrix_from_rotvec(torch.from_numpy(decode_tensor(row["smpl_rotvec"])))
    betas, path = (
        torch.from_numpy(decode_tensor(row[name])) for name in ("smpl_betas", "smpl_translation")
    )
    T = torch.from_numpy(decode_tensor(sealed["T_camera_world"]))
    matrix = torch.from_numpy(decode_tensor(sealed["keypoints_intrinsics"]))
    expected = project(to_camera(body.keypoints(R, betas, path), T), matrix)
    exact = decode_tensor(sealed["keypoints"])
    np.testing.assert_allclose(exact, expected.numpy(), atol=1e-2)
    assert ((exact > 0) & (exact < [1920, 1080])).all(), "the whole clip is in the image"
    assert matrix[0, 0].item() == pytest.approx(5000, rel=0.01)
    trust = decode_tensor(sealed["keypoints_confidence"])
    assert 0 < trust.min() <= trust.max() <= 1
    assert decode_tensor(sealed["keypoints_visible"]).all()


def test_views_of_a_clip_are_clips_that_differ() -> None:
    (row,) = rows(1)
    found = [seal(one) for one in _Projector(config(views=3))([row])]
    assert [one["clip_id"] for one in found] == [f"{row['clip_id']}-view{i}" for i in range(3)]
    exact = [decode_tensor(one["keypoints"]) for one in found]
    assert np.abs(exact[0] - exact[1]).max() > 10
    again = next(iter(_Projector(config(views=3))([row])))
    np.testing.assert_array_equal(decode_tensor(again["keypoints"]), exact[0])


def test_without_a_detector_there_are_exact_keypoints_only() -> None:
    (row,) = rows(1)
    (found,) = _Projector(config(detector=False))([row])
    assert found.get("keypoints_detected") is None
    assert found["keypoints"] is not None


def test_what_the_old_camera_saw_is_left_out() -> None:
    filmed = ProceduralConfig(num_frames=5, height=32, width=32)
    row = seal(clip_row(generate_clip(3, filmed), "train"))
    (bare,) = _Projector(config(detector=False))([row])
    plain = seal(bare)
    assert plain["present"] == [
        "smpl_rotvec", "smpl_translation", "smpl_betas", "contacts", "T_camera_world", "keypoints",
        "keypoints_visible", "keypoints_intrinsics", "keypoints_size",
    ]  # fmt: skip
    assert (plain["bucket"], plain["video_size"]) == ("5x0x0", None)
    assert plain["captions"] == row["captions"]
    assert plain["T_camera_world"] != row["T_camera_world"]
    (seen,) = _Projector(config())([row])
    assert not {"rgb", "motion_map", "intrinsics"} & set(seal(seen)["present"])


def test_cameras_stay_within_their_angle() -> None:
    body = load_body("free")
    narrow = config(max_azimuth_deg=20.0)
    for seed in range(8):
        motion = generate_motion(seed, CLIP).motion
        view = seen_from(narrow, body, motion, seed).view
        forward = view.T_camera_world[2, :3]
        azimuth = torch.rad2deg(torch.atan2(forward[0], -forward[2]))
        assert azimuth.abs() < 21


def test_a_body_of_another_kind_is_refused() -> None:
    (row,) = rows(1)
    row["body_id"] = "smpl-0"
    with pytest.raises(ValueError, match=r"smpl-0.*give the clips' body"):
        list(_Projector(config())([row]))


def export(folder: Path) -> Path:
    """An export of a small tokenizer with random weights."""
    torch.manual_seed(0)
    module = SMALL.build()
    folder.mkdir(parents=True)
    stated = {"format": 1, "system": SMALL.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(stated))
    save_file(module.state_dict(), folder / "model.safetensors")
    return folder


@pytest.mark.slow
def test_tokens_on_the_way_through_ray(raw: Path, tmp_path: Path, ray_cluster: None) -> None:
    seen, tokens = tmp_path / "seen", tmp_path / "tokens"
    camera = ProjectConfig(data=DeriveConfig(source_root=raw, root=seen), views=2)
    assert project_dataset(camera) == seen
    assert len(Manifest.load(seen).rows) == 12
    tokenizer = export(tmp_path / "tokenizer")
    wanted = TokensConfig(data=DeriveConfig(source_root=seen, root=tokens), export=tokenizer)
    tokenize_dataset(wanted)
    manifest = Manifest.load(tokens)
    assert manifest.encoders["tokens"]["id"] == "tokenizer"
    before = (tokens / "dataset.json").stat().st_mtime_ns
    tokenize_dataset(wanted)
    assert (tokens / "dataset.json").stat().st_mtime_ns == before, "done is done"
    with pytest.raises(ValueError, match="derived data set of another config"):
        project_dataset(camera.model_copy(update={"views": 1}))
    batch = read(manifest, ("motion_tokens", "keypoints_detected", "keypoints_confidence",
                            "keypoints_size"))  # fmt: skip
    assert batch.tokens is not None
    assert batch.tokens.shape == (12, 4, 5, 3)
    assert batch.has_tokens is not None
    assert batch.has_tokens.all()
    module = load_tokenizer(tokenizer)
    frames = batch.frame_mask.sum(1)
    whole = Crop(torch.full_like(frames, 2), (frames - 2) // 4)
    assert torch.equal(cropped(batch.tokens, whole).ids, made(module, batch, whole).ids)
    crop = random_crop(batch, 0.5)
    assert torch.equal(cropped(batch.tokens, crop).valid.sum(1), crop.tokens)


def read(manifest: Manifest, columns: tuple[str, ...]) -> Batch:
    refs = tuple(ClipRef.of(row) for row in manifest.rows)
    plan = Plan(refs, seed=0, micro_batch=len(refs), accumulation=1, world=1)
    micro = MicroBatch(0, 0, refs, tuple(range(len(refs))), {}, 1)
    clips, replaced = Reader(plan, manifest.root, columns).read(micro)
    assert replaced == []
    return Batch.from_columns(collate(clips))


def test_tokens_of_several_lengths_are_padded() -> None:
    ref = ClipRef("a", "f", 0, 0, "24x0x0", "toy", ("motion_tokens",))
    from motion.data.reading import Clip

    def clip(name: str, frames: int) -> Clip:
        last = frames // 4
        arrays = {"motion_tokens": np.full((4, last, 2), 7, np.int32)}
        return Clip(replace(ref, clip_id=name), 1, 20.0, frames, "", arrays)

    batch = Batch.from_columns(collate([clip("a", 24), clip("b", 12)]))
    assert batch.tokens is not None
    assert batch.tokens.shape == (2, 4, 6, 2)
    assert (batch.tokens[1, :, 3:] == -1).all()
    assert (batch.tokens[0] == 7).all()


def test_an_export_of_another_system_is_refused(tmp_path: Path) -> None:
    stated = {"system": {"kind": "comovi"}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(
        ValueError, match=r"expected K2M's tokenizer: .*train_k2m\.py .*--stage tokenizer"
    ):
        load_tokenizer(tmp_path)
