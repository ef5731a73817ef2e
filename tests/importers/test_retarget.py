"""One movement on different rigs must give one motion."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from motion.body import BodyModel, load_body
from motion.body.model import motion_joints
from motion.importers import Imported, read_motion
from motion.rotations import geodesic_rad
from motion.skeleton import joint

RIGS: Mapping[str, dict[str, Any]] = {
    "arms down, legs apart": {"rest": "down"},
    "3ds Max names": {"names": "max"},
    "z up": {"z_up": True},
    "centimetres": {"unit_m": 0.01},
    "all of it": {"rest": "down", "names": "max", "z_up": True, "unit_m": 0.0254 / 0.45},
}


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


def _distance_mm(body: BodyModel, a: Imported, b: Imported) -> float:
    difference = motion_joints(body, a.motion) - motion_joints(body, b.motion)
    return 1000 * float(difference.norm(dim=-1).mean())


@pytest.mark.parametrize("rig", RIGS)
def test_rigs_agree(bvh: Callable[..., Path], body: BodyModel, rig: str) -> None:
    plain = read_motion(bvh("plain.bvh"), body)
    other = read_motion(bvh("other.bvh", **RIGS[rig]), body)
    assert plain.motion.frame == "world"
    assert (other.convention == "3ds Max") == (RIGS[rig].get("names") == "max")
    assert _distance_mm(body, plain, other) < 1.0
    angle = geodesic_rad(plain.motion.R_parent_child, other.motion.R_parent_child)
    assert float(angle.max()) < 0.04


def test_limbs_point_where_the_rig_s_do(bvh: Callable[..., Path], body: BodyModel) -> None:
    from motion.importers.bvh import read_bvh

    path = bvh(rest="down")
    source = read_bvh(path)
    joints = motion_joints(body, read_motion(path, body).motion).double()
    pairs = {
        ("left_hip", "left_knee"): ("LeftUpLeg", "LeftLeg"),
        ("right_knee", "right_ankle"): ("RightLeg", "RightFoot"),
        ("right_shoulder", "right_elbow"): ("RightArm", "RightForeArm"),
        ("left_elbow", "left_wrist"): ("LeftForeArm", "LeftHand"),
    }
    for (a, b), (c, d) in pairs.items():
        ours = torch.nn.functional.normalize(joints[:, joint(b)] - joints[:, joint(a)], dim=-1)
        start, end = source.joints.index(c), source.joints.index(d)
        theirs = source.positions[:, end] - source.positions[:, start]
        theirs = torch.nn.functional.normalize(theirs, dim=-1)
        assert float((ours - theirs).norm(dim=-1).max()) < 1e-4, (a, b)


def test_the_path_is_scaled_by_leg_length(bvh: Callable[..., Path], body: BodyModel) -> None:
    rest = body.rest_joints(torch.zeros(10))
    leg = sum(
        float((rest[joint(f"left_{a}")] - rest[joint(f"left_{b}")]).norm())
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    )
    joints = motion_joints(body, read_motion(bvh(), body).motion)
    hips = joints[:, [joint("left_hip"), joint("right_hip")]].mean(1)
    # The rig's pelvis goes 1 m along z; its hips swing 2 cm about it.
    assert float(hips[-1, 2] - hips[0, 2]) == pytest.approx(leg / 0.8, abs=0.05)


def test_an_inserted_rest_pose_is_left_out(bvh: Callable[..., Path], body: BodyModel) -> None:
    plain = read_motion(bvh("plain.bvh", rest="down"), body)
    marked = read_motion(bvh("marked.bvh", rest="down", inserted=True), body)
    assert (plain.inserted_frame, marked.inserted_frame) == (False, True)
    assert marked.motion.num_frames == plain.motion.num_frames
    assert _distance_mm(body, plain, marked) < 1e-2


def test_units_are_told_apart(bvh: Callable[..., Path], body: BodyModel) -> None:
    sizes = {"metre": 1.0, "centimetre": 0.01, "inch": 0.0254, "CMU unit": 0.0254 / 0.45}
    found = {n: read_motion(bvh(unit_m=m), body).unit for n, m in sizes.items()}
    assert found == {name: name for name in sizes}
    assert read_motion(bvh(unit_m=1 / 3.3), body).unit == "unknown"


def test_unknown_names_are_listed_and_can_be_given(
    bvh: Callable[..., Path], body: BodyModel
) -> None:
    path = bvh(names="odd")
    with pytest.raises(ValueError, match=r"fit none of .*lacks pelvis \(.*xspiH.*pass names="):
        read_motion(path, body)
    given = {
        "pelvis": "Hips", "head": "Head", **{
            f"{side.lower()}_{ours}": f"{side}{theirs}"
            for side in ("Left", "Right")
            for ours, theirs in (
                ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"),
                ("collar", "Shoulder"), ("shoulder", "Arm"), ("elbow", "ForeArm"),
                ("wrist", "Hand"), ("hand", "HandIndex1"),
            )
        },
    }  # fmt: skip
    names = {ours: f"x{theirs[::-1]}" for ours, theirs in given.items()}
    known = read_motion(bvh("known.bvh"), body)
    assert _distance_mm(body, known, read_motion(path, body, names=names)) < 1e-3
    del names["left_knee"]
    with pytest.raises(ValueError, match=r"missing \['left_knee'\]"):
        read_motion(path, body, names=names)


def test_a_rest_pose_that_is_no_person(bvh: Callable[..., Path], body: BodyModel) -> None:
    path = bvh()
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "JOINT LeftLeg" in line)
    lines[at + 2] = "OFFSET 0.7 0 0.7"
    at = next(n for n, line in enumerate(lines) if "JOINT RightLeg" in line)
    lines[at + 2] = "OFFSET 0.7 0 0.7"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"not an upright person.*T-pose as the rest pose"):
        read_motion(path, body)


def test_frame_rate_that_contradicts_the_file(bvh: Callable[..., Path], body: BodyModel) -> None:
    with pytest.raises(ValueError, match=r"Frame Time says 60 .* source_fps=120 was given"):
        read_motion(bvh(), body, source_fps=120.0)
    with pytest.raises(ValueError, match=r"source_fps is 0.0; expected 1 to 1000"):
        read_motion(bvh(), body, source_fps=0.0)


def test_arguments_of_other_kinds_of_files_are_refused(
    bvh: Callable[..., Path], tmp_path: Path, body: BodyModel
) -> None:
    with pytest.raises(ValueError, match=r"up='z' is for .npz and .pkl; .*leave it out"):
        read_motion(bvh(), body, up="z")
    (tmp_path / "clip.npz").touch()
    with pytest.raises(ValueError, match="holds SMPL's own joints: leave names out"):
        read_motion(tmp_path / "clip.npz", body, names={"pelvis": "Hips"})


def test_unknown_files(tmp_path: Path, body: BodyModel) -> None:
    (tmp_path / "clip.fbx").write_text("x")
    with pytest.raises(ValueError, match=r"'.fbx' is no kind we read; expected a .bvh"):
        read_motion(tmp_path / "clip.fbx", body)
    with pytest.raises(ValueError, match="no such file"):
        read_motion(tmp_path / "none.bvh", body)


def test_cmu_takes_agree_across_rigs(real_data: Path, body: BodyModel) -> None:
    mocap = real_data / "mocap"
    for take, limit_mm in (("02_03", 32), ("07_01", 20), ("09_11", 18)):
        ours = read_motion(mocap / f"cmu_bvh_mb/{take}.bvh", body).motion
        daz = read_motion(mocap / f"cmu_bvh_daz/{take}.bvh", body).motion
        frames = min(ours.num_frames, daz.num_frames)
        joints = [motion_joints(body, m)[-frames:, :22] for m in (ours, daz)]
        a, b = (value - value[:, :1] for value in joints)
        assert 1000 * float((a - b).norm(dim=-1).mean()) < limit_mm, take


def test_acclaim_and_bvh_of_a_take_agree(real_data: Path, body: BodyModel) -> None:
    mocap = real_data / "mocap"
    amc = read_motion(mocap / "cmu_asfamc/02_03.amc", body)
    bvh = read_motion(mocap / "cmu_bvh_mb/02_03.bvh", body)
    assert amc.unit == bvh.unit == "CMU unit"
    assert bvh.inserted_frame
    assert _distance_mm(body, amc, bvh) < 0.1


def test_the_same_clip_in_metres_and_in_cmu_units(real_data: Path, body: BodyModel) -> None:
    folder = real_data / "mocap/cmu_bvh_max"
    raw = read_motion(folder / "131_01.bvh", body)
    scaled = read_motion(folder / "scaled_131_01.bvh", body)
    assert (raw.unit, scaled.unit) == ("CMU unit", "metre")
    a, b = (motion_joints(body, found.motion)[:994] for found in (raw, scaled))
    assert 1000 * float((a - b).norm(dim=-1).mean()) < 0.5
