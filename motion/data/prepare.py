"""Prepare a dataset on Ray Data, from the generator, motion capture or recorded video: raw shards,
manifest, commit.

One Ray task makes one shard file from its seeds or windows and writes it whole or not at all. A job
that was interrupted makes only the shards that are missing; a committed dataset is returned at
once.
"""

import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import ray
from pydantic import BaseModel, ConfigDict, Field

from motion.body import load_body
from motion.data.claim import claim, is_claimed
from motion.data.console import quiet, report, watched
from motion.data.manifest import read_commit, write_dataset
from motion.data.mocap import MocapConfig, Window, mocap_row, plan_windows, without_acting
from motion.data.mocap import identity as mocap_identity
from motion.data.procedural import (
    GENERATOR_VERSION,
    SPLIT_SEED,
    ProceduralConfig,
    clip_row,
    generate_clip,
    generate_motion,
)
from motion.data.recordings import Stretch, VideoConfig, plan_videos, video_row
from motion.data.recordings import identity as video_identity
from motion.data.schema import seal
from motion.data.source import spelled
from motion.data.storage import StorageError, open_shard, write_shard

_Clip = TypeVar("_Clip", Window, Stretch)

PLAN_FILE: Final = "prepare.json"
"""What the shards of an unfinished root belong to."""


class PrepareConfig(BaseModel):
    """A raw dataset of generated clips, of motion capture or of recorded video."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path
    """Folder of the dataset, on storage that every node mounts."""
    source: Annotated[
        Literal["procedural", "mocap", "video"], spelled("procedural", "mocap", "video")
    ] = "procedural"
    """The generator, the files of `mocap.folder`, or those of `video.folder`."""
    mocap: MocapConfig = MocapConfig()
    """Which files of motion capture, where `source` says so."""
    video: VideoConfig = VideoConfig()
    """Which recorded videos, where `source` says so. Where it does not and a folder is named, its
    clips join the others: they have no motion, and take part in the video loss alone."""
    num_train: int = Field(default=320, ge=1)
    """Training clips; of motion capture at most so many, evenly spread over the files."""
    num_validation: int = Field(default=64, ge=0)
    """Validation clips, from seeds (takes, for motion capture) that training never uses."""
    num_test: int = Field(default=32, ge=0)
    """Test clips, from seeds (or takes) that neither of the others uses."""
    first_clip: int = Field(default=0, ge=0)
    """Index of the first clip of each split; another start gives other clips."""
    clip: ProceduralConfig = ProceduralConfig()
    """What a clip is."""
    shard_clips: int = Field(default=32, ge=1)
    """Clips per shard file, and per Ray task."""
    row_group_size: int = Field(default=8, ge=1)
    """Clips per Parquet row group, the least that a reader fetches."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the contents: everything but the place."""
        stated = self.model_dump(mode="json", exclude={"root"})
        body_id = load_body(self.clip.body).body_id
        # The body's identity is its contents; the path of its file differs between machines.
        stated["clip"] = {**stated["clip"], "body": body_id}
        del stated["source"], stated["mocap"], stated["video"]
        if self.source == "video" or self.video.folder is not None:
            stated["video"] = video_identity(self.video)
        if self.source == "video":
            return {"kind": "video", **stated}
        if self.source == "mocap":
            stated = without_acting(stated)
            return {"kind": "mocap", "mocap": mocap_identity(self.mocap), **stated}
        return {"kind": "procedural", "generator": GENERATOR_VERSION, **stated}


class ShardPlan(NamedTuple):
    """One shard file and the seeds of its clips."""

    file: str
    """Relative to the root."""
    split: str
    first_seed: int
    num_clips: int
    windows: tuple[Window, ...] = ()
    """Of files of motion capture, in place of seeds."""
    stretches: tuple[Stretch, ...] = ()
    """Of recorded videos, in place of seeds."""


