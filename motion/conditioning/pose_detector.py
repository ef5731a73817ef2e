"""COCO-17 keypoints of the person in an image, by a ViTPose of transformers (Xu et al. 2022)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from motion.skeleton import COCO_17

_SURE = 0.3
"""Confidence from which a keypoint says where the person is."""
_MARGIN = 0.2
"""Free border around the keypoints, as a share of their extent, in the second look."""


class Detection(NamedTuple):
    """Keypoints of one person, in pixels from the image's corner."""

    keypoints: Float[Tensor, "17 2"]
    confidence: Float[Tensor, "17"]
    """In [0, 1]."""


class NobodyFound(ValueError):
    """The model is sure of no person in an image."""


class PoseDetector:
    """A ViTPose by path or hub id.

    Without a person detector it looks twice: at the whole image, then at the box of what it found.
    """

    def __init__(self, source: str | Path, *, device: str = "cpu") -> None:
        """
        Args:
            source: folder or hub id, such as "usyd-community/vitpose-base-simple".
            device: "cpu" or "cuda".

        Raises:
            ValueError: the model gives other keypoints than COCO's 17.
        """
        from transformers import AutoImageProcessor, VitPoseForPoseEstimation

        self.source, self.device = str(source), device
        self._processor: Any = AutoImageProcessor.from_pretrained(self.source)
        model: Any = VitPoseForPoseEstimation.from_pretrained(self.source)
        if model.config.num_labels != len(COCO_17):
            raise ValueError(
                f"{source} finds {model.config.num_labels} keypoints; expected COCO's "
                f"{len(COCO_17)}: give a ViTPose trained on COCO"
            )
        self._model = model.eval().to(device)
        self._experts = int(getattr(model.config.backbone_config, "num_experts", 1))

    @torch.no_grad()
    def detect(self, image: UInt8[np.ndarray, "h w 3"]) -> Detection:
        """The person that fills most of the image.

        Raises:
            NobodyFound: the model is sure of fewer than two keypoints.
        """
        height, width = image.shape[:2]
        first = self._look(image, (0.0, 0.0, float(width), float(height)))
        sure = first.keypoints[first.confidence > _SURE]
        if len(sure) < 2:
            raise NobodyFound(
                f"{self.source} finds no person in the image ({len(sure)} keypoints of confidence "
                f"above {_SURE}): give an image that shows one, or the pose as a file"
            )
        low, high = sure.amin(0), sure.amax(0)
        border = _MARGIN * float((high - low).max())
        x, y = (low - border).clamp(min=0).tolist()
        right = min(float(high[0]) + border, width)
        bottom = min(float(high[1]) + border, height)
        return self._look(image, (x, y, max(right - x, 1.0), max(bottom - y, 1.0)))

    def _look(
        self, image: UInt8[np.ndarray, "h w 3"], box: tuple[float, float, float, float]
    ) -> Detection:
        """Keypoints of what is inside a box: left, top, width, height."""
        picture = Image.fromarray(image)
        boxes = [[list(box)]]
        inputs = self._processor(picture, boxes=boxes, return_tensors="pt").to(self.device)
        if self._experts > 1:  # ViTPose++: the expert of COCO
            inputs["dataset_index"] = torch.zeros(1, dtype=torch.int64, device=self.device)
        found = self._processor.post_process_pose_estimation(self._model(**inputs), boxes=boxes)
        person = found[0][0]
        keypoints = torch.as_tensor(person["keypoints"]).float().cpu()
        scores = torch.as_tensor(person["scores"]).float().cpu()
        return Detection(keypoints.reshape(-1, 2), scores.reshape(-1).clamp(0.0, 1.0))
