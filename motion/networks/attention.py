"""Attention over tokens that several ranks share (Ulysses, Jacobs et al. 2023).

Each rank of a group holds an equal share of every clip's tokens. All layers that treat tokens one
by one need no change; in self-attention an all-to-all gives each rank all tokens of its share of
the heads, and a second one brings the result back.

Every collective here is differentiated by its true adjoint. The loss is computed whole on every
rank of the group, so the *mean* of the ranks' gradients is the gradient: what data parallelism
computes anyway, and why DeepSpeed need not know of the groups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
import torch.distributed as dist
from diffusers.models.attention_dispatch import (
    dispatch_attention_fn,  # pyright: ignore[reportUnknownVariableType]
)
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SequenceGroup:
    """The ranks that share the tokens of the same clips."""

    group: dist.ProcessGroup
    rank: int
    """Of this process in the group."""
    size: int

    def part(self, num_tokens: int) -> slice:
        """This rank's tokens.

        Raises:
            ValueError: they do not divide evenly.
        """
        if num_tokens % self.size:
            raise ValueError(
                f"{num_tokens} tokens do not divide among {self.size} ranks: choose a "
                "sequence_parallel that divides frames x rows x columns of the patches"
            )
        share = num_tokens // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b all d"]:
        """All ranks' tokens, in order."""
        return cast(Tensor, _Gather.apply(x, self.group))

    def tokens_to_heads(self, x: Float[Tensor, "*k b n h d"]) -> Float[Tensor, "*k b all part d"]:
        """From all heads of this rank's tokens to all tokens of its share of the heads."""
        split = x.unflatten(-2, (self.size, -1)).movedim(-3, 0)
        return self._exchange(split).movedim(0, -4).flatten(-4, -3)

    def heads_to_tokens(self, x: Float[Tensor, "b all part d"]) -> Float[Tensor, "b n h d"]:
        """The way back."""
        split = x.unflatten(1, (self.size, -1)).movedim(1, 0)
        return self._exchange(split).movedim(0, -3).flatten(-3, -2)

    def _exchange(self, x: Float[Tensor, "ranks *rest"]) -> Float[Tensor, "ranks *rest"]:
        """Send entry r to rank r; entry r of the result came from there."""
        return cast(Tensor, _Exchange.apply(x, self.group))


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_to_all(x, group)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(grad_outputs[0], ctx.group), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in _ranks(group)]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        # A sum over ranks of each one's own part; gloo has no reduce-scatter.
        split = grad_outputs[0].unflatten(1, (len(_ranks(ctx.group)), -1)).movedim(1, 0)
        return _all_to_all(split, ctx.group).sum(0), None


def _ranks(group: dist.ProcessGroup) -> range:
    return range(dist.get_world_size(group))


def _all_to_all(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    given = x.contiguous()
    received = torch.empty_like(given)
    dist.all_to_all_single(received, given, group=group)
    return received


class UlyssesProcessor(WanAttnProcessor):
    """Wan's self-attention over tokens that the ranks of a group share."""

    def __init__(self, sequence: SequenceGroup):
        super().__init__()
        self.sequence = sequence

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is None  # text is whole on every rank
        assert attention_mask is None
        assert rotary_emb is not None
        heads = (attn.heads, -1)
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, heads)
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, heads)
        value = attn.to_v(hidden_states).unflatten(2, heads)
        rows = cast(Any, tuple(table.flatten(0, 2) for table in rotary_emb))
        query, key = (cast(Tensor, apply_rotary_emb(x, rows, sequence_dim=1)) for x in (query, key))
        # Under autocast the kernel rounds them all to the value's type: exchange them in it.
        alike = torch.stack((query.type_as(value), key.type_as(value), value))
        query, key, value = self.sequence.tokens_to_heads(alike).unbind(0)
        seen = dispatch_attention_fn(query, key, value, backend=self._attention_backend)
        mixed = self.sequence.heads_to_tokens(seen).flatten(2).type_as(query)
        return attn.to_out[1](attn.to_out[0](mixed))


@runtime_checkable
class SharesSequence(Protocol):
    """A network that can compute the tokens of one clip on several ranks."""

    def share_sequence(self, sequence: SequenceGroup) -> None:
        """From now on compute this rank's share; outputs stay whole on every rank."""
        ...


def sequence_groups(size: int) -> SequenceGroup:
    """Groups of `size` consecutive ranks; a collective call. Returns this rank's."""
    world, own = dist.get_world_size(), dist.get_rank()
    groups = list(_new_groups(world, size))
    return SequenceGroup(groups[own // size], own % size, size)


def _new_groups(world: int, size: int) -> Iterator[dist.ProcessGroup]:
    for first in range(0, world, size):
        # Every rank must call it for every group.
        yield cast(dist.ProcessGroup, dist.new_group(list(range(first, first + size))))
