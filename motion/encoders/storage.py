"""How an encoder lies on disk, and the hash that names its contents.

A folder holds `config.json` ({"kind", "config", "hash", ...}) and `weights.safetensors`. The hash
covers configuration and weights, so that two data sets encoded alike can be told from two that
only claim to be.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def content_hash(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of a JSON-able description and of named tensors, bit for bit."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}/{value.dtype}/{tuple(value.shape)}".encode())
        digest.update(value.flatten().view(dtype=_BYTES[value.element_size()]).numpy().tobytes())
    return digest.hexdigest()


def write_encoder(
    folder: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor] | None
) -> None:
    """Write an encoder; config.json comes last, so that its presence means a whole folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if tensors is not None:
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / WEIGHTS_FILE)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    partial = folder / (CONFIG_FILE + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / CONFIG_FILE)


def read_record(folder: Path) -> dict[str, Any]:
    """The encoder's config.json.

    Raises:
        ValueError: the folder holds no encoder of this library.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise ValueError(
            f"{folder} holds no {CONFIG_FILE}: expected a folder written by an encoder's save()"
        )
    record = json.loads(file.read_text(encoding="utf-8"))
    missing = sorted({"kind", "config", "hash"} - set(record))
    if missing:
        raise ValueError(
            f"{file} lacks {missing}: it was not written by an encoder's save(); a model of "
            "transformers or diffusers is named by the `source` field of its encoder's config"
        )
    return record


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The encoder's tensors, on the CPU."""
    return load_file(folder / WEIGHTS_FILE)


def require_hash(folder: Path, expected: str, found: str) -> None:
    """Refuse an encoder whose contents are not those that its config.json promises."""
    if expected != found:
        raise ValueError(
            f"the encoder in {folder} has content hash {found[:12]}, its {CONFIG_FILE} says "
            f"{expected[:12]}: the weights were changed or damaged after they were saved; "
            "restore them, or encode the data again with the weights at hand"
        )
