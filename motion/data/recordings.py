"""Recorded video as clips: files in; windows with captions and RGB out, without motion.

Such clips join a training's video loss; they carry no motion, map or camera, and the terms that
need them leave them out. Splits are made of files, never of windows.
"""

import csv
import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from motion.conditioning.canvas import fitted
from motion.data.clip_reader import index_video, read_clip
from motion.data.mocap import assign_splits
from motion.data.procedural import ProceduralConfig
from motion.data.schema import bucket_name
from motion.data.video import encode_mp4
from motion.importers.captions import Told, tell

SUFFIXES: Final = (".mp4", ".mkv", ".mov", ".webm", ".avi")
RECORDING_VERSION: Final = "1"
"""Raised whenever the same file and config give another clip."""
_EDGE: Final = 1 << 20
"""Bytes at either end of a file that stand for its contents in the identity."""


class VideoConfig(BaseModel):
    """Which recorded videos become clips."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path | None = None
    """Folder of .mp4, .mkv, .mov, .webm and .avi files, at any depth."""
    captions: Path | None = None
    """Table (.csv) with the columns file (relative to `folder`) and caption; a file may have
    several rows. Without it, captions come from a .txt of the same name beside a video, one per
    line, else from the column text of an index.csv in the folder or above, which also states
    licences."""
    include_flagged: bool = False
    """Take files whose licence restricts use too (below a folder "flagged"); they stay marked."""
    stride_s: float | None = Field(default=None, gt=0)
    """Seconds from the start of one clip to that of the next; the length of a clip unless given."""
    clips_per_file: int = Field(default=2, ge=1)
    """At most so many clips of one file, from its start, so that long videos do not outweigh
    others."""


class Stretch(NamedTuple):
    """One clip of a file."""

    path: str
    """Relative to the folder."""
    start_s: float
    """When it begins, in seconds after the file's first frame."""
    split: str


class _Source(NamedTuple):
    path: Path
    told: Told
    captions: tuple[str, ...]


def find_videos(config: VideoConfig) -> list[_Source]:
    """The files to import and what is told about them; files without a caption are left out.

    Raises:
        ValueError: no folder, or nothing in it to import.
    """
    folder = _folder(config)
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES]
    kept: list[_Source] = []
    flagged = untold = 0
    for path in files:
        told, captions = tell(path, folder), _captions(path, config)
        restricted = told.flagged and not config.include_flagged
        flagged += restricted
        untold += not captions
        if captions and not restricted:
            kept.append(_Source(path, told, captions))
    if not kept:
        raise ValueError(
            f"{folder} has nothing to import: {len(files)} files of {', '.join(SUFFIXES)}, "
            f"{flagged} of them flagged (take them with --video.include-flagged), {untold} without "
            "a caption (in --video.captions FILE.csv, in a .txt beside the video, or in an "
            "index.csv)"
        )
    return kept


def _folder(config: VideoConfig) -> Path:
    if config.folder is None or not config.folder.expanduser().is_dir():
        raise ValueError(
            f"video.folder is {config.folder}; give a folder of {', '.join(SUFFIXES)} files "
            "(--video.folder DIR)"
        )
    return config.folder.expanduser().absolute()


def _captions(path: Path, config: VideoConfig) -> tuple[str, ...]:
    folder = _folder(config)
    if config.captions is not None:
        table = config.captions.expanduser().absolute()
        if not table.is_file():
            raise ValueError(f"video.captions is {config.captions}; give an existing .csv")
        rows = _table(table, table.stat().st_mtime_ns)
        return rows.get(path.relative_to(folder).as_posix(), ())
    beside = path.with_suffix(".txt")
    if beside.is_file():
        lines = beside.read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    text = tell(path, folder).text
    return (text,) if text else ()


@functools.lru_cache(maxsize=4)
def _table(path: Path, changed_ns: int) -> dict[str, tuple[str, ...]]:
    """Captions by file; `changed_ns` keeps a changed table from being remembered."""
    del changed_ns
    found: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = {"file", "caption"} - set(reader.fieldnames or ())
        if lacking:
            raise ValueError(f"{path} has no column {sorted(lacking)}; it has {reader.fieldnames}")
        for row in reader:
            if (row["caption"] or "").strip():
                found.setdefault(row["file"], []).append(row["caption"].strip())
    return {name: tuple(captions) for name, captions in found.items()}


def plan_videos(config: VideoConfig, clip: ProceduralConfig) -> dict[str, list[Stretch]]:
    """Clips of every split, in a fixed order; reads every file's packets once.

    Raises:
        ValueError: no file is long enough, or one is damaged.
    """
    folder, sources = _folder(config), find_videos(config)
    length_s = (clip.num_frames - 1) / clip.fps
    stride_s = config.stride_s or clip.num_frames / clip.fps
    starts: dict[Path, list[float]] = {}
    for source in sources:
        spare = index_video(source.path).duration_s - length_s
        count = min(int(spare / stride_s) + 1, config.clips_per_file) if spare >= 0 else 0
        starts[source.path] = [round(index * stride_s, 6) for index in range(count)]
    names = [source.told.clip for source in sources if starts[source.path]]
    if not names:
        raise ValueError(
            f"none of {len(sources)} videos in {folder} lasts {length_s:.2f} s: shorten "
            "--clip.num-frames"
        )
    split_of = assign_splits(names)
    found: dict[str, list[Stretch]] = {"train": [], "validation": [], "test": []}
    for path, told, _ in sources:
        for start in starts[path]:
            split = split_of[told.clip]
            found[split].append(Stretch(path.relative_to(folder).as_posix(), start, split))
    return found


def video_row(stretch: Stretch, config: VideoConfig, clip: ProceduralConfig) -> dict[str, Any]:
    """A clip as an unsealed row of the shard contract: RGB and captions, no motion."""
    folder = _folder(config)
    path = folder / stretch.path
    told = tell(path, folder)
    times = stretch.start_s + np.arange(clip.num_frames) / clip.fps
    frames = read_clip(path, times)
    size = (int(frames.shape[1]), int(frames.shape[2]))
    canvas = fitted(size, clip.height, clip.width)
    video = np.stack([canvas.place(frame) for frame in frames])
    metadata = {
        "file": stretch.path,
        "start_s": stretch.start_s,
        "source_size": size,
    }
    return {
        "clip_id": f"video-{told.clip}-{round(1000 * stretch.start_s):07d}",
        "source": "video",
        "split": stretch.split,
        "licence": told.licence,
        "flagged": told.flagged,
        "fps": clip.fps,
        "num_frames": clip.num_frames,
        "bucket": bucket_name(clip.num_frames, clip.height, clip.width),
        "captions": list(_captions(path, config)),
        "body_id": "",
        "rgb": encode_mp4(video, clip.fps, lossless=False),
        "video_size": [clip.height, clip.width],
        "metadata": json.dumps(metadata, sort_keys=True),
    }


def identity(config: VideoConfig) -> dict[str, Any]:
    """What decides the clips: the settings, captions and files, not their place.

    A file is known by its path, size and the bytes at both ends: videos are too large to be read
    whole at every start.
    """
    folder = _folder(config)
    digest = hashlib.sha256()
    for path, told, captions in find_videos(config):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {told} {captions} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(size - _EDGE, 0))
            digest.update(file.read())
    stated = config.model_dump(mode="json", exclude={"folder", "captions"})
    return {"version": RECORDING_VERSION, "files": digest.hexdigest(), **stated}
