"""Features per frame by models of transformers, tiny ones with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from motion.encoders.frames import TransformersFrames, TransformersFramesConfig

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 16, "image_size": 32, "patch_size": 16}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    size = {"height": 32, "width": 32}
    ViTModel(ViTConfig(**SIZES)).save_pretrained(folder / "vit")
    ViTImageProcessor(size=size).save_pretrained(folder / "vit")
    VideoMAEModel(VideoMAEConfig(**SIZES, num_frames=4, tubelet_size=2)).save_pretrained(
        folder / "videomae"
    )
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(
        folder / "videomae"
    )
    return {name: folder / name for name in ("vit", "videomae")}


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 40, 48, 3), dtype=np.uint8)


def test_an_image_model_sees_frame_by_frame(sources: dict[str, Path]) -> None:
    encoder = TransformersFrames(TransformersFramesConfig(source=str(sources["vit"]), batch=3))
    found = encoder.encode(frames(7))
    assert found.shape == (7, 16)
    torch.testing.assert_close(encoder.encode(frames(7)[4:5])[0], found[4], atol=1e-5, rtol=1e-5)


def test_a_video_model_sees_clips_and_covers_every_frame(sources: dict[str, Path]) -> None:
    encoder = TransformersFrames(TransformersFramesConfig(source=str(sources["videomae"])))
    found = encoder.encode(frames(7))
    assert found.shape == (7, 16)
    torch.testing.assert_close(found[0], found[1])
    assert (found[1] - found[2]).abs().max() > 1e-4


def test_saved_it_is_a_reference_that_is_checked(sources: dict[str, Path], tmp_path: Path) -> None:
    encoder = TransformersFrames(TransformersFramesConfig(source=str(sources["vit"])))
    encoder.save(tmp_path / "image")
    assert TransformersFrames.load(tmp_path / "image").hash == encoder.hash
    other = ViTModel(ViTConfig(**SIZES))
    other.save_pretrained(sources["vit"])
    with pytest.raises(ValueError, match="content hash"):
        TransformersFrames.load(tmp_path / "image")
