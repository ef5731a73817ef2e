"""A data set made from another one, row by row: the same shard files, with more in their rows.

Ray Data hands shard files to a pool of actors. A file is written whole or not at all, so a job that
died goes on with the files that are missing, and a finished one returns at once.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import ray
import ray.data
from pydantic import BaseModel, ConfigDict, Field

from motion.data.claim import claim, is_claimed
from motion.data.console import quiet, report, watched
from motion.data.fitting import place, read
from motion.data.manifest import Manifest, read_commit, write_dataset
from motion.data.room import cluster_nodes, require_room
from motion.data.schema import check_row, seal
from motion.data.storage import write_shard

Row = dict[str, Any]
Change = Callable[[list[Row]], Iterable[Row]]
"""The rows of a shard, to the rows of the new one; sealed afterwards."""
_STATE_FILE: Final = "derive.json"
_WHAT: Final = "a derived data set"


class DeriveConfig(BaseModel):
    """Where from, where to, and on how many processes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source_root: Path
    """Committed data set that is read."""
    root: Path
    """Where the new one goes; on storage that every node mounts."""
    actors: int = Field(default=1, ge=1)
    """Processes."""
    actor_cpus: float = Field(default=1.0, gt=0)
    """Logical CPUs of each."""
    actor_gpus: float = Field(default=0.0, ge=0)
    """GPUs of each."""

    @property
    def absolute(self) -> "DeriveConfig":
        """The same with absolute paths: actors run in another folder."""
        places = {
            name: getattr(self, name).expanduser().absolute() for name in ("source_root", "root")
        }
        return self.model_copy(update=places)


def derive(
    config: DeriveConfig,
    make: Callable[[], Change],
    described: Mapping[str, Any],
    *,
    phase: str,
    encoders: Mapping[str, Any] | None = None,
    row_group_size: int = 1,
) -> Path:
    """Make the data set; returns its root.

    Args:
        config: see `DeriveConfig`.
        make: called once in every process; can be pickled.
        described: what decides the rows, beside the source, JSON values.
        phase: for the console.
        encoders: what made new columns; the source's encoders are kept and copied.
        row_group_size: clips per row group.

    Raises:
        FileNotFoundError: there is no committed source.
        ValueError: the root holds a data set made otherwise, or there is no room for the actors.
    """
    config = config.absolute
    source = Manifest.load(config.source_root)
    identity = _identity(source, described)
    claim(config.root, identity, file=_STATE_FILE, what=_WHAT)
    if read_commit(config.root) is not None:
        return config.root
    if not ray.is_initialized():
        ray.init()
    each = {"CPU": config.actor_cpus, "GPU": config.actor_gpus}
    require_room(config.actors, each, cluster_nodes(), what="actors", how="Lower actors")
    if (source.root / "encoders").is_dir():
        shutil.copytree(source.root / "encoders", config.root / "encoders", dirs_exist_ok=True)
    known = {**source.encoders, **(encoders or {})}
    started = time.monotonic()
    names = sorted({row.file for row in source.rows})
    pending = [name for name in names if not (config.root / placed(name)).is_file()]
    _run(config, make, known, pending, phase, row_group_size)
    files = [config.root / placed(name) for name in names]
    report(phase, sum(row.file in pending for row in source.rows), started, files)
    write_dataset(config.root, files, config=identity, encoders=known, facts=source.facts)
    return config.root


def describe_derived(config: DeriveConfig, described: Mapping[str, Any]) -> str:
    """What `derive` would do, in one line; nothing is started or written.

    Raises:
        ValueError: the root holds a data set made otherwise.
    """
    config = config.absolute
    if read_commit(config.source_root) is None:
        return f"{config.root}: its source is not there yet: {config.source_root}"
    source = Manifest.load(config.source_root)
    begun = is_claimed(config.root, _identity(source, described), file=_STATE_FILE, what=_WHAT)
    state = "committed" if read_commit(config.root) else "begun" if begun else "to be made"
    return f"{config.root}: {len(source.rows)} clips of {source.root} ({state})"


def placed(name: str) -> str:
    """Where the new rows of a shard go, relative to the new root.

    A merged data set names the shards of its parts, which lie outside of its root: taken from
    another root, such a path may lead to the very file that is read.
    """
    if ".." not in Path(name).parts:
        return name
    return f"shards/{hashlib.sha256(name.encode()).hexdigest()[:12]}-{Path(name).name}"


def _identity(source: Manifest, described: Mapping[str, Any]) -> dict[str, Any]:
    return {**described, "raw": dict(source.config), "raw_hash": source.hash}


def _run(
    config: DeriveConfig,
    make: Callable[[], Change],
    encoders: Mapping[str, Any],
    names: list[str],
    phase: str,
    row_group_size: int,
) -> None:
    if not names:
        return
    items = [{"file": name} for name in names]
    dataset = quiet(ray.data.from_items(items, override_num_blocks=len(items)))
    results = dataset.map_batches(
        cast(Any, _ShardWriter),
        batch_size=1,
        batch_format="numpy",
        fn_constructor_args=(config, make, encoders, row_group_size),
        compute=ray.data.ActorPoolStrategy(size=min(config.actors, len(items))),
        num_cpus=config.actor_cpus,
        num_gpus=config.actor_gpus,
    )
    for _ in watched(results.iter_rows(), len(items), phase):
        pass


class _ShardWriter:
    """Reads the shards that it is named, changes their rows, writes them."""

    def __init__(
        self,
        config: DeriveConfig,
        make: Callable[[], Change],
        encoders: Mapping[str, Any],
        row_group_size: int,
    ) -> None:
        self._config, self._encoders, self._size = config, encoders, row_group_size
        self._change = make()
        self._rows = Manifest.load(config.source_root).rows

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for name in batch["file"]:
            places = sorted(place(row) for row in self._rows if row.file == name)
            rows = list(read(self._config.source_root, places, None))
            for row in rows:
                check_row(row)
            sealed = [seal(row) for row in self._change(rows)]
            write_shard(
                self._config.root / placed(str(name)),
                sealed,
                row_group_size=self._size,
                encoders=json.loads(json.dumps(self._encoders)),
            )
        return {"file": list(batch["file"])}
