"""Clips that are not filmed: the same motion, nothing seen; encoded without video."""

from pathlib import Path

import pytest
import torch

from motion.data.encode import EncodeConfig, encode
from motion.data.manifest import Manifest
from motion.data.prepare import PrepareConfig, describe, prepare
from motion.data.procedural import ProceduralConfig, clip_row, generate_clip, generate_motion
from motion.data.schema import decode_tensor, seal
from motion.data.storage import read_rows
from motion.models.evaluator.features import FeatureConfig
from motion.training.evaluators import MOTION_COLUMNS, captions_of, split_batches

FILMED = ProceduralConfig(num_frames=5, height=32, width=32)
PLAIN = FILMED.model_copy(update={"render": False})


def test_motion_and_captions_are_those_of_the_filmed_clip() -> None:
    filmed, plain = generate_clip(3, FILMED), generate_motion(3, PLAIN)
    assert torch.equal(filmed.motion.R_parent_child, plain.motion.R_parent_child)
    assert torch.equal(filmed.motion.require_translation(), plain.motion.require_translation())
    assert filmed.captions == plain.captions
    row, with_film = seal(clip_row(plain, "train")), seal(clip_row(filmed, "train"))
    assert row["bucket"] == "5x0x0"
    assert row["present"] == ["smpl_rotvec", "smpl_translation", "smpl_betas", "contacts"]
    for name in row["present"]:
        assert row[name] == with_film[name]


def test_identity_of_filmed_data_is_what_it_was(tmp_path: Path) -> None:
    assert "render" not in PrepareConfig(root=tmp_path, clip=FILMED).identity["clip"]
    assert PrepareConfig(root=tmp_path, clip=PLAIN).identity["clip"]["render"] is False
    for config in (FILMED, PLAIN):
        assert ProceduralConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.usefixtures("ray_cluster")
def test_prepared_and_encoded_without_video(tmp_path: Path) -> None:
    clip = PLAIN.model_copy(update={"num_frames": 17})
    config = PrepareConfig(
        root=tmp_path / "raw", clip=clip, num_train=4, num_validation=2, num_test=0
    )
    assert "not filmed" in describe(config)
    encoded = encode(
        EncodeConfig(raw_root=prepare(config), root=tmp_path / "encoded", video=None, keep_video=())
    )
    manifest = Manifest.load(encoded)
    assert set(manifest.encoders) == {"text"}
    row = manifest.select("train")[0]
    (found,) = read_rows(manifest.root / row.file, row.row_group, [row.row])
    assert decode_tensor(found["text_embedding"]).shape[0] == len(found["captions"])
    (batch,) = split_batches(encoded, "validation", MOTION_COLUMNS)
    assert FeatureConfig().of_batch(batch).values.shape == (2, 20, 263)
    captions = captions_of(encoded, "validation", list(batch.clip_ids), 0)
    assert captions == captions_of(encoded, "validation", list(batch.clip_ids), 0)
    assert len(captions) == 2
