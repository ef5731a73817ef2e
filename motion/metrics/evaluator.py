"""A trained or published evaluator: embeds features and texts, and states what it is.

    evaluator = load_evaluator("exports/evaluator-tiny")
    motion = evaluator.embed_motion(*evaluator.features.of_motion(motions, body))
    text = evaluator.embed_text(*evaluator.encode_text(captions))

Numbers of two evaluators cannot be compared: `hash` covers networks and weights, `statistics_hash`
what the features are standardized with. `motion.metrics.embeddings` makes scores that carry both.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.encoders import load_text_encoder
from motion.encoders.storage import content_hash
from motion.exported import read_weights
from motion.metrics.words import VOCABULARY, PublishedCaptions, PublishedWords
from motion.models.evaluator.features import FeatureConfig, FeatureStatistics
from motion.models.evaluator.system import EvaluatorConfig, EvaluatorTraining
from motion.models.evaluator.t2m import T2MConfig

PUBLISHED: Final = "finest.tar"
"""File name of text-to-motion's published evaluator (`text_mot_match/model/finest.tar`)."""
_PARTS: Final = ("movement_encoder", "motion_encoder", "text_encoder")
_AT_ONCE: Final = 64
_MAKES: Final = "ray job submit -- python rayjobs/train_evaluator.py tiny"


