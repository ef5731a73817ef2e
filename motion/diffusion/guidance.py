"""Guidance: one lerp of two denoisers.

Classifier-free guidance takes the unconditional prediction as the weak one (Ho and Salimans 2022),
auto-guidance a weaker model (Karras et al. 2024); two conditions nest two calls.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from motion.diffusion.sampler import Denoiser


def guided(denoiser: Denoiser, weak: Denoiser, weight: float) -> Denoiser:
    """weak + weight (denoiser - weak). Weight 1 is no guidance, and never calls `weak`.

    A lerp of data predictions at one x_t equals the same lerp of velocities or noises, because all
    are affine in each other there.
    """
    if weight == 1.0:
        return denoiser

    def predict(x_t: Float[Tensor, "*x"], t: Float[Tensor, ""]) -> Float[Tensor, "*x"]:
        return torch.lerp(weak(x_t, t), denoiser(x_t, t), weight)

    return predict
