"""A clip as a row of the shard contract."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import UInt8

from motion.data.procedural.clip import Clip, MotionClip
from motion.data.procedural.config import is_test
from motion.data.procedural.keypoints import KEYPOINT_SIZE, Keypoints
from motion.data.procedural.view import View
from motion.data.schema import bucket_name, encode_tensor
from motion.data.segments import KEY as SEGMENTS
from motion.data.segments import segments_json
from motion.data.video import encode_mp4
from motion.rotations import rotvec_from_matrix
from motion.sequence import Motion


def clip_row(clip: MotionClip, split: str) -> dict[str, Any]:
    """The clip as an unsealed row of the shard contract.

    Its metadata hold the seed, the first action's fields, every action, the captions of each with
    their time windows (`motion.data.segments`), and what of the clip is held out.
    """
    return {
        "clip_id": f"procedural-{clip.seed:010d}",
        "source": "procedural",
        "split": split,
        "licence": "CC0-1.0",
        "flagged": False,
        "captions": list(clip.captions),
        "metadata": json.dumps(_metadata(clip), sort_keys=True),
        **_columns(clip),
    }


def _columns(clip: MotionClip) -> dict[str, Any]:
    if not isinstance(clip, Clip):
        return motion_columns(clip.motion, clip.contacts)
    return filmed_columns(
        clip.motion, clip.contacts, clip.view, clip.keypoints, clip.rgb, clip.motion_map
    )


def _metadata(clip: MotionClip) -> dict[str, Any]:
    config = clip.config
    return {
        "seed": clip.seed,
        **asdict(clip.action),
        "actions": [asdict(action) for action in clip.actions],
        SEGMENTS: segments_json(clip.segments),
        "held_out_family": clip.action.family in config.held_out_families,
        "held_out_wordings": config.held_out_wordings and is_test(clip.seed),
    }


def motion_columns(
    motion: Motion, contacts: UInt8[np.ndarray, "t 4"], size: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """The columns of the shard contract that hold a motion.

    Args:
        motion: in the world.
        contacts: 1 where left heel, left toe, right heel, right toe is on the floor.
        size: height and width of the video; zero where there is none.
    """
    tensors = {
        "smpl_rotvec": rotvec_from_matrix(motion.R_parent_child).numpy(),
        "smpl_translation": motion.require_translation().numpy(),
        "smpl_betas": motion.betas.numpy(),
        "contacts": contacts,
    }
    return {
        "fps": motion.fps,
        "num_frames": motion.num_frames,
        "bucket": bucket_name(motion.num_frames, *size),
        "body_id": motion.body_id,
        **{name: encode_tensor(array) for name, array in tensors.items()},
    }


def filmed_columns(
    motion: Motion,
    contacts: UInt8[np.ndarray, "t 4"],
    view: View,
    points: Keypoints,
    rgb: UInt8[np.ndarray, "t h w 3"] | None,
    motion_map: UInt8[np.ndarray, "t h w 3"] | None,
) -> dict[str, Any]:
    """The columns of the shard contract that hold a motion and what was filmed of it."""
    num_frames = motion.num_frames
    tensors = {
        "intrinsics": view.intrinsics.expand(num_frames, 3, 3).numpy(),
        "T_camera_world": view.T_camera_world.expand(num_frames, 4, 4).numpy(),
        "keypoints": points.exact,
        "keypoints_detected": points.detected,
        "keypoints_confidence": points.confidence,
        "keypoints_visible": points.visible.astype(np.uint8),
        "keypoints_intrinsics": points.intrinsics,
        "keypoints_size": np.array(KEYPOINT_SIZE, np.int32),
    }
    size: tuple[int, int] = (0, 0)
    pixels: dict[str, Any] = {}
    if rgb is not None and motion_map is not None:
        size = (rgb.shape[1], rgb.shape[2])
        pixels = {
            "rgb": encode_mp4(rgb, motion.fps, lossless=False),
            "motion_map": encode_mp4(motion_map, motion.fps, lossless=True),
            "video_size": list(size),
        }
    return {
        **motion_columns(motion, contacts, size),
        **pixels,
        **{name: encode_tensor(array) for name, array in tensors.items()},
    }
