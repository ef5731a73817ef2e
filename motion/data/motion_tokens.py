"""K2M's tokens of a whole data set, once: what its second stage trains on."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from motion.data.collate import SeenKeypoints, seen_keypoints
from motion.data.derive import DeriveConfig, Row, derive, describe_derived
from motion.data.schema import decode_tensor, encode_tensor
from motion.exported import export_hash, read_config, read_weights
from motion.models.k2m.config import STRIDE, TokenizerConfig
from motion.models.k2m.keypoints import Keypoints
from motion.models.k2m.tokenizer import Tokenizer
from motion.models.k2m.tokens import phases

KEYPOINT_COLUMNS = ("keypoints_detected", "keypoints_confidence", "keypoints_size")
_AT_ONCE = 32


class TokensConfig(BaseModel):
    """Which tokenizer reads which keypoints."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: DeriveConfig
    """Encoded clips with keypoints, and where they go with their tokens."""
    export: Path
    """The tokenizer's export."""
    columns: tuple[str, ...] = KEYPOINT_COLUMNS
    """Keypoints that it reads: a detector's, or exact ones (keypoints, keypoints_visible)."""
    at_once: int = Field(default=_AT_ONCE, ge=1)
    """Clips per pass."""

    @property
    def described(self) -> dict[str, Any]:
        """What decides the tokens."""
        return {"kind": "tokens", "tokenizer": export_hash(self.export), "read": self.columns}


def load_tokenizer(export: Path, *, device: str = "cpu") -> Tokenizer:
    """The tokenizer of an export, in evaluation mode.

    Raises:
        ValueError: the folder is no export of a tokenizer or of K2M.
    """
    export = export.expanduser().absolute()
    system = read_config(export)["system"]
    if system["kind"] not in ("k2m_tokenizer", "k2m"):
        raise ValueError(
            f"{export} holds {system['kind']!r}; expected K2M's tokenizer: "
            "`ray job submit -- python rayjobs/train_k2m.py tiny --stage tokenizer` makes one"
        )
    stated = system if system["kind"] == "k2m_tokenizer" else system["tokenizer"]
    tokenizer = Tokenizer(TokenizerConfig.model_validate(stated))
    start = "tokenizer."
    weights = {
        name.removeprefix(start): value
        for name, value in read_weights(export).items()
        if name.startswith(start)
    }
    tokenizer.load_state_dict(weights, strict=True)
    return tokenizer.to(device).eval()


def tokenize_dataset(config: TokensConfig) -> Path:
    """Make the data set; returns its root. Clips without keypoints carry no tokens.

    Raises:
        FileNotFoundError: there is no committed source.
        ValueError: the root holds a data set made otherwise, or the export is no tokenizer's.
    """
    config = config.model_copy(update={"export": config.export.expanduser().absolute()})
    tokenizer = {"id": config.export.name, "hash": export_hash(config.export)}
    make = functools.partial(_Tokenizing, config)
    return derive(
        config.data, make, config.described, phase="tokenized", encoders={"tokens": tokenizer}
    )


def describe_tokens(config: TokensConfig) -> str:
    """What `tokenize_dataset` would do, in one line."""
    if not (config.export / "config.json").is_file():
        return f"{config.data.root}: its tokenizer is not trained yet: {config.export}"
    return describe_derived(config.data, config.described)


class _Tokenizing:
    """Rows with keypoints to rows with tokens too."""

    def __init__(self, config: TokensConfig) -> None:
        self._config = config
        self._device = "cuda" if config.data.actor_gpus > 0 else "cpu"
        self._tokenizer = load_tokenizer(config.export, device=self._device)

    def __call__(self, rows: list[Row]) -> Iterator[Row]:
        for start in range(0, len(rows), self._config.at_once):
            chunk = rows[start : start + self._config.at_once]
            seen = [seen_keypoints(self._arrays(row)) for row in chunk]
            tokens = iter(self._tokens([one for one in seen if one is not None]))
            for row, found in zip(chunk, seen, strict=True):
                yield row if found is None else {**row, "motion_tokens": next(tokens)}

    def _arrays(self, row: Row) -> dict[str, np.ndarray]:
        return {
            name: decode_tensor(row[name]) for name in self._config.columns if row[name] is not None
        }

    def _tokens(self, seen: list[SeenKeypoints]) -> list[dict[str, Any]]:
        if not seen:
            return []
        frames = torch.tensor([len(one.xy) for one in seen])
        device, most = self._device, int(frames.max())
        keypoints = Keypoints(
            xy=_stacked([one.xy for one in seen]).to(device),
            confidence=_stacked([one.confidence for one in seen]).to(device),
            size=_stacked([one.size for one in seen]).to(device),
            mask=(torch.arange(most) < frames[:, None]).to(device),
        )
        found = [part.cpu() for part in phases(self._tokenizer, keypoints)]
        columns: list[dict[str, Any]] = []
        for index, n in enumerate(frames.tolist()):
            own = [part[index, : (n - phase) // STRIDE] for phase, part in enumerate(found)]
            columns.append(encode_tensor(_joined(own)))
        return columns


def _stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    """Padded with zeros behind to one length."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(a) for a in arrays], batch_first=True)


def _joined(phases_of: list[torch.Tensor]) -> np.ndarray:
    """Tokens of one clip by phase, padded with -1 to the first one's."""
    most = max(len(part) for part in phases_of)
    rows = [
        torch.nn.functional.pad(part, (0, 0, 0, most - len(part)), value=-1) for part in phases_of
    ]
    return torch.stack(rows).numpy().astype(np.int32)
