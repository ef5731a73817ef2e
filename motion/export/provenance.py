"""What every output says of itself: enough to make it again and to know what it may serve for."""

import json
import shlex
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from motion import __version__

KEY: Final = "motion_provenance"
"""Name of the JSON in .npz archives, PNG text chunks, glTF's asset extras and sidecars; videos and
gifs have one comment."""
SIDECAR_SUFFIXES: Final = (".bvh", ".npy", ".csv")
"""Formats without a place for text, whose provenance stands in a file beside them."""


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
    config: dict[str, JsonValue] = {}
    """Configuration of the system, with the sampling options that were in force."""
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


def sidecar_path(path: Path) -> Path:
    """The file that says of `path` what it cannot say itself: clip.bvh -> clip.bvh.json."""
    return path.with_name(path.name + ".json")


def read_provenance(path: Path) -> Provenance:
    """The provenance that a file of this library carries, in itself or beside it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the kind of file carries none, or this file does not.
    """
    found = find_provenance(path)
    if found is None:
        beside = f", and no {sidecar_path(path).name} beside it tells one"
        raise ValueError(
            f"{path} carries no provenance{beside if _suffix(path) in SIDECAR_SUFFIXES else ''}: "
            "it does not come from `motion sample`"
        )
    return found


def find_provenance(path: Path) -> Provenance | None:
    """Like `read_provenance`, None where a file of a kind that carries one does not."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    suffix = _suffix(path)
    if suffix not in _READERS:
        raise ValueError(f"{path}: provenance is read from {', '.join(_READERS)} files")
    try:
        text = _READERS[suffix](path)
    except (
        OSError, EOFError, ValueError, struct.error, zipfile.BadZipFile, av.FFmpegError
    ) as error:  # fmt: skip
        where = sidecar_path(path) if suffix in SIDECAR_SUFFIXES else path
        raise ValueError(f"{where} is damaged or no {where.suffix} file: {error}") from error
    if not text:
        return None
    try:
        return Provenance.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(
            f"{path} carries a comment that is not this library's provenance: {text[:80]!r}"
        ) from error


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _from_npz(path: Path) -> str:
    with np.load(path, allow_pickle=False) as archive:
        return str(archive[KEY]) if KEY in archive.files else ""


def _from_video(path: Path) -> str:
    with av.open(str(path)) as container:  # Matroska, which webm is, spells its keys in capitals
        return {name.lower(): text for name, text in container.metadata.items()}.get("comment", "")


def _from_image(path: Path) -> str:
    with Image.open(path) as image:
        info = cast(dict[str, Any], image.info)
    comment = info.get("comment", b"") if _suffix(path) == ".gif" else info.get(KEY, "")
    return comment.decode("utf-8") if isinstance(comment, bytes) else comment


def _from_glb(path: Path) -> str:
    """The JSON chunk is the first, behind twelve bytes of header (glTF 2.0, section 4.4)."""
    with path.open("rb") as file:
        magic, _, _, length, kind = struct.unpack("<4sIII4s", file.read(20))
        if (magic, kind) != (b"glTF", b"JSON"):
            raise ValueError("it does not begin with glTF's header and its JSON")
        return _within(json.loads(file.read(length)), "asset", "extras", KEY)


def _from_sidecar(path: Path) -> str:
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return ""
    return _within(json.loads(sidecar.read_text(encoding="utf-8")), KEY)


def _within(value: object, *names: str) -> str:
    """JSON of what stands under the names, one within the other; empty where nothing does."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return ""
        value = value[name]
    return json.dumps(value)


_READERS: Final[Mapping[str, Callable[[Path], str]]] = {
    ".npz": _from_npz,
    ".mp4": _from_video,
    ".webm": _from_video,
    ".gif": _from_image,
    ".png": _from_image,
    ".glb": _from_glb,
    **dict.fromkeys(SIDECAR_SUFFIXES, _from_sidecar),
}
