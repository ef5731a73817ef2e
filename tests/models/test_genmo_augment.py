"""Synthetic cameras and what training hides."""

import pytest
import torch
from genmo_batches import batch, config, system, watched

from motion.diffusion.noise import noise_key
from motion.models.genmo.augment import (
    estimation_conditions,
    generation_conditions,
    hidden_keypoints,
    key_frames,
    keypoint_noise,
)
from motion.models.genmo.cameras import MOVES, SIDE_PX, focal_px, synthetic_cameras
from motion.models.genmo.conditions import conditions_of
from motion.models.genmo.config import Augmentation
from motion.models.genmo.observed import boxes_of, observed_of
from motion.skeleton import COCO_17

KEYS = torch.tensor([noise_key(0, 0, f"c{i}") for i in range(300)])


def walk(frames: int = 40) -> torch.Tensor:
    path = torch.zeros(len(KEYS), frames, 3)
    path[..., 1] = 0.9
    path[..., 2] = torch.linspace(0, 2, frames)
    return path


def test_focal_length_is_that_of_the_film_s_diagonal() -> None:
    made = focal_px(torch.tensor([43.3, 24.0]), 1000, 1000)
    torch.testing.assert_close(made, torch.tensor([1415.3, 784.5]), atol=0.2, rtol=0)


def test_synthetic_cameras_keep_the_pelvis_in_the_picture() -> None:
    pelvis = walk()
    cameras = synthetic_cameras(pelvis, KEYS, "use", static=torch.zeros(300, dtype=torch.bool))
    R = cameras.T_camera_world[..., :3, :3]
    eye = torch.eye(3).expand_as(R)
    torch.testing.assert_close(R @ R.mT, eye, atol=1e-5, rtol=0)
    assert (torch.linalg.det(R) > 0.99).all()
    seen = (R @ pelvis[..., None])[..., 0] + cameras.T_camera_world[..., :3, 3]
    assert seen[..., 2].min() >= 0.5 - 1e-4
    image = (cameras.intrinsics[:, None] @ seen[..., None])[..., 0]
    image = image[..., :2] / image[..., 2:]
    assert image.min() > 0
    assert image.max() < SIDE_PX
    up = R[..., :, 1]
    assert (up[..., 1] < 0.3).float().mean() > 0.95, "y points down in nearly every picture"


def test_cameras_move_as_often_as_stated_and_static_ones_never() -> None:
    static = torch.arange(300) % 2 == 0
    T = synthetic_cameras(walk(), KEYS, "use", static=static).T_camera_world
    moves = (T - T[:, :1]).abs().amax((1, 2, 3)) > 1e-4
    assert not moves[static].any()
    assert float(moves[~static].float().mean()) == pytest.approx(1 - dict(MOVES)["static"], abs=0.1)
    again = synthetic_cameras(walk()[:7], KEYS[:7], "use", static=static[:7]).T_camera_world
    torch.testing.assert_close(again, T[:7])  # drawn by the clip's key alone


def test_keypoint_noise_is_centimeters_and_steady_in_part() -> None:
    noise = keypoint_noise(KEYS, "use", 30)
    spread = noise.std((0, 1)).mean(-1)
    assert float(spread.min()) > 0.003
    assert float(spread.max()) < 0.08
    ankle, ear = COCO_17.index("left_ankle"), COCO_17.index("left_ear")
    assert spread[ankle] > spread[ear]
    bias = noise.mean(1).std(0).mean(-1)
    assert bias[ankle] == pytest.approx(0.025, rel=0.25)


def test_a_hidden_joint_hides_what_hangs_on_it() -> None:
    hidden = hidden_keypoints(KEYS, Augmentation(hide_spans=0, hide_joint=0.2), "use", 20)
    for near, far in (("shoulder", "wrist"), ("hip", "ankle")):
        one, other = COCO_17.index(f"left_{near}"), COCO_17.index(f"left_{far}")
        assert bool((~hidden[..., one] | hidden[..., other]).all())
    none = hidden_keypoints(KEYS, Augmentation(hide_spans=0, hide_joint=0, hide_legs=0), "use", 20)
    assert not none.any()


def test_spans_hide_whole_frames_in_three_quarters_of_clips() -> None:
    plan = Augmentation(hide_joint=0, hide_legs=0)
    hidden = hidden_keypoints(KEYS, plan, "use", 60).all(-1)
    assert float(hidden.any(1).float().mean()) == pytest.approx(0.75, abs=0.08)
    assert int(hidden.sum(1).max()) <= 60


def test_boxes_hold_the_visible_keypoints_and_fill_gaps() -> None:
    points = torch.rand(1, 5, 17, 2) * 100
    visible = torch.ones(1, 5, 17, dtype=torch.bool)
    visible[0, 2:4] = False
    box, boxed = boxes_of(points, visible)
    assert boxed[0].tolist() == [True, True, False, False, True]
    torch.testing.assert_close(box[0, 3], box[0, 1])
    inside = (points[0, 0] - box[0, 0, :2]).abs() <= box[0, 0, 2] / 2
    assert inside.all()


def test_told_clips_never_show_their_camera_to_generation() -> None:
    data = watched(batch([24] * 6))
    full = conditions_of(data, observed_of(data), config())
    told = torch.tensor([True, True, True, False, False, False])
    plan = Augmentation(drop_told=0, drop_observed=0.5, hide_spans=0)
    made = generation_conditions(full, data.noise_key, plan, told)
    assert made.has("camera").tolist() == [False] * 3 + [True] * 3
    assert made.has("text").tolist() == told.tolist()
    assert made.has("keypoints")[3:].all()
    seen = estimation_conditions(full, data.noise_key, plan, told)
    assert seen.has("keypoints").all()
    assert seen.has("camera").all()


def test_key_poses_are_given_in_a_few_real_frames_of_a_share_of_clips() -> None:
    mask = torch.arange(40) < torch.tensor([40, 9]).repeat(150)[:, None]
    keys = key_frames(KEYS, Augmentation(keyframes=0.4), "use", mask)
    assert not (keys & ~mask).any()
    count = keys.sum(1)
    assert float((count > 0).float().mean()) == pytest.approx(0.4, abs=0.08)
    assert int(count.max()) <= 5
    assert len(set(count[count > 0].tolist())) == 5


def test_evaluation_hides_nothing_and_films_what_was_not_filmed() -> None:
    model, data = system().eval(), batch([24, 17])
    view = model.view(data, "use")
    assert view.observed.turning.equal(data.frame_mask)
    assert view.conditions.visible[data.frame_mask].float().mean() > 0.95
    filmed = model.view(watched(data), "use")
    assert filmed.observed.T_camera_world.equal(watched(data).T_camera_world)
