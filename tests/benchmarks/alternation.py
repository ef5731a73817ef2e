"""Timing of alternatives in one process, for every benchmark of this folder.

Alternatives run in turn, so that a busy neighbor slows all of them, and the least time of each is
taken: ratios of these are to be quoted. Process CPU time stands beside wall time, because a busy
neighbor stretches the second only.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Cost(NamedTuple):
    """Least seconds over the rounds."""

    wall: float
    cpu: float
    """Of all threads of the process."""


def alternate(rounds: int, **actions: Callable[[], object]) -> dict[str, Cost]:
    """Cost of each action, run in turn; the first round warms up and is not counted."""
    measured: dict[str, list[Cost]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            measured[name].append(Cost(time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Cost(min(c.wall for c in costs[1:]), min(c.cpu for c in costs[1:]))
        for name, costs in measured.items()
    }


def print_ratios(title: str, costs: Mapping[str, Cost]) -> None:
    """Markdown rows; ratios are to the first."""
    base = next(iter(costs.values()))
    print(f"\n**{title}**\n\n| | wall ms | CPU ms | x faster (wall) | x faster (CPU) |")
    print("|---|---:|---:|---:|---:|")
    for name, cost in costs.items():
        wall, cpu = base.wall / cost.wall, base.cpu / cost.cpu
        row = f"{1e3 * cost.wall:.1f} | {1e3 * cost.cpu:.1f} | {wall:.1f} | {cpu:.1f}"
        print(f"| {name.replace('_', ' ')} | {row} |")
