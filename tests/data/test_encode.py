"""Encoding: what it keeps, drops and adds; that it goes on where it stopped and refuses a mix."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.data import encode as module
from motion.data.encode import EncodeConfig, describe, encode
from motion.data.fitting import EncoderChoice, _autoencoder, map_mode
from motion.data.manifest import Manifest, read_commit
from motion.data.pipeline import StreamConfig, stream
from motion.data.plan import ClipRef, Plan
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.reconstruction import psnr_db
from motion.data.schema import decode_tensor, row_checksum
from motion.data.storage import open_shard, read_rows
from motion.data.video import decode_mp4
from motion.encoders import (
    MapAutoencoder,
    MapReadoutConfig,
    PatchAutoencoder,
    PatchAutoencoderConfig,
    WordVectorsConfig,
    load_autoencoder,
    load_text_encoder,
)

COPIED = ("smpl_rotvec", "contacts", "intrinsics", "keypoints", "keypoints_detected", "metadata")


@pytest.fixture(scope="module")
def raw(tmp_path_factory, ray_cluster) -> Path:
    clip = ProceduralConfig(num_frames=9, height=32, width=32)
    root = tmp_path_factory.mktemp("raw")
    return prepare(
        PrepareConfig(
            root=root, num_train=6, num_validation=2, num_test=1, clip=clip, shard_clips=4
        )
    )


def config(raw: Path, root: Path, **options) -> EncodeConfig:
    defaults = {
        "text": WordVectorsConfig(dim=32),
        "video": PatchAutoencoderConfig(spatial_stride=8, channels=24),
        "map_readout": MapReadoutConfig(features=64, rank=64, rank_first=64),
        "clips_per_file": 2,
    }
    return EncodeConfig(raw_root=raw, root=root, **(defaults | options))


@pytest.fixture(scope="module")
def encoded(raw: Path, tmp_path_factory) -> Path:
    return encode(config(raw, tmp_path_factory.mktemp("out") / "encoded"))


def rows_of(root: Path) -> dict[str, dict]:
    return {
        row.clip_id: read_rows(root / row.file, row.row_group, [row.row])[0]
        for row in Manifest.load(root).rows
    }


def test_rows_keep_the_raw_columns_and_gain_encoded_ones(raw: Path, encoded: Path) -> None:
    before, after = rows_of(raw), rows_of(encoded)
    assert set(before) == set(after)
    for clip_id, row in after.items():
        for column in COPIED:
            assert row[column] == before[clip_id][column]
        keeps = row["split"] != "train"
        assert (row["rgb"] is not None) == (row["motion_map"] is not None) == keeps
        assert decode_tensor(row["latent_rgb"]).shape == (24, 3, 4, 4)
        assert decode_tensor(row["latent_map"]).dtype == np.float16
        captions, tokens = len(row["captions"]), decode_tensor(row["text_mask"]).shape[1]
        assert decode_tensor(row["text_embedding"]).shape == (captions, tokens, 32)
        assert row["checksum"] == row_checksum(row)


def test_latents_and_text_are_those_of_the_saved_encoders(raw: Path, encoded: Path) -> None:
    before, after = rows_of(raw), rows_of(encoded)
    clip_id = min(after)
    vae = load_autoencoder(encoded / "encoders" / "map")
    frames = decode_mp4(before[clip_id]["motion_map"])
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latent = torch.from_numpy(decode_tensor(after[clip_id]["latent_map"])).float()
    torch.testing.assert_close(latent, vae.encode(video)[0], atol=1e-2, rtol=1e-2)
    text = load_text_encoder(encoded / "encoders" / "text")
    tokens, mask = text.encode(after[clip_id]["captions"])
    stored = torch.from_numpy(decode_tensor(after[clip_id]["text_embedding"])).float()
    torch.testing.assert_close(stored, tokens, atol=1e-2, rtol=1e-2)
    assert decode_tensor(after[clip_id]["text_mask"]).tolist() == mask.int().tolist()


def test_manifest_names_encoders_and_quality(encoded: Path) -> None:
    manifest = Manifest.load(encoded)
    for name in ("rgb", "map"):
        vae = load_autoencoder(encoded / "encoders" / name)
        assert manifest.encoders[name]["hash"] == vae.hash
        assert manifest.encoders[name]["id"] == vae.id
    assert manifest.encoders["rgb"]["hash"] != manifest.encoders["map"]["hash"]
    facts = manifest.facts
    assert facts["measured_clips"] == 2
    assert 15 < facts["psnr_rgb_db"] < 60
    assert 15 < facts["psnr_map_db"] < 60
    assert 0.1 < facts["map_part_accuracy"] <= 1
    assert 0 < facts["held_part_accuracy"] < 1
    assert 0.3 < facts["map_mask_iou"] <= 1
    assert isinstance(load_autoencoder(encoded / "encoders" / "map"), MapAutoencoder)
    assert isinstance(load_autoencoder(encoded / "encoders" / "rgb"), PatchAutoencoder)
    groups = [open_shard(encoded / row.file).num_row_groups for row in manifest.rows]
    assert max(groups) == 2, "one clip per row group"


@pytest.mark.parametrize(("mode", "kind"), [("flat", MapAutoencoder), ("lit", PatchAutoencoder)])
def test_only_flat_maps_are_read_back(mode: str, kind: type, raw: Path) -> None:
    manifest = Manifest.load(raw)
    clip = {**manifest.config["clip"], "map_mode": mode}
    manifest = replace(manifest, config={**manifest.config, "clip": clip})
    assert map_mode(manifest) == mode
    assert map_mode(replace(manifest, config=config(raw, raw).described(manifest))) == mode
    options = config(raw, raw)
    choice = EncoderChoice(options.text, options.video, options.map_readout, fit_clips=3)
    assert type(_autoencoder(manifest, "map", choice)) is kind


def test_finished_data_set_is_returned_and_another_config_is_refused(
    raw: Path, encoded: Path, monkeypatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing may run")

    monkeypatch.setattr(module, "_run", never)
    assert encode(config(raw, encoded, actors=3)) == encoded
    other = config(raw, encoded, video=PatchAutoencoderConfig(channels=24, spatial_stride=16))
    for run in (encode, describe):
        with pytest.raises(
            ValueError,
            match=r"another config:\n  video.spatial_stride: 8 there, 16 now\nChoose another root",
        ):
            run(other)
    assert "committed" in describe(config(raw, encoded))


def test_actors_that_no_cluster_holds_are_refused_at_once(raw: Path, tmp_path: Path) -> None:
    for many in ({"actors": 64}, {"actor_cpus": 64.0}, {"actor_gpus": 64.0}):
        with pytest.raises(ValueError, match=r"encoding actors of .* do not fit .* Lower actors"):
            encode(config(raw, tmp_path / "encoded", **many))
    assert not (tmp_path / "encoded" / "encoders").exists()


def test_dry_run_before_the_raw_clips_are_there_says_so(tmp_path: Path) -> None:
    said = describe(config(tmp_path / "raw", tmp_path / "encoded"))
    assert said == f"raw clips are not prepared yet: {tmp_path / 'raw'}"
    assert not any(tmp_path.iterdir())


def test_restart_encodes_only_what_is_missing(raw: Path, encoded: Path, tmp_path: Path) -> None:
    root = tmp_path / "again"
    encode(config(raw, root))
    files = sorted((root / "shards").iterdir())
    (root / "dataset.json").unlink()
    files[1].unlink()
    kept = {path: path.stat().st_mtime_ns for path in files if path != files[1]}
    encode(config(raw, root))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files[1].is_file()
    assert Manifest.load(root).hash == Manifest.load(encoded).hash
    assert read_commit(root)["facts"] == read_commit(encoded)["facts"]


def test_training_reads_what_was_encoded(encoded: Path) -> None:
    clips = map(ClipRef.of, Manifest.load(encoded).select("train"))
    plan = Plan(clips, seed=0, micro_batch=2, accumulation=1, world=1)
    columns = ("smpl_rotvec", "latent_rgb", "latent_map", "text_embedding", "text_mask")
    read = list(
        stream(plan, encoded, 0, 0, steps=3, columns=columns, config=StreamConfig(use_ray=False))
    )
    assert [batch.latent_rgb.shape for batch in read] == [(2, 24, 3, 4, 4)] * 3
    assert all(batch.has_text.all() and batch.has_map.all() for batch in read)


def test_a_damaged_raw_row_stops_the_job_with_its_name(raw: Path, encoded: Path) -> None:
    worker = module._EncodeFiles(config(raw, encoded))
    row = rows_of(raw)[min(rows_of(raw))]
    assert worker._encode(row)["latent_rgb"] is not None
    row["captions"] = ["another"]
    with pytest.raises(ValueError, match=f"{row['clip_id']}.*checksum"):
        worker._encode(row)


def test_psnr() -> None:
    black = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    assert psnr_db(black, black) == 99
    assert psnr_db(black, black + 255) == pytest.approx(0)
    assert psnr_db(black, black + 51) == pytest.approx(20 * np.log10(5))
