"""Frames to latents and back by convolutions in time (MoMask, Guo et al. 2024), with a mask.

Every convolution sees zeros where the mask is False, as at the ends of a clip: a clip's latents do
not depend on how far it was padded.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_DILATIONS = (9, 3, 1)
"""Of the residual blocks, in their order, in encoder and decoder."""


class _Residual(nn.Module):
    """Two convolutions around the identity."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.spread = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"]
    ) -> Float[Tensor, "b c t"]:
        hidden = self.spread(torch.relu(x) * mask)
        return x + self.dropout(self.mix(torch.relu(hidden)))


class _Stack(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Residual(width, d, dropout) for d in _DILATIONS)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"]
    ) -> Float[Tensor, "b c t"]:
        for block in self.blocks:
            x = block(x, mask)
        return x


class Encoder(nn.Module):
    """A quarter of the frames: two convolutions of stride 2."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(channels, width, 3, padding=1)
        self.halve = nn.ModuleList(nn.Conv1d(width, width, 4, 2, 1) for _ in range(2))
        self.stacks = nn.ModuleList(_Stack(width, dropout) for _ in range(2))
        self.leave = nn.Conv1d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"]
    ) -> Float[Tensor, "b w n"]:
        """Latents; t and the frames that count are multiples of four."""
        x = torch.relu(self.enter(x * mask))
        for halve, stack in zip(self.halve, self.stacks, strict=True):
            x, mask = halve(x * mask), mask[..., ::2]
            x = stack(x, mask)
        return self.leave(x * mask)


class Decoder(nn.Module):
    """Four times the latents: each doubling repeats them, then convolves."""

    def __init__(self, width: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(width, width, 3, padding=1)
        self.stacks = nn.ModuleList(_Stack(width, dropout) for _ in range(2))
        self.widen = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.mix = nn.Conv1d(width, width, 3, padding=1)
        self.leave = nn.Conv1d(width, channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b w n"], mask: Float[Tensor, "b 1 n"]
    ) -> Float[Tensor, "b c t"]:
        """Four frames per latent."""
        x = torch.relu(self.enter(x * mask))
        for stack, widen in zip(self.stacks, self.widen, strict=True):
            x = stack(x, mask).repeat_interleave(2, -1)
            mask = mask.repeat_interleave(2, -1)
            x = widen(x * mask)
        x = torch.relu(self.mix(x * mask))
        return self.leave(x * mask)
