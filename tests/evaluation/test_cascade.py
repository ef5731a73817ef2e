"""The cascade on a video whose keypoints are known."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from motion.batch import Batch
from motion.body import load_body
from motion.camera import project, to_camera
from motion.conditioning.pose_detector import Detection, NobodyFound
from motion.data.procedural import ProceduralConfig, start_frame
from motion.evaluation.cascade import cascade_errors, detector, estimator
from motion.models.system import Sample
from motion.sequence import Motion

FRAMES = 5


def scene(clips: int = 1) -> tuple[Any, Batch, torch.Tensor]:
    """A maker of black videos, clips of one still pose, and where a camera sees its keypoints."""
    body = load_body("free")
    start = start_frame(1, ProceduralConfig(num_frames=FRAMES, height=96, width=96))
    motion, view = start.motion, start.view
    place = motion.require_translation()
    batch = Batch(
        clip_ids=tuple("abc"[:clips]),
        fps=torch.full((clips,), 16.0),
        frame_mask=torch.ones(clips, FRAMES, dtype=torch.bool),
        R_parent_child=motion.R_parent_child.expand(clips, FRAMES, 24, 3, 3).contiguous(),
        translation=place.expand(clips, FRAMES, 3),
        betas=motion.betas[None].expand(clips, -1),
        body_id=body.body_id,
        intrinsics=view.intrinsics.expand(clips, FRAMES, 3, 3),
        T_camera_world=view.T_camera_world.expand(clips, FRAMES, 4, 4),
        noise_key=torch.zeros(clips, dtype=torch.int64),
    )
    points = body.keypoints(motion.R_parent_child, motion.betas, place)
    pixels = project(to_camera(points, view.T_camera_world), view.intrinsics)[0]
    video = torch.zeros(clips, 3, FRAMES, 96, 96)
    maker = SimpleNamespace(
        body=body, options=lambda: None, generate=lambda *_: Sample(rgb=video, motion=None)
    )
    return maker, batch, pixels


def test_the_motion_follows_the_keypoints() -> None:
    maker, batch, pixels = scene()
    calls: list[int] = []

    def find(frame: np.ndarray) -> Detection:
        calls.append(1)
        if len(calls) == 2:
            raise NobodyFound("nobody")
        return Detection(pixels, torch.ones(17))

    def shifted(frame: np.ndarray) -> Detection:
        """Arms and legs of the left are seen a tenth of the image beside where they are."""
        wrong = pixels.clone()
        wrong[[7, 9, 13, 15]] += torch.tensor([10.0, 0.0])
        return Detection(wrong, torch.ones(17))

    estimate = estimator(None, maker.body)
    errors = cascade_errors(maker, batch, find, estimate, torch.Generator())
    assert set(errors) == {"cascade_mm", "held_mm"}
    assert len(calls) == FRAMES
    assert errors["held_mm"] < 1e-3
    misled = cascade_errors(maker, batch, shifted, estimate, torch.Generator())
    assert errors["cascade_mm"] < 90, "one view, within the depth that it cannot tell"
    assert 1.5 * errors["cascade_mm"] < misled["cascade_mm"]


def test_clips_without_motion_are_not_scored() -> None:
    maker, batch, pixels = scene(clips=2)
    identity = torch.eye(3).expand(FRAMES, 24, 3, 3)
    assert batch.R_parent_child is not None
    mixed = dataclasses.replace(
        batch,
        R_parent_child=torch.stack([batch.R_parent_child[0], identity]),  # as collation fills it
        has_motion=torch.tensor([True, False]),
    )

    def estimate(seen: Batch) -> Motion:
        """The true motion of the first clip, for both."""
        assert batch.R_parent_child is not None
        return Motion(
            R_parent_child=batch.R_parent_child,
            translation=batch.translation,
            betas=torch.zeros(2, 10),
            body_id=batch.body_id or "",
            fps=16.0,
        )

    find = cast(Any, lambda _: Detection(pixels, torch.ones(17)))
    errors = cascade_errors(maker, mixed, find, estimate, torch.Generator())
    for name, error in errors.items():
        assert error[0] < 1e-3, name
        assert error[1].isnan(), f"{name}: an identity is no truth"
    blind = dataclasses.replace(batch, R_parent_child=None, betas=None)
    with pytest.raises(ValueError, match="none of the clips a, b carries motion"):
        cascade_errors(maker, blind, find, estimate, torch.Generator())


def test_it_says_what_it_needs(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="name a ViTPose as --pose-model"):
        detector(None)
    (tmp_path / "config.json").write_text('{"system": {"kind": "comovi"}}')
    with pytest.raises(ValueError, match="holds 'comovi': the cascade needs an estimator"):
        estimator(tmp_path, load_body("free"))
