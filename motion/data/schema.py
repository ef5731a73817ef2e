"""The written contract of a shard: one Parquet row is one clip.

A tensor travels as plain bytes, shape and dtype, so that any Parquet reader opens it. A modality
that a clip lacks is null, never a zero that looks like data. Every file carries
`motion.schema_version` in its schema metadata, and an encoded file `motion.encoders`.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

SCHEMA_VERSION: Final = "1"
VERSION_KEY: Final = "motion.schema_version"
ENCODERS_KEY: Final = "motion.encoders"
SPLITS: Final = ("train", "validation", "test")

TENSOR: Final = pa.struct(
    [
        pa.field("data", pa.binary(), nullable=False),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
    ]
)
"""A dense array: little-endian bytes in C order, shape, numpy dtype name."""

_DTYPES: Final = frozenset({"float16", "float32", "float64", "uint8", "int32", "int64"})


@dataclass(frozen=True)
class TensorColumn:
    """What one TENSOR column must hold."""

    shape: tuple[str | int, ...]
    """Axis lengths; "t" is the row's num_frames, other names are free."""
    dtype: str
    meaning: str
    """What it is, with its unit and frame."""


TENSOR_COLUMNS: Final[Mapping[str, TensorColumn]] = {
    "smpl_rotvec": TensorColumn(
        ("t", 24, 3), "float32", "axis-angle of each joint in its parent, rad; joint 0 in the world"
    ),
    "smpl_translation": TensorColumn(
        ("t", 3), "float32", "added to the posed body (AMASS trans), world, m"
    ),
    "smpl_betas": TensorColumn((10,), "float32", "shape coefficients of the row's body_id"),
    "contacts": TensorColumn(
        ("t", 4), "uint8", "1 where left heel, left toe, right heel, right toe is on the floor"
    ),
    "intrinsics": TensorColumn(("t", 3, 3), "float32", "pinhole matrix of the video, px"),
    "T_camera_world": TensorColumn(
        ("t", 4, 4), "float32", "world point to camera point of the video (OpenCV axes), m"
    ),
    "keypoints": TensorColumn(("t", 17, 2), "float32", "exact COCO-17 projections, px"),
    "keypoints_detected": TensorColumn(("t", 17, 2), "float32", "COCO-17 of a detector, px"),
    "keypoints_confidence": TensorColumn(("t", 17), "float32", "the detector's, in [0, 1]"),
    "keypoints_visible": TensorColumn(
        ("t", 17), "uint8", "1 where the exact keypoint is unoccluded and inside the image"
    ),
    "keypoints_intrinsics": TensorColumn((3, 3), "float32", "pinhole of the keypoint image, px"),
    "keypoints_size": TensorColumn((2,), "int32", "width and height of the keypoint image, px"),
    "image_features": TensorColumn(("t", "d"), "float16", "an image encoder's features per frame"),
    "music": TensorColumn(("t", "d"), "float32", "features of the music per frame"),
    "speech": TensorColumn(("t", "d"), "float32", "features of the speech per frame"),
    "latent_rgb": TensorColumn(("c", "tl", "hl", "wl"), "float16", "normalised video latent"),
    "latent_map": TensorColumn(("c", "tl", "hl", "wl"), "float16", "normalised motion-map latent"),
    "text_embedding": TensorColumn(("k", "n", "d"), "float16", "token features of each caption"),
    "text_mask": TensorColumn(("k", "n"), "uint8", "1 where a token is real"),
    "segment_embedding": TensorColumn(
        ("s", "n", "d"), "float16", "token features of the captions of parts of the clip"
    ),
    "segment_mask": TensorColumn(("s", "n"), "uint8", "1 where a token is real"),
    "segment_window_s": TensorColumn(("s", 2), "float32", "first and last second of each part"),
    "motion_tokens": TensorColumn(
        ("p", "n", "q"), "int32", "codes by first frame, token and level; -1 where there is none"
    ),
}

