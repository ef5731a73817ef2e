from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import BodyModel, load_body
from motion.body.model import motion_vertices
from motion.export.amass import R_ZUP_YUP, read_amass, write_amass
from motion.export.provenance import Provenance, read_provenance
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion

PROVENANCE = Provenance(system="comovi", export="exports/x", export_hash="ab12", prompt="a", seed=3)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


@pytest.fixture
def motion(body: BodyModel) -> Motion:
    generator = torch.Generator().manual_seed(0)
    rotvec = torch.randn(5, 24, 3, generator=generator) * 0.5
    return Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=torch.randn(5, 3, generator=generator),
        betas=torch.randn(10, generator=generator),
        body_id=body.body_id,
        fps=16.0,
    )


def test_round_trip(tmp_path: Path, body: BodyModel, motion: Motion) -> None:
    file = write_amass(tmp_path / "a" / "clip.npz", motion, body, PROVENANCE)
    back = read_amass(file, body)
    torch.testing.assert_close(back.R_parent_child, motion.R_parent_child, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.translation, motion.translation, atol=1e-5, rtol=0)
    assert torch.equal(back.betas, motion.betas)
    assert (back.fps, back.body_id) == (16.0, body.body_id)
    assert read_provenance(file) == PROVENANCE


def test_the_file_shows_the_same_body_in_a_z_up_world(
    tmp_path: Path, body: BodyModel, motion: Motion
) -> None:
    """A reader that knows only AMASS's rule, posed body + trans, gets our vertices turned."""
    file = write_amass(tmp_path / "clip.npz", motion, body)
    with np.load(file) as archive:
        values = {name: torch.from_numpy(archive[name]) for name in ("trans", "root_orient")}
    rotations = motion.R_parent_child.clone()
    rotations[:, 0] = matrix_from_rotvec(values["root_orient"])
    read = body.vertices(rotations, motion.betas, values["trans"])
    turned = motion_vertices(body, motion) @ R_ZUP_YUP.mT
    torch.testing.assert_close(read, turned, atol=1e-4, rtol=0)


def test_up_stays_up() -> None:
    up, forward = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert (R_ZUP_YUP @ up).tolist() == [0.0, 0.0, 1.0]
    assert (R_ZUP_YUP @ forward).tolist() == [0.0, -1.0, 0.0]
    assert torch.linalg.det(R_ZUP_YUP) == pytest.approx(1.0)


def test_keys_and_shapes_without_pickle(tmp_path: Path, body: BodyModel, motion: Motion) -> None:
    file = write_amass(tmp_path / "clip.npz", motion, body)
    with np.load(file, allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive.files}
    assert shapes == {
        "trans": (5, 3),
        "root_orient": (5, 3),
        "pose_body": (5, 63),
        "smpl_hands": (5, 6),
        "betas": (10,),
        "mocap_frame_rate": (),
        "gender": (),
        "surface_model_type": (),
        "body_id": (),
    }


def test_foreign_betas_are_refused(tmp_path: Path, body: BodyModel, motion: Motion) -> None:
    with pytest.raises(ValueError, match="never cross body models"):
        write_amass(tmp_path / "clip.npz", replace(motion, body_id="smpl-0000"), body)
    file = write_amass(tmp_path / "clip.npz", motion, body)
    with np.load(file) as archive:
        values = dict(archive)
    np.savez(file, **{**values, "body_id": np.array("smpl-0000")})
    with pytest.raises(ValueError, match="smpl-0000"):
        read_amass(file, body)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pose_body", np.zeros((5, 69)), r"pose_body has shape \(5, 69\), expected \(5, 63\)"),
        ("trans", np.zeros((4, 3)), "expected"),
        ("betas", np.zeros(16), r"betas have shape \(16,\)"),
    ],
)
def test_wrong_shapes_are_refused(
    tmp_path: Path, body: BodyModel, motion: Motion, name: str, value: np.ndarray, message: str
) -> None:
    file = write_amass(tmp_path / "clip.npz", motion, body)
    with np.load(file) as archive:
        values = dict(archive)
    np.savez(file, **{**values, name: value})
    with pytest.raises(ValueError, match=message):
        read_amass(file, body)


def test_a_downloaded_amass_file_is_refused_with_its_missing_keys(
    tmp_path: Path, body: BodyModel
) -> None:
    file = tmp_path / "amass.npz"
    np.savez(file, trans=np.zeros((2, 3)), poses=np.zeros((2, 156)), betas=np.zeros(16))
    with pytest.raises(ValueError, match="has no root_orient"):
        read_amass(file, body)


def test_what_a_file_cannot_hold_is_refused(
    tmp_path: Path, body: BodyModel, motion: Motion
) -> None:
    with pytest.raises(ValueError, match=r"end in \.npz"):
        write_amass(tmp_path / "clip.bvh", motion, body)
    with pytest.raises(ValueError, match="camera"):
        write_amass(tmp_path / "clip.npz", replace(motion, frame="camera"), body)
    with pytest.raises(ValueError, match="no root translation"):
        write_amass(tmp_path / "clip.npz", replace(motion, translation=None), body)
    batch = Motion(
        R_parent_child=motion.R_parent_child[None],
        betas=motion.betas[None],
        body_id=motion.body_id,
        fps=motion.fps,
    )
    with pytest.raises(ValueError, match="one by one"):
        write_amass(tmp_path / "clip.npz", batch, body)
