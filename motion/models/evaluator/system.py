"""An evaluator as a Trainable: features and captions of a batch in, contrastive loss out."""

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.batch import Batch
from motion.losses import global_mean
from motion.models.evaluator.features import FeatureConfig, Features
from motion.models.evaluator.loss import roll_shift, t2m_terms, tmr_terms
from motion.models.evaluator.t2m import T2MConfig, T2MNetwork
from motion.models.evaluator.tmr import TMRConfig, TMRNetwork
from motion.models.system import Logs


class EvaluatorConfig(BaseModel):
    """Features, and the networks that embed them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["evaluator"] = "evaluator"
    network: Annotated[TMRConfig | T2MConfig, Field(discriminator="kind")] = TMRConfig()
    """`tmr`: contrastive transformers, the default. `t2m`: text-to-motion's networks, which
    published tables were computed with."""
    features: FeatureConfig = FeatureConfig()
    """What the motion encoder sees."""

    @staticmethod
    def tiny(token_dim: int = 64) -> "EvaluatorConfig":
        """The CPU size, below one million parameters."""
        network = TMRConfig(
            token_dim=token_dim,
            width=96,
            num_layers=2,
            feedforward=192,
            embedding_dim=64,
            frames_per_token=4,
            similar_text=0.95,
            contrastive_weight=1.0,
        )
        return EvaluatorConfig(network=network)

    @property
    def body(self) -> str:
        """The clips' body."""
        return self.features.body

    @property
    def token_dim(self) -> int:
        """Width of a text token."""
        return self.network.token_dim

    def build(self) -> "EvaluatorTraining":
        """The module with random weights."""
        return EvaluatorTraining(self)


class EvaluatorTraining(nn.Module):
    """The evaluator and its loss."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        seen = len(config.features.seen)
        network = config.network
        self.network: T2MNetwork | TMRNetwork = (
            T2MNetwork(network, seen)
            if isinstance(network, T2MConfig)
            else TMRNetwork(network, seen)
        )
        found = config.features.statistics
        dim = config.features.dim
        # In the config, so not in the weights: published checkpoints have none either.
        mean = torch.zeros(dim) if found is None else torch.tensor(found.mean)
        std = torch.ones(dim) if found is None else torch.tensor(found.std)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def standardized(
        self, features: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t s"]:
        """The features that the encoder sees, by the training clips' statistics; padding is zero.

        Raises:
            ValueError: no statistics were taken yet, or features of another width.
        """
        if self.config.features.statistics is None:
            raise ValueError(
                "this evaluator has no statistics of its features: take them from the training "
                "clips first (rayjobs/train_evaluator.py does)"
            )
        if features.shape[-1] != self.config.features.dim:
            raise ValueError(
                f"features have {features.shape[-1]} numbers per frame, this evaluator takes "
                f"{self.config.features.dim} ({self.config.features.source})"
            )
        values = (features - self.mean) / self.std
        return torch.where(mask[..., None], values[..., list(self.config.features.seen)], 0)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Loss of the batch's motions and first captions.

        A clip without motion or without a word of text counts in no term and is nobody's negative.
        The divisor is the global batch's clips with motion, which the pipeline counts; pairs it
        does not.

        Raises:
            ValueError: the batch lacks text or what the features are made of, or has fewer than
                two clips.
        """
        if batch.text is None or batch.text_mask is None:
            raise ValueError(
                "an evaluator needs captions: train on an encoded data set, with text_embedding "
                "and text_mask in data.columns"
            )
        modality = self.config.features.modality
        paired = self._paired(batch, batch.text_mask[:, 0])
        inputs = self._inputs(
            self.config.features.of_batch(batch), batch.text[:, 0], batch.text_mask[:, 0], paired
        )
        if isinstance(self.network, T2MNetwork):
            shift = roll_shift(batch.seed, batch.step, int(paired.sum()))
            terms = t2m_terms(self.network, **inputs, shift=shift)
        else:
            terms = tmr_terms(self.network, **inputs, noise_key=batch.noise_key)
        means = {
            name: global_mean(per_clip, batch, modality, paired) for name, per_clip in terms.items()
        }
        loss = torch.stack(list(means.values())).sum()
        return loss, {name: value.detach() for name, value in means.items()}

    def _paired(self, batch: Batch, token_mask: Bool[Tensor, "b n"]) -> Bool[Tensor, "b"]:
        """Clips that carry both what the features are made of and words."""
        filmed = self.config.features.modality == "keypoints"
        paired = token_mask.any(1)
        for present in (batch.has_keypoints if filmed else batch.has_motion, batch.has_text):
            paired = paired if present is None else paired & present
        return paired

    def _inputs(
        self,
        found: Features,
        tokens: Float[Tensor, "b n w"],
        token_mask: Bool[Tensor, "b n"],
        paired: Bool[Tensor, "b"],
    ) -> dict[str, Any]:
        """What the networks read. Clips that are not paired pass blank, as one empty word and a
        motion at rest: no network takes a sequence of length zero, and every module must run."""
        kept = paired[:, None]
        first = torch.arange(token_mask.shape[1], device=token_mask.device) == 0
        features = self.standardized(*found)
        return {
            "features": torch.where(kept[..., None], features, 0),
            "mask": found.mask,
            "tokens": torch.where(kept[..., None], tokens, 0),
            "token_mask": torch.where(kept, token_mask, first),
            "paired": paired,
        }
