"""Real loading code of ViTPose, on tiny random weights written by transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessor,
)

from motion.conditioning.pose_detector import PoseDetector


def tiny_vitpose(folder: Path, labels: int = 17, *, sure: bool = True) -> Path:
    """A ViTPose of 64 x 48 pixels with random weights; `sure` raises every heat map."""
    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], num_hidden_layers=1, num_attention_heads=2,
        hidden_size=8, mlp_ratio=2, out_features=["stage1"],
    )  # fmt: skip
    config = VitPoseConfig(
        backbone_config=backbone, use_simple_decoder=True, num_labels=labels, scale_factor=4
    )
    model = VitPoseForPoseEstimation(config)
    with torch.no_grad():
        bias = model.head.conv.bias
        bias.fill_(0.6 if sure else -1.0)
    model.save_pretrained(folder)
    VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vitpose(tmp_path_factory.mktemp("vitpose"))


def test_keypoints_lie_in_the_image_and_repeat(source: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    detector = PoseDetector(source)
    found = detector.detect(image)
    assert found.keypoints.shape == (17, 2)
    assert found.confidence.shape == (17,)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    # The model looks at a padded box of its first finds, so outside of the image is possible.
    assert (found.keypoints.abs() < 400).all()
    assert found.keypoints.std() > 5
    again = PoseDetector(str(source)).detect(image)
    torch.testing.assert_close(again.keypoints, found.keypoints)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 keypoints; expected COCO's 17"):
        PoseDetector(tiny_vitpose(tmp_path / "five", 5))
    unsure = PoseDetector(tiny_vitpose(tmp_path / "unsure", sure=False))
    with pytest.raises(ValueError, match="finds no person"):
        unsure.detect(np.zeros((64, 48, 3), np.uint8))