def plan_shards(config: PrepareConfig) -> list[ShardPlan]:
    """The shards of a dataset, in a fixed order; reads every file of motion capture and video.

    Raises:
        ValueError: there is nothing to import, or a file is damaged.
    """
    shards: list[ShardPlan] = []
    sizes = {
        "train": config.num_train,
        "validation": config.num_validation,
        "test": config.num_test,
    }
    windows: dict[str, list[Window]] = {}
    if config.source == "mocap":
        found = plan_windows(config.mocap, config.clip)
        windows = {split: _spread(found[split], size) for split, size in sizes.items()}
        sizes = {split: len(chosen) for split, chosen in windows.items()}
    if config.source == "video":
        filmed = plan_videos(config.video, config.clip)
        return _plan_stretches({s: _spread(filmed[s], n) for s, n in sizes.items()}, config)
    for split, size in sizes.items():
        for index, start in enumerate(range(0, size, config.shard_clips)):
            shards.append(
                ShardPlan(
                    file=f"shards/{split}-{index:05d}.parquet",
                    split=split,
                    first_seed=SPLIT_SEED[split] + config.first_clip + start,
                    num_clips=min(config.shard_clips, size - start),
                    windows=tuple(windows.get(split, [])[start : start + config.shard_clips]),
                )
            )
    if config.video.folder is not None:
        shards += _plan_stretches(plan_videos(config.video, config.clip), config)
    return shards


def _plan_stretches(chosen: Mapping[str, list[Stretch]], config: PrepareConfig) -> list[ShardPlan]:
    """Shards of recorded clips by split."""
    return [
        ShardPlan(
            file=f"shards/{split}-video-{index:05d}.parquet",
            split=split,
            first_seed=0,
            num_clips=len(clips),
            stretches=tuple(clips),
        )
        for split, all_clips in chosen.items()
        for index, start in enumerate(range(0, len(all_clips), config.shard_clips))
        for clips in [all_clips[start : start + config.shard_clips]]
    ]


