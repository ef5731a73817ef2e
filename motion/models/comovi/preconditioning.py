"""What a network need not learn about the velocity, in closed form.

With x_t = (1 - t) x0 + t eps and x0 of zero mean and standard deviation s in a channel, x_t has the
deviation sigma = sqrt((1 - t)^2 s^2 + t^2), the best linear estimate of v = eps - x0 from x_t is
(t - (1 - t) s^2) / sigma^2 x_t, and what it leaves over has the deviation s / sigma. A network that
sees x_t / sigma and adds its output times s / sigma to that estimate has inputs and targets of unit
variance at every noise level (Karras et al. 2022, section 5, on the rectified flow). Without it, a
small network from scratch spends its training on one gain per channel and noise level.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Scales(NamedTuple):
    """Factors per clip and channel: of the input, of the input in the output, of the output."""

    input: Float[Tensor, "b c 1 1 1"]
    skip: Float[Tensor, "b c 1 1 1"]
    output: Float[Tensor, "b c 1 1 1"]


class Preconditioner(nn.Module):
    """The scales of a stream; the deviation of each channel is learned, from one on."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_deviation = nn.Parameter(torch.zeros(channels))

    def forward(self, time: Float[Tensor, "b"]) -> Scales:
        """Scales at noise levels `time` in [0, 1], in float32."""
        s = self.log_deviation.float().exp()[None, :, None, None, None]
        t = time.float()[:, None, None, None, None]
        variance = ((1 - t) * s) ** 2 + t**2
        sigma = variance.sqrt()
        return Scales(1 / sigma, (t - (1 - t) * s**2) / variance, s / sigma)
