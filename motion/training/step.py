"""One optimizer step over all ranks, and what happens when it is not finite."""

import contextlib
import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.profiler import record_function

from motion.batch import Batch
from motion.models.system import Logs
from motion.training.engine import Engine
from motion.training.flops import flop_counter


class UnequalTermsError(RuntimeError):
    """Micro-batches of one step have other loss terms; the message names them and the remedy."""


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient became NaN or infinite; the message names clips, term and remedy."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One optimizer step of the global batch."""

    loss: float
    terms: Mapping[str, float]
    """Loss terms, normalized like the loss."""
    gradient_norm: float
    """L2 norm before clipping."""
    wait_s: float
    """Seconds that this rank waited for data."""
    clip_ids: tuple[str, ...]
    """This rank's clips, in order."""
    replaced: tuple[str, ...]
    """Broken rows that the pipeline replaced on this rank."""
    num_replaced: int
    """The same over all ranks."""
    flops: int = 0
    """Operations of this rank's first micro-batch, forward and backward; 0 where not counted."""


def run_step(
    engine: Engine, batches: Iterator[Batch], step: int, *, count_flops: bool = False
) -> StepResult:
    """Forward, backward and update over the accumulation; a collective call.

    Args:
        engine: model and optimizer.
        batches: this rank's micro-batches.
        step: optimizer step, from 0.
        count_flops: also count operations, which slows this rank's first micro-batch.

    Raises:
        UnequalTermsError: on every rank, before the weights are changed.
        NonFiniteLossError: on every rank, before the weights are changed when a loss is not
            finite, after the change when only the gradient norm is not.
    """
    seen: list[tuple[Batch, Tensor]] = []
    named: list[list[str]] = []
    wait_s = 0.0
    counter = flop_counter() if count_flops else None
    for index in range(engine.config.accumulation):
        batch, waited = _next(engine, batches, step)
        wait_s += waited
        counted = counter if counter is not None and index == 0 else contextlib.nullcontext()
        with counted:
            loss, logs = engine.forward_backward(batch.to(engine.device))
        named.append(sorted(logs))
        seen.append((batch, _vector(loss, logs)))
        if index + 1 < engine.config.accumulation:
            engine.skip()
    names = _common_terms(named, step, engine.device)
    means, num_replaced = _global_means(seen)
    num_replaced //= engine.config.sequence_parallel  # ranks that share clips report the same
    if not all(math.isfinite(value) for value in means):
        raise NonFiniteLossError(_loss_report(step, ["loss", *names], seen))
    norm = engine.update(step)
    if not math.isfinite(norm):
        raise NonFiniteLossError(_gradient_report(step, norm, [batch for batch, _ in seen]))
    return StepResult(
        loss=means[0],
        terms=dict(zip(names, means[1:], strict=True)),
        gradient_norm=norm,
        wait_s=wait_s,
        clip_ids=tuple(name for batch, _ in seen for name in batch.clip_ids),
        replaced=tuple(text for batch, _ in seen for text in batch.replaced),
        num_replaced=num_replaced,
        flops=0 if counter is None else counter.get_total_flops(),
    )


def _next(engine: Engine, batches: Iterator[Batch], step: int) -> tuple[Batch, float]:
    """The next micro-batch, stamped, and the seconds that it was waited for."""
    config, started = engine.config, time.perf_counter()
    with record_function("train/data"):
        batch = next(batches).stamp(step=step, steps=config.steps, seed=config.seed)
    return batch, time.perf_counter() - started


def _common_terms(named: list[list[str]], step: int, device: torch.device) -> list[str]:
    """The terms of every micro-batch of every rank, whose values may then be summed; a collective
    call.

    Raises:
        UnequalTermsError: they differ.
    """
    texts = ["\n".join(names).encode() for names in named]
    digests = [
        int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") for text in texts
    ]
    # The largest digest and the smallest, in one reduction.
    ends = torch.tensor([max(digests), -min(digests)], device=device)
    dist.all_reduce(ends, op=dist.ReduceOp.MAX)
    highest, lowest = ends.tolist()
    if highest == -lowest:
        return named[0]
    local = [
        f"rank {dist.get_rank()}, micro-batch {index}: {', '.join(names) or 'none'}"
        for index, names in enumerate(named)
    ]
    raise UnequalTermsError(
        f"step {step}: the loss has other terms in other micro-batches, which cannot be summed; "
        f"{'; '.join(_from_all(local))}. A system must give the same terms for every batch: zero, "
        "from global_mean, where no clip of it carries a term"
    )


def _global_means(seen: list[tuple[Batch, Tensor]]) -> tuple[list[float], int]:
    """Loss and terms of the global batch, and its replaced rows; a collective call."""
    replaced = sum(len(batch.replaced) for batch, _ in seen)
    total = torch.stack([values for _, values in seen]).mean(0)
    total = torch.cat([total, total.new_tensor([replaced])])
    dist.all_reduce(total)
    *sums, num_replaced = total.tolist()
    return [value / dist.get_world_size() for value in sums], round(num_replaced)


def _vector(loss: Tensor, logs: Logs) -> Tensor:
    """Loss and terms in the terms' sorted order, in float64: sums must not depend on the split."""
    values = [loss, *(logs[name] for name in sorted(logs))]
    return torch.stack([value.detach().double().reshape(()) for value in values])


def _loss_report(step: int, names: list[str], seen: list[tuple[Batch, Tensor]]) -> str:
    """The same message on every rank: which term of which clips."""
    local: list[str] = []
    for batch, values in seen:
        bad = [n for n, v in zip(names, values.tolist(), strict=True) if not math.isfinite(v)]
        if bad:
            terms = [name for name in bad if name != "loss"] or ["loss"]
            clips = ", ".join(batch.clip_ids)
            local.append(f"rank {dist.get_rank()}: term {', '.join(terms)} of clips {clips}")
    return (
        f"step {step}: the loss is not finite; {'; '.join(_from_all(local))}. The weights were "
        "not changed. Look at these clips first; if they are sound, lower optimizer.learning_rate "
        "or optimizer.clip_norm, or lengthen optimizer.warmup_steps. A restart under this name "
        "continues from the last checkpoint"
    )


def _gradient_report(step: int, norm: float, batches: list[Batch]) -> str:
    """The same message on every rank: the clips of the global batch."""
    clips = [name for batch in batches for name in batch.clip_ids]
    return (
        f"step {step}: the gradient norm is {norm} although the loss is finite; clips of this "
        f"step: {', '.join(_from_all(clips))}. Term: gradient. Look for a square root, a norm or "
        "a division at zero in the loss. The last checkpoint is older than this step and sound"
    )


def _from_all(local: list[str]) -> list[str]:
    gathered: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, local)
    return [item for items in gathered for item in items]
