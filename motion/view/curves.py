"""Loss curves of a run as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.ticker
from matplotlib.figure import Figure

History = Sequence[tuple[int, float]]
"""(step, value) in order of steps."""


def curves_png(path: Path, panels: Mapping[str, Mapping[str, History]], *, title: str = "") -> Path:
    """Write one panel per group of curves, on a logarithmic axis where they span a decade.

    Args:
        path: the PNG.
        panels: curves by label, by the panel's title.
        title: over everything.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(history for curves in panels.values() for history in curves.values()):
        raise ValueError("no curve to draw: the run has logged none of these metrics")
    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    for axes, (name, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for label, history in curves.items():
            axes.plot([step for step, _ in history], [v for _, v in history], label=label, lw=1.3)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("optimizer step", fontsize=9)
        values = [value for history in curves.values() for _, value in history]
        if values and 0 < 10 * min(values) < max(values):
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        axes.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.3g"))
        axes.grid(alpha=0.25, which="both", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    return path
