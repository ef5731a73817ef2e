"""GENMO: estimation and generation of motion in one network (Li et al. 2025)."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motion.batch import Batch
from motion.data.statistics import Statistics
from motion.diffusion.noise import clip_normal, clip_uniform
from motion.diffusion.path import CosineVP, noised
from motion.diffusion.schedule import training_times
from motion.losses import global_mean
from motion.models.genmo.augment import (
    estimation_conditions,
    generation_conditions,
    jittered,
    key_frames,
    observe,
    world_points,
)
from motion.models.genmo.conditions import Conditions, conditions_of
from motion.models.genmo.config import (
    CONDITIONS,
    KEY_DIM,
    Condition,
    GenmoConfig,
    SampleOptions,
)
from motion.models.genmo.decoding import Posed, posed_in_camera, tidy
from motion.models.genmo.loss import (
    COUNTED_BY,
    Truth,
    motion_losses,
    predicted_pelvis,
    reprojection_loss,
    truth_of,
)
from motion.models.genmo.network import Network, Prediction
from motion.models.genmo.observed import Observed
from motion.models.genmo.sampling import sample
from motion.models.placed_body import PlacedBody
from motion.models.system import Logs, Sample

Terms = dict[str, tuple[Float[Tensor, "b"], Bool[Tensor, "b"]]]
"""Loss per clip and which clips carry it, by `mode_term`."""
_LAST = 1.0
"""Noise level of the estimation mode."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A batch as a training step sees it."""

    observed: Observed
    conditions: Conditions
    """Everything that is known, before anything is hidden."""
    truth: Truth
    told: Bool[Tensor, "b"]
    """Clips trained on their description."""


