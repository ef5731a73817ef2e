"""Exports on disk: the newest of a system, what an export says of itself, its weights, its hash."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from motion import models, paths

CONFIG_FILE: Final = "config.json"
WEIGHT_FILES: Final = ("ema.safetensors", "model.safetensors")
"""In order of preference: the moving average samples better where one was kept."""


def newest_export(system: str) -> Path:
    """The local export of a system that was committed last.

    Raises:
        ValueError: the system is unknown or is not sampled from, or nothing was exported yet.
    """
    require_sampled(system, "--system")
    folders = [path.parent for path in paths.exports().glob(f"*/{CONFIG_FILE}")]
    found = [folder for folder in folders if read_config(folder)["system"]["kind"] == system]
    if not found:
        raise ValueError(f"no export of {system} in {paths.exports()}: run `make train` first")
    return max(found, key=lambda folder: (folder / CONFIG_FILE).stat().st_mtime)


def require_sampled(kind: str, what: str) -> None:
    """Refuse a system that cannot be sampled from.

    Args:
        kind: of the system.
        what: what named it, for the message.

    Raises:
        ValueError: it is unknown, or only trained.
    """
    if kind in models.sampled():
        return
    why = "is trained but not sampled from" if kind in models.SYSTEMS else "is unknown"
    raise ValueError(f"{what}: system {kind!r} {why}; expected one of {models.sampled()}")


def read_config(export: Path) -> dict[str, Any]:
    """config.json of an export.

    Raises:
        ValueError: the folder is no export.
    """
    path = export / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{export} is no export (no {CONFIG_FILE}); give a folder of exports/")
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}); export the model again") from error
    if "kind" not in config.get("system", {}):
        raise ValueError(f"{path} names no system, so it is no export's; give another folder")
    return config


def read_weights(export: Path) -> dict[str, Tensor]:
    """The weights to sample with: the moving average where one was kept.

    Raises:
        ValueError: there are none, or the file is damaged.
    """
    files = [export / name for name in WEIGHT_FILES if (export / name).is_file()]
    if not files:
        raise ValueError(f"{export} holds none of {WEIGHT_FILES}: export the model again")
    try:
        return load_file(files[0])
    except SafetensorError as error:
        raise ValueError(f"{files[0]} is damaged ({error}): export the model again") from error


def export_hash(export: Path) -> str:
    """SHA-256 over the configuration and every weight file of an export."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, *WEIGHT_FILES):
        path = export / name
        if path.is_file():
            with path.open("rb") as file:
                digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
