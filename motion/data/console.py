"""What a data job says: one line per phase, and nothing of Ray Data's own."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from ray.data import Dataset


def quiet(dataset: Dataset) -> Dataset:
    """Keep Ray Data's progress off the console, not its warnings; its log files keep all of it."""
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if type(handler).__name__ == "PlainRayHandler":
            handler.setLevel(logging.WARNING)
    # It warns that there is no progress to see.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    return dataset


def report(phase: str, clips: int, started: float, files: Iterable[Path] = ()) -> None:
    """Print what a phase did; `started` is the time.monotonic() of its start."""
    size = sum(file.stat().st_size for file in files)
    disk = f", {size / 1e6:.1f} MB" if size else ""
    print(f"{phase} {clips} clips in {time.monotonic() - started:.0f} s{disk}", flush=True)
