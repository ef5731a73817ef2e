"""Real motion: BVH, ASF/AMC, AMASS-style and plain SMPL files, as motions of one body."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.importers.asfamc import CMU_FPS, read_asfamc
from motion.importers.bvh import read_bvh
from motion.importers.resample import level, on_floor, resample
from motion.importers.retarget import retarget
from motion.importers.rig import Roles, SourceMotion, find_roles
from motion.importers.smpl_files import Up, read_smpl, states_rate
from motion.sequence import Motion

IMPORTER_VERSION: Final = "2"
"""Raised whenever the same file gives another motion."""
SUFFIXES: Final = (".bvh", ".amc", ".npz", ".pkl")

__all__ = ["IMPORTER_VERSION", "SUFFIXES", "Imported", "read_motion", "states_fps"]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A motion from a file, and what was found there."""

    motion: Motion
    """World frame, y up, metres of the target body, standing on y = 0."""
    convention: str
    """The skeleton's naming convention, or "SMPL parameters"."""
    unit: str
    """The file's unit of length, or "unknown" where the leg fits none."""
    source_fps: float
    """Frames per second of the file."""
    inserted_frame: bool
    """A rest pose at the beginning was left out."""
    position_error_mm: float | None
    """See `motion.importers.retarget.position_error`; None where rotations are taken as they
    are."""
    rest_error_mm: float | None
    """The part of it that is there in the rest pose, from the skeletons' differences."""


def read_motion(
    path: Path | str,
    body: BodyModel,
    *,
    fps: float | None = None,
    betas: Float[Tensor, "10"] | None = None,
    source_fps: float | None = None,
    names: Mapping[str, str] | None = None,
    up: Up = "auto",
) -> Imported:
    """Read a file of motion capture and put it on a body.

    Args:
        path: .bvh, .amc (its .asf beside it), .npz or .pkl.
        body: the body that will carry the motion.
        fps: frames per second of the result; None keeps the file's.
        betas: shape of a body that a skeleton is put on; the mean shape by default. Files of SMPL
            parameters take no notice of it: this library's own keep the shape that they state,
            others get the mean shape.
        source_fps: frames per second of a file that states none (.amc: 120 by default).
        names: SMPL joint -> joint of the file, for a skeleton of unknown naming.
        up: vertical axis of an SMPL file; this library's own are z up.

    Raises:
        ValueError: no such file, an unknown kind, damage, or an argument of other kinds.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES or not path.is_file():
        state = "no such file" if not path.is_file() else f"{path.suffix!r} is no kind we read"
        raise ValueError(f"{path}: {state}; expected a {', '.join(SUFFIXES)} file of motion")
    if source_fps is not None and not 1 <= source_fps <= 1000:
        raise ValueError(f"source_fps is {source_fps}; expected 1 to 1000 frames per second")
    if kind in (".npz", ".pkl"):
        if names is not None:
            raise ValueError(f"{path} holds SMPL's own joints: leave names out")
        return _of_smpl(read_smpl(path, body, fps=source_fps, up=up), body, fps)
    if up != "auto":
        raise ValueError(f"{path}: up={up!r} is for .npz and .pkl; a rest pose tells: leave it out")
    source = _skeleton(path, source_fps)
    shape = torch.zeros(10) if betas is None else betas
    return _retargeted(source, find_roles(source, names), body, shape, fps)


def states_fps(path: Path) -> bool:
    """Does a file say how many frames a second has? .bvh always, .amc never.

    Raises:
        ValueError: an .npz or .pkl file that cannot be read.
    """
    kind = path.suffix.lower()
    return states_rate(path) if kind in (".npz", ".pkl") else kind == ".bvh"


def _skeleton(path: Path, fps: float | None) -> SourceMotion:
    """A captured skeleton in motion; `fps` is for files that state none."""
    if path.suffix.lower() == ".amc":
        return read_asfamc(path, fps=CMU_FPS if fps is None else fps)
    source = read_bvh(path)
    if fps is not None and abs(fps - source.fps) > 0.01 * source.fps:
        raise ValueError(
            f"{path}: Frame Time says {source.fps:g} frames per second, but source_fps={fps:g} "
            "was given: leave source_fps out, or correct the file"
        )
    return source


def _of_smpl(motion: Motion, body: BodyModel, fps: float | None) -> Imported:
    return Imported(
        motion=_finish(motion, body, fps),
        convention="SMPL parameters",
        unit="metre",
        source_fps=motion.fps,
        inserted_frame=False,
        position_error_mm=None,
        rest_error_mm=None,
    )


def _retargeted(
    source: SourceMotion,
    roles: Roles,
    body: BodyModel,
    betas: Float[Tensor, "10"],
    fps: float | None,
) -> Imported:
    found = retarget(source, roles, body, betas)
    return Imported(
        motion=_finish(level(found.motion, body), body, fps),
        convention=roles.convention,
        unit=found.unit,
        source_fps=source.fps,
        inserted_frame=found.inserted_frame,
        position_error_mm=found.position_error_mm,
        rest_error_mm=found.rest_error_mm,
    )


def _finish(motion: Motion, body: BodyModel, fps: float | None) -> Motion:
    return on_floor(motion if fps is None else resample(motion, fps), body)
