"""Frozen encoders over a whole data set, once: latents and text features beside the raw columns.

Ray Data hands shard files to a pool of actors. A file is written whole or not at all, so a job that
died goes on with the clips that are missing, and a finished one returns at once.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import ray
import ray.data
from pydantic import BaseModel, ConfigDict, Field

from motion.data.manifest import Manifest, ManifestRow, read_commit, write_dataset
from motion.data.reconstruction import VIDEOS, Encoders, bucket_video, measure, summary
from motion.data.schema import check_row, encode_tensor, seal
from motion.data.storage import read_rows, replacing, write_shard
from motion.encoders import (
    Autoencoder,
    PatchAutoencoder,
    PatchAutoencoderConfig,
    TextEncoder,
    TransformersText,
    TransformersTextConfig,
    WanAutoencoder,
    WanAutoencoderConfig,
    WordVectors,
    WordVectorsConfig,
    save_empty_prompt,
)

_STATE_FILE: Final = "encode.json"


class EncodeConfig(BaseModel):
    """One encoding job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw_root: Path
    """Committed raw data set."""
    root: Path
    """Where the encoded data set goes; on storage that every node mounts."""
    text: WordVectorsConfig | TransformersTextConfig = WordVectorsConfig()
    """Text encoder; word vectors are fitted on the captions of the train split."""
    video: PatchAutoencoderConfig | WanAutoencoderConfig = PatchAutoencoderConfig()
    """Video autoencoder; the patch autoencoder is fitted on the train split, once for the video
    and once for the motion map. Wan's VAE serves both."""
    fit_clips: int = Field(default=64, ge=1)
    """Clips of the train split, evenly spread, that the patch autoencoder is fitted on."""
    measured_clips: int = Field(default=32, ge=1)
    """Validation clips (train clips where there are none) that reconstruction is measured on."""
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
        ValueError: the root holds a data set encoded otherwise, or a raw row is damaged.
    """
    config = config.model_copy(
        update={
            "raw_root": config.raw_root.expanduser().absolute(),
            "root": config.root.expanduser().absolute(),
        }
    )
    raw = Manifest.load(config.raw_root)
    described = config.described(raw)
    _claim(config.root, described)
    if read_commit(config.root) is not None:
        return config.root
    _make_encoders(raw, config)
    jobs = list(_jobs(raw.rows, config.clips_per_file))
    pending = [job for job in jobs if not (config.root / job["file"]).is_file()]
    _run(config, _EncodeFiles, [{"job": json.dumps(job)} for job in pending])
    # Clips that the encoders were not fitted on, where there are any.
    held_out = [row for row in raw.rows if row.split == "validation"] or raw.select("train")
    measured = [
        {"job": json.dumps([*_place(row), _map_mode(raw)])}
        for row in _spread(held_out, config.measured_clips)
    ]
    facts = summary(_run(config, _MeasureClips, measured))
    write_dataset(
        config.root,
        [config.root / job["file"] for job in jobs],
        config=described,
        encoders=_descriptions(config.root),
        facts=facts,
    )
    return config.root


def describe(config: EncodeConfig) -> str:
    """What `encode` would do, in one line; nothing is started or written.

    Raises:
        FileNotFoundError: there is no committed raw data set.
    """
    raw, root = Manifest.load(config.raw_root), config.root.expanduser().absolute()
    files = [root / job["file"] for job in _jobs(raw.rows, config.clips_per_file)]
    done = sum(file.is_file() for file in files)
    state = "committed" if read_commit(root) is not None else f"{done} of them written"
    return (
        f"{root}: {len(raw.rows)} clips of {raw.root} in {len(files)} shards ({state}), "
        f"text by {type(config.text).__name__}, video by {type(config.video).__name__}"
    )


def _claim(root: Path, described: Mapping[str, Any]) -> None:
    """Refuse a root where another encoding was begun or finished."""
    state = root / _STATE_FILE
    if state.is_file():
        found = json.loads(state.read_text())
        if found != json.loads(json.dumps(described)):
            changed = sorted(k for k in {*found, *described} if found.get(k) != described.get(k))
            raise ValueError(
                f"{root} holds a data set encoded with other {', '.join(changed)}: choose another "
                "root, or delete this one"
            )
        return
    with replacing(state) as temporary:
        temporary.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")


def _make_encoders(raw: Manifest, config: EncodeConfig) -> None:
    """Fit or load the encoders and save them under the root, once."""
    folder = config.root / "encoders"
    if not (folder / "text" / "config.json").is_file():
        text = _text_encoder(raw, config)
        save_empty_prompt(folder / "text", text)
        text.save(folder / "text")
    for name, (column, _) in VIDEOS.items():
        if not (folder / name / "config.json").is_file():
            _autoencoder(raw, config, column).save(folder / name)


def _text_encoder(raw: Manifest, config: EncodeConfig) -> TextEncoder:
    if isinstance(config.text, TransformersTextConfig):
        return TransformersText(config.text)
    rows = _read(raw.root, map(_place, raw.select("train")), ["clip_id", "captions"])
    return WordVectors.fit([row["captions"] for row in rows], config.text)


def _autoencoder(raw: Manifest, config: EncodeConfig, column: str) -> Autoencoder:
    if isinstance(config.video, WanAutoencoderConfig):
        return WanAutoencoder(config.video)
    clips = [row for row in raw.select("train") if column in row.present]
    if not clips:
        raise ValueError(
            f"no train clip of {raw.root} has the column {column!r}: a patch autoencoder cannot be "
            "fitted; prepare clips with video"
        )
    chosen = _spread(clips, config.fit_clips)
    videos = (
        bucket_video(row, column)
        for row in _read(raw.root, map(_place, chosen), ["num_frames", "bucket", column])
    )
    return PatchAutoencoder.fit(videos, config.video)


def _spread(clips: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """Evenly spaced clips, at most `count`."""
    index = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return [clips[i] for i in index]


def _map_mode(raw: Manifest) -> str:
    """How the motion maps were rendered: parts can be read back only from flat ones."""
    return str(raw.config.get("clip", {}).get("map_mode", "flat"))


def _place(row: ManifestRow) -> tuple[str, int, int]:
    return row.file, row.row_group, row.row


def _read(
    root: Path, places: Iterable[tuple[str, int, int]], columns: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Rows at (file, row group, row), in order; neighbours of one row group are read together."""
    for (file, group), members in itertools.groupby(places, key=lambda place: place[:2]):
        yield from read_rows(root / file, group, [row for _, _, row in members], columns)


