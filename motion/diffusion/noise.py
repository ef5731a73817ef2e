"""Randomness that belongs to a clip, not to a rank.

Every clip carries a `noise_key` = hash(seed, epoch, clip id). Noise, timesteps and dropout derive
from it and from the name of their use, so a result does not depend on how clips are spread over
ranks, micro-batches or restarts.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def noise_key(seed: int, epoch: int, clip_id: str) -> int:
    """A 63-bit key of one clip in one epoch."""
    text = f"{seed}/{epoch}/{clip_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator_for(key: int, use: str) -> torch.Generator:
    """A CPU generator for one key and one use ("noise", "timestep", "text_dropout" ...)."""
    digest = hashlib.blake2b(f"{key}/{use}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def clip_normal(keys: Int[Tensor, "b"], use: str, shape: Sequence[int]) -> Float[Tensor, "b ..."]:
    """Standard normal noise of `shape` per clip, on the CPU in float32."""
    return torch.stack(
        [torch.randn(*shape, generator=generator_for(int(key), use)) for key in keys]
    )


def clip_uniform(
    keys: Int[Tensor, "b"], use: str, shape: Sequence[int] = ()
) -> Float[Tensor, "b ..."]:
    """Uniform numbers in [0, 1) of `shape` per clip (one by default), on the CPU in float32."""
    return torch.stack(
        [torch.rand(tuple(shape), generator=generator_for(int(key), use)) for key in keys]
    )


def sample_normal(
    count: int, shape: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "b ..."]:
    """Standard normal noise of `shape` for `count` samples, on the generator's device.

    Drawn sample by sample: the noise of one does not depend on how many follow it.
    """
    device = generator.device
    return torch.stack(
        [torch.randn(tuple(shape), generator=generator, device=device) for _ in range(count)]
    )
