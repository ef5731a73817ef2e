"""The cascade on a video whose keypoints are known."""

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

FRAMES = 5


def test_perfect_keypoints_give_a_motion_near_the_truth() -> None:
    body = load_body("free")
    start = start_frame(1, ProceduralConfig(num_frames=FRAMES, height=96, width=96))
    motion, view = start.motion, start.view
    place = motion.require_translation()
    batch = Batch(
        clip_ids=("a",),
        fps=torch.tensor([16.0]),
        frame_mask=torch.ones(1, FRAMES, dtype=torch.bool),
        R_parent_child=motion.R_parent_child.expand(1, FRAMES, 24, 3, 3).contiguous(),
        translation=place.expand(1, FRAMES, 3),
        betas=motion.betas[None],
        body_id=body.body_id,
        intrinsics=view.intrinsics.expand(1, FRAMES, 3, 3),
        T_camera_world=view.T_camera_world.expand(1, FRAMES, 4, 4),
        noise_key=torch.zeros(1, dtype=torch.int64),
    )
    points = body.keypoints(motion.R_parent_child, motion.betas, place)
    pixels = project(to_camera(points, view.T_camera_world), view.intrinsics)[0]
    calls: list[int] = []

    def find(frame: np.ndarray) -> Detection:
        calls.append(1)
        if len(calls) == 2:
            raise NobodyFound("nobody")
        return Detection(pixels, torch.ones(17))

    video = torch.zeros(1, 3, FRAMES, 96, 96)
    pipeline = SimpleNamespace(
        body=body, options=lambda: None, generate=lambda *_: Sample(rgb=video, motion=None)
    )
    errors = cascade_errors(
        cast(Any, pipeline), batch, find, estimator(None, body), torch.Generator()
    )
    assert set(errors) == {"cascade_mm", "held_mm"}
    assert len(calls) == FRAMES
    assert errors["cascade_mm"] < 90, "one view, within the depth that it cannot tell"
    assert errors["held_mm"] < 1e-3


def test_it_says_what_it_needs(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="name a ViTPose as --pose-model"):
        detector(None)
    (tmp_path / "config.json").write_text('{"system": {"kind": "comovi"}}')
    with pytest.raises(ValueError, match="holds 'comovi': the cascade needs an estimator"):
        estimator(tmp_path, load_body("free"))
