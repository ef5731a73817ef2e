"""An autoencoder of flat motion maps: linear latents, parts and normals read back from them.

A linear decoder blurs the codes of the parts into each other: a mean of two codes is the code of a
third part. The latents know more than that. Here each part's presence in each pixel is regressed
from the latents around it (`motion.encoders.readout`), the likeliest part is painted with its exact
code, and the normal is regressed beside it, so that the picture is again a motion map.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from motion.body.render import NUM_CODES, decode_motion_map
from motion.encoders.appearance import GroupView, neighborhoods
from motion.encoders.readout import Factors, RandomFeatures, Readout, RidgeSums
from motion.encoders.storage import (
    content_hash,
    read_record,
    read_weights,
    require_hash,
    write_encoder,
)
from motion.encoders.video import PatchAutoencoder, PatchAutoencoderConfig
from motion.skeleton import PART_NAMES

_PARTS = len(PART_NAMES)
_AWAY, _NORMAL_X, _TARGETS = _PARTS, _PARTS + 1, _PARTS + 3
"""Targets of a pixel: presence of each part; turned away; normal x and y. Zero on the background,
whose presence is one minus the others': a ridge with a free constant keeps their sum at one."""
_NORMAL_WEIGHT = 0.25
"""How far normals count beside parts in the choice of the reduced rank."""
_EMPTY_SHARE = 0.1
"""Share of cells without a person that the readout is fitted on: they are many and alike."""
_PERSON = 0.5
"""Presence of all parts together from which a pixel is painted."""
_EMPTY_PIXELS = 1.0
"""Cells where fewer pixels of a person are expected are left white without being read."""


