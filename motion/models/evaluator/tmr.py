"""A contrastive evaluator after TMR (Petrovich, Black & Varol 2023), the default to train.

Two transformers read text and motion; each gives the mean and the deviation of a latent. The latent
of either rebuilds the motion, and paired means are near each other: on the unit sphere, where
retrieval is by cosine. Written from the paper.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from motion.networks.sinusoids import sinusoids


class TMRConfig(BaseModel):
    """Size of the networks and weights of the loss; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["tmr"] = "tmr"
    token_dim: int = Field(default=512, ge=1)
    """Width of a token of the data set's text encoder."""
    width: int = Field(default=256, ge=2, multiple_of=2)
    """Width of the transformers."""
    num_layers: int = Field(default=6, ge=1)
    """Blocks of each."""
    num_heads: int = Field(default=4, ge=1)
    """Attention heads."""
    feedforward: int = Field(default=1024, ge=1)
    """Inner width of a block."""
    embedding_dim: int = Field(default=256, ge=1)
    """Width of the latent and of the shared space."""
    frames_per_token: int = Field(default=1, ge=1)
    """Frames that one token of motion holds; more are cheaper."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In every block."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the contrast of paired means."""
    similar_text: float = Field(default=0.8, gt=0)
    """Clips whose mean token is at least this similar (cosine) are not each other's negatives."""
    contrastive_weight: float = Field(default=0.1, ge=0)
    """Weight of the contrast (InfoNCE, both directions)."""
    kl_weight: float = Field(default=1e-5, ge=0)
    """Weight of the latents' divergence from each other and from a standard normal."""
    latent_weight: float = Field(default=1e-5, ge=0)
    """Weight of the distance of paired latents."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "TMRConfig":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads {self.num_heads}")
        return self


class Latent(NamedTuple):
    """A diagonal normal distribution per clip."""

    mean: Float[Tensor, "b e"]
    log_variance: Float[Tensor, "b e"]

    def sample(self, noise: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
        """The point that standard normal noise leads to."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self, other: "Latent") -> Float[Tensor, "b"]:
        """Kullback-Leibler divergence from another one, in nats, mean over dimensions."""
        gap = (self.mean - other.mean).square() + self.log_variance.exp()
        terms = other.log_variance - self.log_variance + gap * (-other.log_variance).exp() - 1
        return 0.5 * terms.mean(-1)


def _block(config: TMRConfig) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        config.width,
        config.num_heads,
        config.feedforward,
        config.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def _transformer(config: TMRConfig) -> nn.TransformerEncoder:
    # Pre-norm residual streams need a norm at the end.
    return nn.TransformerEncoder(
        _block(config), config.num_layers, nn.LayerNorm(config.width), enable_nested_tensor=False
    )


class DistributionEncoder(nn.Module):
    """Tokens to a latent, read from two tokens of its own in front of them."""

    def __init__(self, config: TMRConfig, input_dim: int) -> None:
        super().__init__()
        self.input = nn.Linear(input_dim, config.width)
        self.asking = nn.Parameter(torch.randn(2, config.width))
        self.blocks = _transformer(config)
        self.mean = nn.Linear(config.width, config.embedding_dim)
        self.log_variance = nn.Linear(config.width, config.embedding_dim)

    def forward(self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Latent:
        read = self.input(tokens)
        asked = self.asking.expand(len(read), -1, -1)
        rows = torch.cat([asked, read + sinusoids(read.shape[1], read.shape[2], read)], 1)
        hidden = self.blocks(rows, src_key_padding_mask=~pad(mask, (2, 0), value=True))
        return Latent(self.mean(hidden[:, 0]), self.log_variance(hidden[:, 1]))


class MotionDecoder(nn.Module):
    """A latent to standardized features: positions that attend to each other and to the latent."""

    def __init__(self, config: TMRConfig, output_dim: int) -> None:
        super().__init__()
        self.latent = nn.Linear(config.embedding_dim, config.width)
        self.blocks = _transformer(config)
        self.output = nn.Linear(config.width, output_dim)

    def forward(
        self, latent: Float[Tensor, "b e"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b n d"]:
        first = self.latent(latent)[:, None]
        positions = sinusoids(mask.shape[1], first.shape[-1], first)
        rows = torch.cat([first, positions.expand(len(latent), -1, -1)], 1)
        hidden = self.blocks(rows, src_key_padding_mask=~pad(mask, (1, 0), value=True))
        return self.output(hidden[:, 1:])


class TMRNetwork(nn.Module):
    """Motion encoder, text encoder and motion decoder."""

    def __init__(self, config: TMRConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        patch = num_features * config.frames_per_token
        self.motion_encoder = DistributionEncoder(config, patch)
        self.text_encoder = DistributionEncoder(config, config.token_dim)
        self.motion_decoder = MotionDecoder(config, patch)

    def patches(
        self, features: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b n p"], Bool[Tensor, "b n"]]:
        """Tokens of several frames; one that begins within the clip counts, zero where it ends."""
        size = self.config.frames_per_token
        missing = -features.shape[1] % size
        frames = torch.where(mask[..., None], features, 0)
        frames = pad(frames, (0, 0, 0, missing)).unflatten(1, (-1, size)).flatten(2)
        return frames, pad(mask, (0, missing)).unflatten(1, (-1, size)).any(-1)

    def embed_motion(
        self, features: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b e"]:
        """Unit embeddings of standardized features."""
        return normalize(self.motion_encoder(*self.patches(features, mask)).mean, dim=-1)

    def embed_text(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b e"]:
        """Unit embeddings of token features, padded behind."""
        return normalize(self.text_encoder(tokens, mask).mean, dim=-1)
