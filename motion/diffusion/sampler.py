"""The one sampler of every diffusion system."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from motion.diffusion.path import Path, RectifiedFlow, eps_from_x0

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> x0, with t a scalar tensor in [0, 1]."""

Solver = Literal["euler", "unipc"]

Constrain = Callable[[Tensor], Tensor]
"""Re-imposes what is known of the result, e.g. a clean first latent frame."""


def sample(
    denoiser: Denoiser,
    x_T: Float[Tensor, "*x"],
    path: Path,
    times: Float[Tensor, "n"],
    *,
    solver: Solver = "euler",
    constrain: Constrain | None = None,
) -> Float[Tensor, "*x"]:
    """Follow a path from noise `x_T` at times[0] to data at times[-1] = 0, in float32.

    euler: x_next = alpha(t') x0 + sigma(t') eps, which is Euler's step on the rectified flow and
    deterministic DDIM (Song et al. 2021) on a variance-preserving path.
    unipc: diffusers' UniPC (Zhao et al. 2023; bh2, order 2, data prediction), rectified flow only.

    `constrain` is applied to the start and after every step.

    Raises:
        ValueError: the times do not fall to 0, or the solver does not fit the path.
    """
    if len(times) < 2 or bool((times.diff() >= 0).any()) or times[-1] != 0:
        raise ValueError(
            f"times must fall strictly and end with 0, but are {times.tolist()}: "
            "take them from motion.diffusion.schedule"
        )
    if solver == "unipc" and not isinstance(path, RectifiedFlow):
        raise ValueError(
            f"solver 'unipc' works on RectifiedFlow, not on {type(path).__name__}: use 'euler'"
        )
    times = times.to(x_T.device).float()
    advance = _unipc(times) if solver == "unipc" else _euler(path, times)
    fixed = constrain or (lambda x: x)
    x = fixed(x_T.float())
    for i, t in enumerate(times[:-1]):
        x = fixed(advance(denoiser(x, t).float(), x, i))
    return x


Advance = Callable[[Tensor, Tensor, int], Tensor]
"""(x0, x_t, i) -> x at times[i + 1]."""


def _euler(path: Path, times: Float[Tensor, "n"]) -> Advance:
    def advance(x0: Tensor, x_t: Tensor, i: int) -> Tensor:
        eps = eps_from_x0(path, x_t, x0, times[i])
        return path.alpha(times[i + 1]) * x0 + path.sigma(times[i + 1]) * eps

    return advance


def _unipc(times: Float[Tensor, "n"]) -> Advance:
    # Imported here: every config names a solver, and diffusers takes seconds to import.
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    # Our data prediction goes in as it is ("sample"); on this path that is the same update as
    # "flow_prediction" with the velocity. The times are already shifted.
    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, flow_shift=1.0, prediction_type="sample"
    )
    scheduler.set_timesteps(sigmas=times[:-1].double().cpu().numpy(), device=times.device)  # pyright: ignore[reportArgumentType]
    scheduler.set_begin_index(0)  # two of our times may round to one of its integer timesteps

    def advance(x0: Tensor, x_t: Tensor, i: int) -> Tensor:
        return scheduler.step(x0, scheduler.timesteps[i], x_t, return_dict=False)[0]

    return advance
