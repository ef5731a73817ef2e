"""A generated clip as a row of the shard contract."""

import json
from dataclasses import asdict
from typing import Any

from motion.data.procedural.clip import Clip, MotionClip, filmed_columns, motion_columns
from motion.data.procedural.config import is_test
from motion.data.segments import KEY as SEGMENTS
from motion.data.segments import segments_json


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
