"""Data sets of bench_evaluator.py, written without Ray: generated clips, and windows of capture."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from motion.body import load_body
from motion.data.manifest import Manifest, write_dataset
from motion.data.mocap import MocapConfig, cut, find_files
from motion.data.procedural import SPLIT_SEED, ProceduralConfig, clip_row, generate_motion
from motion.data.procedural.row import motion_columns
from motion.data.schema import encode_tensor, seal
from motion.data.storage import write_shard
from motion.encoders import TextEncoder
from motion.importers import read_motion
from motion.importers.captions import Told, wordings
from motion.importers.resample import contacts, facing_forward
from motion.sequence import Motion

FPS = 20.0
SHORTEST_S, LONGEST_S = 2.0, 6.0
Row = dict[str, Any]


class Window(NamedTuple):
    """A piece of a take."""

    take: str
    text: str
    licence: str
    flagged: bool
    """Its licence restricts use."""
    motion: Motion


def generated_rows(counts: Mapping[str, int]) -> list[Row]:
    """Unsealed rows of embedded clips, motion alone."""
    config = ProceduralConfig(render=False)
    return [
        clip_row(generate_motion(SPLIT_SEED[split] + index, config), split)
        for split, count in counts.items()
        for index in range(count)
    ]


def takes(folder: Path, *, flagged: bool = False) -> list[tuple[Told, Motion]]:
    """Every captioned take in a folder, each once, at 20 frames per second: CMU's, or those whose
    licence restricts use."""
    body = load_body("free")
    found: list[tuple[Told, Motion]] = []
    for path, told in find_files(MocapConfig(folder=folder, include_flagged=flagged)):
        wanted = told.flagged if flagged else "cmu" in path.parent.name
        if wanted and path.suffix in (".bvh", ".amc"):
            fps = 120.0 if path.suffix == ".amc" else None
            found.append((told, read_motion(path, body, fps=FPS, source_fps=fps).motion))
    return found


def windows(taken: Sequence[tuple[Told, Motion]], most: int) -> list[Window]:
    """Windows of 2 to 6 s one after the other, at most so many of a take, evenly spread."""
    body = load_body("free")
    pieces: list[Window] = []
    for told, motion in taken:
        draw = np.random.default_rng(zlib.crc32(told.clip.encode()))
        at, own = 0, []
        while True:
            length = int(draw.uniform(SHORTEST_S, LONGEST_S) * FPS) + 1
            if at + length > motion.num_frames:
                break
            own.append((at, length))
            at += length
        if not own and motion.num_frames > SHORTEST_S * FPS:
            own = [(0, min(motion.num_frames, int(LONGEST_S * FPS)))]
        keep = sorted({round(i) for i in np.linspace(0, len(own) - 1, min(most, len(own)))})
        for first, length in (own[i] for i in keep):
            piece = facing_forward(cut(motion, first, length), body)
            pieces.append(Window(told.clip, told.text, told.licence, told.flagged, piece))
    return pieces


def mocap_rows(pieces: Iterable[Window], splits: Sequence[str]) -> list[Row]:
    """Unsealed rows of windows and the split of each, all in one bucket."""
    body = load_body("free")
    rows: list[Row] = []
    for number, (piece, split) in enumerate(zip(pieces, splits, strict=True)):
        columns = motion_columns(piece.motion, contacts(piece.motion, body))
        columns["bucket"] = f"{int(LONGEST_S * FPS) + 1}x0x0"
        rows.append(
            {
                "clip_id": f"{piece.take}-{number:05d}",
                "source": "mocap",
                "split": split,
                "licence": piece.licence,
                "flagged": piece.flagged,
                "captions": wordings(piece.text, 4),
                "metadata": json.dumps({"take": piece.take}),
                **columns,
            }
        )
    return rows


def write(root: Path, rows: Iterable[Row], text: TextEncoder) -> Manifest:
    """A committed data set of these rows, their captions encoded."""
    text.save(root / "encoders" / "text")
    encoders = {"text": {"id": text.id, "hash": text.hash, "path": "encoders/text"}}
    sealed = []
    for row in rows:
        tokens, mask = text.encode(row["captions"])
        encoded = {
            "text_embedding": encode_tensor(tokens.numpy().astype(np.float16)),
            "text_mask": encode_tensor(mask.numpy().astype(np.uint8)),
        }
        sealed.append(seal({**row, **encoded}))
    file = root / "shards" / "all.parquet"
    write_shard(file, sealed, row_group_size=1, encoders=encoders)
    return write_dataset(root, [file], config={"kind": "bench"}, encoders=encoders)


def folds_of(names: Sequence[str], count: int) -> dict[str, int]:
    """Fold of every take, from a shuffle of seed 0."""
    unique = sorted(set(names))
    order = torch.randperm(len(unique), generator=torch.Generator().manual_seed(0)).tolist()
    return {unique[index]: place % count for place, index in enumerate(order)}
