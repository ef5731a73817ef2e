"""AMASS-style and plain SMPL files."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motion.body import BodyModel, load_body
from motion.body.model import motion_joints
from motion.export.amass import write_amass
from motion.importers import read_motion
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion
from motion.skeleton import joint

FRAMES = 12


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


def _amass(**changes: Any) -> dict[str, Any]:
    """A person who stands in AMASS's world (z up, facing -y) and raises a knee."""
    poses = np.zeros((FRAMES, 156))
    poses[:, 0] = np.pi / 2
    poses[:, 3] = np.linspace(0, -0.8, FRAMES)  # left hip about x
    trans = np.stack([np.zeros(FRAMES), -np.linspace(0, 1, FRAMES), np.full(FRAMES, 0.95)], -1)
    values = {"poses": poses, "trans": trans, "mocap_framerate": 120.0, "betas": np.zeros(16)}
    return {k: v for k, v in (values | changes).items() if v is not None}


def _npz(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "clip.npz"
    np.savez(path, **values)
    return path


def test_amass_becomes_y_up_facing_forward(tmp_path: Path, body: BodyModel) -> None:
    motion = read_motion(_npz(tmp_path, _amass()), body).motion
    assert motion.fps == 120
    joints = motion_joints(body, motion)
    assert float(joints[0, joint("head"), 1] - joints[0, 0, 1]) > 0.5
    assert float(joints[-1, 0, 2] - joints[0, 0, 2]) > 0.8  # walks towards +z
    assert float(joints[-1, joint("left_knee"), 2] - joints[-1, 0, 2]) > 0.2  # and bends forward
    lowest = body.vertices(motion.R_parent_child, motion.betas, motion.translation)[..., 1].amin()
    assert abs(float(lowest)) < 0.03


def test_our_own_file_comes_back(tmp_path: Path, body: BodyModel) -> None:
    rotvec = 0.3 * torch.randn(FRAMES, 24, 3, generator=torch.Generator().manual_seed(0))
    betas = torch.linspace(-1, 1, 10)
    path = torch.stack([torch.linspace(0, 1, FRAMES)] * 3, -1)
    motion = Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=path,
        betas=betas,
        body_id=body.body_id,
        fps=16.0,
    )
    found = read_motion(write_amass(tmp_path / "ours.npz", motion, body), body).motion
    torch.testing.assert_close(found.R_parent_child, motion.R_parent_child, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.betas, betas)
    rise = found.require_translation() - path  # only the floor moves
    torch.testing.assert_close(rise, rise[:1].expand_as(rise) * torch.tensor([0.0, 1, 0]))


def test_root_and_body_in_two_keys_and_the_vertical_by_looking(
    tmp_path: Path, body: BodyModel
) -> None:
    pose = np.zeros((FRAMES, 69))
    values = {
        "smpl_pose": pose,
        "root_orient": np.zeros((FRAMES, 3)),
        "trans": np.zeros((FRAMES, 3)),
    }
    motion = read_motion(_npz(tmp_path, values | {"fps": 30}), body).motion
    assert float(motion_joints(body, motion)[0, joint("head"), 1]) > 1.2  # y up already
    lying = values | {"root_orient": np.tile([0, 0, np.pi / 2], (FRAMES, 1)), "fps": 30}
    with pytest.raises(ValueError, match="neither y nor z as the vertical: pass up="):
        read_motion(_npz(tmp_path, lying), body)
    read_motion(_npz(tmp_path, lying), body, up="y")


