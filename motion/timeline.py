"""Timelines: what a person does from when to when, as one line of text."""

import re
from collections.abc import Sequence
from typing import Final

import torch

from motion.batch import Batch
from motion.data.segments import Segment
from motion.encoders import TextEncoder

_PART: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*:\s*(\S.*?)\s*$")


def read_timeline(text: str) -> tuple[Segment, ...]:
    """Parts of "0-4: walks forward; 3.5-8: turns and sits": seconds, a colon, what happens.

    Parts may overlap and may leave gaps, which the system fills by itself.

    Raises:
        ValueError: a part is not of this form, or ends before it starts.
    """
    parts: list[Segment] = []
    for piece in text.split(";"):
        if not piece.strip():
            continue
        found = _PART.match(piece)
        if found is None or not float(found[1]) < float(found[2]):
            raise ValueError(
                f'timeline part {piece.strip()!r}: expected "start-end: what happens" in seconds '
                'with start < end, such as "0-4: walks forward; 3.5-8: turns and sits"'
            )
        parts.append(Segment(float(found[1]), float(found[2]), (found[3],)))
    if not parts:
        raise ValueError('the timeline is empty: give at least one part, such as "0-4: walks"')
    return tuple(parts)


def described(
    parts: Sequence[Segment],
    encoder: TextEncoder,
    *,
    fps: float,
    num_frames: int,
    body_id: str,
    name: str = "timeline",
) -> Batch:
    """One clip of which only the texts of its parts are known.

    Args:
        parts: with one wording each.
        encoder: of the texts.
        fps: frames per second.
        num_frames: of the clip.
        body_id: of the body that the motion is for.
        name: id of the clip.
    """
    tokens, mask = encoder.encode([part.captions[0] for part in parts])
    window = torch.tensor([[part.start_s, part.end_s] for part in parts])
    return Batch(
        clip_ids=(name,),
        fps=torch.tensor([fps]),
        frame_mask=torch.ones(1, num_frames, dtype=torch.bool),
        body_id=body_id,
        text=tokens[None].float().cpu(),
        text_mask=mask[None].cpu(),
        text_window_s=window[None],
        has_text=torch.ones(1, dtype=torch.bool),
        noise_key=torch.zeros(1, dtype=torch.int64),
    )
