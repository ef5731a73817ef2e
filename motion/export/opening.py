"""Motion files opened for export: this library's own, and motion capture."""

import zipfile
from pathlib import Path

import numpy as np

from motion.body.model import BodyModel
from motion.export.amass import read_amass, read_camera
from motion.export.provenance import find_provenance
from motion.importers import read_motion
from motion.results import Result


def open_motion(path: Path, body: BodyModel) -> Result:
    """One motion of a file, in the world and on a body.

    What `write_amass` wrote is taken as it is, with its camera and origin. Any other file that
    `motion.importers` reads is put on the body and on the floor, and names no origin.

    Args:
        path: .npz of this library, or .bvh, .amc, .npz or .pkl of motion capture.
        body: whose betas the file has, or that shall carry the capture.

    Raises:
        ValueError: no such file, an unknown kind, damage, or betas of another body.
    """
    own = path.suffix.lower() == ".npz" and path.is_file() and _is_own(path)
    motion = read_amass(path, body) if own else read_motion(path, body).motion
    provenance = find_provenance(path) if own else None
    return Result(
        prompt="" if provenance is None else provenance.prompt,
        fps=motion.fps,
        rgb=None,
        motion_map=None,
        motion=motion,
        camera=read_camera(path) if own else None,
        body=body,
        provenance=provenance,
    )


def _is_own(path: Path) -> bool:
    """Does the archive name the body of its betas? Files of other tools do not."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return "body_id" in archive
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no .npz file: {error}") from error
