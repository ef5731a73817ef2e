"""What every output says of itself: enough to make it again and to know what it may serve for."""

import shlex
import zipfile
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from motion import __version__

KEY: Final = "motion_provenance"
"""Name of the JSON text in .npz archives and PNG text chunks; mp4 and gif have one comment."""


class Provenance(BaseModel):
    """Origin of one generated file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    """Name of the system, as in `motion sample --system`."""
    export: str
    """Path of the export that was sampled, as given."""
    export_hash: str
    """SHA-256 (or its beginning) of the weights and configuration that were sampled."""
    prompt: str = ""
    """The caption; empty where the sample was unconditional."""
    seed: int
    """Seed of the noise."""
    options: dict[str, JsonValue] = {}
    """Sampling options by their command-line name: steps, guidance, duration_s ..."""
    licences: tuple[str, ...] = ()
    """Licences of the data that the weights were trained on."""
    version: str = __version__
    """Version of this library."""

    def command(self, output: Path | None = None) -> str:
        """The command line that makes the output again, at `output` or where samples go."""
        words = ["motion", "sample", self.prompt, "--system", self.system]
        words += ["--checkpoint", self.export, "--seed", str(self.seed)]
        for name, value in self.options.items():
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
        words += [] if output is None else ["--output", str(output)]
        return shlex.join(words)


def read_provenance(path: Path) -> Provenance:
    """The provenance that a .npz, .mp4, .gif or .png of this library carries.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the kind of file carries none, or this file does not.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    readers = {".npz": _from_npz, ".mp4": _from_mp4, ".gif": _from_image, ".png": _from_image}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: provenance is read from {', '.join(readers)} files")
    try:
        text = readers[path.suffix.lower()](path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, av.FFmpegError) as error:
        raise ValueError(f"{path} is damaged or no {path.suffix} file: {error}") from error
    if not text:
        raise ValueError(f"{path} carries no provenance: it was not written by `motion sample`")
    try:
        return Provenance.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(
            f"{path} carries a comment that is not this library's provenance: {text[:80]!r}"
        ) from error


def _from_npz(path: Path) -> str:
    with np.load(path, allow_pickle=False) as archive:
        return str(archive[KEY]) if KEY in archive.files else ""


def _from_mp4(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.metadata.get("comment", "")


def _from_image(path: Path) -> str:
    with Image.open(path) as image:
        info = cast(dict[str, Any], image.info)
    comment = info.get("comment", b"") if path.suffix.lower() == ".gif" else info.get(KEY, "")
    return comment.decode("utf-8") if isinstance(comment, bytes) else comment
