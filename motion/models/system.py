"""The seam: what the loop trains and what inference samples from.

A Trainable is an `nn.Module` whose `forward(batch)` returns `(loss, logs)`; the loss is `forward`
because DeepSpeed hooks the call of its engine. A System adds `sample`. There is nothing else on
the interface. Neither owns a bare `nn.Parameter`: parameters live in submodules, because ZeRO-3
gathers them in submodule hooks and sampling does not pass through the outermost one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from motion.batch import Batch
from motion.sequence import Motion

Logs = Mapping[str, Tensor]
"""Detached scalars by name, normalized like the loss (motion/losses.py)."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a System emits for a batch of b clips; parts that it does not make are None."""

    motion: Motion | None = None
    """Batched motion (b, t, 24, 3, 3)."""
    latent_rgb: Float[Tensor, "b c tl hl wl"] | None = None
    latent_map: Float[Tensor, "b c tl hl wl"] | None = None
    rgb: Float[Tensor, "b 3 t h w"] | None = None
    """Decoded video in [-1, 1]; `motion.inference` fills it from the latents."""
    motion_map: Float[Tensor, "b 3 t h w"] | None = None

    def to(self, device: torch.device | str) -> "Sample":
        """The same sample with every tensor on a device."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: part.to(device) for name, part in parts.items()})


@runtime_checkable
class Trainable(Protocol):
    """A module whose forward is its loss."""

    def __call__(self, batch: Batch) -> tuple[Tensor, Logs]: ...


@runtime_checkable
class System(Trainable, Protocol):
    """A Trainable that can be sampled from."""

    def sample(self, batch: Batch, options: Any, *, generator: torch.Generator) -> Sample:
        """Sample for the batch's conditions. `options` is the system's frozen SampleOptions."""
        ...
