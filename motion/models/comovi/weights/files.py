"""Where a checkpoint's files lie: a file, a folder, a diffusers pipeline, or the hub."""

import json
import re
from pathlib import Path
from typing import Final

from motion.weights import PICKLES

HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES: Final = ("transformer/*.safetensors", "transformer/*.json", "diffusion_pytorch_model*")
"""Of a hub repository: the transformer alone, not the text encoder and the autoencoder beside."""


def find_files(source: str | Path, revision: str | None = None) -> list[Path]:
    """The files of a checkpoint.

    Args:
        source: one .safetensors or .pth file; a folder of .safetensors (a model, one of our
            exports, or a diffusers pipeline with a `transformer` folder); or a hub id.
        revision: commit of a hub id.

    Raises:
        ValueError: nothing there.
    """
    place = Path(source).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        if not HUB_ID.fullmatch(str(source)):
            raise ValueError(
                f"{source} is no file, no folder and no hub id (name/model): give one of them"
            )
        from huggingface_hub import snapshot_download

        place = Path(
            snapshot_download(str(source), revision=revision, allow_patterns=list(_HUB_FILES))
        )
    if (place / "transformer").is_dir():
        place = place / "transformer"
    index = sorted(place.glob("*.safetensors.index.json"))
    if index:
        named = sorted(set(json.loads(index[0].read_text())["weight_map"].values()))
        absent = [name for name in named if not (place / name).is_file()]
        if absent:
            raise ValueError(f"{place} lacks {absent} of {index[0].name}: fetch them")
        return [place / name for name in named]
    files = [file for file in sorted(place.glob("*.safetensors")) if file.name != "ema.safetensors"]
    if not files:
        raise ValueError(
            f"no *.safetensors in {place}: give the folder of a Wan or CoMoVi transformer, or name "
            f"a {', '.join(PICKLES)} file itself"
        )
    return files