ENCODED_COLUMNS: Final = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "segment_embedding",
    "segment_mask", "segment_window_s", "motion_tokens",
)  # fmt: skip
"""Filled by frozen encoders after preparation; null in a raw shard."""

BINARY_COLUMNS: Final[Mapping[str, str]] = {
    "rgb": "H.264 mp4 of the video",
    "motion_map": "lossless mp4 of the 2D motion map",
}

PAYLOAD_COLUMNS: Final = (*TENSOR_COLUMNS, *BINARY_COLUMNS)
"""Every nullable modality, the values of a manifest's `present`."""


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


def _tensor_field(name: str) -> pa.Field:
    column = TENSOR_COLUMNS[name]
    shape = "(" + ", ".join(str(axis) for axis in column.shape) + ")"
    return _field(name, TENSOR, f"{shape} {column.dtype}: {column.meaning}", nullable=True)


SCHEMA: Final = pa.schema(
    [
        _field("clip_id", pa.string(), "unique in the dataset"),
        _field("source", pa.string(), "where the clip comes from, e.g. procedural"),
        _field("split", pa.string(), "train, validation or test"),
        _field("licence", pa.string(), "licence of the clip, an SPDX id where one exists"),
        _field("flagged", pa.bool_(), "true where the licence restricts use (non-commercial ...)"),
        _field("fps", pa.float32(), "frames per second"),
        _field("num_frames", pa.int32(), "frames, the t of every tensor"),
        _field("bucket", pa.string(), "shape class: frames x height x width, e.g. 33x128x128"),
        _field("captions", pa.list_(pa.string()), "wordings of the same action"),
        _field("body_id", pa.string(), "body model of smpl_betas; empty without motion"),
        *(_tensor_field(name) for name in TENSOR_COLUMNS if name not in ENCODED_COLUMNS),
        *(_field(name, pa.binary(), text, nullable=True) for name, text in BINARY_COLUMNS.items()),
        _field("video_size", pa.list_(pa.int32()), "height, width of the video, px", nullable=True),
        _field("metadata", pa.string(), "JSON: generator or importer parameters"),
        *(_tensor_field(name) for name in ENCODED_COLUMNS),
        _field("present", pa.list_(pa.string()), "payload columns that are not null"),
        _field("checksum", pa.int64(), "row_checksum of the row"),
    ],
    metadata={VERSION_KEY: SCHEMA_VERSION},
)


def bucket_name(num_frames: int, height: int, width: int) -> str:
    """Shape class of a clip: clips of one bucket can share a batch."""
    return f"{num_frames}x{height}x{width}"


def encode_tensor(array: Shaped[np.ndarray, "..."]) -> dict[str, Any]:
    """The TENSOR value of an array.

    Raises:
        ValueError: the dtype is none that the contract stores.
    """
    if array.dtype.name not in _DTYPES:
        raise ValueError(
            f"cannot store dtype {array.dtype.name}; expected one of {sorted(_DTYPES)}: cast first"
        )
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return {"data": data.tobytes(), "shape": list(array.shape), "dtype": array.dtype.name}


def decode_tensor(value: Mapping[str, Any] | pa.Scalar | None) -> Shaped[np.ndarray, "..."]:
    """The array of a TENSOR value (a dict or an Arrow scalar), writable.

    Raises:
        ValueError: the value is null, its dtype unknown, or bytes and shape disagree.
    """
    plain: Any = cast(Any, value).as_py() if isinstance(value, pa.Scalar) else value
    if plain is None:
        raise ValueError("tensor is null: this clip lacks the modality; check `present` first")
    fields = cast(Mapping[str, Any], plain)
    dtype, shape, data = str(fields["dtype"]), tuple(fields["shape"]), bytes(fields["data"])
    if dtype not in _DTYPES:
        raise ValueError(f"tensor has dtype {dtype!r}; expected one of {sorted(_DTYPES)}")
    expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise ValueError(
            f"tensor of shape {shape} and dtype {dtype} has {len(data)} bytes, expected "
            f"{expected}: the row is damaged; prepare its shard again"
        )
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return array.astype(dtype)


