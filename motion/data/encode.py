"""Frozen encoders over a whole data set, once: latents and text features beside the raw columns.

Ray Data hands shard files to a pool of actors. A file is written whole or not at all, so a job that
died goes on with the clips that are missing, and a finished one returns at once.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import ray
import ray.data
from pydantic import BaseModel, ConfigDict, Field

from motion.data.claim import claim, is_claimed
from motion.data.console import quiet, report, watched
from motion.data.fitting import (
    EncoderChoice,
    descriptions,
    make_encoders,
    map_mode,
    place,
    read,
    spread,
)
from motion.data.manifest import Manifest, ManifestRow, read_commit, write_dataset
from motion.data.reconstruction import VIDEOS, Encoders, bucket_video, measure, summary
from motion.data.room import cluster_nodes, require_room
from motion.data.schema import check_row, encode_tensor, seal
from motion.data.segments import read_segments
from motion.data.storage import read_rows, write_shard
from motion.data.video import decode_mp4
from motion.encoders import (
    MapReadoutConfig,
    PatchAutoencoderConfig,
    TransformersTextConfig,
    WanAutoencoderConfig,
    WordVectorsConfig,
)
from motion.encoders.frames import TransformersFrames, TransformersFramesConfig

_STATE_FILE: Final = "encode.json"
_WHAT: Final = "an encoded data set"


class EncodeConfig(BaseModel):
    """One encoding job."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    raw_root: Path
    """Committed raw data set."""
    root: Path
    """Where the encoded data set goes; on storage that every node mounts."""
    text: WordVectorsConfig | TransformersTextConfig = WordVectorsConfig()
    """Text encoder; word vectors are fitted on the captions of the train split."""
    video: PatchAutoencoderConfig | WanAutoencoderConfig | None = PatchAutoencoderConfig()
    """Video autoencoder; the patch autoencoder is fitted on the train split, once for the video
    and once for the motion map. Wan's VAE serves both. None encodes captions alone, as of clips
    that were not filmed."""
    fit_clips: int = Field(default=64, ge=1)
    """Clips of the train split, evenly spread, that the patch autoencoder is fitted on."""
    map_readout: MapReadoutConfig = MapReadoutConfig()
    """How flat motion maps are read back from the patch autoencoder's latents; lit maps, whose
    parts cannot be read, are decoded linearly."""
    measured_clips: int = Field(default=32, ge=1)
    """Validation clips (train clips where there are none) that reconstruction is measured on."""
    image: TransformersFramesConfig | None = Field(default=None, exclude_if=lambda x: x is None)
    """Image model (or VideoMAE) whose features per frame of the video are kept, for estimation from
    images; None has none, and is then not named in the identity."""
    segments: bool = Field(default=False, exclude_if=lambda segments: not segments)
    """Encode the captions of parts of clips too, with their time windows. Not named in the identity
    of a data set without them."""
    keep_video: tuple[str, ...] = ("validation", "test")
    """Splits that keep their mp4 bytes, which evaluation needs; training reads latents only."""
    clips_per_file: int = Field(default=16, ge=1)
    """Clips of a shard file: the unit of work and of loss when a machine dies."""
    actors: int = Field(default=1, ge=1)
    """Encoding processes."""
    actor_cpus: float = Field(default=1.0, gt=0)
    """Logical CPUs of each."""
    actor_gpus: float = Field(default=0.0, ge=0)
    """GPUs of each; above zero, the encoders run on the GPU."""

    def described(self, raw: Manifest) -> dict[str, Any]:
        """What the result depends on, and nothing else (not the number of actors, for one)."""
        chosen = self.model_dump(
            mode="json",
            exclude={"raw_root", "root", "actors", "actor_cpus", "actor_gpus"},
        )
        return {"kind": "encoded", **chosen, "raw": dict(raw.config), "raw_hash": raw.hash}


