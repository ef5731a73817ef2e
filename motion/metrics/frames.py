"""Values per frame, where NaN marks what is undefined: invalid frames, and differences across gaps.

The metrics per frame return (clips, frames, ...) with NaN where a frame has no value. `per_clip`
and `pooled` average what is left: the published tables pool all frames, so long clips weigh more.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Gaps = Literal["joined", "adjacent"]
"""`joined`: invalid frames are removed before frames are compared, as the reference code does, so
that both sides of a gap count as neighbors. `adjacent`: only true neighbors are compared."""


def close_gaps(
    values: Float[Tensor, "b t *rest"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t *rest"]:
    """Valid frames first, in their order; the invalid ones behind them."""
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    return values[torch.arange(len(values), device=values.device)[:, None], order]


def gapless(mask: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """The mask of frames that went through `close_gaps`."""
    return torch.arange(mask.shape[1], device=mask.device) < mask.sum(1, keepdim=True)


def full_mask(
    values: Float[Tensor, "b t *rest"], mask: Bool[Tensor, "b t"] | None
) -> Bool[Tensor, "b t"]:
    """The mask itself, or one that holds everywhere."""
    if mask is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return mask


def finite(
    values: Float[Tensor, "*lead d"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*lead d"]:
    """The values, which must be finite where the mask holds: NaN means undefined here.

    Raises:
        ValueError: a valid entry is not finite. Averages over defined entries would hide it.
    """
    bad = ~torch.isfinite(values)
    if mask is not None:
        bad = bad & mask.to(bad.device).reshape(mask.shape + (1,) * (bad.dim() - mask.dim()))
    if bool(bad.any()):
        clips = sorted(set(bad.nonzero()[:, 0].tolist()))
        raise ValueError(
            f"{int(bad.sum())} valid coordinates are NaN or infinite, in clips {clips[:8]}: "
            "look at the motions, or leave the frames out by their mask"
        )
    return values


def valid_only(
    values: Float[Tensor, "b t *rest"], mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "b t *rest"]:
    """NaN in the frames where the mask does not hold."""
    if mask is None:
        return values
    wide = mask.reshape(mask.shape + (1,) * (values.dim() - 2))
    return torch.where(wide, values, values.new_full((), torch.nan))


def difference(
    values: Float[Tensor, "b t *rest"],
    mask: Bool[Tensor, "b t"] | None,
    order: int,
    gaps: Gaps = "joined",
) -> Float[Tensor, "b s *rest"]:
    """Forward difference of an order: t - order entries, NaN where one of its frames is invalid.

    A clip with too few frames has no entry.

    Raises:
        ValueError: a valid entry is not finite.
    """
    finite(values, mask)
    if values.shape[1] <= order:
        return values[:, :0]
    valid = full_mask(values, mask)
    if gaps == "joined" and mask is not None:
        values, valid = close_gaps(values, valid), gapless(valid)
    marked = valid_only(values, valid)
    return torch.diff(marked, n=order, dim=1)  # NaN of one frame spreads to its differences only


def per_clip(values: Float[Tensor, "b *rest"]) -> Float[Tensor, "b"]:
    """Mean of each clip's defined entries; NaN for a clip without one."""
    return values.flatten(1).nanmean(1)


def pooled(values: Float[Tensor, "*any"]) -> float:
    """Mean of all defined entries of all clips, as in published tables; NaN if there is none."""
    return float(values.nanmean())