class MapReadoutConfig(BaseModel):
    """Settings of the readout of `MapAutoencoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    features: int = Field(default=1024, ge=1)
    """Random features."""
    rank: int = Field(default=240, ge=1)
    """Rank of the regression; file size and decoding time are proportional to it."""
    rank_first: int = Field(default=128, ge=1)
    """The same for the first frame, which has fewer pixels to tell."""
    ridge: float = Field(default=3.0, gt=0)
    """Shrinkage, in examples."""
    neighbor_weight: float = Field(default=0.4, ge=0)
    """How far the four cells beside a cell count in its random features; the diagonal ones count
    half as much."""
    shifted_copies: int = Field(default=1, ge=0)
    """Copies of each clip, shifted by up to half a patch, that the readout is fitted on too."""


class MapAutoencoder(nn.Module):
    """`PatchAutoencoder`'s latents; decoding gives exact codes on white.

    Expects the flat maps of `motion.body.render.render_motion_map`.
    """

    def __init__(
        self,
        linear: PatchAutoencoder,
        config: MapReadoutConfig,
        view: GroupView,
        features: RandomFeatures,
        first: Readout,
        group: Readout,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.config = config
        self.view = view
        self.features = features
        self.first = first
        self.group = group

    @property
    def id(self) -> str:
        return f"{self.linear.id}-parts"

    @property
    def channels(self) -> int:
        return self.linear.channels

    @property
    def temporal_stride(self) -> int:
        return self.linear.temporal_stride

    @property
    def spatial_stride(self) -> int:
        return self.linear.spatial_stride

    @property
    def hash(self) -> str:
        """Content hash of configuration, bases and readout."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        return content_hash(self._configs(), self._tensors())

    def _configs(self) -> dict[str, dict[str, object]]:
        return {"linear": self.linear.config.model_dump(), "readout": self.config.model_dump()}

    def _tensors(self) -> dict[str, Tensor]:
        return {name: buffer for name, buffer in self.named_buffers()}

    @staticmethod
    def fit(
        linear: PatchAutoencoder,
        videos: Iterable[Float[Tensor, "_ 3 _ _ _"]],
        config: MapReadoutConfig,
    ) -> "MapAutoencoder":
        """Fit the readout on flat maps (b, 3, t, h, w) in [-1, 1], read once.

        Raises:
            ValueError: no video shows a person, or its size does not fit the strides.
        """
        view = GroupView.of(linear)
        features = RandomFeatures.draw(_context_weight(linear.channels, config), config.features)
        dim = 1 + features.projection.shape[0] + config.features
        area = _TARGETS * linear.spatial_stride**2
        first, group = RidgeSums(dim, area), RidgeSums(dim, area * linear.temporal_stride)
        random = np.random.default_rng(0)
        for video in videos:
            for frames in _copies(video, linear.spatial_stride // 2, config.shifted_copies, random):
                pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
                latent = linear.encode(pixels.float() / 127.5 - 1.0)
                later = (group, view(latent), frames[1:], linear.temporal_stride)
                for sums, z, part, stride in ((first, latent[:, :, :1], frames[:1], 1), later):
                    targets = _targets(part, stride, linear.spatial_stride)
                    person = targets.getnnz(1) > 0
                    keep = np.flatnonzero(person | (random.random(len(person)) < _EMPTY_SHARE))
                    cells = neighborhoods(z)[torch.from_numpy(keep)]
                    sums.add(features(cells), targets[keep])
        return MapAutoencoder(
            linear,
            config,
            view,
            features,
            Readout(first.solve(config.ridge, config.rank_first)),
            Readout(group.solve(config.ridge, config.rank)),
        )

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b c tl hl wl"]:
        """The latents of the linear autoencoder."""
        return self.linear.encode(video)

    @torch.no_grad()
    def decode(self, latent: Float[Tensor, "b c tl hl wl"]) -> Float[Tensor, "b 3 t h w"]:
        """A flat motion map in [-1, 1] of normalized latents."""
        latent = latent.to(self.features.weight)
        first = self._read(self.first, latent[:, :, :1], 1)
        if latent.shape[2] == 1:
            return first
        return torch.cat(
            [first, self._read(self.group, self.view(latent), self.temporal_stride)], 2
        )

    def _read(
        self, readout: Readout, latent: Float[Tensor, "b c tl hl wl"], stride: int
    ) -> Float[Tensor, "b 3 t h w"]:
        b, _, tl, hl, wl = latent.shape
        s = self.spatial_stride
        coefficients = readout.coefficients(self.features(neighborhoods(latent)))
        expand = readout.expand.unflatten(1, (_TARGETS, stride * s * s))
        expected = coefficients @ expand[:, :_PARTS].float().sum((1, 2))
        seen = expected >= _EMPTY_PIXELS
        scores = readout(coefficients[seen]).unflatten(1, (_TARGETS, stride * s * s))
        cells = torch.full((b * tl * hl * wl, 3, stride * s * s), 255.0, device=latent.device)
        cells[seen] = _paint(scores)
        cells = cells / 127.5 - 1.0
        return rearrange(
            cells,
            "(b t h w) c (s p q) -> b c (t s) (h p) (w q)",
            b=b, t=tl, h=hl, w=wl, s=stride, p=s, q=s,
        )  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write config.json and weights.safetensors."""
        record = {
            "kind": "map_autoencoder",
            "id": self.id,
            "hash": self.hash,
            "config": self._configs(),
        }
        write_encoder(Path(folder), record, self._tensors())

    @staticmethod
    def load(folder: str | Path) -> "MapAutoencoder":
        """Read what `save` wrote; its contents must have the hash that was saved."""
        record, tensors = read_record(Path(folder)), read_weights(Path(folder))
        part = {
            name: {k.split(".")[1]: v for k, v in tensors.items() if k.startswith(name + ".")}
            for name in ("linear", "view", "features", "first", "group")
        }
        linear = PatchAutoencoderConfig.model_validate(record["config"]["linear"])
        encoder = MapAutoencoder(
            PatchAutoencoder(linear, part["linear"]),
            MapReadoutConfig.model_validate(record["config"]["readout"]),
            GroupView(**part["view"]),
            RandomFeatures(**part["features"]),
            Readout(Factors(**part["first"])),
            Readout(Factors(**part["group"])),
        )
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder


def _context_weight(channels: int, config: MapReadoutConfig) -> Float[Tensor, "n"]:
    side, corner = config.neighbor_weight, config.neighbor_weight / 2
    weights = [corner, side, corner, side, 1.0, side, corner, side, corner]
    return torch.tensor(weights).repeat_interleave(channels)


def _copies(
    video: Float[Tensor, "b 3 t h w"], reach: int, count: int, random: np.random.Generator
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """8-bit frames of each clip, then `count` times shifted by up to `reach` pixels."""
    pixels = ((video.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    for frames in pixels.permute(0, 2, 3, 4, 1).numpy():
        yield np.ascontiguousarray(frames)
        for _ in range(count):
            dy, dx = (int(n) for n in random.integers(-reach, reach + 1, 2))
            shifted = np.full_like(frames, 255)
            height, width = frames.shape[1:3]
            shifted[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = frames[
                :, max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
            ]
            yield shifted


def _targets(frames: UInt8[np.ndarray, "t h w 3"], stride: int, side: int) -> csr_matrix:
    """Targets of each cell of `stride` frames and `side` x `side` pixels, (cells, targets)."""
    t, i, j = np.nonzero((frames != 255).any(-1))
    decoded = decode_motion_map(frames[t, i, j][None, None])
    part, normal = decoded.part[0, 0].astype(np.int64), decoded.normal[0, 0]
    known = part >= 0
    t, i, j, part, normal = t[known], i[known], j[known], part[known], normal[known]
    rows, columns = frames.shape[1] // side, frames.shape[2] // side
    cell = ((t // stride) * rows + i // side) * columns + j // side
    pixel = ((t % stride) * side + i % side) * side + j % side
    area = stride * side * side
    away = np.flatnonzero(normal[:, 2] > 0)

    def column(target: Int[np.ndarray, "n"] | int) -> Int[np.ndarray, "n"]:
        return target * area + pixel

    values = [np.ones(len(part)), np.ones(len(away)), *(_NORMAL_WEIGHT * normal[:, :2].T)]
    places = [column(part), column(_AWAY)[away], column(_NORMAL_X), column(_NORMAL_X + 1)]
    return csr_matrix(
        (
            np.concatenate(values).astype(np.float32),
            (np.concatenate([cell, cell[away], cell, cell]), np.concatenate(places)),
        ),
        shape=(len(frames) // stride * rows * columns, _TARGETS * area),
    )


def _paint(scores: Float[Tensor, "cells y pixels"]) -> Float[Tensor, "cells 3 pixels"]:
    """Bytes of a flat motion map: the likeliest part's code and the normal; white background."""
    person = scores[:, :_PARTS].sum(1)
    part = scores[:, :_PARTS].argmax(1)
    given = person.clamp_min(0.5)
    code = 2.0 * part + 1.0 + (scores[:, _AWAY] > 0.5 * given)
    normal = scores[:, _NORMAL_X:] / (_NORMAL_WEIGHT * given)[:, None]
    normal = normal / normal.norm(dim=1, keepdim=True).clamp_min(1.0)
    x, y = normal.unbind(1)
    image = torch.stack([code / NUM_CODES, 0.5 * y + 0.5, 0.5 * x + 0.5], 1)
    image = (255.0 * image + 0.5).floor()
    return torch.where((person > _PERSON)[:, None], image, 255.0)
