"""VideoMAE as a Trainable: reconstruct hidden space-time tubes of a clip (Tong et al. 2022).

The network is transformers' `VideoMAEForPreTraining`; the loss is ours, because it must be a mean
per clip (motion/losses.py) and its mask must derive from the clip's noise key, not from a rank.
"""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from motion.batch import Batch
from motion.diffusion.noise import generator_for
from motion.losses import global_mean, mean_over_valid
from motion.models.system import Logs


class VideoMAETrainingConfig(BaseModel):
    """Size of the encoder and of its pretraining task."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["videomae"] = "videomae"
    num_frames: int = Field(default=32, ge=1)
    """Frames per clip that the encoder sees: the first ones of the clip; whole tubelets."""
    image_size: int = Field(default=128, ge=1)
    """Height and width of the video in pixels."""
    patch_size: int = Field(default=16, ge=1)
    """Side of a patch in pixels."""
    tubelet_size: int = Field(default=2, ge=1)
    """Frames per patch."""
    width: int = Field(default=96, ge=1)
    """Encoder width; its features have this dimension."""
    num_layers: int = Field(default=4, ge=1)
    """Encoder blocks."""
    num_heads: int = Field(default=4, ge=1)
    """Attention heads of encoder and decoder."""
    decoder_width: int = Field(default=64, ge=1)
    """Decoder width."""
    decoder_layers: int = Field(default=2, ge=1)
    """Decoder blocks."""
    mask_ratio: float = Field(default=0.9, gt=0, lt=1)
    """Share of spatial positions hidden in all frames (tube masking; 0.9 in the paper)."""

    @model_validator(mode="after")
    def _fits(self) -> "VideoMAETrainingConfig":
        for whole, part in (
            ("num_frames", "tubelet_size"),
            ("image_size", "patch_size"),
            ("width", "num_heads"),
            ("decoder_width", "num_heads"),
        ):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} {getattr(self, whole)} is no multiple of {part} "
                    f"{getattr(self, part)}: change one of them"
                )
        positions = (self.image_size // self.patch_size) ** 2
        if not 0 < round(self.mask_ratio * positions) < positions:
            raise ValueError(
                f"mask_ratio {self.mask_ratio} of {positions} positions hides none or all: take "
                "smaller patches or another mask_ratio"
            )
        return self

    @staticmethod
    def tiny() -> "VideoMAETrainingConfig":
        """The CPU size, below one million parameters."""
        return VideoMAETrainingConfig()

    def build(self) -> "VideoMAETraining":
        """The module with random weights."""
        return VideoMAETraining(self)


def tube_mask(
    noise_key: Int[Tensor, "b"], num_positions: int, num_slices: int, ratio: float
) -> Bool[Tensor, "b n"]:
    """True where a patch is hidden: the same spatial positions in every slice of time."""
    hidden = round(ratio * num_positions)
    masks = torch.zeros(len(noise_key), num_positions, dtype=torch.bool)
    for row, key in zip(masks, noise_key, strict=True):
        order = torch.randperm(num_positions, generator=generator_for(int(key), "tube_mask"))
        row[order[:hidden]] = True
    return masks.repeat(1, num_slices)


class VideoMAETraining(nn.Module):
    """Mean squared error of hidden patches, each normalized to its own mean and deviation."""

    def __init__(self, config: VideoMAETrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.network = VideoMAEForPreTraining(
            VideoMAEConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                num_frames=config.num_frames,
                tubelet_size=config.tubelet_size,
                hidden_size=config.width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=4 * config.width,
                decoder_hidden_size=config.decoder_width,
                decoder_num_hidden_layers=config.decoder_layers,
                decoder_num_attention_heads=config.num_heads,
                decoder_intermediate_size=4 * config.decoder_width,
            )
        )

    def _clip(self, rgb: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b f 3 h w"]:
        size = self.config.image_size
        if rgb.shape[2] < self.config.num_frames or rgb.shape[3:] != (size, size):
            raise ValueError(
                f"VideoMAE got a video of {rgb.shape[2]} frames of {tuple(rgb.shape[3:])} pixels; "
                f"its config asks for >= {self.config.num_frames} frames of {size} x {size}: "
                "set num_frames and image_size to the shards'"
            )
        return rearrange(rgb[:, :, : self.config.num_frames], "b c f h w -> b f c h w")

    def _patches(self, video: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b n d"]:
        config = self.config
        patches = rearrange(
            video,
            "b (f tube) c (h y) (w x) -> b (f h w) (tube y x) c",
            tube=config.tubelet_size, y=config.patch_size, x=config.patch_size,
        )  # fmt: skip
        mean = patches.mean(2, keepdim=True)
        deviation = patches.std(2, keepdim=True, correction=0)
        return ((patches - mean) / (deviation + 1e-3)).flatten(2)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Reconstruction loss of `batch.rgb`; tubelets that reach into a clip's padding count not.

        Raises:
            ValueError: the batch carries no pixels, or of another size than the config's.
        """
        if batch.rgb is None:
            raise ValueError(
                "VideoMAE needs `rgb` pixels: train on the raw dataset with data.columns rgb"
            )
        video = self._clip(batch.rgb)
        side = self.config.image_size // self.config.patch_size
        slices = self.config.num_frames // self.config.tubelet_size
        mask = tube_mask(batch.noise_key, side**2, slices, self.config.mask_ratio).to(video.device)
        predicted = self.network(video, bool_masked_pos=mask).logits
        target = self._patches(video)[mask].unflatten(0, (batch.size, -1))
        real = batch.frame_mask[:, : self.config.num_frames]
        whole = real.unflatten(1, (slices, -1)).all(2).repeat_interleave(side**2, 1)
        counts = whole[mask].unflatten(0, (batch.size, -1))
        per_clip = mean_over_valid((predicted - target).square(), counts)
        loss = global_mean(per_clip, batch, "rgb", batch.has_rgb)
        return loss, {"reconstruction": loss.detach()}

    @torch.no_grad()
    def features(self, rgb: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b slices d"]:
        """Encoder features of a video in [-1, 1], averaged over each slice of time.

        One vector per `tubelet_size` frames, over the first `num_frames` frames.
        """
        hidden = self.network.videomae(self._clip(rgb)).last_hidden_state
        slices = self.config.num_frames // self.config.tubelet_size
        return rearrange(hidden, "b (f s) d -> b f s d", f=slices).mean(2)
