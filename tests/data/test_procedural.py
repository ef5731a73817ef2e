"""Generated clips: what they show is what they say, and a body could do it."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.body.render import decode_motion_map
from motion.camera import project, to_camera
from motion.data.procedural import (
    FAMILIES,
    SPLIT_SEED,
    Action,
    Clip,
    ProceduralConfig,
    clip_row,
    generate_clip,
    start_frame,
)
from motion.data.procedural.clip import look_of
from motion.data.procedural.families import sample_action
from motion.data.procedural.keypoints import KEYPOINT_SIZE, simulate_detector
from motion.data.schema import decode_tensor, seal
from motion.data.video import decode_mp4
from motion.skeleton import COCO_17, PART_NAMES

CONFIG = ProceduralConfig(families=tuple(FAMILIES), held_out_families=())
SMALL = ProceduralConfig(height=64, width=64, families=("turn",))

ACTIONS = [
    Action(family=name, side=side, direction=direction, speed=speed)
    for name, family in FAMILIES.items()
    for side in family.sides
    for direction in family.phrases
    for speed in family.speeds
]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """One clip of each family."""
    return [generate_clip(seed, CONFIG) for seed in range(len(FAMILIES))]


def test_same_seed_same_clip_whatever_came_before(clips: list[Clip]) -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    again = generate_clip(4, CONFIG)
    assert again.captions == clips[4].captions
    assert clip_row(again, "train") == clip_row(clips[4], "train")


def test_other_seed_other_clip(clips: list[Clip]) -> None:
    other = generate_clip(4 + len(FAMILIES), CONFIG)
    assert other.action.family == clips[4].action.family
    assert (other.rgb != clips[4].rgb).any()
    assert not torch.equal(other.motion.betas, clips[4].motion.betas)


def test_every_family_has_its_share(clips: list[Clip]) -> None:
    assert sorted(clip.action.family for clip in clips) == sorted(FAMILIES)
    seen = {
        sample_action(np.random.default_rng(seed), tuple(FAMILIES), seed) for seed in range(6000)
    }
    assert seen == set(ACTIONS)


def test_person_is_inside_the_frame_and_large_enough(clips: list[Clip]) -> None:
    body = load_body("free")
    for clip in clips:
        vertices = body.vertices(
            clip.motion.R_parent_child, clip.motion.betas, clip.motion.translation
        )
        image = project(to_camera(vertices, clip.view.T_camera_world), clip.view.intrinsics)
        assert image.min() > 0, clip.action
        assert image.max() < CONFIG.height, clip.action
        tall = float(image[0, :, 1].max() - image[0, :, 1].min()) / CONFIG.height
        # Who comes towards a static camera starts small.
        coming = clip.action.family in ("run", "walk_curve", "carry", "sneak")
        least = 0.4 if coming else 0.55
        assert least < tall < 0.86, (clip.action, tall)


def test_keypoints_reproject_exactly(clips: list[Clip]) -> None:
    body = load_body("free")
    for clip in clips[:3]:
        row = clip_row(clip, "train")
        points = body.keypoints(
            clip.motion.R_parent_child, clip.motion.betas, clip.motion.translation
        )
        camera = torch.from_numpy(decode_tensor(row["keypoints_intrinsics"]))
        T_camera_world = torch.from_numpy(decode_tensor(row["T_camera_world"]))
        expected = project(to_camera(points, T_camera_world), camera).numpy()
        np.testing.assert_allclose(decode_tensor(row["keypoints"]), expected, atol=1e-3)
        assert tuple(decode_tensor(row["keypoints_size"])) == KEYPOINT_SIZE
        small = project(to_camera(points, T_camera_world), clip.view.intrinsics).numpy()
        scale = KEYPOINT_SIZE[1] / CONFIG.height
        np.testing.assert_allclose(expected[..., 1], small[..., 1] * scale, atol=1e-2)


def test_keypoint_visibility(clips: list[Clip]) -> None:
    visible = np.concatenate([clip.keypoints.visible for clip in clips])
    assert 0.6 < visible.mean() < 0.97
    turned = next(
        clip
        for seed in range(40)
        if (clip := generate_clip(seed, SMALL)).action.direction == "around"
    )
    nose = COCO_17.index("nose")
    assert turned.keypoints.visible[0, nose]
    assert not turned.keypoints.visible[-1, nose], "seen from behind, the nose is hidden"


def test_detector_errs_more_when_fast_or_hidden() -> None:
    rng = np.random.default_rng(0)
    still = np.tile(rng.uniform(100, 900, (1, 17, 2)), (400, 1, 1))
    moving = still + np.sin(np.arange(400) * 1.5)[:, None, None] * 60
    seen = np.ones((400, 17), dtype=bool)

    def error(exact: np.ndarray, visible: np.ndarray) -> tuple[float, float]:
        detected, confidence = simulate_detector(exact, visible, np.random.default_rng(1))
        assert np.isfinite(detected).all()
        assert 0 < confidence.min() <= confidence.max() <= 1
        return float(np.median(np.abs(detected - exact))), float(np.median(confidence))

    calm, fast, hidden = error(still, seen), error(moving, seen), error(still, ~seen)
    for worse in (fast, hidden):
        assert worse[0] > 1.5 * calm[0]
        assert worse[1] < calm[1]
    detected, confidence = simulate_detector(still, seen, np.random.default_rng(2))
    off = np.linalg.norm(detected - still, axis=-1)
    assert off[confidence < 0.3].mean() > 5 * off[confidence > 0.6].mean()


def test_motion_map_agrees_with_video(clips: list[Clip]) -> None:
    clip = clips[2]
    decoded = decode_motion_map(clip.motion_map, mode="flat")
    share = decoded.mask.mean()
    assert 0.03 < share < 0.5
    assert len(np.unique(decoded.part[decoded.mask])) == len(PART_NAMES)
    row = clip_row(clip, "train")
    np.testing.assert_array_equal(decode_mp4(row["motion_map"]), clip.motion_map)
    error = decode_mp4(row["rgb"]).astype(float) - clip.rgb
    assert 10 * np.log10(255**2 / (error**2).mean()) > 30


def test_rows_keep_the_contract(clips: list[Clip]) -> None:
    for clip in clips:
        row = seal(clip_row(clip, "validation"))
        assert row["bucket"] == "33x128x128"
        assert row["body_id"] == load_body("free").body_id


def test_start_frame_stands_and_varies() -> None:
    one, two = start_frame(5, CONFIG), start_frame(6, CONFIG)
    assert one.rgb.shape == one.motion_map.shape == (128, 128, 3)
    assert (one.rgb != two.rgb).any()
    assert one.motion.num_frames == 1
    np.testing.assert_array_equal(one.rgb, start_frame(5, CONFIG).rgb)
    assert decode_motion_map(one.motion_map[None], mode="flat").mask.mean() > 0.05


def test_few_looks_are_shared_by_all_clips() -> None:
    few = CONFIG.model_copy(update={"num_looks": 2})
    assert len({look_of(seed, few) for seed in range(12)}) == 2
    assert len({look_of(seed, CONFIG) for seed in range(12)}) == 12
    assert "num_looks" not in CONFIG.model_dump(mode="json"), "an identity as before the field"
    assert few.model_dump(mode="json")["num_looks"] == 2


def test_splits_are_disjoint() -> None:
    starts = sorted(SPLIT_SEED.values())
    assert starts[0] == 0
    assert min(np.diff(starts)) >= 1_000_000_000


def test_other_sizes_rates_and_unknown_families() -> None:
    config = ProceduralConfig(num_frames=17, fps=10.0, height=64, width=96, families=("wave",))
    clip = generate_clip(0, config)
    assert clip.rgb.shape == (17, 64, 96, 3)
    assert clip.motion.duration_s == pytest.approx(1.7)
    with pytest.raises(ValueError, match=r"unknown families \['fly'\]"):
        ProceduralConfig(families=("fly",))
    with pytest.raises(ValueError, match=r"\['duck'\] are held out"):
        ProceduralConfig(families=("walk", "duck"))
