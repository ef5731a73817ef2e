"""The file beside a file that has no place for its origin: `clip.bvh` -> `clip.bvh.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motion.export.provenance import KEY, Provenance, sidecar_path
from motion.sequence import Motion


def motion_facts(motion: Motion) -> dict[str, Any]:
    """What numbers alone do not say of one world-frame motion: rate, axes, units, body."""
    return {
        "frames_per_second": motion.fps,
        "num_frames": motion.num_frames,
        "axes": "right-handed, y up, +z forward, +x to the person's left",
        "length_unit": "metre",
        "body_id": motion.body_id,
        "betas": motion.betas.tolist(),
    }


def write_sidecar(path: Path, facts: Mapping[str, Any], provenance: Provenance | None) -> Path:
    """Write the sidecar of `path`; its place."""
    record = dict(facts)
    if provenance is not None:
        record[KEY] = provenance.model_dump(mode="json")
    sidecar = sidecar_path(path)
    sidecar.parent.mkdir(parents=True, exist_ok=True)
    sidecar.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sidecar
