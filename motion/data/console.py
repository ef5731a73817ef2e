"""What a job says: one line per phase, and of Ray only warnings that ask for something.

Every record still reaches the log files of the Ray session. Nothing is done about errors.
"""

import logging
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from ray.data import Dataset

Row = TypeVar("Row")

INTERVAL_S: Final = 20.0
"""Between two lines about a phase that is under way."""
NOT_SHOWN: Final = ("Progress bars disabled",)
"""Beginnings of warnings that repeat a setting of ours."""


class _Shown(logging.Filter):
    """Lets warnings and errors pass, but for those of `NOT_SHOWN`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING and not record.getMessage().startswith(NOT_SHOWN)


_SHOWN: Final = _Shown()
"""One for the process: a handler takes the same filter only once."""


def quiet(dataset: Dataset) -> Dataset:
    """Keep Ray Data's progress off the console, not its warnings."""
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    _filter_ray()
    return dataset


def quiet_process() -> None:
    """Filter the consoles of Ray Train, Ray Data, MLflow and Alembic in this process."""
    _filter_ray()
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("mlflow", "alembic", "DeepSpeed"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _filter_ray() -> None:
    for name in ("ray", "ray.train", "ray.data", ""):
        for handler in logging.getLogger(name).handlers:
            if type(handler).__name__ == "PlainRayHandler":  # not the session's log files
                handler.addFilter(_SHOWN)


def watched(rows: Iterable[Row], total: int, phase: str) -> Iterator[Row]:
    """The rows as they come, with a line about them at most every `INTERVAL_S` seconds."""
    started = shown = time.monotonic()
    for count, row in enumerate(rows, start=1):
        yield row
        now = time.monotonic()
        if now - shown >= INTERVAL_S and count < total:
            shown = now
            rest = (now - started) * (total - count) / count
            eta = f"{rest // 60:02.0f}:{rest % 60:02.0f}"
            print(f"{phase} {count}/{total}  eta {eta}", flush=True)


def report(phase: str, clips: int, started: float, files: Iterable[Path] = ()) -> None:
    """Print what a phase did; `started` is the time.monotonic() of its start."""
    size = sum(file.stat().st_size for file in files)
    disk = f", {size / 1e6:.1f} MB" if size else ""
    print(f"{phase} {clips} clips in {time.monotonic() - started:.0f} s{disk}", flush=True)
