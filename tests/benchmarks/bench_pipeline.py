"""Rows per second of the pipeline with Ray Data and in the training process, and its start-up.

    python tests/benchmarks/bench_pipeline.py --clips 256 --steps 200

Makes a data set of random latents in a temporary folder. A and B alternate in one process, because
a neighbour on the machine changes both; compare their ratio, not their figures.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import ray

from motion.data.manifest import Manifest, write_dataset
from motion.data.pipeline import StreamConfig, stream
from motion.data.plan import ClipRef, Plan
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


def measure(root: Path, steps: int, micro_batch: int, use_ray: bool) -> tuple[float, float]:
    """Seconds to the first batch, and rows per second after it."""
    clips = [ClipRef.of(row) for row in Manifest.load(root).select("train")]
    plan = Plan(clips, seed=0, micro_batch=micro_batch, accumulation=1, world=1)
    config = StreamConfig(use_ray=use_ray)
    start = time.perf_counter()
    batches = stream(plan, root, 0, 0, steps=steps, columns=COLUMNS, config=config)
    next(batches)
    first = time.perf_counter()
    rows = sum(batch.size for batch in batches)
    return first - start, rows / (time.perf_counter() - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latent", type=int, nargs=4, default=(48, 9, 8, 8))
    options = parser.parse_args()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.clips, tuple(options.latent))
        for turn in range(options.rounds):
            for use_ray in (False, True):
                start_s, rate = measure(Path(folder), options.steps, options.micro_batch, use_ray)
                name = "Ray Data" if use_ray else "in process"
                print(f"round {turn}: {name:10s} first {start_s:6.3f} s, then {rate:8.0f} rows/s")
    ray.shutdown()


if __name__ == "__main__":
    main()
