"""What a fit is given, checked before anything is computed."""

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.skeleton import NUM_JOINTS, SMPL_JOINTS


def joint_indices(names: tuple[str, ...] | None, count: int) -> list[int]:
    """Indices of the named SMPL joints; of the first 22 or of all 24 where there are no names."""
    if names is None and count not in (22, NUM_JOINTS):
        raise ValueError(
            f"{count} joints without names; expected SMPL's first 22 or all 24: "
            "give names for others"
        )
    names = SMPL_JOINTS[:count] if names is None else names
    unknown = sorted(set(names) - set(SMPL_JOINTS))
    if unknown or len(names) != count or len(set(names)) != len(names):
        raise ValueError(
            f"{count} joints are named {', '.join(names)}; expected as many different "
            f"names of SMPL joints{f', not {unknown[0]!r}' if unknown else ''}"
        )
    return [SMPL_JOINTS.index(name) for name in names]


def require_shape(observed: Float[Tensor, "*shape"], columns: int, what: str) -> None:
    """Refuse what is not (..., frames, points, columns), or empty."""
    shape = tuple(observed.shape)
    if len(shape) < 3 or shape[-1] != columns:
        raise ValueError(f"{what} of shape {shape}; expected (..., frames, points, {columns})")
    if not observed.numel():
        raise ValueError(f"{what} of shape {shape} are empty: give a frame or more")


def checked(
    body: BodyModel,
    observed: Float[Tensor, "*batch t m _"],
    confidence: Float[Tensor, "*points"] | None,
    fps: float,
    what: str,
) -> tuple[Float[Tensor, "b t m _"], Float[Tensor, "b t m"]]:
    """Observations and weights with one batch axis, in the body's precision, without NaN."""
    if not fps > 0:
        raise ValueError(f"fps is {fps}; expected a positive number of frames per second")
    target = observed.reshape(-1, *observed.shape[-3:]).to(body.rest_joints(torch.zeros(10)))
    weight = target.new_ones(target.shape[:-1])
    if confidence is not None:
        if confidence.shape != observed.shape[:-1]:
            raise ValueError(
                f"confidence of shape {tuple(confidence.shape)}; expected one number per point: "
                f"{tuple(observed.shape[:-1])}"
            )
        weight = confidence.reshape(weight.shape).to(weight)
    if not bool(((weight >= 0) & (weight <= 1)).all()):
        raise ValueError("confidence lies outside of 0 to 1 or is NaN: scale it, or clamp it")
    broken = ~torch.isfinite(target).all(-1) & (weight > 0)
    if bool(broken.any()):
        clip, frame, point = broken.nonzero()[0].tolist()
        raise ValueError(
            f"{int(broken.sum())} {what} are not finite, the first in clip {clip}, frame {frame}, "
            f"point {point}: give missing ones the confidence 0"
        )
    if not bool((weight > 0).any(-1).any(-1).all()):
        raise ValueError(f"a clip has no {what} of confidence above 0: leave it out")
    return torch.where(weight[..., None] > 0, target, 0.0), weight