def encode(config: EncodeConfig) -> Path:
    """Encode a raw data set; returns the root of the encoded one.

    Raises:
        FileNotFoundError: there is no committed raw data set.
        ValueError: the root holds a data set encoded otherwise, a raw row is damaged, or the
            cluster can never hold the actors.
    """
    config = config.model_copy(
        update={
            "raw_root": config.raw_root.expanduser().absolute(),
            "root": config.root.expanduser().absolute(),
        }
    )
    raw = Manifest.load(config.raw_root)
    described = config.described(raw)
    claim(config.root, described, file=_STATE_FILE, what=_WHAT)
    if read_commit(config.root) is not None:
        return config.root
    if not ray.is_initialized():
        ray.init()
    each = {"CPU": config.actor_cpus, "GPU": config.actor_gpus}
    how = "Lower actors, actor_cpus or actor_gpus"
    require_room(config.actors, each, cluster_nodes(), what="encoding actors", how=how)
    choice = EncoderChoice(config.text, config.video, config.map_readout, config.fit_clips)
    make_encoders(raw, config.root, choice, cpus=config.actor_cpus)
    folder = config.root / "encoders" / "image"
    if config.image is not None and not (folder / "config.json").is_file():
        TransformersFrames(config.image).save(folder)
    started = time.monotonic()
    jobs = list(_jobs(raw.rows, config.clips_per_file))
    pending = [job for job in jobs if not (config.root / job["file"]).is_file()]
    _run(config, _EncodeFiles, [{"job": json.dumps(job)} for job in pending], "encoding")
    files = [config.root / job["file"] for job in jobs]
    report("encoded", sum(len(job["places"]) for job in pending), started, files)
    write_dataset(
        config.root,
        files,
        config=described,
        encoders=descriptions(config.root),
        facts={} if config.video is None else _measure(config, raw),
    )
    return config.root


def _measure(config: EncodeConfig, raw: Manifest) -> dict[str, Any]:
    """Quality of the reconstruction, on clips that the encoders were not fitted on, if any."""
    held_out = [row for row in raw.rows if row.split == "validation"] or raw.select("train")
    jobs = [
        {"job": json.dumps([*place(row), map_mode(raw)])}
        for row in spread(held_out, config.measured_clips)
    ]
    started = time.monotonic()
    facts = summary(_run(config, _MeasureClips, jobs, "measuring"))
    report("measured", len(jobs), started)
    return facts


def describe(config: EncodeConfig) -> str:
    """What `encode` would do, in one line; nothing is started or written.

    Raises:
        ValueError: the root holds a data set encoded otherwise.
    """
    raw_root, root = config.raw_root.expanduser().absolute(), config.root.expanduser().absolute()
    if read_commit(raw_root) is None:
        return f"raw clips are not prepared yet: {raw_root}"
    raw = Manifest.load(raw_root)
    is_claimed(root, config.described(raw), file=_STATE_FILE, what=_WHAT)
    files = [root / job["file"] for job in _jobs(raw.rows, config.clips_per_file)]
    done = sum(file.is_file() for file in files)
    state = "committed" if read_commit(root) is not None else f"{done} of them written"
    video = "left out" if config.video is None else f"by {type(config.video).__name__}"
    return (
        f"{root}: {len(raw.rows)} clips of {raw.root} in {len(files)} shards ({state}), "
        f"text by {type(config.text).__name__}, video {video}"
    )


def _jobs(rows: Sequence[ManifestRow], clips_per_file: int) -> Iterator[dict[str, Any]]:
    """Which clips go into which file: the same at every start, so that a file is found again."""
    groups: dict[tuple[str, str], list[ManifestRow]] = {}
    for row in rows:
        groups.setdefault((row.split, row.bucket), []).append(row)
    for (split, bucket), members in sorted(groups.items()):
        for start in range(0, len(members), clips_per_file):
            file = f"shards/{split}-{bucket}-{start // clips_per_file:05d}.parquet"
            chosen = members[start : start + clips_per_file]
            yield {"file": file, "places": [place(row) for row in chosen]}


