"""Frames to latents and back by convolutions in time (MoMask, Guo et al. 2024), with a mask.

Every convolution sees zeros where the mask is False, as at the ends of a clip: a clip's latents do
not depend on how far it was padded.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_DILATIONS = (9, 3, 1)
"""Of the residual blocks, in their order, in encoder and decoder."""
_FIRST_OUTPUT = 0.1
"""Size of the decoder's first outputs: near the pose and place that zeros stand for."""


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


def _initialize(network: nn.Module) -> None:
    """Keep the variance through the layers; residual blocks start as the identity.

    PyTorch's default shrinks it to a half or less per convolution. Ten of them in a row then start
    with an output that hardly depends on the input, and thousands of steps pass before it does.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, _Residual):
            nn.init.zeros_(module.mix.weight)


class Encoder(nn.Module):
    """A quarter of the frames: two convolutions of stride 2."""

    def __init__(self, channels: int, width: int, code_width: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(channels, width, 3, padding=1)
        self.halve = nn.ModuleList(nn.Conv1d(width, width, 4, 2, 1) for _ in range(2))
        self.stacks = nn.ModuleList(_Stack(width, dropout) for _ in range(2))
        self.leave = nn.Conv1d(width, code_width, 3, padding=1)
        _initialize(self)

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Float[Tensor, "b 1 t"]
    ) -> Float[Tensor, "b d n"]:
        """Latents; t and the frames that count are multiples of four."""
        x = torch.relu(self.enter(x * mask))
        for halve, stack in zip(self.halve, self.stacks, strict=True):
            x, mask = halve(x * mask), mask[..., ::2]
            x = stack(x, mask)
        return self.leave(x * mask)


class Decoder(nn.Module):
    """Four times the latents: each doubling repeats them, then convolves."""

    def __init__(self, code_width: int, width: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(code_width, width, 3, padding=1)
        self.stacks = nn.ModuleList(_Stack(width, dropout) for _ in range(2))
        self.widen = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.mix = nn.Conv1d(width, width, 3, padding=1)
        self.leave = nn.Conv1d(width, channels, 3, padding=1)
        _initialize(self)
        nn.init.normal_(self.leave.weight, std=_FIRST_OUTPUT / (3 * width) ** 0.5)

    def forward(
        self, x: Float[Tensor, "b d n"], mask: Float[Tensor, "b 1 n"]
    ) -> Float[Tensor, "b c t"]:
        """Four frames per latent."""
        x = torch.relu(self.enter(x * mask))
        for stack, widen in zip(self.stacks, self.widen, strict=True):
            x = stack(x, mask).repeat_interleave(2, -1)
            mask = mask.repeat_interleave(2, -1)
            x = widen(x * mask)
        x = torch.relu(self.mix(x * mask))
        return self.leave(x * mask)
