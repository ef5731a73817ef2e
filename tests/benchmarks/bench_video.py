"""Reading clips: decord against PyAV, and one seek per clip against one per time stamp.

    python tests/benchmarks/bench_video.py [--rounds 3]

Videos of a moving gradient are written first (640x480, 240 frames, a key frame every 60). All
readers run in turn in one process on one thread: quote the ratios.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from motion.data import clip_reader
from motion.data.clip_reader import index_video, read_clip

CODECS = {
    "H.264": ("libx264", ".mp4", {"g": "60", "preset": "veryfast"}),
    "HEVC": ("libx265", ".mp4", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=60"}),
    "VP9": ("libvpx-vp9", ".webm", {"g": "60", "deadline": "realtime", "cpu-used": "8"}),
    "AV1": ("libsvtav1", ".mp4", {"g": "60", "preset": "12"}),
}
FRAMES = 240


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    rows, columns = np.mgrid[:480, :640]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(30), options=options)
        stream.height, stream.width, stream.pix_fmt = 480, 640, "yuv420p"
        for i in range(FRAMES):
            picture = np.stack([rows / 2 + i, columns / 3 + 2 * i, (rows + columns) / 5], -1)
            frame = av.VideoFrame.from_ndarray((picture % 256).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def least_s(rounds: int, **actions: Callable[[], object]) -> dict[str, float]:
    """Least seconds of each action, run in turn; the first round warms up."""
    measured: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            measured[name].append(time.perf_counter() - start)
    return {name: min(values[1:]) for name, values in measured.items()}


def compare(path: Path, rounds: int) -> tuple[bool, dict[str, float]]:
    """80 consecutive frames from the middle, by each way of reading; equal before timed."""
    index, wanted = index_video(path), np.arange(100, 180)
    times = index.times_s[wanted]

    def all_then_pick() -> np.ndarray:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack([frames[i] for i in wanted])

    ways: dict[str, Callable[[], np.ndarray]] = {
        "read_clip": lambda: read_clip(path, times),
        "pyav": lambda: clip_reader._read_pyav(path, wanted, index),
        "one seek per time": lambda: np.concatenate(
            [clip_reader._read_pyav(path, wanted[i : i + 1], index) for i in range(0, 80)]
        ),
        "decode all": all_then_pick,
    }
    truth = ways["decode all"]()
    assert all(np.array_equal(way(), truth) for way in ways.values())
    return index.decord_is_exact, least_s(rounds, **ways)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds per comparison")
    rounds = parser.parse_args().rounds
    print("80 of 240 frames, 640x480; times relative to read_clip\n")
    print("| codec | reader | read_clip, ms/frame | PyAV alone | decode all | a seek per time |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, suffix, options) in CODECS.items():
            path = Path(folder) / f"{codec}{suffix}"
            write(path, codec, options)
            by_decord, seconds = compare(path, rounds)
            base = seconds["read_clip"]
            ratio = {way: f"{value / base:.2f} x" for way, value in seconds.items()}
            print(
                f"| {name} | {'decord' if by_decord else 'PyAV'} | {1e3 * base / 80:.2f} "
                f"| {ratio['pyav']} | {ratio['decode all']} | {ratio['one seek per time']} |"
            )
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: quote the ratios")


if __name__ == "__main__":
    main()