BROKEN_POSE = np.full((FRAMES, 72), np.nan)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"poses": None}, r"has no pose: it holds .*trans.*expected one of poses"),
        ({"trans": None}, r"has no root translation: it holds poses.*expected one of trans"),
        ({"poses": np.zeros((FRAMES, 69))}, r"69 values per frame; .*root's rotation is missing"),
        ({"poses": np.zeros((FRAMES, 100))}, r"100 values per frame; expected 66 or 72"),
        ({"poses": np.zeros((0, 156))}, r"poses has shape \(0, 156\); expected one row per frame"),
        ({"poses": np.zeros(72)}, r"poses has shape \(72,\); expected one row per frame"),
        ({"trans": np.zeros((3, 3))}, r"trans has 3 frames, the pose 12"),
        ({"mocap_framerate": None}, r"states no frame rate .*pass source_fps="),
        ({"mocap_framerate": 0.0}, r"0 frames per second; expected 1 to 1000"),
        ({"poses": BROKEN_POSE}, r"the pose of frame 0 is not finite"),
    ],
)
def test_bad_files_say_what_is_wrong(
    tmp_path: Path, body: BodyModel, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        read_motion(_npz(tmp_path, _amass(**changes)), body)


def test_a_given_frame_rate_must_not_contradict_the_file(tmp_path: Path, body: BodyModel) -> None:
    with pytest.raises(ValueError, match=r"mocap_framerate is 120 .* source_fps=60 was given"):
        read_motion(_npz(tmp_path, _amass()), body, source_fps=60.0)


def test_what_is_given_for_our_own_file_is_not_passed_over(tmp_path: Path, body: BodyModel) -> None:
    motion = Motion(
        R_parent_child=torch.eye(3).expand(FRAMES, 24, 3, 3),
        translation=torch.zeros(FRAMES, 3),
        betas=torch.zeros(10),
        body_id=body.body_id,
        fps=16.0,
    )
    path = write_amass(tmp_path / "ours.npz", motion, body)
    with pytest.raises(ValueError, match=r"mocap_frame_rate is 16 .* source_fps=60 was given"):
        read_motion(path, body, source_fps=60.0)
    with pytest.raises(ValueError, match=r"writes z up, but up='y' was given: leave up out"):
        read_motion(path, body, up="y")
    assert read_motion(path, body, source_fps=16.0, up="z").motion.fps == 16


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"person_data": {0: 7}}, r"person_data holds a int.*write the file again"),
        (_amass(poses={}), r"poses is no array of numbers .*again"),
        (_amass(trans=["x"]), r"trans is no array of numbers .*again"),
        (_amass(trans=np.zeros(8)), r"trans has shape \(8,\); expected \(12, 3\)"),
        (_amass(mocap_framerate=[30, 30]), r"mocap_framerate has shape \(2,\); expected one"),
        (
            _amass(poses=np.zeros((FRAMES, 69)), root_orient=np.zeros((3, 3))),
            r"root_orient has shape \(3, 3\); expected \(12, 3\)",
        ),
    ],
)
def test_pickles_of_other_things_say_what_is_wrong(
    tmp_path: Path, body: BodyModel, values: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(values))
    with pytest.raises(ValueError, match=expected):
        read_motion(path, body)


@pytest.mark.parametrize(
    "damage",
    [
        b"\x80\x02K\x01}b.",  # a state for a number
        b"\x80\x02cnumpy\ndtype\nK\x01R.",  # called with a number
        b"\x80\x02cchumpy.ch\nCh\n)\x81K\x07b.",  # a number for a state
        b"\x80\x02}X\x01\x00\x00\x00acchumpy.ch\nCh\n)\x81s.",  # an array without its state
    ],
)
def test_damaged_pickles_say_what_to_do(tmp_path: Path, body: BodyModel, damage: bytes) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"(?s)clip\.pkl is no readable pickle.*download it again"):
        read_motion(path, body)


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, ("__import__('pathlib').Path('evil').touch()",)


def test_a_pickle_that_runs_code_is_refused(
    tmp_path: Path, body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps({"poses": _Evil()}))
    with pytest.raises(ValueError, match=r"builtins.eval.*convert it to .npz"):
        read_motion(path, body, source_fps=60.0)
    assert not (tmp_path / "evil").exists()


def test_python_objects_in_an_npz_are_refused(tmp_path: Path, body: BodyModel) -> None:
    path = _npz(tmp_path, {"results": np.array({"poses": 1}, dtype=object)})
    with pytest.raises(ValueError, match=r"holds Python objects .*numpy.savez"):
        read_motion(path, body)


def test_a_file_that_was_cut_off(tmp_path: Path, body: BodyModel) -> None:
    path = _npz(tmp_path, _amass())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"is no whole .npz file .*copy it again"):
        read_motion(path, body)


def test_published_smpl_files(real_data: Path, body: BodyModel) -> None:
    dance = real_data / "smpl/aistpp/gBR_sBM_cAll_d04_mBR0_ch01.pkl"
    motion = read_motion(dance, body, source_fps=60.0, fps=16.0).motion
    heights = motion_joints(body, motion)[..., 1]
    assert 0.5 < float(heights[:, 0].median()) < 1.1
    assert float(heights.amin()) > -0.1
    run = read_motion(
        real_data / "smpl/other/glamr_running_seed1.pkl", body, source_fps=30.0
    ).motion
    assert float(motion_joints(body, run)[:, joint("head"), 1].median()) > 1.2
    with pytest.raises(ValueError, match="root's rotation is missing"):
        read_motion(real_data / "smpl/other/motionbert_poses69.npz", body)
    with pytest.raises(ValueError, match="holds Python objects"):
        read_motion(real_data / "smpl/other/romp_output.npz", body)
    with pytest.raises(ValueError, match=r"refused to read the pickle: it asks for joblib"):
        read_motion(real_data / "smpl/asap_joints/walk_level4.pkl", body, source_fps=30.0)
