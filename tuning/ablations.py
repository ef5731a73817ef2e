"""Ablation tables: presets x seeds as Ray tasks, paired differences, a verdict on each claim.

    ray job submit -- python tuning/tables.py comovi-interaction

A cell is one preset under one seed. Its metrics are committed as one JSON file, so a table that
died goes on with the cells that it finds. All presets share their seeds: data order, noise and
initialization are paired, and so is the interval of their difference.
"""

import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import ray
from ray.exceptions import RayError, RayTaskError

from motion.data.claim import require_same
from motion.data.console import quiet_process
from motion.data.room import cluster_nodes, require_room
from motion.data.storage import replacing

MIN_SEEDS: Final = 3
"""Fewer seeds say nothing about the spread between trainings."""
CELL_LIMIT_S: Final = 300.0
"""Wall-clock limit of a cell."""
CELL_CPUS: Final = 2.0

Cell = Callable[..., Mapping[str, float]]
"""`cell(seed=..., folder=..., **preset) -> metrics`; an importable function, a `partial` of one or
a closure. It may use `CELL_CPUS` cores and `folder`, and must end within the limit."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says: of two presets, `better` is better in a metric."""

    better: str
    worse: str
    """Names of presets."""
    metric: str
    """Name of a cell's metric."""
    direction: Literal["higher", "lower"]
    """Which values of the metric are better."""
    source: str
    """Paper, section or table, and its figures where it gives them."""


@dataclass(frozen=True, kw_only=True)
class AblationTable:
    """A named set of presets x seeds and the claims about them."""

    name: str
    presets: Mapping[str, Mapping[str, Any]]
    """Arguments of the cell by preset; JSON values."""
    claims: tuple[Claim, ...]
    cell: Cell
    metrics: Mapping[str, str]
    """Shown metrics: name and label."""
    settings: Mapping[str, Any]
    """Arguments that all presets share, JSON values; part of the identity."""
    note: str = ""
    """What the scale of these cells can show, and what it cannot."""
    prepare: Callable[[Path], None] | None = None
    """Called once with the table's folder before the cells, such as to make the data."""

    def __post_init__(self) -> None:
        for claim in self.claims:
            unknown = {claim.better, claim.worse} - set(self.presets)
            if unknown or claim.metric not in self.metrics:
                raise ValueError(
                    f"table {self.name!r}: the claim {claim.better!r} over {claim.worse!r} in "
                    f"{claim.metric!r} names what the table lacks; it has the presets "
                    f"{sorted(self.presets)} and the metrics {sorted(self.metrics)}"
                )

    def identity(self, preset: str, seed: int) -> dict[str, Any]:
        """What decides a cell's result."""
        named = {"table": self.name, "preset": preset, "seed": seed}
        return named | {"arguments": dict(self.presets[preset]), "settings": dict(self.settings)}


def run_table(
    table: AblationTable,
    seeds: Sequence[int],
    folder: Path,
    *,
    limit_s: float = CELL_LIMIT_S,
    cpus: float = CELL_CPUS,
) -> dict[str, dict[int, dict[str, float]]]:
    """Run every cell that is not committed, on the cluster; metrics by preset and seed.

    A failing cell does not keep the others from being run and committed.

    Args:
        table: what is run.
        seeds: at least `MIN_SEEDS`, all different.
        folder: shared by all nodes; the cells lie in it.
        limit_s: seconds of a cell from its start to its end.
        cpus: cores that a cell reserves.

    Raises:
        ValueError: too few seeds, a committed cell of another definition, or no room.
        RuntimeError: cells failed or ran out of time; the others are committed.
    """
    if len(set(seeds)) < max(MIN_SEEDS, len(seeds)):
        raise ValueError(
            f"seeds {list(seeds)}: a table needs at least {MIN_SEEDS} different seeds, or its "
            "differences may be those of two single trainings"
        )
    wanted = [(preset, seed) for seed in seeds for preset in table.presets]
    found = {cell: _committed(table, *cell, folder) for cell in wanted}
    missing = [cell for cell in wanted if found[cell] is None]
    if missing:
        require_room(1, {"CPU": float(cpus)}, cluster_nodes(), what="cell", how="Lower cpus")
        if table.prepare is not None:
            table.prepare(folder)
        _run_cells(table, missing, folder, limit_s, cpus)
        found |= {cell: _committed(table, *cell, folder) for cell in missing}
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in table.presets}
    for (preset, seed), metrics in found.items():
        assert metrics is not None
        results[preset][seed] = metrics
    return results


