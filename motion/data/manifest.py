"""The manifest: which clips a dataset holds and where, and the dataset's version.

A dataset root holds `shards/*.parquet`, `manifest.parquet` and `dataset.json`. The last one is the
commit: it is written after everything else, so a root without it is not (yet) a dataset.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from motion.data.schema import ENCODERS_KEY, SCHEMA_VERSION
from motion.data.storage import open_shard, replacing

MANIFEST_FILE: Final = "manifest.parquet"
COMMIT_FILE: Final = "dataset.json"

_PLAIN: Final = (
    "clip_id", "split", "bucket", "num_frames", "source", "licence", "flagged", "checksum",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One clip: what it is and where it lies."""

    clip_id: str
    file: str
    """Shard file, relative to the dataset root."""
    row_group: int
    row: int
    """Index within the row group."""
    split: str
    bucket: str
    num_frames: int
    source: str
    licence: str
    flagged: bool
    present: tuple[str, ...]
    """Payload columns that are not null, in schema order."""
    checksum: int


MANIFEST_SCHEMA: Final = pa.schema(
    [
        ("clip_id", pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("split", pa.string()),
        ("bucket", pa.string()),
        ("num_frames", pa.int32()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("flagged", pa.bool_()),
        ("present", pa.list_(pa.string())),
        ("checksum", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """A committed dataset."""

    root: Path
    rows: tuple[ManifestRow, ...]
    """Sorted by clip id."""
    config: Mapping[str, Any]
    """The configuration that made the dataset."""
    encoders: Mapping[str, Any]
    """Ids and hashes of the encoders of an encoded dataset; empty for a raw one."""
    facts: Mapping[str, Any]
    """Measured properties, e.g. the reconstruction quality of the autoencoder."""

    @staticmethod
    def load(root: Path | str) -> "Manifest":
        """Read a committed dataset's manifest.

        Raises:
            FileNotFoundError: the root holds no committed dataset.
            ValueError: manifest and commit disagree, or another schema version.
        """
        root = Path(root)
        commit = read_commit(root)
        if commit is None:
            raise FileNotFoundError(
                f"{root} holds no committed dataset ({COMMIT_FILE} is missing): "
                "run rayjobs/prepare_data.py with this --root, or correct the path"
            )
        if commit["schema_version"] != SCHEMA_VERSION:
            raise ValueError(
                f"{root} has schema version {commit['schema_version']}, this code reads "
                f"{SCHEMA_VERSION}: prepare the dataset again"
            )
        table = pq.read_table(root / MANIFEST_FILE)
        plain = cast(list[dict[str, Any]], table.drop_columns("present").to_pylist())
        rows = tuple(
            ManifestRow(**row, present=tuple(present))
            for row, present in zip(plain, _present(table), strict=True)
        )
        manifest = Manifest(root, rows, commit["config"], commit["encoders"], commit["facts"])
        if manifest.hash != commit["hash"]:
            raise ValueError(
                f"{root}/{MANIFEST_FILE} hashes to {manifest.hash}, {COMMIT_FILE} says "
                f"{commit['hash']}: one of them was changed; prepare the dataset again"
            )
        return manifest

    @cached_property
    def hash(self) -> str:
        """Version of the dataset: SHA-256 of its sorted clips, contents and encoders.

        Independent of the order of the rows and of how clips are spread over files.
        """
        return dataset_hash(self.rows, self.encoders)

    def select(self, split: str) -> list[ManifestRow]:
        """The clips of one split, sorted by clip id.

        Raises:
            ValueError: the dataset has no such clip.
        """
        chosen = [row for row in self.rows if row.split == split]
        if not chosen:
            splits = sorted({row.split for row in self.rows})
            raise ValueError(
                f"{self.root} has no clip of split {split!r}; it has {splits}: name one of these, "
                "or prepare clips of that split"
            )
        return chosen


def dataset_hash(rows: Iterable[ManifestRow], encoders: Mapping[str, Any]) -> str:
    """SHA-256 hex digest over the clips (without their position in files) and the encoders."""
    lines = sorted(
        json.dumps([getattr(row, name) for name in _PLAIN] + [list(row.present)]) for row in rows
    )
    digest = hashlib.sha256(f"schema {SCHEMA_VERSION}\n".encode())
    digest.update(json.dumps(encoders, sort_keys=True).encode())
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def read_commit(root: Path) -> dict[str, Any] | None:
    """The commit record of a dataset root, or None where nothing is committed."""
    path = root / COMMIT_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def scan_shard(root: Path, path: Path) -> list[ManifestRow]:
    """Manifest rows of one shard, reading only its small columns."""
    rows: list[ManifestRow] = []
    with open_shard(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=[*_PLAIN, "present"])
            rows.extend(
                ManifestRow(
                    file=path.relative_to(root).as_posix(),
                    row_group=group,
                    row=index,
                    present=tuple(present),
                    **plain,
                )
                for index, (plain, present) in enumerate(
                    zip(table.drop_columns("present").to_pylist(), _present(table), strict=True)
                )
            )
    return rows


def _present(table: pa.Table) -> list[list[str]]:
    return cast(list[list[str]], table.column("present").to_pylist())


def write_dataset(
    root: Path | str,
    files: Sequence[Path],
    *,
    config: Mapping[str, Any],
    encoders: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Manifest:
    """Commit the shards of a root as a dataset: manifest first, `dataset.json` last.

    Args:
        root: the dataset root, which holds `files`.
        files: the shard files that belong to the dataset; others in the root are ignored.
        config: what made the dataset (JSON values).
        encoders: ids and hashes of the encoders that filled the encoded columns.
        facts: measured properties to record.

    Raises:
        ValueError: a clip id occurs twice, or a shard names other encoders.
    """
    root = Path(root)
    rows: list[ManifestRow] = []
    for path in sorted(files):
        require_encoders(path, encoders or {})
        rows.extend(scan_shard(root, path))
    return commit(
        Manifest(root, tuple(rows), dict(config), dict(encoders or {}), dict(facts or {}))
    )


def commit(manifest: Manifest) -> Manifest:
    """Write a manifest, sorted by clip id, and then its commit record.

    Raises:
        ValueError: a clip id occurs twice.
    """
    root, rows = manifest.root, sorted(manifest.rows, key=lambda row: row.clip_id)
    doubled = [a.clip_id for a, b in pairwise(rows) if a.clip_id == b.clip_id]
    if doubled:
        raise ValueError(f"{len(doubled)} clip ids occur twice in {root}, e.g. {doubled[0]!r}")
    manifest = replace(manifest, rows=tuple(rows))
    table = pa.Table.from_pylist([vars(row) for row in rows], schema=MANIFEST_SCHEMA)
    with replacing(root / MANIFEST_FILE, of_dataset=True) as temporary:
        pq.write_table(table, temporary)
    with replacing(root / COMMIT_FILE, of_dataset=True) as temporary:
        temporary.write_text(json.dumps(_commit_record(manifest), indent=2, sort_keys=True) + "\n")
    return manifest


def require_encoders(path: Path, encoders: Mapping[str, Any]) -> None:
    """Check that a shard was written by these encoders.

    Raises:
        ValueError: by others, it is no shard, or one of another schema version.
    """
    with open_shard(path) as file:
        metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
    found = json.loads(metadata.get(ENCODERS_KEY.encode(), b"{}"))
    if found != json.loads(json.dumps(encoders)):
        raise ValueError(
            f"{path} was made by encoders {found}, the dataset by {dict(encoders)}: "
            "delete the file and encode again"
        )


def _commit_record(manifest: Manifest) -> dict[str, Any]:
    splits: dict[str, int] = {}
    for row in manifest.rows:
        splits[row.split] = splits.get(row.split, 0) + 1
    return {
        "schema_version": SCHEMA_VERSION,
        "hash": manifest.hash,
        "num_clips": len(manifest.rows),
        "splits": splits,
        "licences": sorted({row.licence for row in manifest.rows}),
        "flagged": any(row.flagged for row in manifest.rows),
        "config": manifest.config,
        "encoders": manifest.encoders,
        "facts": manifest.facts,
    }
