"""Samples become world motions by their maps."""

import dataclasses

import pytest
import torch

from motion.batch import Batch
from motion.body import load_body
from motion.body.fit_map import MapFitConfig
from motion.completion import CompletionConfig, complete
from motion.data.procedural import ProceduralConfig, generate_clip
from motion.data.video import to_video
from motion.models.system import Sample

FRAMES = 9


@pytest.fixture(scope="module")
def sampled() -> tuple[Sample, Batch]:
    """A sample that is right about everything but the path, which it does not know."""
    config = ProceduralConfig(
        num_frames=FRAMES, fps=4.0, height=96, width=96, families=("walk",), max_delay_s=0.0
    )
    clip = generate_clip(11, config)
    assert clip.motion_map is not None
    motion = clip.motion
    poses = dataclasses.replace(
        motion,
        R_parent_child=motion.R_parent_child[None],
        translation=None,
        betas=motion.betas[None],
    )
    batch = Batch(
        clip_ids=("a",),
        fps=torch.tensor([4.0]),
        frame_mask=torch.ones(1, FRAMES, dtype=torch.bool),
        R_parent_child=motion.R_parent_child[None],
        translation=motion.require_translation()[None],
        betas=motion.betas[None],
        intrinsics=clip.view.intrinsics.expand(1, FRAMES, 3, 3),
        T_camera_world=clip.view.T_camera_world.expand(1, FRAMES, 4, 4),
        noise_key=torch.zeros(1, dtype=torch.int64),
    )
    return Sample(motion=poses, motion_map=to_video(clip.motion_map)), batch


def test_the_path_comes_from_the_map_and_the_poses_stay(sampled: tuple[Sample, Batch]) -> None:
    sample, batch = sampled
    assert batch.translation is not None
    truth, body = batch.translation[0], load_body("free")
    walked = (truth - truth[:1]).norm(dim=-1)
    config = CompletionConfig(fit=MapFitConfig(rounds=4))
    whole = complete(sample, batch, body, config=config)
    assert whole.frame == "world"
    assert sample.motion is not None
    assert torch.equal(whole.R_parent_child, sample.motion.R_parent_child)
    error = (whole.require_translation()[0] - truth).norm(dim=-1)
    assert error.mean() < 0.5 * walked.mean()
    held = complete(sample, batch, body, readable=False)
    assert torch.equal(held.require_translation()[0], truth[:1].expand(FRAMES, 3))
    blank = dataclasses.replace(sample, motion_map=torch.ones_like(sample.motion_map))
    assert torch.equal(complete(blank, batch, body).require_translation(), held.translation)


def test_a_path_of_the_system_is_kept_unless_poses_are_refined(
    sampled: tuple[Sample, Batch],
) -> None:
    sample, batch = sampled
    assert sample.motion is not None
    own = dataclasses.replace(sample.motion, translation=torch.zeros(1, FRAMES, 3))
    rooted = dataclasses.replace(sample, motion=own)
    assert complete(rooted, batch, load_body("free")) is own


def test_refusals(sampled: tuple[Sample, Batch]) -> None:
    sample, batch = sampled
    body = load_body("free")
    with pytest.raises(ValueError, match="refined by flat motion maps alone"):
        complete(sample, batch, body, readable=False, config=CompletionConfig(refine=True))
    with pytest.raises(ValueError, match="no motion or no motion map"):
        complete(dataclasses.replace(sample, motion_map=None), batch, body)
    with pytest.raises(ValueError, match="needs the first frame's place and the camera"):
        complete(sample, dataclasses.replace(batch, intrinsics=None), body)