def cell_file(table: AblationTable, preset: str, seed: int, folder: Path) -> Path:
    """Where a cell's metrics are committed."""
    return folder / "cells" / f"{preset}-seed{seed}.json"


def _committed(
    table: AblationTable, preset: str, seed: int, folder: Path
) -> dict[str, float] | None:
    file = cell_file(table, preset, seed, folder)
    if not file.is_file():
        return None
    record = json.loads(file.read_text())
    require_same(
        record["identity"],
        table.identity(preset, seed),
        place=file,
        what="a cell",
        other="folder",
    )
    return record["metrics"]


def _run_cells(
    table: AblationTable,
    cells: Sequence[tuple[str, int]],
    folder: Path,
    limit_s: float,
    cpus: float,
) -> None:
    """Start all cells; Ray runs as many at a time as the cluster holds."""
    for cell in cells:  # left by a driver that died
        cell_file(table, *cell, folder).with_suffix(".started").unlink(missing_ok=True)
    task = cast(Any, ray.remote)(num_cpus=cpus, max_retries=2)(_run_cell)
    waiting = {
        task.remote(table.cell, table.identity(*cell), cell_file(table, *cell, folder)): cell
        for cell in cells
    }
    failed: list[str] = []
    clocks = {reference: _Clock() for reference in waiting}
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=1.0)
        for reference in done:
            preset, seed = waiting.pop(reference)
            try:
                spent = ray.get(reference)
                print(f"cell        {preset}, seed {seed}: {spent:.1f} s")
            except RayError as error:
                failed.append(f"{preset}, seed {seed}: {_cause(error)}")
        for reference, (preset, seed) in list(waiting.items()):
            mark = cell_file(table, preset, seed, folder).with_suffix(".started")
            if clocks[reference].seconds(mark, time.monotonic()) > limit_s:
                ray.cancel(reference, force=True)
                waiting.pop(reference)
                failed.append(f"{preset}, seed {seed}: not done after {limit_s:g} s")
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(cells)} cells of {table.name!r} failed; the others are "
            "committed, and the same command goes on with these: " + "; ".join(failed)
        )


class _Clock:
    """How long a cell has run, on the driver's clock. Ray starts a cell whose worker died again,
    which marks a new start: the limit is each start's own."""

    def __init__(self) -> None:
        self._mark = ""
        self._since = math.inf

    def seconds(self, mark: Path, now: float) -> float:
        """Since the newest start was first seen; negative before there is any."""
        try:
            found = mark.read_text()
        except FileNotFoundError:  # not begun, or done since
            return now - self._since
        if found != self._mark:
            self._mark, self._since = found, now
        return now - self._since


def _cause(error: Exception) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {cause}"


def _run_cell(cell: Cell, identity: dict[str, Any], file: Path) -> float:
    """One cell in a worker; its seconds. The JSON file is written last and at once."""
    quiet_process()
    scratch = file.with_suffix("")
    scratch.mkdir(parents=True, exist_ok=True)
    mark = file.with_suffix(".started")
    with replacing(mark) as temporary:
        temporary.write_text(uuid.uuid4().hex)  # names this start
    started = time.perf_counter()
    arguments = {**identity["settings"], **identity["arguments"]}
    metrics = dict(cell(seed=identity["seed"], folder=scratch, **arguments))
    bad = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if bad or not metrics:
        raise ValueError(f"the cell gave no finite value of {bad or 'any metric'}")
    spent = time.perf_counter() - started
    record = {"identity": identity, "metrics": metrics, "seconds": spent}
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True))
    mark.unlink(missing_ok=True)
    return spent


def definition_hash(table: AblationTable) -> str:
    """Of all cells' arguments, without seeds: names the folder of a table."""
    text = json.dumps({p: table.identity(p, 0) for p in table.presets}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
