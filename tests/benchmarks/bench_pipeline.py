"""Rows per second into Batches: Ray Data, the training process itself, and torch's DataLoader.

    python tests/benchmarks/bench_pipeline.py --clips 256 --windows 4

All read the same Parquet shards of random latents, in a temporary folder, into the same micro-
batches in the same order. Start-up (until the first batch) stands apart; the rate is taken after
one window of Ray Data, so that nothing that was read ahead counts. Readers take turns in one
process, because a neighbor on the machine changes all; the best of the rounds is taken: compare
ratios, not figures.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
from torch.utils.data import DataLoader, Dataset

from motion.batch import Batch
from motion.data.collate import Columns
from motion.data.manifest import Manifest, write_dataset
from motion.data.pipeline import Share, StreamConfig, stream
from motion.data.plan import ClipRef, Plan
from motion.data.reading import Reader
from motion.data.schema import encode_tensor, seal
from motion.data.storage import write_shard

COLUMNS = ("smpl_rotvec", "smpl_translation", "smpl_betas", "latent_rgb", "latent_map")
FRAMES = 33


def make(root: Path, clips: int, latent: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    files = []
    for start in range(0, clips, 16):
        rows = []
        for index in range(start, min(start + 16, clips)):
            tensors = {
                "smpl_rotvec": rng.standard_normal((FRAMES, 24, 3)).astype(np.float32),
                "smpl_translation": rng.standard_normal((FRAMES, 3)).astype(np.float32),
                "smpl_betas": rng.standard_normal(10).astype(np.float32),
                "latent_rgb": rng.standard_normal(latent).astype(np.float16),
                "latent_map": rng.standard_normal(latent).astype(np.float16),
            }
            plain = {
                "clip_id": f"clip-{index:06d}", "source": "random", "split": "train",
                "licence": "CC0-1.0", "flagged": False, "fps": 16.0, "num_frames": FRAMES,
                "bucket": f"{FRAMES}x128x128", "captions": ["x"], "body_id": "free",
                "metadata": "{}",
            }  # fmt: skip
            rows.append(seal(plain | {k: encode_tensor(v) for k, v in tensors.items()}))
        files.append(root / "shards" / f"{start:06d}.parquet")
        write_shard(files[-1], rows, row_group_size=1)
    write_dataset(root, files, config={})


class MicroBatches(Dataset[Columns]):
    """What a DataLoader's worker reads: one micro-batch per item."""

    def __init__(self, share: Share, count: int) -> None:
        self._share, self._count = share, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Columns:
        return self._share.columns(index)


def as_it_is(columns: Columns) -> Columns:
    """Collation was done by the worker."""
    return columns


def loaded(share: Share, count: int, workers: int) -> Iterator[Batch]:
    """Batches of torch's DataLoader; workers are spawned, since Ray's threads survive no fork."""
    loader = DataLoader(
        MicroBatches(share, count),
        batch_size=None,
        collate_fn=as_it_is,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
    )
    return (Batch.from_columns(columns) for columns in loader)


class Speed(NamedTuple):
    """Of one reader."""

    start_s: float
    """Until the first batch."""
    rows_per_s: float
    """After the warm-up."""


def measure(batches: Iterator[Batch], began: float, warm: int) -> Speed:
    """Consume all batches; the rate counts from the end of `warm` of them on."""
    next(batches)
    start_s = time.perf_counter() - began
    for _ in range(warm - 1):
        next(batches)
    warmed = time.perf_counter()
    rows = sum(batch.size for batch in batches)
    return Speed(start_s, rows / (time.perf_counter() - warmed))


def readers(root: Path, micro_batch: int, windows: int) -> dict[str, Callable[[], Iterator[Batch]]]:
    """Every reader of the same `windows` + 1 windows of micro-batches."""
    clips = [ClipRef.of(row) for row in Manifest.load(root).select("train")]
    plan = Plan(clips, seed=0, micro_batch=micro_batch, accumulation=1, world=1)
    steps = (windows + 1) * StreamConfig().window
    share = Share(Reader(plan, root, COLUMNS), 0, StreamConfig().captions)

    def ours(use_ray: bool) -> Iterator[Batch]:
        config = StreamConfig(use_ray=use_ray)
        return stream(plan, root, 0, 0, steps=steps, columns=COLUMNS, config=config)

    return {
        "DataLoader, 0 workers": lambda: loaded(share, steps, 0),
        "DataLoader, 1 worker": lambda: loaded(share, steps, 1),
        "DataLoader, 2 workers": lambda: loaded(share, steps, 2),
        "ours, in process": lambda: ours(False),
        "ours, Ray Data": lambda: ours(True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latent", type=int, nargs=4, default=(48, 9, 8, 8))
    options = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, options.clips, tuple(options.latent))
        sources = readers(root, options.micro_batch, options.windows)
        found: dict[str, list[Speed]] = {name: [] for name in sources}
        for _ in range(options.rounds):
            for name, open_source in sources.items():
                began = time.perf_counter()
                found[name].append(measure(open_source(), began, StreamConfig().window))
    ray.shutdown()
    base = max(speed.rows_per_s for speed in next(iter(found.values())))
    print("| reader | start-up s | rows/s after it | x DataLoader, 0 workers |")
    print("|---|---:|---:|---:|")
    for name, speeds in found.items():
        start_s, rate = min(s.start_s for s in speeds), max(s.rows_per_s for s in speeds)
        print(f"| {name} | {start_s:.2f} | {rate:.0f} | {rate / base:.2f} |")


if __name__ == "__main__":
    main()
