"""The three networks of text-to-motion's evaluator (Guo et al. 2022), by their published names.

State dicts of the published checkpoints load as they are: `main.0`, `main.3`, `out_net`, `pos_emb`,
`input_emb`, `gru`, `hidden`, `output_net.0`, `.1`, `.3`.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

FRAMES_PER_TOKEN = 4
"""Two convolutions of stride 2."""


class T2MConfig(BaseModel):
    """Widths of the networks; the defaults are the published ones (21.7 M parameters)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["t2m"] = "t2m"
    movement_hidden: int = Field(default=512, ge=1)
    """Channels between the two convolutions."""
    movement_dim: int = Field(default=512, ge=1)
    """Width of a token of four frames."""
    motion_hidden: int = Field(default=1024, ge=1)
    """Width of the motion's recurrence, per direction."""
    word_dim: int = Field(default=300, ge=1)
    """Width of a word vector: GloVe's 300, or that of the data set's text encoder."""
    pos_dim: int = Field(default=15, ge=0)
    """Classes of the part of speech, which follows the word vector as a one-hot; 0: none does."""
    text_hidden: int = Field(default=512, ge=1)
    """Width of the text's recurrence, per direction."""
    embedding_dim: int = Field(default=512, ge=1)
    """Width of the shared space, which is not normalized."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """After each convolution."""
    reference_frames: int = Field(default=196, ge=0)
    """Clips are padded with zeros to this many frames, as the published loader does, and the
    frame after the end then reaches the last token through the first convolution's bias. 0 blanks
    what is beyond the end instead, so that a clip's embedding is that of the clip alone."""
    margin: float = Field(default=10.0, gt=0)
    """Distance that mismatched pairs are pushed to."""

    @property
    def token_dim(self) -> int:
        """Width of a text token: word vector, then part of speech."""
        return self.word_dim + self.pos_dim


class MovementEncoder(nn.Module):
    """Frames to tokens of four (1.84 M parameters at the published widths)."""

    def __init__(self, input_dim: int, hidden: int, output_dim: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(input_dim, hidden, 4, 2, 1),
            nn.Dropout(dropout),
            nn.LeakyReLU(0.2),
            nn.Conv1d(hidden, output_dim, 4, 2, 1),
            nn.Dropout(dropout),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(output_dim, output_dim)

    def forward(
        self, frames: Float[Tensor, "b t d"], inner_mask: Bool[Tensor, "b half"] | None
    ) -> Float[Tensor, "b quarter e"]:
        """Tokens; what `inner_mask` leaves out after the first convolution counts as zero."""
        hidden = self.main[:3](frames.mT)
        if inner_mask is not None:
            hidden = hidden * inner_mask[:, None]
        return self.out_net(self.main[3:](hidden).mT)


class _Recurrent(nn.Module):
    """Tokens to one vector: a bidirectional GRU from a learned state, then two layers."""

    def __init__(self, input_dim: int, hidden: int, output_dim: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(input_dim, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.LayerNorm(hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, output_dim),
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))

    def read(
        self, tokens: Float[Tensor, "b n d"], lengths: Int[Tensor, "b"]
    ) -> Float[Tensor, "b e"]:
        """The embedding of the first `lengths` tokens; the order of the batch does not matter."""
        start = self.hidden.expand(-1, len(tokens), -1).contiguous()
        packed = pack_padded_sequence(
            self.input_emb(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed, start)
        return self.output_net(torch.cat([last[0], last[1]], -1))


class MotionEncoder(_Recurrent):
    """Movement tokens to the shared space (15.75 M parameters)."""

    def forward(
        self, tokens: Float[Tensor, "b n d"], lengths: Int[Tensor, "b"]
    ) -> Float[Tensor, "b e"]:
        return self.read(tokens, lengths)


class TextEncoder(_Recurrent):
    """Words with their parts of speech to the shared space (4.10 M parameters)."""

    def __init__(self, word_dim: int, pos_dim: int, hidden: int, output_dim: int) -> None:
        super().__init__(word_dim, hidden, output_dim)
        self.word_dim = word_dim
        self.pos_emb = nn.Linear(pos_dim, word_dim) if pos_dim else None

    def forward(
        self, tokens: Float[Tensor, "b n d"], lengths: Int[Tensor, "b"]
    ) -> Float[Tensor, "b e"]:
        words = tokens[..., : self.word_dim]
        if self.pos_emb is not None:
            words = words + self.pos_emb(tokens[..., self.word_dim :])
        return self.read(words, lengths)


class T2MNetwork(nn.Module):
    """Movement encoder, motion encoder and text encoder."""

    def __init__(self, config: T2MConfig, num_features: int) -> None:
        super().__init__()
        self.config = config
        self.movement_encoder = MovementEncoder(
            num_features, config.movement_hidden, config.movement_dim, config.dropout
        )
        self.motion_encoder = MotionEncoder(
            config.movement_dim, config.motion_hidden, config.embedding_dim
        )
        self.text_encoder = TextEncoder(
            config.word_dim, config.pos_dim, config.text_hidden, config.embedding_dim
        )

    def embed_motion(
        self, features: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b e"]:
        """Embeddings of standardized features, cut to a multiple of four frames.

        Raises:
            ValueError: a clip of fewer than four frames, or of more than the reference allows.
        """
        lengths = mask.sum(1) // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN
        if int(lengths.min()) < FRAMES_PER_TOKEN:
            raise ValueError(
                f"a clip has {int(mask.sum(1).min())} frames of features; this evaluator needs at "
                f"least {FRAMES_PER_TOKEN}: evaluate longer clips"
            )
        reference = self.config.reference_frames
        if reference and int(lengths.max()) > reference:
            raise ValueError(
                f"a clip has {int(lengths.max())} frames of features; this evaluator was made for "
                f"at most {reference}: cut it"
            )
        total = reference or int(lengths.max())
        time = torch.arange(total, device=features.device)
        missing = max(total - features.shape[1], 0)
        frames = nn.functional.pad(features, (0, 0, 0, missing))[:, :total]
        frames = torch.where((time < lengths[:, None])[..., None], frames, 0)
        inner = None if reference else time[::2] < lengths[:, None]
        return self.motion_encoder(
            self.movement_encoder(frames, inner), lengths // FRAMES_PER_TOKEN
        )

    def embed_text(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b e"]:
        """Embeddings of token features, padded behind."""
        return self.text_encoder(tokens, mask.sum(1))
