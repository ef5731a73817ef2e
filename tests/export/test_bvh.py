import dataclasses
import json
from pathlib import Path

import bvhio
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.body import BodyModel
from motion.body.model import motion_joints
from motion.export.bones import BONES, bones_of
from motion.export.bvh import AXES, continuous, write_bvh
from motion.export.provenance import Provenance, read_provenance
from motion.importers import read_motion
from motion.importers.bvh import read_bvh
from motion.rotations import geodesic_rad, matrix_from_euler
from motion.sequence import Motion
from motion.skeleton import SMPL_PARENTS


def write(folder: Path, motion: Motion, body: BodyModel) -> Path:
    return write_bvh(folder / "clip.bvh", motion, body)[0]


def world_rotations(motion: Motion) -> torch.Tensor:
    world = motion.R_parent_child.double().clone()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ motion.R_parent_child[:, joint].double()
    return world


def test_our_reader_finds_joints_rotations_and_rate(
    tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    source = read_bvh(write(tmp_path, turning, body))
    assert source.fps == 16.0
    place = [source.joints.index(name) for name in BONES]
    joints = motion_joints(body, turning).double()
    torch.testing.assert_close(source.positions[:, place], joints, atol=5e-6, rtol=0)
    off = geodesic_rad(source.R_world_joint[:, place], world_rotations(turning))
    assert float(off.max()) < 1e-6
    rest = body.rest_joints(turning.betas).double()
    torch.testing.assert_close(source.rest[place], rest - rest[:1], atol=5e-6, rtol=0)
    ends = [name for name in source.joints if name.endswith("_end")]
    assert ends == ["L_Foot_end", "R_Foot_end", "Head_end", "L_Hand_end", "R_Hand_end"]


def test_an_independent_reader_finds_the_same_joints(
    tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    file = write(tmp_path, turning, body)
    container = bvhio.readAsBvh(str(file))
    assert (container.FrameCount, container.FrameTime) == (13, 0.0625)
    root, joints = bvhio.readAsHierarchy(str(file)), motion_joints(body, turning).numpy()
    for frame in range(turning.num_frames):
        found = {joint.Name: joint.PositionWorld for joint, _, _ in root.loadPose(frame).layout()}
        read = np.array([list(found[name]) for name in BONES])
        np.testing.assert_allclose(read, joints[frame], atol=2e-5)


def test_angles_do_not_jump(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    """Tools interpolate the angles themselves: a jump by a whole turn would spin the body."""
    lines = write(tmp_path, turning, body).read_text().splitlines()
    table = np.loadtxt(lines[lines.index("MOTION") + 3 :])
    yaw = table[:, 3]
    assert yaw[-1] - yaw[0] == pytest.approx(540, abs=1e-3)
    assert np.abs(np.diff(table[:, 3:], axis=0)).max() < 120


@given(st.integers(0, 2**31 - 1))
def test_continued_angles_are_the_same_rotations_less_than_half_a_turn_apart(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    angles = (torch.rand(6, 2, 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * torch.pi
    followed = continuous(angles)
    off = geodesic_rad(matrix_from_euler(angles, AXES), matrix_from_euler(followed, AXES))
    assert float(off.max()) < 1e-7
    assert torch.equal(followed[0], angles[0])
    assert float((followed[1:] - followed[:-1]).abs().max()) <= torch.pi + 1e-9


def test_the_importer_puts_it_back_on_the_same_body(
    tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    """Through names, axes and units of a file that says none of them."""
    still = turning.R_parent_child.clone()
    still[:, 20:] = torch.eye(3)  # hands: the importer keeps fingers straight, shares the twist
    motion = dataclasses.replace(turning, R_parent_child=still)
    file = write(tmp_path, motion, body)
    found = read_motion(file, body, betas=motion.betas)
    assert (found.convention, found.unit) == ("SMPL", "metre")
    off = geodesic_rad(found.motion.R_parent_child, motion.R_parent_child)
    assert float(off[:, :18].max()) < 2e-3


def test_a_motion_without_a_path_turns_on_the_spot(
    tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    source = read_bvh(write(tmp_path, dataclasses.replace(turning, translation=None), body))
    pelvis = body.rest_joints(turning.betas)[0].double().expand(13, 3)
    torch.testing.assert_close(source.positions[:, 0], pelvis, atol=1e-6, rtol=0)


def test_last_bones_reach_to_the_crown_and_the_toes(body: BodyModel, turning: Motion) -> None:
    bones = bones_of(turning, body)
    tips = {BONES[joint]: tip for joint, tip in bones.tips.items()}
    crown = bones.rest[BONES.index("Head")] + tips["Head"]
    top = body.vertices(torch.eye(3).expand(1, 24, 3, 3), turning.betas)[0, :, 1].max()
    assert abs(float(crown[1] - top)) < 0.04
    assert float(tips["L_Foot"][2]) > 0.03, "toes point forward"
    assert float(tips["L_Hand"][0]) > 0.03 > -0.03 > float(tips["R_Hand"][0])


def test_the_sidecar_says_what_the_format_cannot(
    tmp_path: Path, body: BodyModel, turning: Motion, origin: Provenance
) -> None:
    file, sidecar = write_bvh(tmp_path / "new" / "clip.bvh", turning, body, origin)
    assert sidecar.name == "clip.bvh.json"
    record = json.loads(sidecar.read_text())
    assert record["length_unit"] == "metre"
    assert record["rotation_order"].startswith("YZX")
    assert record["frames_per_second"] == 16.0
    assert sorted(record["joints"]) == sorted(BONES)
    assert "#" not in file.read_text(), "the format has no comments"
    assert read_provenance(file) == origin


def test_refusals(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    seen = dataclasses.replace(turning, frame="camera")
    with pytest.raises(ValueError, match="camera's frame"):
        write(tmp_path, seen, body)
    other = dataclasses.replace(turning, body_id="smpl-0000")
    with pytest.raises(ValueError, match="smpl-0000"):
        write(tmp_path, other, body)


def test_a_real_capture_survives(tmp_path: Path, body: BodyModel, real_data: Path) -> None:
    """CMU 07_01, a walk: capture to the free body, to BVH, and read by both readers."""
    capture = real_data / "mocap/cmu_bvh_mb/07_01.bvh"
    walk = read_motion(capture, body, fps=16.0).motion
    file = write(tmp_path, walk, body)
    joints = motion_joints(body, walk)
    source = read_bvh(file)
    place = [source.joints.index(name) for name in BONES]
    torch.testing.assert_close(source.positions[:, place].float(), joints, atol=5e-6, rtol=0)
    root, last = bvhio.readAsHierarchy(str(file)), walk.num_frames - 1
    found = {joint.Name: joint.PositionWorld for joint, _, _ in root.loadPose(last).layout()}
    read = np.array([list(found[name]) for name in BONES])
    np.testing.assert_allclose(read, joints[last].numpy(), atol=2e-5)
    again = read_motion(file, body, fps=16.0).motion
    off = geodesic_rad(again.R_parent_child, walk.R_parent_child)
    assert float(off[:, 1:18].max()) < 5e-3
