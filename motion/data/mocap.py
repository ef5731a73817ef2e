"""Real motion as clips: files of capture in; windows with captions, video, map and keypoints out.

Splits are made of takes, never of windows: all windows of a take, on whichever rigs it exists, are
in the same split. The person is filmed like a generated one (`motion.data.procedural.film`).
"""

import functools
import hashlib
import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from motion.body import load_body
from motion.data.procedural import ProceduralConfig
from motion.data.procedural.appearance import Appearance
from motion.data.procedural.clip import look_of
from motion.data.procedural.config import ACTING
from motion.data.procedural.film import detect, film
from motion.data.procedural.row import filmed_columns, motion_columns
from motion.data.procedural.script import stream
from motion.data.schema import encode_tensor
from motion.importers import IMPORTER_VERSION, SUFFIXES, Imported, read_motion, states_fps
from motion.importers.asfamc import skeleton_of
from motion.importers.audio import SOUND_SUFFIXES, read_music
from motion.importers.captions import Told, tell, wordings
from motion.importers.resample import contacts, facing_forward
from motion.sequence import Motion

_SHARE: Final = {"validation": 0.1, "test": 0.1}


class MocapConfig(BaseModel):
    """Which files of motion capture become clips."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path | None = None
    """Folder of .bvh, .amc (with .asf), .npz and .pkl files, at any depth. Licences and captions
    come from an index.csv there or above."""
    include_flagged: bool = False
    """Take files whose licence restricts use too (below a folder "flagged"); they stay marked."""
    stride: int = Field(default=33, ge=1)
    """Frames from the start of one window to that of the next; less than a window overlaps."""
    source_fps: float | None = Field(default=None, gt=0)
    """Frames per second of every file that states none; .amc files are of 120 without it."""
    leave_out: tuple[str, ...] = ()
    """Files that are not imported, by their paths relative to the folder: for what cannot be
    read."""
    max_growth: float = Field(default=1.6, gt=1)
    """How many times as large a path towards the camera may make the person; a longer lens from
    further away keeps it. Without, a runner begins at a quarter of the picture's height."""
    music: bool = Field(default=False, exclude_if=lambda music: not music)
    """Take the features of the sound file beside a motion, of the same name, where there is one
    (extra `audio`). Not named in the identity of a data set without."""


class Window(NamedTuple):
    """One clip of a file."""

    path: str
    """Relative to the folder."""
    first: int
    """Frame that it begins with, at the clip's frame rate."""
    split: str


def find_files(config: MocapConfig) -> list[tuple[Path, Told]]:
    """The files to import, each take once, and what is told about them.

    Where a take exists on several rigs, the first file in order of path counts. Files without a
    description are left out.

    Raises:
        ValueError: no folder, nothing in it to import, or no such file to leave out.
    """
    if config.folder is None or not config.folder.expanduser().is_dir():
        raise ValueError(
            f"mocap.folder is {config.folder}; give a folder of {', '.join(SUFFIXES)} files "
            "(--mocap.folder DIR)"
        )
    folder = config.folder.expanduser().absolute()
    kept: dict[str, tuple[Path, Told]] = {}
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES]
    files = _without(files, folder, config.leave_out)
    flagged = untold = 0
    for path in files:
        told = tell(path, folder)
        flagged += told.flagged and not config.include_flagged
        untold += not told.text
        if told.text and (config.include_flagged or not told.flagged):
            kept.setdefault(told.clip, (path, told))
    if not kept:
        raise ValueError(
            f"{folder} has nothing to import: {len(files)} files of {', '.join(SUFFIXES)}, "
            f"{flagged} of them flagged (take them with --mocap.include-flagged), {untold} without "
            "a description in an index.csv there or above"
        )
    return list(kept.values())


def _without(files: list[Path], folder: Path, names: Sequence[str]) -> list[Path]:
    """The files that are not named; every name must be one of them."""
    there = {path.relative_to(folder).as_posix(): path for path in files}
    unknown = sorted(set(names) - set(there))
    if unknown:
        raise ValueError(
            f"mocap.leave_out names {unknown}, but {folder} has no such files of "
            f"{', '.join(SUFFIXES)}: correct the paths, which are relative to the folder"
        )
    return [path for name, path in there.items() if name not in names]


