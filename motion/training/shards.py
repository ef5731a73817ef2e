"""fp32 master weights by shard: one accessor for all ZeRO stages, and what is built on it.

A `Fragment` is the part of a parameter that this rank owns, as a view of DeepSpeed's memory. Its
name and start do not depend on stage or world size, so a moving average that was saved by
fragment is restored at any other one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from motion.training.engine import Engine, import_deepspeed


@dataclass(frozen=True)
class Fragment:
    """Elements [start, start + n) of a flattened parameter."""

    name: str
    start: int
    values: Float[Tensor, "n"]
    """View of the fp32 master weights: writing it changes the weights of the optimizer."""


def _address(stage: int, parameter: nn.Parameter, engine: Engine) -> tuple[int, Tensor]:
    """Start and values of this rank's part of a trainable parameter; maybe empty."""
    raw: Any = parameter
    if stage == 0:
        return 0, parameter.detach().view(-1)
    if stage in (1, 2):
        mapping = raw._hp_mapping
        if mapping is None:
            return 0, torch.empty(0)
        return int(mapping.lp_fragment_address.start), mapping.get_hp_fragment().detach()
    width = int(raw.ds_tensor.ds_numel)
    start = dist.get_rank() * width
    owned = max(0, min(width, int(raw.ds_numel) - start))  # the rest is padding
    local = engine.deepspeed.optimizer.get_local_fp32_param(parameter)
    return start, local.detach().view(-1)[:owned]


def fragments(engine: Engine) -> list[Fragment]:
    """This rank's parts of the trainable parameters, in the module's order, without empty ones."""
    found: list[Fragment] = []
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            start, values = _address(engine.stage, parameter, engine)
            if values.numel():
                found.append(Fragment(name, start, values))
    return found


class MovingAverage:
    """Exponential moving average of the weights, sharded like them.

    average <- decay * average + (1 - decay) * weights after every optimizer step, from the initial
    weights on.
    """

    def __init__(self, decay: float, weights: Sequence[Fragment]) -> None:
        self.decay = decay
        self.parts = [Fragment(w.name, w.start, w.values.clone()) for w in weights]

    @torch.no_grad()
    def update(self, weights: Sequence[Fragment]) -> None:
        """Move towards the weights; they must be the fragments it was made from."""
        average = get_ema_multi_avg_fn(self.decay)
        average([part.values for part in self.parts], [weight.values for weight in weights], 0)

    def load(self, saved: Sequence[Fragment]) -> None:
        """Take the values of fragments that another world size or stage may have cut otherwise.

        Raises:
            ValueError: an element of this rank's parts is in none of the saved fragments.
        """
        by_name: dict[str, list[Fragment]] = {}
        for piece in saved:
            by_name.setdefault(piece.name, []).append(piece)
        for part in self.parts:
            missing = part.values.numel()
            for piece in by_name.get(part.name, []):
                low = max(part.start, piece.start)
                high = min(part.start + len(part.values), piece.start + len(piece.values))
                if low < high:
                    source = piece.values[low - piece.start : high - piece.start]
                    part.values[low - part.start : high - part.start].copy_(source)
                    missing -= high - low
            if missing > 0:
                raise ValueError(
                    f"the saved moving average lacks {missing} elements of {part.name}: the "
                    "checkpoint belongs to another system; use a new run name"
                )


def gather(
    engine: Engine, parts: Sequence[Fragment], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Whole fp32 tensors on the CPU of rank 0 (empty elsewhere); a collective call.

    Args:
        engine: gives stage and device.
        parts: fragments of weights or of a moving average.
        shapes: shape by name of every trainable parameter, in the module's order.
    """
    own = {part.name: part for part in parts}
    whole: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if engine.stage == 0:
            if dist.get_rank() == 0:
                whole[name] = own[name].values.view(shape).cpu().clone()
            continue
        buffer = torch.zeros(shape.numel(), device=engine.device)
        if name in own:
            part = own[name]
            buffer[part.start : part.start + len(part.values)] = part.values
        dist.reduce(buffer, dst=0)
        if dist.get_rank() == 0:
            whole[name] = buffer.view(shape).cpu()
    return whole


def trainable_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Shape of every trainable parameter; ZeRO-3 keeps it beside the emptied tensor."""
    return {
        name: torch.Size(getattr(p, "ds_shape", p.shape))
        for name, p in module.named_parameters()
        if p.requires_grad
    }


def full_state(engine: Engine, average: MovingAverage | None) -> tuple[dict[str, Tensor], ...]:
    """State dicts for an export on rank 0: (raw,) or (raw, averaged); a collective call.

    Frozen parameters and persistent buffers are part of both; a tied tensor appears under each of
    its names.
    """
    shapes = trainable_shapes(engine.module)
    trained = [gather(engine, fragments(engine), shapes)]
    if average is not None:
        trained.append(gather(engine, average.parts, shapes))
    frozen = _frozen_state(engine)
    if dist.get_rank() != 0:
        return tuple({} for _ in trained)
    first_name: dict[int, str] = {id(p): n for n, p in engine.module.named_parameters()}
    states: list[dict[str, Tensor]] = []
    for weights in trained:
        state: dict[str, Tensor] = {}
        for name, value in engine.module.state_dict(keep_vars=True).items():
            origin = first_name.get(id(value), name)
            state[name] = (weights[origin] if origin in weights else frozen[origin]).clone()
        states.append(state)
    return tuple(states)


def _frozen_state(engine: Engine) -> dict[str, Tensor]:
    """Frozen parameters and buffers on the CPU of rank 0; a collective call at stage 3."""
    state: dict[str, Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            continue
        if engine.stage == 3:
            with import_deepspeed().zero.GatheredParameters([parameter]):
                state[name] = parameter.detach().cpu().clone()
        else:
            state[name] = parameter.detach().cpu().clone()
    for name, buffer in engine.module.named_buffers():
        state[name] = buffer.detach().cpu().clone()
    return state
