"""Frozen encoders: text to token features, video to normalized latents and back.

They run once over a data set (`motion.data.encode`), never inside a training step.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from motion.encoders.motion_map import MapAutoencoder, MapReadoutConfig
from motion.encoders.pretrained import (
    TransformersText,
    TransformersTextConfig,
    WanAutoencoder,
    WanAutoencoderConfig,
)
from motion.encoders.storage import read_record
from motion.encoders.text import WordVectors, WordVectorsConfig
from motion.encoders.video import PatchAutoencoder, PatchAutoencoderConfig

__all__ = [
    "Autoencoder",
    "MapAutoencoder",
    "MapReadoutConfig",
    "PatchAutoencoder",
    "PatchAutoencoderConfig",
    "TextEncoder",
    "TransformersText",
    "TransformersTextConfig",
    "WanAutoencoder",
    "WanAutoencoderConfig",
    "WordVectors",
    "WordVectorsConfig",
    "load_autoencoder",
    "load_encoder",
    "load_text_encoder",
]


@runtime_checkable
class TextEncoder(Protocol):
    """Texts to sequences of token features."""

    @property
    def id(self) -> str:
        """Readable name."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of contents."""
        ...

    @property
    def dim(self) -> int:
        """Width of a token."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest token sequence."""
        ...

    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Token features and mask; even the empty text has one token."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load_encoder` reads."""
        ...


@runtime_checkable
class Autoencoder(Protocol):
    """Video in [-1, 1] to normalized latents and back."""

    @property
    def id(self) -> str:
        """Readable name."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of contents."""
        ...

    @property
    def channels(self) -> int:
        """Latent channels."""
        ...

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame; the first frame stands alone."""
        ...

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""
        ...

    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c tl hl wl"]:
        """Normalized latents; tl = 1 + (t - 1) / temporal stride."""
        ...

    def decode(self, latent: Float[Tensor, "b c tl hl wl"]) -> Float[Tensor, "b 3 t h w"]:
        """Video in [-1, 1]."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load_encoder` reads."""
        ...


def load_text_encoder(folder: str | Path) -> TextEncoder:
    """The text encoder that was saved in a folder.

    Raises:
        ValueError: the folder holds no text encoder, or its contents changed since.
    """
    kind = read_record(Path(folder))["kind"]
    if kind == "word_vectors":
        return WordVectors.load(folder)
    if kind == "transformers_text":
        return TransformersText.load(folder)
    raise ValueError(f"{folder} holds an encoder of kind {kind!r}; expected a text encoder")


def load_autoencoder(folder: str | Path) -> Autoencoder:
    """The video autoencoder that was saved in a folder.

    Raises:
        ValueError: the folder holds no video autoencoder, or its contents changed since.
    """
    kind = read_record(Path(folder))["kind"]
    if kind == "patch_autoencoder":
        return PatchAutoencoder.load(folder)
    if kind == "map_autoencoder":
        return MapAutoencoder.load(folder)
    if kind == "wan_autoencoder":
        return WanAutoencoder.load(folder)
    raise ValueError(f"{folder} holds an encoder of kind {kind!r}; expected a video autoencoder")


def load_encoder(folder: str | Path) -> TextEncoder | Autoencoder:
    """Whatever encoder was saved in a folder."""
    kind = read_record(Path(folder))["kind"]
    text = kind in ("word_vectors", "transformers_text")
    return load_text_encoder(folder) if text else load_autoencoder(folder)
