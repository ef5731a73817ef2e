"""Motion for given conditions: one estimating pass, or generation by the common sampler."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.diffusion.guidance import guided
from motion.diffusion.noise import sample_normal
from motion.diffusion.path import CosineVP
from motion.diffusion.sampler import Constrain, Denoiser
from motion.diffusion.sampler import sample as follow
from motion.diffusion.schedule import uniform_times
from motion.metrics.inbetween import keyframes
from motion.models.genmo.conditions import Conditions, conditions_of
from motion.models.genmo.config import Condition, SampleOptions
from motion.models.genmo.decoding import in_world, tidy
from motion.models.genmo.network import Prediction
from motion.models.genmo.observed import Observed, observed_of
from motion.models.genmo.postprocess import hold_static_joints, static_path
from motion.models.system import Sample
from motion.sequence import Motion

if TYPE_CHECKING:
    from motion.models.genmo.system import Genmo

DESCRIPTIONS: tuple[Condition, ...] = ("text", "music", "speech")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a sample starts from."""

    observed: Observed
    conditions: Conditions
    like: Motion
    keys: Float[Tensor, "b t 151"] | None
    """Normalized motion vector of the keyframes."""
    key_mask: Bool[Tensor, "b t"] | None


def sample(
    system: "Genmo", batch: Batch, options: SampleOptions, *, generator: torch.Generator
) -> Sample:
    """Motions in the world.

    The clips' own motion is read for keyframes alone; body, frame rate and lengths come from the
    batch, shape from the network.

    Raises:
        ValueError: keyframes of clips without motion, or clips of several frame rates.
    """
    given = given_of(system, batch, options)
    if _mode(given, options) == "estimation":
        made = estimate(system, given)
    else:
        made = _generate(system, given, options, generator)
    return Sample(motion=decoded(system, made, given, options))


def given_of(system: "Genmo", batch: Batch, options: SampleOptions) -> Given:
    """Conditions of a batch as sampling reads them."""
    if bool((batch.fps != batch.fps[0]).any()):
        raise ValueError(
            f"clips of different rates {batch.fps.tolist()} in one batch: sample them apart"
        )
    observed = observed_of(batch)
    conditions = conditions_of(batch, observed, system.config, read=options.conditions)
    b, t = batch.frame_mask.shape
    body = system.bodies.of(batch)
    like = Motion(
        R_parent_child=torch.eye(3).expand(b, t, 24, 3, 3).to(system.mean),
        betas=torch.zeros(b, 10).to(system.mean),
        body_id=body.body_id,
        fps=float(batch.fps[0]),
    )
    key_mask = _key_mask(batch, options)
    keys = None
    if key_mask is not None:
        keys = _keys(system, batch, observed)
        conditions = conditions.keyed(keys, key_mask)
    return Given(observed=observed, conditions=conditions, like=like, keys=keys, key_mask=key_mask)


def _mode(given: Given, options: SampleOptions) -> Literal["estimation", "generation"]:
    if options.mode != "auto":
        return options.mode
    told = any(bool(given.conditions.has(name).any()) for name in DESCRIPTIONS)
    return "generation" if told or given.key_mask is not None else "estimation"


def estimate(system: "Genmo", given: Given) -> Prediction:
    """One pass at the last noise level, from zeros: the expected motion, without chance."""
    b, t = given.conditions.frame_mask.shape
    start = torch.zeros(b, t, system.representation.dim).to(system.mean)
    return system.network(start, torch.ones(b, device=start.device), given.conditions)


def _generate(
    system: "Genmo", given: Given, options: SampleOptions, generator: torch.Generator
) -> Prediction:
    """DDIM steps; guidance where a guided condition is given; heads from the last strong call."""
    conditions = given.conditions
    b, t = conditions.frame_mask.shape
    noise = sample_normal(b, (t, system.representation.dim), generator).to(system.mean)
    last: list[Prediction] = []

    def denoiser(seen: Conditions, *, strong: bool) -> Denoiser:
        def predict(x: Tensor, time: Tensor) -> Tensor:
            made = system.network(x, time.expand(b), seen)
            if strong:
                last[:] = [made]
            return tidy(made.x0, conditions.frame_mask, system.representation.slices["betas"])

        return predict

    applies = any(bool(conditions.has(name).any()) for name in options.guided)
    x0 = follow(
        guided(
            denoiser(conditions, strong=True),
            denoiser(conditions.without(options.guided), strong=False),
            options.guidance if applies else 1.0,
        ),
        noise,
        CosineVP(),
        uniform_times(options.steps),
        constrain=_constraint(system, given),
    )
    return last[0]._replace(x0=x0)


def _constraint(system: "Genmo", given: Given) -> Constrain | None:
    """Overwrite pose, shape and both root orientations at keyframes with the clean ones (paper,
    appendix D); the velocity is free."""
    keys, mask = given.keys, given.key_mask
    if keys is None or mask is None:
        return None
    posed = torch.arange(keys.shape[-1], device=keys.device)
    posed = posed < system.representation.slices["velocity"].start
    where = mask[..., None] & posed
    return lambda x: torch.where(where, keys, x)


def _key_mask(batch: Batch, options: SampleOptions) -> Bool[Tensor, "b t"] | None:
    if not options.keyframes:
        return batch.keyframes
    mask = torch.zeros_like(batch.frame_mask)
    for row, length in zip(mask, batch.frame_mask.sum(1).tolist(), strict=True):
        row[keyframes(int(length), min(options.keyframes, int(length))).to(row.device)] = True
    return mask


def _keys(system: "Genmo", batch: Batch, observed: Observed) -> Float[Tensor, "b t 151"]:
    if batch.R_parent_child is None or batch.translation is None or batch.betas is None:
        raise ValueError(
            "keyframes are given as motion: the batch needs R_parent_child, translation and betas"
        )
    motion = Motion(
        R_parent_child=batch.R_parent_child.float(),
        translation=batch.translation.float(),
        betas=batch.betas.float(),
        body_id=batch.body_id,
        fps=float(batch.fps[0]),
    )
    features = system.representation.encode(motion, observed.T_camera_world[..., :3, :3])
    return system.statistics.normalize(features)


def decoded(system: "Genmo", made: Prediction, given: Given, options: SampleOptions) -> Motion:
    """The prediction as a motion in the world, post-processed as asked for."""
    frame_mask = given.conditions.frame_mask
    representation = system.representation
    features = system.statistics.denormalize(made.x0)
    features = tidy(features, frame_mask, representation.slices["betas"])
    body = system.bodies.on(features.device)
    motion = in_world(
        representation,
        features,
        made.camera,
        given.observed,
        frame_mask,
        like=given.like,
        body=body,
        smooth=bool(given.conditions.signals["turn"].mask.any()),
    )
    if options.static_joints or options.inverse_kinematics:
        motion = static_path(motion, made.static, frame_mask, body)
    if options.inverse_kinematics:
        motion = hold_static_joints(motion, made.static, frame_mask, body)
    return motion
