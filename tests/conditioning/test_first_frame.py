"""First frames from poses and images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from motion.body import load_body
from motion.body.model import BodyModel, motion_joints
from motion.body.render import decode_motion_map
from motion.camera import project, to_camera
from motion.conditioning.conditions import Conditions
from motion.conditioning.first_frame import VideoSpace, frame_of_image, level_camera
from motion.conditioning.pose_detector import Detection, PoseDetector
from motion.data.procedural import ProceduralConfig, StartFrame, start_frame
from motion.export.amass import read_camera, write_amass
from motion.view.render_motion import Camera

CONFIG = ProceduralConfig(num_frames=9, height=96, width=96)
SPACE = VideoSpace(area=96 * 96, cell=16, map_mode="flat", fps=16.0)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("free")


@pytest.fixture(scope="module")
def known() -> StartFrame:
    return start_frame(3, CONFIG)


def camera(known: StartFrame, factor: int = 1) -> Camera:
    own = Camera(
        T_camera_world=known.view.T_camera_world,
        intrinsics=known.view.intrinsics,
        height=96,
        width=96,
    )
    return own.enlarged(factor)


def saved(folder: Path, known: StartFrame, body: BodyModel, **given: Camera) -> Path:
    motion = dataclasses.replace(known.motion)
    return write_amass(folder / "pose.npz", motion, body, **given)


def test_camera_survives_the_file(tmp_path: Path, known: StartFrame, body: BodyModel) -> None:
    found = read_camera(saved(tmp_path, known, body, camera=camera(known)))
    assert found is not None
    torch.testing.assert_close(found.T_camera_world, known.view.T_camera_world, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.intrinsics, known.view.intrinsics)
    assert read_camera(saved(tmp_path, known, body)) is None


def test_image_and_pose_give_the_map_that_was_drawn(
    tmp_path: Path, known: StartFrame, body: BodyModel
) -> None:
    file = saved(tmp_path, known, body, camera=camera(known))
    large = Image.fromarray(known.rgb).resize((192, 192))
    large.save(tmp_path / "first.png")
    given = Conditions(image=tmp_path / "first.png", pose=file)
    start, canvas = given.first_frame(0, CONFIG, body, SPACE, "cpu")
    assert canvas is not None
    assert start.rgb.shape == (96, 96, 3)
    assert np.abs(start.rgb.astype(int) - known.rgb.astype(int)).mean() < 6
    a, b = (decode_motion_map(m[None]).part for m in (start.motion_map, known.motion_map))
    assert (a == b).mean() > 0.995
    assert given.given() == {"image": str(tmp_path / "first.png"), "pose": str(file)}


def test_a_wide_image_is_cut_not_stretched(
    tmp_path: Path, known: StartFrame, body: BodyModel
) -> None:
    wide = np.pad(known.rgb, ((0, 0), (96, 96), (0, 0)), mode="edge")
    K = known.view.intrinsics.clone()
    K[0, 2] += 96
    seen = dataclasses.replace(camera(known), intrinsics=K, width=288)
    for fill in ("crop", "pad"):
        start, canvas = frame_of_image(
            wide,
            body,
            SPACE,
            pose=known.motion,
            camera=seen,
            fill=fill,  # type: ignore[arg-type]  # its values
        )
        assert canvas is not None
        mask = decode_motion_map(start.motion_map[None]).mask[0]
        rows, columns = np.nonzero(mask)
        true_rows, true_columns = np.nonzero(decode_motion_map(known.motion_map[None]).mask[0])
        expected = np.ptp(true_columns) / np.ptp(true_rows)
        assert abs(np.ptp(columns) / np.ptp(rows) / expected - 1) < 0.15


def test_pose_alone_is_filmed(tmp_path: Path, known: StartFrame, body: BodyModel) -> None:
    start, canvas = Conditions(pose=saved(tmp_path, known, body)).first_frame(
        7, CONFIG, body, SPACE, "cpu"
    )
    assert canvas is None
    torch.testing.assert_close(
        start.motion.R_parent_child, known.motion.R_parent_child, atol=1e-5, rtol=0
    )
    assert decode_motion_map(start.motion_map[None]).mask.mean() > 0.02


def test_pose_of_an_image_stands_on_the_floor_under_a_level_camera(
    known: StartFrame, body: BodyModel
) -> None:
    K = known.view.intrinsics
    points = body.keypoints(
        known.motion.R_parent_child, known.motion.betas, known.motion.translation
    )
    pixels = project(to_camera(points, known.view.T_camera_world), K)[0]

    class Sees(PoseDetector):
        def __init__(self) -> None: ...
        def detect(self, image: np.ndarray) -> Detection:
            return Detection(2.0 * pixels, torch.ones(17))

    large = np.repeat(np.repeat(known.rgb, 2, 0), 2, 1)
    start, _ = frame_of_image(large, body, SPACE, detector=Sees(), focal_px=2 * float(K[0, 0]))
    lowest = body.vertices(
        start.motion.R_parent_child, start.motion.betas, start.motion.translation
    )[..., 1].amin()
    assert abs(float(lowest)) < 1e-4
    joints = motion_joints(body, start.motion)
    assert joints[0, 15, 1] > joints[0, 0, 1] > joints[0, 7, 1], "upright"
    shown = decode_motion_map(start.motion_map[None]).mask[0]
    true = decode_motion_map(known.motion_map[None]).mask[0]
    assert (shown & true).sum() > 0.6 * (shown | true).sum()
    level = level_camera(body, dataclasses.replace(start.motion, frame="camera"))
    assert torch.equal(level[:3, :3], torch.diag(torch.tensor([1.0, -1.0, -1.0])))


def test_refusals(tmp_path: Path, known: StartFrame, body: BodyModel) -> None:
    with pytest.raises(ValidationError, match="is not known"):
        Conditions(image=tmp_path / "a.png")
    with pytest.raises(ValidationError, match="help to find the pose in an image"):
        Conditions(pose=tmp_path / "a.npz", pose_model="x")
    Image.fromarray(known.rgb).save(tmp_path / "a.png")
    blind = Conditions(image=tmp_path / "a.png", pose=saved(tmp_path, known, body))
    with pytest.raises(ValueError, match="names no camera"):
        blind.first_frame(0, CONFIG, body, SPACE, "cpu")
    with pytest.raises(ValueError, match="no such image"):
        Conditions(image=tmp_path / "b.png", pose=tmp_path / "pose.npz").first_frame(
            0, CONFIG, body, SPACE, "cpu"
        )
    (tmp_path / "c.png").write_text("no image")
    with pytest.raises(ValueError, match="is no image"):
        Conditions(image=tmp_path / "c.png", pose=tmp_path / "pose.npz").first_frame(
            0, CONFIG, body, SPACE, "cpu"
        )
    wide = np.zeros((96, 150, 3), np.uint8)
    with pytest.raises(ValueError, match="another aspect ratio"):
        frame_of_image(wide, body, SPACE, pose=known.motion, camera=camera(known))
