"""The encoders of an encoded data set: fitted on its train split or loaded, kept under its root."""

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import ray
from jaxtyping import Float
from torch import Tensor

from motion.data.console import report
from motion.data.manifest import Manifest, ManifestRow
from motion.data.reconstruction import VIDEOS, bucket_video
from motion.data.storage import read_rows
from motion.encoders import (
    Autoencoder,
    MapAutoencoder,
    MapReadoutConfig,
    PatchAutoencoder,
    PatchAutoencoderConfig,
    TextEncoder,
    TransformersText,
    TransformersTextConfig,
    WanAutoencoder,
    WanAutoencoderConfig,
    WordVectors,
    WordVectorsConfig,
)


class EncoderChoice(NamedTuple):
    """Which encoders to make; see the fields of `EncodeConfig`."""

    text: WordVectorsConfig | TransformersTextConfig
    video: PatchAutoencoderConfig | WanAutoencoderConfig | None
    map_readout: MapReadoutConfig
    fit_clips: int


def make_encoders(raw: Manifest, root: Path, choice: EncoderChoice, *, cpus: float) -> None:
    """Save under `root` the encoders that it lacks; the autoencoders are made side by side.

    Raises:
        ValueError: no train clip has video to fit on.
    """
    folder, started = root / "encoders", time.monotonic()
    if not (folder / "text" / "config.json").is_file():
        _text_encoder(raw, choice.text).save(folder / "text")
    names = () if choice.video is None else tuple(VIDEOS)
    missing = [name for name in names if not (folder / name / "config.json").is_file()]
    if not missing:
        return
    rows: list[ManifestRow] = []
    if isinstance(choice.video, PatchAutoencoderConfig):
        # Here, since an error raised in a task comes back wrapped in Ray's own.
        for name in missing:
            rows = _fit_rows(raw, VIDEOS[name][0], choice.fit_clips)
    make = ray.remote(num_cpus=cpus)(_make_autoencoder)
    ray.get([cast(Any, make).remote(raw.root, folder, name, choice) for name in missing])
    report("encoders fitted on", len(rows), started, folder.rglob("*.safetensors"))


def _make_autoencoder(raw_root: Path, folder: Path, name: str, choice: EncoderChoice) -> None:
    """Runs in a process of its own."""
    autoencoder = _autoencoder(Manifest.load(raw_root), name, choice)
    autoencoder.save(folder / name)


def _autoencoder(raw: Manifest, name: str, choice: EncoderChoice) -> Autoencoder:
    assert choice.video is not None  # there is nothing to make otherwise
    if isinstance(choice.video, WanAutoencoderConfig):
        return WanAutoencoder(choice.video)
    column = VIDEOS[name][0]
    rows = _fit_rows(raw, column, choice.fit_clips)
    linear = PatchAutoencoder.fit(_videos(raw, rows, column), choice.video)
    if name != "map" or map_mode(raw) != "flat":
        return linear
    return MapAutoencoder.fit(linear, _videos(raw, rows, column), choice.map_readout)


def _fit_rows(raw: Manifest, column: str, count: int) -> list[ManifestRow]:
    clips = [row for row in raw.select("train") if column in row.present]
    if not clips:
        raise ValueError(
            f"no train clip of {raw.root} has the column {column!r}: a patch autoencoder cannot be "
            "fitted; prepare clips with video"
        )
    return spread(clips, count)


def _videos(
    raw: Manifest, rows: Sequence[ManifestRow], column: str
) -> Iterator[Float[Tensor, "1 3 _ _ _"]]:
    columns = ["num_frames", "bucket", column]
    for row in read(raw.root, map(place, rows), columns):
        yield bucket_video(row, column)


def _text_encoder(raw: Manifest, config: WordVectorsConfig | TransformersTextConfig) -> TextEncoder:
    if isinstance(config, TransformersTextConfig):
        return TransformersText(config)
    rows = read(raw.root, map(place, raw.select("train")), ["clip_id", "captions"])
    return WordVectors.fit([row["captions"] for row in rows], config)


def spread(clips: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """Evenly spaced clips, at most `count`."""
    index = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return [clips[i] for i in index]


def clip_config(manifest: Manifest) -> dict[str, Any]:
    """How the clips of a raw or encoded data set were filmed; empty for footage of a camera."""
    made: Mapping[str, Any] = manifest.config.get("raw", manifest.config)
    return dict(made.get("clip", {}))


def map_mode(manifest: Manifest) -> str:
    """How the motion maps of a raw or encoded data set were rendered.

    Parts can be read back only from flat ones.
    """
    return str(clip_config(manifest).get("map_mode", "flat"))


def place(row: ManifestRow) -> tuple[str, int, int]:
    return row.file, row.row_group, row.row


def read(
    root: Path, places: Iterable[tuple[str, int, int]], columns: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Rows at (file, row group, row), in order; neighbors of one row group are read together."""
    for (file, group), members in itertools.groupby(places, key=lambda place: place[:2]):
        yield from read_rows(root / file, group, [row for _, _, row in members], columns)


def descriptions(root: Path) -> dict[str, dict[str, Any]]:
    """Id and hash of each encoder, for the manifest and the shard metadata."""
    out: dict[str, dict[str, Any]] = {}
    for name in ("text", *VIDEOS, "image"):
        if not (root / "encoders" / name / "config.json").is_file():
            continue  # text alone was encoded
        record = json.loads((root / "encoders" / name / "config.json").read_text())
        out[name] = {"id": record["id"], "hash": record["hash"], "path": f"encoders/{name}"}
    return out
