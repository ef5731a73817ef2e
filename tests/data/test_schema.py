"""The shard contract: round trip, refusals, checksums."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motion.data.schema import (
    SCHEMA,
    TENSOR_COLUMNS,
    bucket_name,
    check_row,
    decode_tensor,
    encode_tensor,
    present_columns,
    row_checksum,
    seal,
    table_from_rows,
)
from motion.data.storage import StorageError, open_shard, read_rows, replacing, write_shard


def example_row(clip_id: str = "clip-0", num_frames: int = 5, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(len(clip_id))
    rotvec = rng.normal(size=(num_frames, 24, 3)).astype(np.float32)
    row: dict[str, Any] = {
        "clip_id": clip_id,
        "source": "example",
        "split": "train",
        "licence": "CC0-1.0",
        "flagged": False,
        "fps": 16.0,
        "num_frames": num_frames,
        "bucket": bucket_name(num_frames, 8, 8),
        "captions": ["a person waves", "someone waves"],
        "body_id": "free-00000000",
        "smpl_rotvec": encode_tensor(rotvec),
        "keypoints_size": encode_tensor(np.array([1920, 1080], np.int32)),
        "rgb": b"mp4 bytes",
        "video_size": [8, 8],
        "metadata": "{}",
    }
    return row | changes


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int32", "int64"])
def test_tensor_round_trip(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype).transpose(2, 0, 1)  # not contiguous
    stored = table_from_rows([seal(example_row())]).schema.field("smpl_rotvec").type
    scalar = pa.scalar(encode_tensor(array), type=stored)
    decoded = decode_tensor(scalar)
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)
    decoded[0] = 0  # writable: torch.from_numpy needs it


def test_scalar_and_empty_tensors_round_trip() -> None:
    for array in (np.array(3.0, np.float32), np.zeros((0, 3), np.float32)):
        decoded = decode_tensor(encode_tensor(array))
        assert decoded.shape == array.shape


def test_tensor_refusals() -> None:
    with pytest.raises(ValueError, match="dtype complex128"):
        encode_tensor(np.zeros(2, np.complex128))
    with pytest.raises(ValueError, match="null"):
        decode_tensor(None)
    broken = encode_tensor(np.zeros(4, np.float32)) | {"shape": [5]}
    with pytest.raises(ValueError, match="16 bytes, expected 20"):
        decode_tensor(broken)
    with pytest.raises(ValueError, match="dtype 'object'"):
        decode_tensor({"data": b"", "shape": [0], "dtype": "object"})


def test_row_round_trip_through_parquet(tmp_path: Path) -> None:
    rows = [seal(example_row(f"clip-{i}", smpl_rotvec=None)) for i in range(2)]
    rows += [seal(example_row("clip-2"))]
    write_shard(tmp_path / "a.parquet", rows, row_group_size=2)
    with open_shard(tmp_path / "a.parquet") as file:
        assert file.num_row_groups == 2
        assert file.schema_arrow.equals(SCHEMA, check_metadata=False)
    back = read_rows(tmp_path / "a.parquet", 0, [1, 0]) + read_rows(tmp_path / "a.parquet", 1, [0])
    assert back == [rows[1], rows[0], rows[2]]
    for row in back:
        check_row(row)
    assert "smpl_rotvec" not in present_columns(back[0])
    assert "smpl_rotvec" in present_columns(back[2])


def test_every_column_states_its_meaning() -> None:
    for field in SCHEMA:
        assert field.metadata[b"meaning"], field.name
    for name in TENSOR_COLUMNS:
        assert SCHEMA.field(name).nullable


@pytest.mark.parametrize(
    "change",
    [
        {"rgb": b"mp4 bytez"},
        {"captions": ["a person waves", "someone wave"]},
        {"metadata": "{ }"},
    ],
)
def test_checksum_detects_corruption(change: dict[str, Any]) -> None:
    row = seal(example_row())
    check_row(row)
    with pytest.raises(ValueError, match="checksum"):
        check_row(row | change)


def test_lost_or_foreign_payload_is_noticed() -> None:
    row = seal(example_row())
    for change in ({"motion_map": b"x"}, {"smpl_rotvec": None}):
        assert row_checksum(row | change) != row["checksum"]
        with pytest.raises(ValueError, match="as present"):
            check_row(row | change)


def test_checksum_detects_one_flipped_bit() -> None:
    row = seal(example_row())
    data = bytearray(row["smpl_rotvec"]["data"])
    data[100] ^= 1
    damaged = row | {"smpl_rotvec": row["smpl_rotvec"] | {"data": bytes(data)}}
    assert row_checksum(damaged) != row["checksum"]


def test_damaged_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    marker = np.random.default_rng(0).bytes(4096)
    write_shard(path, [seal(example_row(rgb=marker))], row_group_size=1)
    content = bytearray(path.read_bytes())
    content[content.index(marker[:64])] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        read_rows(path, 0, [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "dev"}, "split 'dev'"),
        ({"captions": []}, "no caption"),
        ({"licence": None}, r"lacks the required columns \['licence'\]"),
        ({"colour": 1}, "outside the contract"),
        ({"smpl_rotvec": encode_tensor(np.zeros((4, 24, 3), np.float32))}, r"expected .*\(5, 24"),
        ({"smpl_rotvec": encode_tensor(np.zeros((5, 24, 3)))}, "expected float32"),
        ({"smpl_betas": encode_tensor(np.full(10, np.nan, np.float32))}, "NaN"),
    ],
)
def test_seal_refuses_rows_that_break_the_contract(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seal(example_row() | change)


def test_other_versions_and_other_files_are_refused(tmp_path: Path) -> None:
    table = table_from_rows([seal(example_row())])
    old = tmp_path / "old.parquet"
    pq.write_table(table.replace_schema_metadata({"motion.schema_version": "0"}), old)
    with pytest.raises(ValueError, match="schema version 0"):
        open_shard(old)
    text = tmp_path / "text.parquet"
    text.write_text("no parquet at all")
    with pytest.raises(ValueError, match="not a Parquet file"):
        open_shard(text)


def test_replacing_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyError("crash")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_full_names_the_remedy(tmp_path: Path) -> None:
    import errno

    with (
        pytest.raises(StorageError, match=r"no space left.*another --root"),
        replacing(tmp_path / "a.parquet", of_dataset=True),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_report_s_remedy_is_not_that_of_a_data_set(tmp_path: Path) -> None:
    import errno

    for number, expected in ((errno.ENOSPC, "no space left"), (errno.EACCES, "cannot write")):
        with (
            pytest.raises(StorageError, match=f"{expected}.*give a.* folder for it") as caught,
            replacing(tmp_path / "table.json"),
        ):
            raise OSError(number, "for a test")
        assert "--root" not in str(caught.value)
        assert "shard" not in str(caught.value)


def test_unwritable_root_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file where a folder is needed")
    with (
        pytest.raises(StorageError) as caught,
        replacing(tmp_path / "plain" / "shards" / "a.parquet", of_dataset=True) as temporary,
    ):
        temporary.write_text("x")
    assert "--root" in str(caught.value)
