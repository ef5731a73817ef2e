"""Other pictures of a motion: each keeps one kind of information."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.body.map_variants import LIMBS, draw_motion, draw_skeleton
from motion.body.model import BodyModel
from motion.body.render import decode_motion_map
from motion.camera import intrinsics, look_at
from motion.sequence import Motion

SIZE = 96
K = intrinsics(130.0, SIZE, SIZE)
T = look_at(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.9, 0.0]), torch.tensor([0.0, 1, 0]))


@pytest.fixture(scope="module")
def free() -> BodyModel:
    return load_body("free")


@pytest.fixture(scope="module")
def motion(free: BodyModel) -> Motion:
    return Motion(
        R_parent_child=torch.eye(3).repeat(1, 24, 1, 1),
        translation=torch.tensor([[0.0, 0.9, 0.0]]) - free.rest_joints(torch.zeros(10))[:1],
        betas=torch.zeros(10),
        body_id=free.body_id,
        fps=16.0,
    )


def test_each_variant_keeps_its_own_information(free: BodyModel, motion: Motion) -> None:
    pictures = {
        mode: draw_motion(free, motion, T, K, SIZE, SIZE, mode=mode)  # type: ignore[arg-type]  # the modes' names
        for mode in ("flat", "normals", "parts", "skeleton")
    }
    flat = decode_motion_map(pictures["flat"])
    assert flat.mask.mean() > 0.02
    assert len({picture.tobytes() for picture in pictures.values()}) == 4
    normals, parts = pictures["normals"][flat.mask], pictures["parts"][flat.mask]
    np.testing.assert_array_equal(normals[:, 1:], pictures["flat"][flat.mask][:, 1:])
    z = normals[:, 0] / 127.5 - 1
    np.testing.assert_allclose(z, flat.normal[flat.mask][:, 2], atol=0.01)
    assert (parts[:, 1:] == 128).all()
    np.testing.assert_array_equal(
        decode_motion_map(pictures["parts"]).part[flat.mask], flat.part[flat.mask]
    )
    for mode in ("normals", "parts"):
        assert (pictures[mode][~flat.mask] == 255).all()


def test_a_skeleton_is_drawn_where_the_keypoints_are(free: BodyModel, motion: Motion) -> None:
    picture = draw_motion(free, motion, T, K, SIZE, SIZE, mode="skeleton")
    body = decode_motion_map(draw_motion(free, motion, T, K, SIZE, SIZE)).mask
    drawn = (picture > 0).any(-1)
    assert drawn.any()
    assert (drawn & body).sum() > 0.8 * drawn.sum()
    points = np.full((1, 17, 2), np.nan)
    assert not draw_skeleton(points, 32, 32).any()
    points[0, 5:7] = [[8.0, 16.0], [24.0, 16.0]]
    one = draw_skeleton(points, 32, 32)
    assert (one[0, 15:17, 10:22] > 0).any(-1).all()
    assert len(LIMBS) == len(set(LIMBS))
