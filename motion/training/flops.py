"""Floating-point operations of a forward and backward pass, counted once while it runs."""

from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


def flop_counter(*, model_only: bool = False) -> FlopCounterMode:
    """A context that counts what runs inside it; `get_total_flops()` gives the operations.

    Counts matrix products, convolutions and attention, two operations per multiply-add, and what
    gradient checkpointing computes again. Operators run as they would without it: results stay the
    same to the last bit.

    Args:
        model_only: leave out the scores that attention's backward pass computes a second time, as
            a utilization of model FLOPs does; without checkpointing nothing else is repeated.
    """
    aten: Any = torch.ops.aten
    backward = _attention_gradients if model_only else _attention_backward
    mapping = {  # PyTorch counts the CUDA kernels only
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    if model_only:
        mapping |= dict.fromkeys(
            (
                aten._scaled_dot_product_flash_attention_backward,
                aten._scaled_dot_product_efficient_attention_backward,
                aten._scaled_dot_product_cudnn_attention_backward,
            ),
            backward,
        )
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


def _attention_gradients(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Gradients of scores, queries, keys and values: twice the forward pass."""
    return 2 * sdpa_flop_count(query, key, value)
