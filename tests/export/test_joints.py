import csv
import json
from pathlib import Path

import numpy as np
import pytest

from motion.body import BodyModel
from motion.body.model import motion_joints
from motion.export.joints import write_joints
from motion.export.provenance import Provenance, read_provenance
from motion.sequence import Motion
from motion.skeleton import SMPL_JOINTS


def test_npy_is_the_joints(
    tmp_path: Path, body: BodyModel, turning: Motion, origin: Provenance
) -> None:
    file, sidecar = write_joints(tmp_path / "new" / "clip.npy", turning, body, origin)
    joints = np.load(file, allow_pickle=False)
    assert joints.dtype == np.float32
    np.testing.assert_array_equal(joints, motion_joints(body, turning).numpy())
    record = json.loads(sidecar.read_text())
    assert record["joints"] == list(SMPL_JOINTS)
    assert (record["frames_per_second"], record["num_frames"]) == (16.0, 13)
    assert read_provenance(file) == origin


def test_csv_names_every_column(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    file, _ = write_joints(tmp_path / "clip.csv", turning, body)
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert [float(row["time_s"]) for row in rows] == [frame / 16 for frame in range(13)]
    joints = motion_joints(body, turning).numpy()
    for name in ("pelvis", "left_wrist", "right_foot"):
        read = [[float(row[f"{name}_{axis}"]) for axis in "xyz"] for row in rows]
        np.testing.assert_allclose(read, joints[:, SMPL_JOINTS.index(name)], atol=1e-6)
    assert len(rows[0]) == 1 + 24 * 3
    with pytest.raises(ValueError, match=r"no clip\.csv\.json beside it tells one"):
        read_provenance(file)


def test_another_suffix_is_refused(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    with pytest.raises(ValueError, match=r"\.npy or \.csv"):
        write_joints(tmp_path / "clip.txt", turning, body)