def _spread(windows: list[_Clip], most: int) -> list[_Clip]:
    """At most so many of them: the first of so many equal parts.

    Not `motion.data.fitting.spread`, whose choice reaches from the first to the last: either is
    part of what its data sets and encoders are, so neither can take the other's rounding.
    """
    count = min(most, len(windows))
    return [windows[index * len(windows) // count] for index in range(count)]


def prepare(config: PrepareConfig) -> Path:
    """Make the dataset of a config and return its root; at once where it is already committed.

    Runs on the Ray cluster that this process is connected to. Otherwise on the one that
    `RAY_ADDRESS` names or that runs on this machine, else on a cluster started for this call.

    Raises:
        ValueError: the root holds a dataset of another config.
        RuntimeError: the disk is full or the root cannot be written.
    """
    root, identity = config.root.expanduser().absolute(), config.identity
    is_claimed(root, identity, file=PLAN_FILE, what="a data set")
    if read_commit(root) is not None:
        return root
    shards = plan_shards(config)  # before the root is claimed: a file may have to be left out
    claim(root, identity, file=PLAN_FILE, what="a data set")
    missing = [shard for shard in shards if not _is_complete(root, shard)]
    if missing:
        started = time.monotonic()
        _generate(missing, root, config)
        files = [root / shard.file for shard in shards]
        report("prepared", sum(shard.num_clips for shard in missing), started, files)
    write_dataset(root, [root / shard.file for shard in shards], config=identity)
    return root


def _is_complete(root: Path, shard: ShardPlan) -> bool:
    """Is the shard's file there? Files appear whole, so its row count settles it."""
    path = root / shard.file
    if not path.is_file():
        return False
    with open_shard(path) as file:
        return file.metadata.num_rows == shard.num_clips


def _generate(shards: Sequence[ShardPlan], root: Path, config: PrepareConfig) -> None:
    if not ray.is_initialized():
        ray.init()
    # Ray Data makes a table of the rows: lists of clips travel as text.
    rows = [
        shard._asdict()
        | {"windows": json.dumps(shard.windows), "stretches": json.dumps(shard.stretches)}
        for shard in shards
    ]
    dataset = quiet(ray.data.from_items(rows, override_num_blocks=len(rows)))
    task = functools.partial(make_shard, root=root, config=config)
    done = list(watched(dataset.map(task).iter_rows(), len(rows), "preparing"))
    errors = sorted({row["error"] for row in done if row["error"]})
    if errors:
        raise RuntimeError(f"{root} is not complete: " + "; ".join(errors))
    absent = [row["file"] for row in done if not (root / row["file"]).is_file()]
    if absent:
        raise RuntimeError(
            f"{len(absent)} shards were written on another node but are not in {root} here, e.g. "
            f"{absent[0]}: give a --root on storage that every node mounts"
        )


def make_shard(row: dict[str, Any], *, root: Path, config: PrepareConfig) -> dict[str, str]:
    """Generate and write the shard that the row describes.

    A storage failure comes back as a value: as an exception, its advice would be lost in a remote
    traceback, and Ray would drop the other shards in flight.
    """
    shard = _shard_of(row)
    if shard.windows:
        sealed = [seal(mocap_row(window, config.mocap, config.clip)) for window in shard.windows]
    elif shard.stretches:
        sealed = [seal(video_row(clip, config.video, config.clip)) for clip in shard.stretches]
    else:
        seeds = range(shard.first_seed, shard.first_seed + shard.num_clips)
        generate = generate_clip if config.clip.render else generate_motion
        sealed = [seal(clip_row(generate(seed, config.clip), shard.split)) for seed in seeds]
    try:
        write_shard(root / shard.file, sealed, row_group_size=config.row_group_size)
    except StorageError as error:
        return {"file": shard.file, "error": str(error)}
    return {"file": shard.file, "error": ""}


def _shard_of(row: dict[str, Any]) -> ShardPlan:
    """The plan that travelled as a row of a table."""
    return ShardPlan(
        file=row["file"],
        split=row["split"],
        first_seed=int(row["first_seed"]),
        num_clips=int(row["num_clips"]),
        windows=tuple(Window(*window) for window in _listed(row["windows"])),
        stretches=tuple(Stretch(*clip) for clip in _listed(row["stretches"])),
    )


def _listed(value: Any) -> list[Any]:
    return json.loads(value) if isinstance(value, str) else list(value)


def describe(config: PrepareConfig) -> str:
    """What `prepare` would do, in one line; nothing is started or written.

    Raises:
        ValueError: the root holds a dataset of another config.
    """
    shards = plan_shards(config)
    clip, root = config.clip, config.root.expanduser().absolute()
    is_claimed(root, config.identity, file=PLAN_FILE, what="a data set")
    count: dict[str, int] = {"train": 0, "validation": 0, "test": 0}
    for shard in shards:
        count[shard.split] += shard.num_clips
    origin = f"{len(clip.families)} families"
    if config.source == "mocap":
        files = {window.path for shard in shards for window in shard.windows}
        origin = f"{len(files)} files of motion capture"
    videos = {clip.path for shard in shards for clip in shard.stretches}
    if videos:
        recorded = f"{len(videos)} recorded videos"
        origin = recorded if config.source == "video" else f"{origin} and {recorded}"
    size = f"{clip.height}x{clip.width}" if clip.render else "not filmed"
    done = sum(_is_complete(root, shard) for shard in shards)
    state = "committed" if read_commit(root) is not None else f"{done} of them written"
    return (
        f"{root}: {sum(shard.num_clips for shard in shards)} clips "
        f"({count['train']} train, {count['validation']} validation, {count['test']} test) "
        f"of {clip.num_frames} frames at {clip.fps:g} fps, {size}, "
        f"{origin}, in {len(shards)} shards ({state})"
    )