@runtime_checkable
class CaptionEncoder(Protocol):
    """What an evaluator needs of a text encoder (`motion.encoders.TextEncoder` is one)."""

    @property
    def hash(self) -> str:
        """SHA-256 of contents."""
        ...

    @property
    def dim(self) -> int:
        """Width of a token."""
        ...

    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Token features and mask."""
        ...


@dataclass(frozen=True)
class Evaluator:
    """Networks with their weights, the statistics of their features, and their text encoder."""

    module: EvaluatorTraining
    text_encoder: CaptionEncoder | None
    """What turns captions into tokens; None for a published evaluator without its vocabulary,
    which embeds motions, and texts whose tokens are given (`motion.metrics.words`)."""

    @property
    def config(self) -> EvaluatorConfig:
        return self.module.config

    @property
    def features(self) -> FeatureConfig:
        """Makes the features that `embed_motion` takes."""
        return self.config.features

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.config.network.embedding_dim

    @cached_property
    def hash(self) -> str:
        """SHA-256 of configuration, statistics, weights and text encoder."""
        text = None if self.text_encoder is None else self.text_encoder.hash
        description = {"config": self.config.model_dump(mode="json"), "text": text}
        return content_hash(description, self.module.state_dict())

    @property
    def statistics_hash(self) -> str:
        """SHA-256 of the mean and the deviation of the training clips' features."""
        assert self.features.statistics is not None  # load_evaluator refuses others
        return self.features.statistics.hash

    @torch.inference_mode()
    def embed_motion(
        self, features: Float[Tensor, "b t d"], frame_mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b e"]:
        """Embeddings of features that are not standardized, on the CPU.

        A clip's embedding depends neither on its batch nor on its padding.

        Args:
            features: of `features`, such as HumanML3D's 263 at 20 fps.
            frame_mask: True where a frame of features is valid.

        Raises:
            ValueError: features of another width, or a clip too short.
        """
        parts: list[Tensor] = []
        for rows, mask in zip(features.split(_AT_ONCE), frame_mask.split(_AT_ONCE), strict=True):
            values, mask = rows.to(self.device), mask.to(self.device)
            standardized = self.module.standardized(values.float(), mask)
            parts.append(self.module.network.embed_motion(standardized, mask).cpu())
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    @torch.inference_mode()
    def embed_text(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b e"]:
        """Embeddings of token features, on the CPU.

        Raises:
            ValueError: tokens of another width.
        """
        if tokens.shape[-1] != self.config.token_dim:
            raise ValueError(
                f"tokens have {tokens.shape[-1]} numbers, this evaluator takes "
                f"{self.config.token_dim}: encode the captions with its own text encoder"
            )
        parts = [
            self.module.network.embed_text(rows.to(self.device).float(), kept.to(self.device)).cpu()
            for rows, kept in zip(tokens.split(_AT_ONCE), mask.split(_AT_ONCE), strict=True)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def encode_text(
        self, captions: Sequence[str]
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Tokens of captions by the evaluator's own text encoder.

        Raises:
            ValueError: a published evaluator without its vocabulary.
            RuntimeError: a published evaluator, and the tagger of its words is not installed.
        """
        if self.text_encoder is None:
            raise ValueError(
                "this published evaluator has no vocabulary of GloVe vectors: put "
                f"{VOCABULARY}_data.npy and {VOCABULARY}_idx.pkl beside its {PUBLISHED}, or make "
                "its tokens with motion.metrics.words.PublishedWords"
            )
        return self.text_encoder.encode(captions)

    @property
    def device(self) -> torch.device:
        return self.module.mean.device


def load_evaluator(path: Path | str, *, device: str = "cpu") -> Evaluator:
    """An evaluator: an export of `rayjobs/train_evaluator.py`, or a folder with the published
    `finest.tar`, `mean.npy` and `std.npy` (the evaluator's own statistics), and its vocabulary
    `our_vab_data.npy` and `our_vab_idx.pkl` where captions are to be read.

    Raises:
        ValueError: the folder holds neither, or its contents do not fit together.
    """
    folder = Path(path).expanduser()
    if (folder / PUBLISHED).is_file():
        return load_published(
            folder / PUBLISHED,
            mean=folder / "mean.npy",
            std=folder / "std.npy",
            words=folder if (folder / f"{VOCABULARY}_data.npy").is_file() else None,
            device=device,
        )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} holds neither config.json nor {PUBLISHED}: give an export of an evaluator "
            f"(`{_MAKES}` makes one), or the folder of a published checkpoint with its mean.npy "
            "and std.npy"
        )
    description = json.loads((folder / "config.json").read_text())
    kind = description.get("system", {}).get("kind")
    if kind != "evaluator":
        raise ValueError(
            f"{folder} is an export of {kind!r}; expected one of an evaluator: `{_MAKES}` makes one"
        )
    config = EvaluatorConfig.model_validate(description["system"])
    text_encoder = load_text_encoder(folder / "encoders" / "text")
    return _evaluator(config, read_weights(folder), text_encoder, device)


def load_published(
    checkpoint: Path,
    *,
    mean: Path,
    std: Path,
    part: str = "all",
    words: Path | None = None,
    device: str = "cpu",
) -> Evaluator:
    """Text-to-motion's published evaluator, or another one of its shape (CrossDiff's halves).

    Args:
        checkpoint: `finest.tar`, or a file of bare state dicts by network.
        mean: the evaluator's own mean of the 263 features, .npy.
        std: its deviation. It is not that of the data set: a 25th of it on root and contacts.
        part: "all", or "upper" or "lower" for the evaluators of FID-U and FID-L.
        words: folder of the published vocabulary; without it captions cannot be read.
        device: where it computes.

    Raises:
        ValueError: missing files, networks or statistics, or other shapes than published.
    """
    for file in (checkpoint, mean, std):
        if not file.is_file():
            raise ValueError(
                f"{file} is missing: a published evaluator is {PUBLISHED} with its own mean.npy "
                "and std.npy"
            )
    found: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    missing = sorted(set(_PARTS) - set(found))
    if missing:
        raise ValueError(f"{checkpoint} lacks the networks {missing}; it holds {sorted(found)}")
    state = {
        f"network.{name}.{key}": value
        for name in _PARTS
        for key, value in cast("dict[str, Tensor]", found[name]).items()
    }
    statistics = FeatureStatistics(
        mean=tuple(np.load(mean).astype(np.float32).tolist()),
        std=tuple(np.load(std).astype(np.float32).tolist()),
    )
    features = FeatureConfig.model_validate(
        {"part": part, "compat": True, "statistics": statistics.model_dump()}
    )
    captions = None if words is None else PublishedCaptions(PublishedWords.load(words))
    config = EvaluatorConfig(network=T2MConfig(), features=features)
    return _evaluator(config, state, captions, device)


def _evaluator(
    config: EvaluatorConfig,
    state: dict[str, Tensor],
    text_encoder: CaptionEncoder | None,
    device: str,
) -> Evaluator:
    if config.features.statistics is None:
        raise ValueError("the evaluator has no statistics of its features: train it again")
    module = config.build()
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit an evaluator: {error}") from error
    if text_encoder is not None and text_encoder.dim != config.token_dim:
        raise ValueError(
            f"the text encoder makes tokens of {text_encoder.dim}, the evaluator takes "
            f"{config.token_dim}: the export is mixed up"
        )
    return Evaluator(module.to(device).eval().requires_grad_(False), text_encoder)
