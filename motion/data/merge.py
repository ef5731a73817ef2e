"""Several raw data sets as one, without a copy of a clip."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from motion.data.fitting import clip_config
from motion.data.manifest import Manifest, commit

_SHARED: Final = ("fps", "map_mode")
"""What encoding and training take from the data set's config for all of its clips."""


def merge(root: Path | str, parts: Sequence[Manifest]) -> Manifest:
    """One raw data set of the clips of several, which keep their shards where they are.

    Sources keep their names, by which a training weighs them.

    Args:
        root: folder of the merged data set.
        parts: raw data sets, on storage that every node mounts at one place.

    Raises:
        ValueError: none, encoded ones, ones of other frame rates or kinds of motion maps, or clip
            ids that occur twice.
    """
    encoded = [str(part.root) for part in parts if part.encoders]
    if not parts or encoded:
        raise ValueError(
            f"data sets are merged before they are encoded, one or more; encoded: {encoded}"
        )
    root = Path(root).absolute()
    rows = [
        replace(row, file=os.path.relpath(part.root.absolute() / row.file, root))
        for part in parts
        for row in part.rows
    ]
    config = {
        "kind": "merged",
        "clip": _shared(parts) | clip_config(parts[0]),
        "parts": [{"hash": part.hash, "config": dict(part.config)} for part in parts],
    }
    root.mkdir(parents=True, exist_ok=True)
    return commit(Manifest(root, tuple(rows), config, {}, {}))


def _shared(parts: Sequence[Manifest]) -> dict[str, Any]:
    """What the parts have to agree on; a part that states nothing (no map, say) may join any."""
    agreed: dict[str, Any] = {}
    for name in _SHARED:
        stated = [(part, clip_config(part)[name]) for part in parts if name in clip_config(part)]
        for (one, first), (other, second) in itertools.pairwise(stated):
            if first != second:
                raise ValueError(
                    f"{one.root} was made with clip.{name} {first!r}, {other.root} with "
                    f"{second!r}; a merged data set has one for all of its clips: prepare one of "
                    f"them again with the other's clip.{name}"
                )
        if stated:
            agreed[name] = stated[0][1]
    return agreed
