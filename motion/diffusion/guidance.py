"""Guidance: one lerp of two predictions.

Classifier-free guidance takes the unconditional prediction as the weak one (Ho and Salimans 2022),
auto-guidance a weaker model (Karras et al. 2024); two conditions nest two calls. Predictions are
clean data of a denoiser, or logits of codes.
"""

from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def guided(
    strong: Callable[P, Tensor], weak: Callable[P, Tensor], weight: float
) -> Callable[P, Tensor]:
    """weak + weight (strong - weak). Weight 1 is no guidance, and never calls `weak`.

    A lerp of data predictions at one x_t equals the same lerp of velocities or noises, because all
    are affine in each other there.
    """
    if weight == 1.0:
        return strong

    def predict(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        return torch.lerp(weak(*args, **kwargs), strong(*args, **kwargs), weight)

    return predict
