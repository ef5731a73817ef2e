"""The motion strip: a clip on one picture, poses along time and the path over the ground."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator

from motion.export.provenance import KEY, Provenance

_INK = "#22262e"
_FAINT = "#8a909c"
_CELL_IN = 1.12
"""Size of one picture on paper, in inches; at 150 dpi it shows 168 pixels."""


def strip_png(
    path: Path,
    rows: Mapping[str, UInt8[np.ndarray, "_t _h _w 3"]],
    fps: float,
    *,
    trajectory: Float[np.ndarray, "_t 3"] | None = None,
    title: str = "",
    num_poses: int = 8,
    provenance: Provenance | None = None,
) -> Path:
    """Write `num_poses` moments of each row, and the root's path seen from above.

    Args:
        rows: pictures by label, top to bottom ("RGB", "motion map", "SMPL"): one clip each, of
            the same number of frames. A label that ends in "map" is enlarged without smoothing.
        fps: frames per second, for the times under the poses.
        trajectory: root in the world (y up, metres), drawn as seen from above with +z upwards.
        title: a caption over everything, for instance the prompt.
        num_poses: moments shown, evenly spread, first and last frame included.

    Raises:
        ValueError: no row, or rows of different length.
    """
    lengths = {len(frames) for frames in rows.values()} | (
        set() if trajectory is None else {len(trajectory)}
    )
    if len(lengths) != 1 or not rows:
        found = {label: len(frames) for label, frames in rows.items()}
        raise ValueError(
            f"a strip needs rows (and a trajectory) of one length; found {found}"
            + ("" if trajectory is None else f" and a trajectory of {len(trajectory)}")
        )
    num_frames = lengths.pop()
    moments = np.unique(np.linspace(0, num_frames - 1, num_poses).round().astype(int))
    figure, grid = _canvas(rows, len(moments), with_path=trajectory is not None, title=title)
    for row, (label, frames) in enumerate(rows.items()):
        for column, frame in enumerate(moments):
            axes = figure.add_subplot(grid[row, column])
            smooth = "nearest" if label.endswith("map") else "antialiased"
            axes.imshow(frames[frame], interpolation=smooth)
            _bare(axes)
            if column == 0:
                axes.set_ylabel(label, fontsize=9, color=_INK)
            if row == len(rows) - 1:
                axes.set_xlabel(f"{frame / fps:.2f} s", fontsize=8, color=_FAINT, labelpad=3)
    if trajectory is not None:
        _draw_path(figure.add_subplot(grid[:, -1]), trajectory, moments)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {} if provenance is None else {KEY: provenance.model_dump_json()}
    figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
    return path


def _canvas(
    rows: Mapping[str, UInt8[np.ndarray, "_t _h _w 3"]],
    columns: int,
    *,
    with_path: bool,
    title: str,
) -> tuple[Figure, GridSpec]:
    first = next(iter(rows.values()))
    cell_width = _CELL_IN * first.shape[2] / first.shape[1]
    # Margins in inches: left for row labels, below for times, above for the titles.
    left, bottom, top, right = 0.32, 0.32, 0.42 if title or with_path else 0.1, 0.1
    body_height = _CELL_IN * len(rows)
    path_width = max(1.5, body_height * 0.8) if with_path else 0.0
    path_gap = 0.6 if with_path else 0.0
    width = left + cell_width * columns + path_gap + path_width + right
    height = bottom + body_height + top
    figure = Figure(figsize=(width, height))
    # An empty column makes room for the axis labels of the path.
    ratios = [cell_width] * columns + ([path_gap, path_width] if with_path else [])
    grid = GridSpec(
        len(rows),
        len(ratios),
        figure=figure,
        width_ratios=ratios,
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=0.03,
        hspace=0.03,
    )
    if title:
        figure.text(left / width, 1 - 0.26 / height, title, fontsize=11, color=_INK, va="center")
    return figure, grid


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_path(axes: Axes, trajectory: Float[np.ndarray, "t 3"], moments: np.ndarray) -> None:
    """x against z with equal scales, at least a metre wide so that standing looks like standing."""
    x, z = trajectory[:, 0], trajectory[:, 2]
    axes.plot(x, z, color=_FAINT, linewidth=1.2, zorder=1)
    axes.scatter(x[moments], z[moments], c=moments, cmap="viridis", s=22, zorder=2, linewidths=0)
    axes.scatter(x[:1], z[:1], facecolors="none", edgecolors=_INK, s=70, linewidths=1.0, zorder=3)
    half = max(0.5, 0.55 * float(max(np.ptp(x), np.ptp(z))))
    middle_x, middle_z = float(x.min() + x.max()) / 2, float(z.min() + z.max()) / 2
    axes.set_xlim(middle_x + half, middle_x - half)  # from above, with z upwards, x points left
    axes.set_ylim(middle_z - half, middle_z + half)
    axes.set_aspect("equal")
    axes.set_xlabel("x (m)", fontsize=8, color=_FAINT, labelpad=1)
    axes.set_ylabel("z (m)", fontsize=8, color=_FAINT, labelpad=1)
    axes.set_title("path from above", fontsize=8, color=_FAINT, pad=3)
    axes.tick_params(labelsize=7, colors=_FAINT, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(alpha=0.25, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color("#d5d8de")
