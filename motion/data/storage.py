"""Shard files: written whole or not at all, in row groups of a fixed size."""

import errno
import os
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from motion.data.schema import SCHEMA_VERSION, VERSION_KEY, table_from_rows


class StorageError(RuntimeError):
    """A file cannot be written; the message says why and what to do."""


@contextmanager
def replacing(path: Path, *, of_dataset: bool = False) -> Generator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    Readers see the old file or the new one, never half of one; a crash leaves `path` untouched.

    Args:
        path: the file to write.
        of_dataset: it is a part of a data set, whose place --root decides; for the remedy.

    Raises:
        StorageError: the disk is full or the folder cannot be written, with the remedy.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _explained(error, path, of_dataset=of_dataset) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def _explained(error: OSError, path: Path, *, of_dataset: bool) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = (
            "another --root; shards already written are kept and the job continues where it stopped"
            if of_dataset
            else "another folder for it; files already written are kept"
        )
        return StorageError(f"no space left to write {path}: free some, or give {remedy}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        remedy = (
            "a --root that this user may write, on storage that every node mounts"
            if of_dataset
            else "a folder for it that this user may write"
        )
        return StorageError(f"cannot write {path} ({error.strerror}): give {remedy}")
    return error


def write_shard(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    row_group_size: int,
    encoders: Mapping[str, Any] | None = None,
) -> None:
    """Write sealed rows in their order, atomically, with a checksum on every Parquet page."""
    table = table_from_rows(rows, encoders)
    with replacing(path, of_dataset=True) as temporary:
        # No statistics: Parquet would store the least and greatest payload of a column chunk whole,
        # several times over, which trebles a file and escapes the page checksums.
        pq.write_table(
            table,
            temporary,
            row_group_size=row_group_size,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )


def open_shard(path: Path) -> pq.ParquetFile:
    """A shard opened for reading, its version checked.

    Raises:
        ValueError: it is no shard, or one of another schema version.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not a Parquet file ({error}): delete it and prepare the dataset again"
        ) from error
    metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
    version = metadata.get(VERSION_KEY.encode(), b"none").decode()
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}: "
            "prepare the dataset again"
        )
    return file


def read_rows(
    path: Path, row_group: int, rows: Sequence[int], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of one row group as plain dicts, in the order asked; `columns` None reads them all."""
    with open_shard(path) as file:
        table = file.read_row_group(row_group, columns=None if columns is None else list(columns))
    return [table.slice(index, 1).to_pylist()[0] for index in rows]
