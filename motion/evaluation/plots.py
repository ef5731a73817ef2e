"""A table as one picture: a panel per metric, a bar per row, 95 % intervals."""

import math
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from motion.evaluation.tables import ARROWS, Table

_COLORS: Final = {"real": "#4c9f9f", "ours": "#3b6fb6", "published": "#b9b9b9"}


def table_png(path: Path, table: Table) -> Path:
    """Write the table's picture.

    Raises:
        ValueError: no row has a finite value.
    """
    columns = [
        column
        for column in table.shown_columns()
        if any(
            math.isfinite(row.values[column.name].mean)
            for row in table.rows
            if column.name in row.values
        )
    ]
    if not columns:
        raise ValueError(f"nothing to draw: no row of {table.title} has a finite value")
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    height = 0.8 + 0.26 * len(table.rows)
    figure = Figure(figsize=(4.6 * across, height * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, column in zip(panels, columns, strict=False):
        rows = [
            row
            for row in reversed(table.rows)
            if column.name in row.values and math.isfinite(row.values[column.name].mean)
        ]
        values = [row.values[column.name] for row in rows]
        half = [(v.high - v.low) / 2 if math.isfinite(v.high - v.low) else 0.0 for v in values]
        axes.barh(
            [row.label() for row in rows],
            [value.mean for value in values],
            xerr=half,
            color=[_COLORS[row.kind] for row in rows],
            error_kw={"linewidth": 1, "capsize": 2},
        )
        axes.set_title(f"{column.label} {ARROWS[column.better]}", fontsize=10)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    figure.suptitle(table.title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
