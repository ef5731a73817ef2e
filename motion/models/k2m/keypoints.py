"""What the tokenizer sees of a batch: keypoints of a window, in pixels and as input features."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.batch import Batch
from motion.diffusion.noise import clip_uniform
from motion.models.k2m.config import STRIDE, AugmentConfig
from motion.skeleton import COCO_17, mirror_permutation

LEAST_CONFIDENCE = 0.05
"""Below it, a keypoint is no input."""
_MIRRORED = list(mirror_permutation(COCO_17))


@dataclass(frozen=True)
class Keypoints:
    """COCO-17 in pixels; t is a multiple of four, and so is every clip's number of frames."""

    xy: Float[Tensor, "b t 17 2"]
    confidence: Float[Tensor, "b t 17"]
    size: Float[Tensor, "b 2"]
    """Width and height of the image in pixels."""
    mask: Bool[Tensor, "b t"]
    """True where a frame is real."""

    @property
    def token_mask(self) -> Bool[Tensor, "b n"]:
        """True where a token is real."""
        return self.mask[:, ::STRIDE]

    def features(self) -> Float[Tensor, "b t 18 3"]:
        """Positions from the image's middle in halves of its longer side, and confidences; the
        18th point holds width and height in thousands of pixels. Padding is zero."""
        half = self.size.amax(-1)[:, None, None, None] / 2
        place = (self.xy - self.size[:, None, None] / 2) / half
        points = torch.cat([place, self.confidence[..., None]], -1)
        seen = (self.confidence >= LEAST_CONFIDENCE) & self.mask[..., None]
        points = torch.where(seen[..., None], points, 0.0)
        image = torch.cat([self.size / 1000, torch.ones_like(self.size[:, :1])], -1)
        image = torch.where(self.mask[..., None], image[:, None], 0.0)
        return torch.cat([points, image[:, :, None]], 2)


def keypoints_of(batch: Batch) -> Keypoints:
    """A batch's keypoints, cut to whole tokens.

    Raises:
        ValueError: the batch carries no keypoints, or not the size of their image.
    """
    if batch.keypoints is None or batch.keypoints_confidence is None:
        raise ValueError(
            "K2M's tokenizer reads 2D keypoints: add keypoints_detected and keypoints_confidence "
            "(or keypoints and keypoints_visible) to data.columns"
        )
    if batch.keypoints_size is None:
        raise ValueError("K2M needs the size of the keypoint image: add keypoints_size")
    found = Keypoints(
        xy=batch.keypoints.float(),
        confidence=batch.keypoints_confidence.float(),
        size=batch.keypoints_size.float(),
        mask=batch.frame_mask,
    )
    start = torch.zeros(batch.size, dtype=torch.long, device=batch.frame_mask.device)
    return cut(found, start, batch.frame_mask.sum(1))


def cut(keypoints: Keypoints, start: Int[Tensor, "b"], num_frames: Int[Tensor, "b"]) -> Keypoints:
    """Frames from `start` on, as many of `num_frames` as whole tokens cover."""
    length = num_frames // STRIDE * STRIDE
    longest = max(int(length.max()), STRIDE)
    place = torch.arange(longest, device=start.device)
    frame = (start[:, None] + place).clamp(max=keypoints.mask.shape[1] - 1)
    clip = torch.arange(len(start), device=start.device)[:, None]
    return replace(
        keypoints,
        xy=keypoints.xy[clip, frame],
        confidence=keypoints.confidence[clip, frame],
        mask=place < length[:, None],
    )


def random_window(keypoints: Keypoints, frames: int, noise_key: Int[Tensor, "b"]) -> Keypoints:
    """`frames` frames of each clip from a random one on; a shorter clip whole."""
    length = keypoints.mask.sum(1)
    taken = length.clamp(max=frames)
    draw = clip_uniform(noise_key, "window").to(length.device)
    return cut(keypoints, (draw * (length - taken + 1)).long(), taken)


def augmented(
    keypoints: Keypoints, config: AugmentConfig, noise_key: Int[Tensor, "b"]
) -> Keypoints:
    """Clips mirrored, scaled and shifted by their noise keys."""
    draw = clip_uniform(noise_key, "augment", (4,)).to(keypoints.xy)
    middle = keypoints.size[:, None, None] / 2
    offset = keypoints.xy - middle
    mirrored = offset[:, :, _MIRRORED] * offset.new_tensor([-1.0, 1.0])
    flip = draw[:, 0] < config.flip
    offset = torch.where(flip[:, None, None, None], mirrored, offset)
    confidence = torch.where(
        flip[:, None, None], keypoints.confidence[..., _MIRRORED], keypoints.confidence
    )
    factor = 1 + config.scale * (2 * draw[:, 1] - 1)
    shift = config.shift * (2 * draw[:, None, None, 2:] - 1) * 2 * middle
    moved = factor[:, None, None, None] * offset + middle + shift
    return replace(keypoints, xy=moved, confidence=confidence)
