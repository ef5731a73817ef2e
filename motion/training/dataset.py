"""What a training knows of its dataset: facts for the record, checks before the start, batches."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from motion.batch import Batch
from motion.data.fitting import clip_config, map_mode
from motion.data.manifest import Manifest, ManifestRow, require_encoders
from motion.data.pipeline import stream
from motion.data.plan import ClipRef, Plan, carries
from motion.data.schema import SCHEMA_VERSION
from motion.data.storage import read_rows
from motion.training.config import TrainConfig

MOTION_COLUMNS = ("smpl_rotvec", "smpl_translation", "smpl_betas", "contacts")


def facts(config: TrainConfig) -> dict[str, Any]:
    """Facts of the dataset and split, JSON values: hash, encoders, licences, buckets ...

    Raises:
        FileNotFoundError: no committed dataset lies there.
        ValueError: other schema or encoders than expected, flagged clips, or columns that no
            clip has.
    """
    manifest = Manifest.load(config.data.root)
    rows = manifest.select(config.data.split)
    _check_flagged(config, rows)
    _check_encoders(config, manifest)
    _check_shards(manifest, rows)
    _check_columns(config, rows)
    # A clip that carries a motion says which body it is of; recorded videos carry none.
    first = next((row for row in rows if "smpl_rotvec" in row.present), rows[0])
    fields = ["fps", "body_id", "video_size"]
    row = read_rows(manifest.root / first.file, first.row_group, [first.row], fields)[0]
    height, width = row["video_size"] or (0, 0)
    return {
        "root": str(manifest.root),
        "hash": manifest.hash,
        "schema_version": SCHEMA_VERSION,
        "split": config.data.split,
        "num_clips": len(rows),
        "licences": sorted({row.licence for row in rows}),
        "sources": dict(Counter(row.source for row in rows)),
        "buckets": dict(Counter(row.bucket for row in rows)),
        "fps": row["fps"],
        "num_frames": first.num_frames,
        "map_mode": map_mode(manifest),
        "clip": clip_config(manifest),
        "height": height,
        "width": width,
        # What load_body takes: a body id names neither a file nor where it lies.
        "body": getattr(config.system, "body", "free"),
        "body_id": row["body_id"],
        "encoders": dict(manifest.encoders),
    }


def _check_flagged(config: TrainConfig, rows: list[ManifestRow]) -> None:
    flagged = [row for row in rows if row.flagged]
    if flagged:
        licences = ", ".join(sorted({row.licence for row in flagged}))
        raise ValueError(
            f"{len(flagged)} of {len(rows)} clips of {config.data.root} are flagged ({licences}), "
            f"e.g. {flagged[0].clip_id}: their licence forbids an export, which every training "
            "ends with; prepare a dataset without them"
        )


def encoder_hashes(manifest: Manifest) -> dict[str, str]:
    """Content hash by encoder of an encoded dataset."""
    return {kind: str(found["hash"]) for kind, found in manifest.encoders.items()}


def pinned(config: TrainConfig) -> TrainConfig:
    """The training tied to the encoders of its dataset as it lies there now.

    A hash that the config names already stays, and is checked like the others.
    """
    found = encoder_hashes(Manifest.load(config.data.root))
    encoders = {"encoders": {**found, **config.data.encoders}}
    return config.model_copy(update={"data": config.data.model_copy(update=encoders)})


def _check_encoders(config: TrainConfig, manifest: Manifest) -> None:
    hashes = encoder_hashes(manifest)
    for kind, expected in config.data.encoders.items():
        if hashes.get(kind) != expected:
            raise ValueError(
                f"{config.data.root} was encoded with {kind} encoder {hashes.get(kind)}, the "
                f"config expects {expected}: encode the data again, or correct data.encoders"
            )


def _check_shards(manifest: Manifest, rows: list[ManifestRow]) -> None:
    """A shard may have been written anew since the commit: by other code or other encoders."""
    for file in sorted({row.file for row in rows}):
        require_encoders(manifest.root / file, manifest.encoders)


def _check_columns(config: TrainConfig, rows: list[ManifestRow]) -> None:
    present = {name for row in rows for name in row.present}
    missing = sorted(set(config.data.columns) - present)
    if missing:
        raise ValueError(
            f"no clip of {config.data.root} has the columns {missing}; it has {sorted(present)}. "
            "Run rayjobs/encode.py, or correct data.columns"
        )


def plan_of(config: TrainConfig) -> Plan:
    """The order of the data."""
    manifest = Manifest.load(config.data.root)
    _check_encoders(config, manifest)  # it may have been encoded anew since the driver looked
    share = config.data.hidden_motion
    return Plan(
        [shown(ClipRef.of(row), share) for row in manifest.select(config.data.split)],
        seed=config.seed,
        micro_batch=config.micro_batch,
        accumulation=config.accumulation,
        world=config.data_ranks,
        weights=config.data.source_weights,
    )


def shown(clip: ClipRef, hidden_motion: float) -> ClipRef:
    """The clip without its 3D motion, where its id falls into the hidden share."""
    lot = hashlib.blake2b(f"hidden/{clip.clip_id}".encode(), digest_size=8).digest()
    if int.from_bytes(lot, "big") >= hidden_motion * 2**64 or not carries(
        clip.present, "keypoints"
    ):
        return clip
    return replace(clip, present=tuple(x for x in clip.present if x not in MOTION_COLUMNS))


def stream_batches(config: TrainConfig, rank: int, start_step: int) -> Iterator[Batch]:
    """The micro-batches of one rank from a step to the last."""
    return stream(
        plan_of(config),
        config.data.root,
        rank // config.sequence_parallel,
        start_step,
        steps=config.steps,
        columns=config.data.columns,
        config=config.data.stream,
    )