def row_checksum(row: Mapping[str, Any]) -> int:
    """CRC-32 over the clip id and the bytes of every payload column, captions and metadata.

    Null columns do not count, so a row keeps its checksum when columns are added to the schema.
    """
    crc = zlib.crc32(str(row["clip_id"]).encode())
    for name in PAYLOAD_COLUMNS:
        value = row.get(name)
        if value is None:
            continue
        crc = zlib.crc32(name.encode(), crc)
        if name in BINARY_COLUMNS:
            crc = zlib.crc32(cast(bytes, value), crc)
        else:
            crc = zlib.crc32(f"{value['dtype']}{list(value['shape'])}".encode(), crc)
            crc = zlib.crc32(value["data"], crc)
    text = json.dumps([list(row["captions"]), row["metadata"]])
    return zlib.crc32(text.encode(), crc)


def check_row(row: Mapping[str, Any]) -> None:
    """Check a row's values against the contract, checksum included.

    Raises:
        ValueError: naming the clip, the column and what was expected.
    """
    where = f"clip {row.get('clip_id')!r}"
    missing = sorted(
        field.name for field in SCHEMA if not field.nullable and row.get(field.name) is None
    )
    if missing:
        raise ValueError(f"{where} lacks the required columns {missing}")
    if row["split"] not in SPLITS:
        raise ValueError(f"{where} has split {row['split']!r}; expected one of {SPLITS}")
    if not row["captions"]:
        raise ValueError(f"{where} has no caption; give at least one")
    for name, column in TENSOR_COLUMNS.items():
        if row.get(name) is not None:
            _check_tensor(f"{where}, column {name}", row[name], column, int(row["num_frames"]))
    if tuple(row["present"]) != present_columns(row):
        raise ValueError(
            f"{where} lists {row['present']} as present but carries {present_columns(row)}"
        )
    found = row_checksum(row)
    if found != row["checksum"]:
        raise ValueError(
            f"{where} has checksum {row['checksum']}, its bytes give {found}: the row is damaged; "
            "delete its shard file and prepare the dataset again"
        )


def _check_tensor(
    where: str, value: Mapping[str, Any], column: TensorColumn, num_frames: int
) -> None:
    array = decode_tensor(value)
    expected = tuple(num_frames if axis == "t" else axis for axis in column.shape)
    fits = array.ndim == len(expected) and all(
        isinstance(axis, str) or axis == length
        for axis, length in zip(expected, array.shape, strict=True)
    )
    if not fits or array.dtype.name != column.dtype:
        raise ValueError(
            f"{where} is {array.dtype.name}{array.shape}; expected {column.dtype}{expected}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{where} holds NaN or infinity; drop the clip or repair its source")


def present_columns(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the payload columns that a row carries, in schema order."""
    return tuple(name for name in PAYLOAD_COLUMNS if row.get(name) is not None)


def seal(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every column of the schema (null where absent) and its checksum, checked.

    Raises:
        ValueError: an unknown column, or a value that breaks the contract.
    """
    unknown = sorted(set(row) - set(SCHEMA.names))
    if unknown:
        raise ValueError(f"clip {row.get('clip_id')!r} has columns {unknown} outside the contract")
    sealed = {name: row.get(name) for name in SCHEMA.names}
    sealed["present"] = list(present_columns(row))
    sealed["checksum"] = row_checksum(row)
    check_row(sealed)
    return sealed


def table_from_rows(
    rows: Iterable[Mapping[str, Any]], encoders: Mapping[str, Any] | None = None
) -> pa.Table:
    """Sealed rows as an Arrow table; `encoders` goes into the schema metadata as JSON."""
    metadata = {VERSION_KEY: SCHEMA_VERSION}
    if encoders:
        metadata[ENCODERS_KEY] = json.dumps(encoders, sort_keys=True)
    return pa.Table.from_pylist(list(rows), schema=SCHEMA.with_metadata(metadata))
