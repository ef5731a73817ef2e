"""The one table of file formats. It imports nothing: commands speak before they load."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".npz": "AMASS's keys",
        ".bvh": "skeleton with Euler angles",
        ".glb": "mesh with skin, skeleton and animation",
        ".npy": "joint positions",
        ".csv": "joint positions, a row per frame",
        ".mp4": "video, H.264",
        ".webm": "video, VP9",
        ".gif": "endless pictures",
        ".png": "strip of poses along time",
    }
)
"""What a file holds, by its suffix. `motion.results.export` writes each of them."""


def format_of(path: Path) -> str:
    """The format of a file by its name, in lower case.

    Raises:
        ValueError: there is no such format; the message names those that there are.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(f"{name} ({what})" for name, what in FORMATS.items())
        found = f"no format {suffix!r}" if suffix else "no format without a suffix"
        raise ValueError(f"{path}: there is {found}, only {known}")
    return suffix
