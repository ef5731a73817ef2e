"""Floating-point operations of a forward and backward pass, counted once while it runs."""

from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


def flop_counter() -> FlopCounterMode:
    """A context that counts what runs inside it; `get_total_flops()` gives the operations.

    Counts matrix products, convolutions and attention, two operations per multiply-add, and what
    gradient checkpointing computes again. Operators run as they would without it: results stay the
    same to the last bit.
    """
    aten: Any = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={  # PyTorch counts the CUDA kernels only
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)