def _jobs(rows: Sequence[ManifestRow], clips_per_file: int) -> Iterator[dict[str, Any]]:
    """Which clips go into which file: the same at every start, so that a file is found again."""
    groups: dict[tuple[str, str], list[ManifestRow]] = {}
    for row in rows:
        groups.setdefault((row.split, row.bucket), []).append(row)
    for (split, bucket), members in sorted(groups.items()):
        for start in range(0, len(members), clips_per_file):
            file = f"shards/{split}-{bucket}-{start // clips_per_file:05d}.parquet"
            chosen = members[start : start + clips_per_file]
            yield {"file": file, "places": [_place(row) for row in chosen]}


def _descriptions(root: Path) -> dict[str, dict[str, Any]]:
    """Id and hash of each encoder, for the manifest and the shard metadata."""
    out: dict[str, dict[str, Any]] = {}
    for name in ("text", *VIDEOS):
        record = json.loads((root / "encoders" / name / "config.json").read_text())
        out[name] = {"id": record["id"], "hash": record["hash"], "path": f"encoders/{name}"}
    return out


def _run(config: EncodeConfig, worker: type, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items through a pool of actors; starts nothing when there is nothing to do."""
    if not items:
        return []
    if not ray.is_initialized():
        ray.init()
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    dataset.context.enable_progress_bars = False
    return dataset.map_batches(
        cast(Any, worker),
        batch_size=1,
        batch_format="numpy",
        fn_constructor_kwargs={"config": config},
        compute=ray.data.ActorPoolStrategy(size=min(config.actors, len(items))),
        num_cpus=config.actor_cpus,
        num_gpus=config.actor_gpus,
    ).take_all()


class _EncodeFiles:
    """Encodes the clips of one file and writes it."""

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        self._encoders = Encoders(config.root, gpu=config.actor_gpus > 0)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        files = [self._write(json.loads(str(job))) for job in batch["job"]]
        return {"file": files}

    def _write(self, job: dict[str, Any]) -> str:
        places = [(str(file), int(group), int(row)) for file, group, row in job["places"]]
        sealed = [self._encode(row) for row in _read(self._config.raw_root, places, None)]
        write_shard(
            self._config.root / job["file"],
            sealed,
            # Training reads single clips in random order: a row group each.
            row_group_size=1,
            encoders=_descriptions(self._config.root),
        )
        return job["file"]

    def _encode(self, row: dict[str, Any]) -> dict[str, Any]:
        check_row(row)
        out = dict(row)
        tokens, mask = self._encoders.text.encode(row["captions"])
        out["text_embedding"] = encode_tensor(tokens.cpu().numpy().astype(np.float16))
        out["text_mask"] = encode_tensor(mask.cpu().numpy().astype(np.uint8))
        for name, (column, latent_column) in VIDEOS.items():
            if row[column] is not None:
                latent = self._encoders.video[name].encode(bucket_video(row, column))[0]
                out[latent_column] = encode_tensor(latent.cpu().numpy().astype(np.float16))
                if row["split"] not in self._config.keep_video:
                    out[column] = None
        return seal(out)


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
