"""Features per frame of a video, by an image or video model of transformers (path or hub id).

An image model (ViT, DINO, CLIP's image tower ...) sees frame by frame; VideoMAE sees as many frames
at a time as it was trained with, and each of its slices counts for the frames in it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.encoders.storage import content_hash, read_record, require_hash, write_encoder


class TransformersFramesConfig(BaseModel):
    """Settings of `TransformersFrames`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """Folder or hub id of an image model or a VideoMAE, such as "MCG-NJU/videomae-base"."""
    revision: str | None = None
    """Commit of a hub id."""
    batch: int = Field(default=32, ge=1)
    """Frames, or VideoMAE's clips, per forward pass; the result does not depend on it."""


class TransformersFrames(nn.Module):
    """Mean of a frozen model's tokens, per frame, float32."""

    def __init__(self, config: TransformersFramesConfig) -> None:
        super().__init__()
        self.config = config
        import transformers

        where = {"revision": config.revision}
        self._processor: Any = transformers.AutoImageProcessor.from_pretrained(
            config.source, **where
        )
        settings = transformers.AutoConfig.from_pretrained(config.source, **where)
        kind: Any = {
            "clip": transformers.CLIPVisionModel,
            "videomae": transformers.VideoMAEModel,
        }.get(settings.model_type, transformers.AutoModel)
        model = kind.from_pretrained(config.source, dtype=torch.float32, **where)
        self.model = cast(nn.Module, model.eval().requires_grad_(False))
        self._clip = int(getattr(model.config, "num_frames", 1))
        """Frames that the model sees at a time."""
        self._slice = int(getattr(model.config, "tubelet_size", 1))
        self.dim = int(model.config.hidden_size)

    @property
    def id(self) -> str:
        return f"transformers-{Path(self.config.source).name}"

    @property
    def hash(self) -> str:
        """Content hash of weights and preprocessing; the same wherever they lie."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        description = {"preprocessing": self._processor.to_json_string()}
        return content_hash(description, self.model.state_dict())

    @torch.no_grad()
    def encode(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t d"]:
        """One feature vector per frame."""
        t = len(frames)
        padded = np.concatenate([frames, np.repeat(frames[-1:], -t % self._clip, axis=0)])
        device = next(self.model.parameters()).device
        found: list[Tensor] = []
        pixels = self._processor(list(padded), return_tensors="pt")["pixel_values"]
        pixels = pixels.reshape(-1, *pixels.shape[-3:])
        clips = pixels.unflatten(0, (-1, self._clip)) if self._clip > 1 else pixels
        for chunk in clips.split(self.config.batch):
            tokens = self.model(pixel_values=chunk.to(device)).last_hidden_state
            slices = self._clip // self._slice
            if self._clip > 1:
                tokens = tokens.unflatten(1, (slices, -1)).flatten(0, 1)
            found.append(tokens.mean(1).float().cpu())
        return torch.cat(found).repeat_interleave(self._slice, 0)[:t]

    def save(self, folder: str | Path) -> None:
        """Write a reference to the source and the content hash."""
        record = {
            "kind": "transformers_frames",
            "id": self.id,
            "config": self.config.model_dump(mode="json"),
            "hash": self.hash,
        }
        write_encoder(Path(folder), record, None)

    @staticmethod
    def load(folder: str | Path) -> "TransformersFrames":
        """The encoder that was saved in a folder.

        Raises:
            ValueError: the folder holds another encoder, or the source's contents changed.
        """
        record = read_record(Path(folder))
        encoder = TransformersFrames(TransformersFramesConfig.model_validate(record["config"]))
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder
