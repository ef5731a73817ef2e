"""A linear video autoencoder fitted in closed form: principal components of space-time patches.

It has the shape of Wan's video VAE (48 channels, temporal stride 4 with the first frame alone), so
that everything above it can be run and tested without a download. The later frames are coded as
their difference from the first one, like the predicted frames of a video codec: what stands still
has the latent zero, and the channels are left for what moves.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.encoders.principal import Moments, principal, scale
from motion.encoders.storage import (
    content_hash,
    read_record,
    read_weights,
    require_hash,
    write_encoder,
)

_FIRST = "b c t (h p) (w q) -> b t h w (c p q)"
_GROUP = "b c (t s) (h p) (w q) -> b t h w (c s p q)"


class PatchAutoencoderConfig(BaseModel):
    """Settings of `PatchAutoencoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    channels: int = Field(default=48, ge=1)
    """Latent channels: principal components kept per patch."""
    spatial_stride: Literal[4, 8, 16, 32] = 16
    """Height and width of a patch in pixels."""
    temporal_stride: int = Field(default=4, ge=1)
    """Frames of a patch; the first frame of a clip is a patch of its own."""
    whitening: float = Field(default=0.5, ge=0, le=1)
    """Channels are divided by their standard deviation to this power (and by one common number
    that makes the mean variance one). 1 gives every channel unit variance, and with it the same
    weight in a latent loss to the strongest and the weakest component; 0 keeps a latent distance
    proportional to a pixel distance, and drowns the weak components in the diffusion noise."""


class PatchAutoencoder(nn.Module):
    """Linear encoder and decoder of space-time patches, with normalized latents.

    The first frame has a mean and a basis of its own. The groups that follow are differences from
    the first frame; their mean is taken as zero, so that a still clip is zero there.
    """

    mean_first: Tensor
    basis_first: Tensor
    basis_group: Tensor
    scale_first: Tensor
    scale_group: Tensor

    def __init__(self, config: PatchAutoencoderConfig, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name in ("mean_first", "basis_first", "basis_group", "scale_first", "scale_group"):
            self.register_buffer(name, tensors[name].float(), persistent=False)

    @property
    def id(self) -> str:
        c = self.config
        return f"patch-pca-{c.channels}c-{c.temporal_stride}t-{c.spatial_stride}s"

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def temporal_stride(self) -> int:
        return self.config.temporal_stride

    @property
    def spatial_stride(self) -> int:
        return self.config.spatial_stride

    @property
    def hash(self) -> str:
        """Content hash of configuration and bases."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return content_hash(self.config.model_dump(), self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        return {name: buffer for name, buffer in self.named_buffers()}

    @staticmethod
    def fit(
        videos: Iterable[Float[Tensor, "_ 3 _ _ _"]], config: PatchAutoencoderConfig
    ) -> "PatchAutoencoder":
        """Fit on videos (b, 3, t, h, w) in [-1, 1], read once; covariances are summed in float64.

        Raises:
            ValueError: there is no video, or its size does not fit the strides.
        """
        # White: the background of motion maps.
        first, group = Moments(background=1.0), Moments(background=0.0)
        for video in videos:
            _require_size(video, config)
            head, tail = _patches(video, config)
            first.add(head)
            group.add(tail)
        if first.count == 0 or group.count == 0:
            raise ValueError(
                "a patch autoencoder needs at least one clip of more than one frame to be fitted "
                f"on; got {first.count} first-frame and {group.count} later patches"
            )
        basis_first, deviation_first = principal(first.covariance, config.channels)
        basis_group, deviation_group = principal(group.about_background, config.channels)
        return PatchAutoencoder(
            config,
            {
                "mean_first": first.mean,
                "basis_first": basis_first,
                "basis_group": basis_group,
                "scale_first": scale(deviation_first, config.whitening),
                "scale_group": scale(deviation_group, config.whitening),
            },
        )

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c tl hl wl"]:
        """Normalized latents of a video in [-1, 1]; tl = 1 + (t - 1) / temporal stride.

        Raises:
            ValueError: frames or pixels do not fit the strides.
        """
        _require_size(video, self.config)
        first, group = _patches(video.to(self.basis_first), self.config)
        first = (first - self.mean_first) @ self.basis_first / self.scale_first
        group = group @ self.basis_group / self.scale_group
        return rearrange(torch.cat([first, group], dim=1), "b t h w c -> b c t h w")

    @torch.no_grad()
    def decode(self, latent: Float[Tensor, "b c tl hl wl"]) -> Float[Tensor, "b 3 t h w"]:
        """Video in [-1, 1] of normalized latents."""
        z = rearrange(latent.to(self.basis_first), "b c t h w -> b t h w c")
        first = (z[:, :1] * self.scale_first) @ self.basis_first.T + self.mean_first
        group = (z[:, 1:] * self.scale_group) @ self.basis_group.T
        size = {"p": self.spatial_stride, "q": self.spatial_stride, "c": 3}
        head = rearrange(first, _inverse(_FIRST), **size)
        change = rearrange(group, _inverse(_GROUP), s=self.temporal_stride, **size)
        return torch.cat([head, head + change], dim=2).clamp(-1, 1)

    def save(self, folder: str | Path) -> None:
        """Write config.json and weights.safetensors."""
        record = {
            "kind": "patch_autoencoder",
            "id": self.id,
            "hash": self.hash,
            "config": self.config.model_dump(),
        }
        write_encoder(Path(folder), record, self._tensors())

    @staticmethod
    def load(folder: str | Path) -> "PatchAutoencoder":
        """Read what `save` wrote; its contents must have the hash that was saved."""
        record = read_record(Path(folder))
        config = PatchAutoencoderConfig.model_validate(record["config"])
        encoder = PatchAutoencoder(config, read_weights(Path(folder)))
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder


def _inverse(pattern: str) -> str:
    return " -> ".join(reversed(pattern.split(" -> ")))


def _patches(
    video: Float[Tensor, "b 3 t h w"], config: PatchAutoencoderConfig
) -> tuple[Float[Tensor, "b 1 hl wl d1"], Float[Tensor, "b tg hl wl d2"]]:
    size = {"p": config.spatial_stride, "q": config.spatial_stride}
    first, change = video[:, :, :1], video[:, :, 1:] - video[:, :, :1]
    return (
        rearrange(first, _FIRST, **size),
        rearrange(change, _GROUP, s=config.temporal_stride, **size),
    )


def _require_size(video: Tensor, config: PatchAutoencoderConfig) -> None:
    _, _, frames, height, width = video.shape
    if (frames - 1) % config.temporal_stride or height % config.spatial_stride:
        fits = False
    else:
        fits = width % config.spatial_stride == 0
    if not fits:
        raise ValueError(
            f"a video of {frames} frames of {height}x{width} pixels does not fit the strides: "
            f"expected 1 + a multiple of {config.temporal_stride} frames and sides that are "
            f"multiples of {config.spatial_stride}; cut or resize the clip"
        )