def _run(
    config: EncodeConfig, worker: type, items: list[dict[str, Any]], phase: str
) -> list[dict[str, Any]]:
    """Items through a pool of actors; starts nothing when there is nothing to do."""
    if not items:
        return []
    dataset = quiet(ray.data.from_items(items, override_num_blocks=len(items)))
    results = dataset.map_batches(
        cast(Any, worker),
        batch_size=1,
        batch_format="numpy",
        fn_constructor_kwargs={"config": config},
        compute=ray.data.ActorPoolStrategy(size=min(config.actors, len(items))),
        num_cpus=config.actor_cpus,
        num_gpus=config.actor_gpus,
    )
    return list(watched(results.iter_rows(), len(items), phase))


class _EncodeFiles:
    """Encodes the clips of one file and writes it."""

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        self._encoders = Encoders(config.root, gpu=config.actor_gpus > 0)
        self._image: TransformersFrames | None = None
        if config.image is not None:
            self._image = TransformersFrames.load(config.root / "encoders" / "image")
            self._image.to("cuda" if config.actor_gpus > 0 else "cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        files = [self._write(json.loads(str(job))) for job in batch["job"]]
        return {"file": files}

    def _write(self, job: dict[str, Any]) -> str:
        places = [(str(file), int(group), int(row)) for file, group, row in job["places"]]
        sealed = [self._encode(row) for row in read(self._config.raw_root, places, None)]
        write_shard(
            self._config.root / job["file"],
            sealed,
            # Training reads single clips in random order: a row group each.
            row_group_size=1,
            encoders=descriptions(self._config.root),
        )
        return job["file"]

    def _encode(self, row: dict[str, Any]) -> dict[str, Any]:
        check_row(row)
        out = dict(row)
        tokens, mask = self._encoders.text.encode(row["captions"])
        out["text_embedding"] = encode_tensor(tokens.cpu().numpy().astype(np.float16))
        out["text_mask"] = encode_tensor(mask.cpu().numpy().astype(np.uint8))
        if self._config.segments:
            out |= self._segments(row)
        if self._image is not None and row["rgb"] is not None:
            features = self._image.encode(decode_mp4(bytes(row["rgb"])))
            out["image_features"] = encode_tensor(features.numpy().astype(np.float16))
        for name, (column, latent_column) in VIDEOS.items():
            if row[column] is None:
                continue
            if name in self._encoders.video:
                latent = self._encoders.video[name].encode(bucket_video(row, column))[0]
                out[latent_column] = encode_tensor(latent.cpu().numpy().astype(np.float16))
            if row["split"] not in self._config.keep_video:
                out[column] = None
        return seal(out)

    def _segments(self, row: dict[str, Any]) -> dict[str, Any]:
        """Every wording of every part, and when it holds."""
        told = [
            (part.start_s, part.end_s, text)
            for part in read_segments(row)
            for text in part.captions
        ]
        if not told:
            return {}
        tokens, mask = self._encoders.text.encode([text for _, _, text in told])
        windows = np.array([(start, end) for start, end, _ in told], dtype=np.float32)
        return {
            "segment_embedding": encode_tensor(tokens.cpu().numpy().astype(np.float16)),
            "segment_mask": encode_tensor(mask.cpu().numpy().astype(np.uint8)),
            "segment_window_s": encode_tensor(windows),
        }


class _MeasureClips:
    """Reconstructs raw clips and compares."""

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        self._encoders = Encoders(config.root, gpu=config.actor_gpus > 0)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        measured: list[str] = []
        for job in batch["job"]:
            file, group, index, map_mode = json.loads(str(job))
            row = read_rows(self._config.raw_root / file, group, [index])[0]
            quality = measure(row, self._encoders.video, map_mode=map_mode)
            measured.append(json.dumps(quality))
        return {"quality": measured}