class Genmo(nn.Module):
    """The network with its two modes.

    Estimation gets the estimation input at the last noise level and regresses the motion;
    generation denoises. Every clip trains both, in sequence, on conditions drawn apart; clips
    without 3D train generation on what estimation makes of their keypoints.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: GenmoConfig):
        super().__init__()
        self.config = config
        self.representation = config.representation
        self.network = Network(config)
        self.bodies = PlacedBody(config.body)
        found = config.statistics
        dim = self.representation.dim
        mean = torch.zeros(dim) if found is None else torch.tensor(found.mean)
        std = torch.ones(dim) if found is None else torch.tensor(found.std)
        # In the config, so not in the weights.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def statistics(self) -> Statistics:
        """Mean and deviation of the motion vector.

        Raises:
            ValueError: none were taken yet.
        """
        if self.config.statistics is None:
            raise ValueError(
                "this system has no statistics of its motion vector: take them from the training "
                "clips first (motion.training.genmo.with_statistics; rayjobs/train_genmo.py does)"
            )
        return Statistics(self.mean, self.std)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Weighted sum of the terms of both modes, each a mean over the global batch's clips."""
        weights: dict[str, float] = self.config.weights.model_dump()
        loss = torch.zeros((), device=batch.frame_mask.device)
        logs: dict[str, Tensor] = {}
        for name, (per_clip, present) in self._terms(
            batch, "train", self.view(batch, "train")
        ).items():
            term = name.split("_", 1)[1]
            mean = global_mean(per_clip, batch, COUNTED_BY.get(term, "motion"), present)
            loss = loss + weights[term] * mean
            logs[name] = mean.detach()
        return loss, logs

    def clip_losses(
        self,
        batch: Batch,
        *,
        use: str = "evaluation",
        read: Collection[Condition] = CONDITIONS,
        swapped: Collection[Condition] = (),
    ) -> dict[str, Float[Tensor, "b"]]:
        """Each term of each clip, neither weighted nor normalized; NaN where a clip lacks it.

        Cameras, noise and times derive from the noise keys and `use`: conditions are compared under
        equal ones. In evaluation mode nothing is hidden or dropped at random.

        Args:
            batch: the clips.
            use: name of the drawing.
            read: conditions that are seen.
            swapped: conditions taken from the clip half a batch away.
        """
        view = self.view(batch, use)
        seen = view.conditions.without([name for name in CONDITIONS if name not in read])
        view = replace(view, conditions=seen.swapped(swapped, batch.size // 2))
        return {
            name: per_clip.masked_fill(~present, torch.nan)
            for name, (per_clip, present) in self._terms(batch, use, view).items()
        }

    def view(self, batch: Batch, use: str) -> View:
        """Cameras, conditions and targets of a batch; noisy in training, plain in evaluation."""
        augmentation = self.config.augmentation if self.training else None
        body = self.bodies.of(batch)
        with torch.no_grad():
            told = self._told(batch, use)
            pelvis, points = world_points(body, batch)
            observed = observe(batch, pelvis, points, augmentation, told=told, use=use)
            if self.training:
                observed = jittered(observed, batch.noise_key, use)
            conditions = conditions_of(batch, observed, self.config)
            truth = truth_of(batch, observed, body, self.representation)
        return View(observed=observed, conditions=conditions, truth=truth, told=told)

    def _told(self, batch: Batch, use: str) -> Bool[Tensor, "b"]:
        """Clips with text, music or speech: a share of them in training, all in evaluation."""
        device = batch.frame_mask.device
        told = torch.zeros(batch.size, dtype=torch.bool, device=device)
        groups = ((batch.text, batch.has_text), (batch.music, batch.has_music))
        for value, has in (*groups, (batch.speech, batch.has_speech)):
            if value is not None:
                told = told | (torch.ones_like(told) if has is None else has)
        if not self.training:
            return told
        drawn = clip_uniform(batch.noise_key, f"{use}/told").to(device)
        return told & (drawn < self.config.augmentation.told)

    def _terms(self, batch: Batch, use: str, view: View) -> Terms:
        config = self.config
        target = self.statistics.normalize(view.truth.features)
        seen, keys, hide = view.conditions, batch.noise_key, config.augmentation
        if self.training:
            seen = estimation_conditions(view.conditions, keys, hide, view.told)
        terms: Terms = {}
        # Also where it is not trained: it fills in what camera-only and 2D clips lack.
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.mode != "generation"):
            guide = self._pass(self._estimation_input(batch, use), seen, batch)
        if config.mode != "generation":
            terms |= self._scored("estimation", guide, seen, view, target, batch, None)
        if config.mode != "estimation":
            if self.training:
                seen = generation_conditions(view.conditions, keys, hide, view.told)
            clean = self._clean(target, guide, view.truth)
            if self.training:
                shown = key_frames(keys, hide, use, batch.frame_mask)
                seen = seen.keyed(clean, shown & view.truth.path[:, None])
            terms |= self._generation(clean, seen, view, target, batch, guide, use)
        return terms

    def _estimation_input(self, batch: Batch, use: str) -> Float[Tensor, "b t 151"]:
        b, t = batch.frame_mask.shape
        shape = (t, self.representation.dim)
        if self.config.estimation_input == "gaussian":
            return clip_normal(batch.noise_key, f"{use}/estimation", shape).to(self.mean)
        return torch.zeros(b, *shape).to(self.mean)

    def _pass(
        self,
        x: Float[Tensor, "b t 151"],
        conditions: Conditions,
        batch: Batch,
        time: Float[Tensor, "b"] | None = None,
    ) -> Prediction:
        """One call of the network; one shape per clip."""
        last = torch.full((batch.size,), _LAST, device=x.device)
        made = self.network(x, last if time is None else time, conditions)
        betas = self.representation.slices["betas"]
        return made._replace(x0=tidy(made.x0, batch.frame_mask, betas))

    def _clean(
        self, target: Float[Tensor, "b t 151"], guide: Prediction, truth: Truth
    ) -> Float[Tensor, "b t 151"]:
        """What generation is noised from: the truth, where there is none the estimate.

        A pose of a camera alone is completed by the estimated root in gravity's view and velocity.
        """
        world = torch.zeros(target.shape[-1], dtype=torch.bool, device=target.device)
        slices = self.representation.slices
        world[slices["root_gravity"]] = world[slices["velocity"]] = True
        known = truth.motion[:, None, None] & (truth.path[:, None, None] | ~world)
        return torch.where(known, target, guide.x0.detach())

    def _generation(
        self,
        clean: Float[Tensor, "b t 151"],
        seen: Conditions,
        view: View,
        target: Float[Tensor, "b t 151"],
        batch: Batch,
        guide: Prediction,
        use: str,
    ) -> Terms:
        eps = clip_normal(batch.noise_key, f"{use}/noise", clean.shape[1:]).to(clean)
        uniform = clip_uniform(batch.noise_key, f"{use}/timestep")
        time = training_times(uniform, 1.0).to(clean.device)
        noisy = noised(CosineVP(), clean, eps, time)
        given = torch.arange(clean.shape[-1], device=clean.device) < KEY_DIM
        given = given & seen.signals["keyframes"].mask[..., None]  # clean, as in sampling
        made = self._pass(torch.where(given, clean, noisy), seen, batch, time)
        return self._scored("generation", made, seen, view, target, batch, guide)

    def _scored(
        self,
        mode: str,
        made: Prediction,
        seen: Conditions,
        view: View,
        target: Float[Tensor, "b t 151"],
        batch: Batch,
        guide: Prediction | None,
    ) -> Terms:
        """The terms of one mode."""
        truth, observed = view.truth, view.observed
        features = self.statistics.denormalize(made.x0)
        posed = self._posed(features, truth, batch)
        losses = motion_losses(
            made, features, posed, truth, target, observed, batch.frame_mask, self.representation
        )
        fallback = None
        if guide is not None:
            fallback = predicted_pelvis(guide, observed, observed.boxed, None).detach()
        pelvis = predicted_pelvis(made, observed, seen.signals["box"].mask, fallback)
        losses["reprojection"] = reprojection_loss(posed, pelvis, truth, observed)
        present = dict.fromkeys(losses, truth.motion)
        present |= dict.fromkeys(("camera", "path", "static"), truth.path & truth.motion)
        flat = self.config.two_d == "both" or (
            self.config.two_d == "estimation" and mode == "estimation"
        )
        every = torch.ones_like(truth.motion)
        present["reprojection"] = every if flat else truth.motion
        active = {name for name, weight in self.config.weights.model_dump().items() if weight}
        return {f"{mode}_{name}": (losses[name], present[name]) for name in losses.keys() & active}

    def _posed(self, features: Float[Tensor, "b t 151"], truth: Truth, batch: Batch) -> Posed:
        body = self.bodies.of(batch)
        return posed_in_camera(body, self.representation, features, truth.like)

    @torch.no_grad()
    def sample(self, batch: Batch, options: SampleOptions, *, generator: torch.Generator) -> Sample:
        """Motions in the world for the batch's conditions; see `motion.models.genmo.sampling`."""
        return sample(self, batch, options, generator=generator)
