"""Captions of parts of a clip: what happens from when to when.

They travel in the row's `metadata`, as JSON under "segments", and so count for its checksum.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

KEY: Final = "segments"


class Segment(NamedTuple):
    """A stretch of a clip with its own captions."""

    start_s: float
    """Seconds from the first frame."""
    end_s: float
    """Seconds from the first frame; where the next segment starts, or the clip's duration."""
    captions: tuple[str, ...]
    """Wordings of what happens here."""
    upper: tuple[str, ...] = ()
    """Wordings of what the upper body does; may be empty."""
    lower: tuple[str, ...] = ()
    """Wordings of what the lower body does; may be empty."""

    def frames(self, fps: float) -> tuple[int, int]:
        """First frame and the one past the last."""
        return round(self.start_s * fps), round(self.end_s * fps)


def segments_json(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Segments as JSON values, for the row's metadata."""
    return [segment._asdict() for segment in segments]


def read_segments(row: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments of a shard row; none where its source tells none.

    Raises:
        ValueError: a segment has no caption, or ends before it starts.
    """
    segments: list[Segment] = []
    for stated in json.loads(row["metadata"]).get(KEY, []):
        told = {name: tuple(stated.get(name, ())) for name in ("captions", "upper", "lower")}
        segment = Segment(float(stated["start_s"]), float(stated["end_s"]), **told)
        if not segment.captions or not segment.start_s < segment.end_s:
            raise ValueError(
                f"clip {row['clip_id']!r} has the segment {stated}; expected start_s < end_s and "
                "at least one caption: prepare its shard again"
            )
        segments.append(segment)
    return tuple(segments)
