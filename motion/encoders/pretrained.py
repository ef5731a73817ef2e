"""Pretrained encoders by path or hub id: text through transformers, Wan's VAE through diffusers.

Their weights are large and come under their own licences, so `save` writes a reference (source,
revision) and the content hash; `load` reads the weights from the source and refuses others.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.encoders.storage import content_hash, read_record, require_hash, write_encoder


class TransformersTextConfig(BaseModel):
    """Settings of `TransformersText`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """Folder or hub id of a T5, UMT5, CLIP, MiniLM/BERT model or of a pipeline that holds one."""
    revision: str | None = None
    """Commit of a hub id."""
    subfolder: str = ""
    """Where the model lies in the source, e.g. `text_encoder` of a diffusers pipeline."""
    tokenizer_subfolder: str = ""
    """Where the tokenizer lies in the source, e.g. `tokenizer`."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest token sequence; longer texts are cut. CLIP allows 77."""


class TransformersText(nn.Module):
    """Last hidden states of a frozen language model, float32, with the attention mask.

    Padding is cut to the longest of the texts encoded together and zeroed (as Wan does to UMT5).
    """

    def __init__(self, config: TransformersTextConfig) -> None:
        super().__init__()
        self.config = config
        # Imported here, as diffusers below: both take seconds, and most runs need neither.
        import transformers

        where = {"revision": config.revision}
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            config.source, subfolder=config.tokenizer_subfolder, **where
        )
        settings = transformers.AutoConfig.from_pretrained(
            config.source, subfolder=config.subfolder, **where
        )
        # AutoModel would load the decoder of a T5 and the image tower of a CLIP as well.
        kind: Any = {
            "t5": transformers.T5EncoderModel,
            "umt5": transformers.UMT5EncoderModel,
            "clip": transformers.CLIPTextModel,
            "clip_text_model": transformers.CLIPTextModel,
        }.get(settings.model_type, transformers.AutoModel)
        model = kind.from_pretrained(
            config.source, subfolder=config.subfolder, dtype=torch.float32, **where
        )
        self.model = cast(nn.Module, model.eval().requires_grad_(False))
        text_settings = getattr(model.config, "text_config", model.config)
        self.dim = int(text_settings.hidden_size)
        limit = getattr(text_settings, "max_position_embeddings", None)
        if limit is not None and config.max_tokens > int(limit):
            raise ValueError(
                f"{config.source} reads at most {limit} tokens, max_tokens is {config.max_tokens}: "
                f"set max_tokens to {limit} or less"
            )

    @property
    def id(self) -> str:
        return f"transformers-{Path(self.config.source).name}"

    @property
    def max_tokens(self) -> int:
        return self.config.max_tokens

    @property
    def hash(self) -> str:
        """Content hash of weights, vocabulary and sequence length; the same wherever they lie."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        vocabulary = sorted(self._tokenizer.get_vocab().items())
        description = {"max_tokens": self.max_tokens, "vocabulary": vocabulary}
        return content_hash(description, self.model.state_dict())

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Token features and mask (True where a token is), n = the longest of these texts."""
        tokens = self._tokenizer(
            list(texts),
            max_length=self.max_tokens,
            truncation=True,
            padding="longest",
            return_tensors="pt",
        )
        device = next(self.model.parameters()).device
        ids: Int[Tensor, "b n"] = tokens["input_ids"].to(device)
        mask: Int[Tensor, "b n"] = tokens["attention_mask"].to(device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden.float() * mask[..., None], mask.bool()

    def save(self, folder: str | Path) -> None:
        """Write config.json: the source and the content hash, not the weights."""
        write_encoder(Path(folder), _record("transformers_text", self), None)

    @staticmethod
    def load(folder: str | Path) -> "TransformersText":
        """Load from the source that `save` noted; its contents must have the hash noted."""
        record = read_record(Path(folder))
        encoder = TransformersText(TransformersTextConfig.model_validate(record["config"]))
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder


class WanAutoencoderConfig(BaseModel):
    """Settings of `WanAutoencoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """Folder or hub id, e.g. `Wan-AI/Wan2.2-TI2V-5B-Diffusers`."""
    revision: str | None = None
    """Commit of a hub id."""
    subfolder: str = "vae"
    """Where the VAE lies in the source; empty for a bare VAE folder."""


class WanAutoencoder(nn.Module):
    """Wan's video VAE (Wan team 2025), float32, latents normalized per channel.

    Encoding takes the mode of the posterior, never a sample: (mean - latents_mean) / latents_std.
    """

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: WanAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        from diffusers import AutoencoderKLWan

        model = AutoencoderKLWan.from_pretrained(
            config.source,
            subfolder=config.subfolder or None,
            revision=config.revision,
            torch_dtype=torch.float32,
        )
        self.model = cast(Any, model).eval().requires_grad_(False)
        settings = self.model.config
        for name in ("latents_mean", "latents_std"):
            value = torch.tensor(getattr(settings, name)).view(1, -1, 1, 1, 1)
            if value.shape[1] != settings.z_dim:
                raise ValueError(
                    f"{config.source}: {name} has {value.shape[1]} values, z_dim is "
                    f"{settings.z_dim}; expected one per channel in the VAE's config.json"
                )
            self.register_buffer(name, value, persistent=False)
        self.channels = int(settings.z_dim)
        self.temporal_stride = 2 ** sum(settings.temperal_downsample)
        # Every level but the last halves the picture, and the optional patching does so before.
        self.spatial_stride = 2 ** (len(settings.dim_mult) - 1) * (settings.patch_size or 1)

    @property
    def id(self) -> str:
        return f"wan-vae-{Path(self.config.source).name}"

    @property
    def hash(self) -> str:
        """Content hash of weights and normalization; the same wherever they lie."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return content_hash(
            {"temporal_stride": self.temporal_stride, "spatial_stride": self.spatial_stride},
            {**self.model.state_dict(), "mean": self.latents_mean, "std": self.latents_std},
        )

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c tl hl wl"]:
        """Normalized latents of a video in [-1, 1]; tl = 1 + (t - 1) / temporal stride.

        Raises:
            ValueError: frames or pixels do not fit the strides.
        """
        _, _, frames, height, width = video.shape
        if (frames - 1) % self.temporal_stride or (height | width) % self.spatial_stride:
            raise ValueError(
                f"a video of {frames} frames of {height}x{width} pixels does not fit Wan's VAE: "
                f"expected 1 + a multiple of {self.temporal_stride} frames and sides that are "
                f"multiples of {self.spatial_stride}; cut or resize the clip"
            )
        mode = self.model.encode(video.to(self.latents_mean)).latent_dist.mode()
        return (mode - self.latents_mean) / self.latents_std

    @torch.no_grad()
    def decode(self, latent: Float[Tensor, "b c tl hl wl"]) -> Float[Tensor, "b 3 t h w"]:
        """Video in [-1, 1] of normalized latents."""
        z = latent.to(self.latents_mean) * self.latents_std + self.latents_mean
        return self.model.decode(z).sample

    def save(self, folder: str | Path) -> None:
        """Write config.json: the source and the content hash, not the weights."""
        write_encoder(Path(folder), _record("wan_autoencoder", self), None)

    @staticmethod
    def load(folder: str | Path) -> "WanAutoencoder":
        """Load from the source that `save` noted; its contents must have the hash noted."""
        record = read_record(Path(folder))
        encoder = WanAutoencoder(WanAutoencoderConfig.model_validate(record["config"]))
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder


def _record(kind: str, encoder: TransformersText | WanAutoencoder) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": encoder.id,
        "hash": encoder.hash,
        "config": encoder.config.model_dump(),
    }