def plan_windows(config: MocapConfig, clip: ProceduralConfig) -> dict[str, list[Window]]:
    """Windows of every split, in a fixed order; reads every file once.

    Raises:
        ValueError: no file is long enough, or some cannot be read: then all of those are named.
    """
    assert config.folder is not None
    folder = config.folder.expanduser().absolute()
    found: dict[str, list[Window]] = {"train": [], "validation": [], "test": []}
    taken = _lengths(config, clip, folder)
    long = [(path, told, frames) for path, told, frames in taken if frames >= clip.num_frames]
    if not long:
        raise ValueError(
            f"none of {len(taken)} files in {folder} lasts {clip.num_frames / clip.fps:.2f} s: "
            "shorten --clip.num-frames"
        )
    split_of = assign_splits([told.clip for _, told, _ in long])
    for path, told, frames in long:
        starts = range(0, frames - clip.num_frames + 1, config.stride)
        split = split_of[told.clip]
        found[split] += [Window(str(path.relative_to(folder)), at, split) for at in starts]
    return found


def _lengths(
    config: MocapConfig, clip: ProceduralConfig, folder: Path
) -> list[tuple[Path, Told, int]]:
    """The files with their numbers of frames; those that cannot be read, all in one error."""
    found: list[tuple[Path, Told, int]] = []
    broken: dict[str, str] = {}
    for path, told in find_files(config):
        try:
            frames = _length(path, _state(path), config.source_fps, clip.fps, clip.body)
        except (ValueError, OSError) as error:
            broken[path.relative_to(folder).as_posix()] = str(error)
        else:
            found.append((path, told, frames))
    if broken:
        listed = "".join(f"\n  {name}: {cause}" for name, cause in broken.items())
        raise ValueError(
            f"{len(broken)} of {len(broken) + len(found)} files in {folder} cannot be imported:"
            f"{listed}\nMend them, give --mocap.source-fps where only a frame rate is missing, or "
            f"leave them out: --mocap.leave-out {shlex.join(broken)}"
        )
    return found


