"""Joint positions as plain numbers: .npy (t, 24, 3), or .csv with one row per frame.

World: y up, +z forward, metres; SMPL's 24 joints by the names of `motion.skeleton`. A motion
without a path has its pelvis at the body's rest place. Frame rate and provenance: the sidecar.
"""

from pathlib import Path

import numpy as np

from motion.body.model import BodyModel, motion_joints
from motion.export.provenance import Provenance
from motion.export.sidecar import motion_facts, write_sidecar
from motion.sequence import Motion
from motion.skeleton import SMPL_JOINTS


def write_joints(
    path: Path, motion: Motion, body: BodyModel, provenance: Provenance | None = None
) -> list[Path]:
    """Write the joints of one world-frame motion as `path` ends, and the sidecar; both files.

    Raises:
        ValueError: the suffix is neither .npy nor .csv, a batch of motions, one in the camera's
            frame, or one of another body.
    """
    if path.suffix.lower() not in (".npy", ".csv"):
        raise ValueError(f"{path}: joints are written as .npy or .csv")
    joints = motion_joints(body, motion.require_world_clip().to("cpu")).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npy":
        with path.open("wb") as file:  # of a name alone, numpy makes x.NPY.npy
            np.save(file, joints, allow_pickle=False)
    else:
        columns = [f"{name}_{axis}" for name in SMPL_JOINTS for axis in "xyz"]
        time_s = np.arange(len(joints))[:, None] / motion.fps
        table = np.concatenate([time_s, joints.reshape(len(joints), -1)], 1)
        head = ",".join(["time_s", *columns])
        np.savetxt(path, table, fmt="%.6f", delimiter=",", header=head, comments="")
    facts = motion_facts(motion) | {"joints": list(SMPL_JOINTS)}
    return [path, write_sidecar(path, facts, provenance)]
