"""Masked losses, pure and named after what they compare.

Normalization rule (docs/architecture.md): a term is the mean over a clip's valid entries, summed
over clips, divided by the number of clips of the *global* batch that carry the term. The result
then does not depend on how clips are spread over ranks and micro-batches.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch


def mean_over_valid(
    values: Float[Tensor, "b *rest"], mask: Bool[Tensor, "b *lead"] | None = None
) -> Float[Tensor, "b"]:
    """Mean of each clip's entries where the mask holds; 0 for a clip with none.

    The mask covers the leading axes of `values` and is broadcast over the rest.
    """
    if mask is None:
        return values.flatten(1).mean(1)
    wide = mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim())).expand(values.shape)
    valid = torch.where(wide, values, values.new_zeros(()))  # NaN in padding must not spread
    return valid.flatten(1).sum(1) / wide.flatten(1).sum(1).clamp(min=1)


def global_mean(
    per_clip: Float[Tensor, "b"], batch: Batch, name: str, present: Bool[Tensor, "b"] | None = None
) -> Float[Tensor, ""]:
    """This micro-batch's share of the mean over all clips of the global batch that carry `name`.

    Scaled by the number of micro-batches, because the engine averages over them (accumulation)
    and over ranks. A micro-batch without such clips gives a zero that is still on the graph.
    """
    if present is not None:
        per_clip = torch.where(present, per_clip, per_clip.new_zeros(()))
    return per_clip.sum() * (batch.num_micro_batches / max(batch.count(name, present), 1))