def _state(path: Path) -> tuple[int, ...]:
    """When a file and its skeleton were changed last, and their sizes."""
    parts = [path, skeleton_of(path)] if path.suffix.lower() == ".amc" else [path]
    states = [part.stat() for part in parts if part.is_file()]
    return tuple(value for state in states for value in (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=65536)
def _length(
    path: Path, state: tuple[int, ...], source_fps: float | None, fps: float, body: str
) -> int:
    return _imported(path, state, source_fps, fps, body, 0).motion.num_frames


def assign_splits(clips: Sequence[str]) -> dict[str, str]:
    """Split of every take, by the order of their hashes: a tenth validation, a tenth test.

    With three takes or more each split has at least one.
    """
    ranked = sorted(set(clips), key=lambda clip: hashlib.sha256(clip.encode()).hexdigest())
    split_of: dict[str, str] = {}
    start = 0
    for split, share in _SHARE.items():
        count = max(1, round(share * len(ranked))) if len(ranked) >= 3 else 0
        split_of |= dict.fromkeys(ranked[start : start + count], split)
        start += count
    return split_of | dict.fromkeys(ranked[start:], "train")


@functools.lru_cache(maxsize=4)
def _imported(
    path: Path,
    state: tuple[int, ...],
    source_fps: float | None,
    fps: float,
    body_name: str,
    seed: int,
    spread: float = 0.0,
) -> Imported:
    """A file on a body whose shape follows from the seed; windows of one file share it.

    `state` keeps a changed file from being remembered.
    """
    drawn = stream(seed, "shape").normal(scale=spread, size=10) if spread else np.zeros(10)
    betas = torch.from_numpy(np.clip(drawn, -2.0, 2.0)).float()
    rate = None if source_fps is None or states_fps(path) else source_fps
    return read_motion(path, load_body(body_name), fps=fps, betas=betas, source_fps=rate)


def mocap_row(window: Window, config: MocapConfig, clip: ProceduralConfig) -> dict[str, Any]:
    """A window as an unsealed row of the shard contract."""
    assert config.folder is not None
    folder = config.folder.expanduser().absolute()
    path = folder / window.path
    told = tell(path, folder)
    person = zlib.crc32(told.clip.encode())
    found = _imported(
        path, _state(path), config.source_fps, clip.fps, clip.body, person, clip.shape_std
    )
    body = load_body(clip.body)
    motion = facing_forward(cut(found.motion, window.first, clip.num_frames), body)
    seed = zlib.crc32(f"{told.clip}@{window.first}".encode())
    if clip.render:
        columns = _filmed(seed, clip, motion, look_of(person, clip), config.max_growth)
    else:
        columns = motion_columns(motion, contacts(motion, body))
    columns |= _music(path, config, clip.fps, window.first, clip.num_frames)
    metadata = {
        "file": window.path,
        "first_frame": window.first,
        "convention": found.convention,
        "unit": found.unit,
        "source_fps": found.source_fps,
        "position_error_mm": found.position_error_mm,
        "rest_error_mm": found.rest_error_mm,
    }
    return {
        "clip_id": f"mocap-{told.clip}-{window.first:05d}",
        "source": "mocap",
        "split": window.split,
        "licence": told.licence,
        "flagged": told.flagged,
        "captions": wordings(told.text, clip.num_captions),
        "metadata": json.dumps(metadata, sort_keys=True),
        **columns,
    }


def _filmed(
    seed: int, clip: ProceduralConfig, motion: Motion, look: Appearance, max_growth: float
) -> dict[str, Any]:
    body = load_body(clip.body)
    footage = film(seed, clip, body, motion, look, max_growth=max_growth)
    return filmed_columns(
        motion,
        contacts(motion, body),
        footage.view,
        detect(seed, body, motion, footage),
        footage.rgb,
        footage.motion_map,
    )


def _sound(path: Path, config: MocapConfig) -> Path | None:
    """The sound file of a motion, where it is wanted and there is one."""
    beside = (path.with_suffix(suffix) for suffix in SOUND_SUFFIXES)
    return next((file for file in beside if config.music and file.is_file()), None)


def _music(
    path: Path, config: MocapConfig, fps: float, first: int, num_frames: int
) -> dict[str, Any]:
    """The music of a window; none where the sound ends before it does."""
    sound = _sound(path, config)
    if sound is None:
        return {}
    features = _heard(sound, sound.stat().st_mtime_ns, fps)[first : first + num_frames]
    return {"music": encode_tensor(features)} if len(features) == num_frames else {}


@functools.lru_cache(maxsize=4)
def _heard(sound: Path, changed_ns: int, fps: float) -> Float[np.ndarray, "t 35"]:
    del changed_ns  # keeps a changed file from being remembered
    return read_music(sound, fps)


def cut(motion: Motion, first: int, num_frames: int) -> Motion:
    """`num_frames` frames of one motion, from frame `first` on."""
    chosen = slice(first, first + num_frames)
    path = motion.require_translation()[chosen]
    return replace(motion, R_parent_child=motion.R_parent_child[chosen], translation=path)


def without_acting(stated: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's settings without those that only the generator reads."""
    clip = {name: value for name, value in stated["clip"].items() if name not in ACTING}
    return {**{k: v for k, v in stated.items() if k != "first_clip"}, "clip": clip}


def identity(config: MocapConfig) -> dict[str, Any]:
    """What decides the clips: the settings and the bytes of the files, not their place."""
    assert config.folder is not None
    folder = config.folder.expanduser().absolute()
    digest = hashlib.sha256()
    for path, told in find_files(config):
        digest.update(f"{path.relative_to(folder).as_posix()} {told}".encode())
        digest.update(path.read_bytes())
        skeleton = skeleton_of(path)
        if path.suffix.lower() == ".amc" and skeleton.is_file():
            digest.update(skeleton.read_bytes())
        sound = _sound(path, config)
        if sound is not None:
            digest.update(sound.read_bytes())
    stated = config.model_dump(mode="json", exclude={"folder"})
    return {"importer": IMPORTER_VERSION, "files": digest.hexdigest(), **stated}
