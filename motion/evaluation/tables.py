"""A table of results: for people (console, Markdown, LaTeX) and for MLflow and JSON."""

import math
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table as RichTable

from motion.evaluation.protocols import Better, Column
from motion.metrics.interval import Interval

Kind = Literal["real", "ours", "published"]
ARROWS: Final[Mapping[Better, str]] = {"higher": "↑", "lower": "↓", "real": "→"}
_LATEX_ARROWS: Final[Mapping[Better, str]] = {
    "higher": r"$\uparrow$",
    "lower": r"$\downarrow$",
    "real": r"$\rightarrow$",
}
_LATEX_ESCAPES: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "²": r"$^2$", "³": r"$^3$",
}  # fmt: skip


_CONFIG: Final = ConfigDict(
    frozen=True,
    extra="forbid",
    use_attribute_docstrings=True,
    ser_json_inf_nan="strings",  # unknown bounds survive JSON, which knows no NaN
)


class Row(BaseModel):
    """One line: the real data, an export of ours, or a published one."""

    model_config = _CONFIG

    name: str
    """What was measured."""
    kind: Kind
    """Published figures are marked, and are never the best of a column."""
    values: dict[str, Interval]
    """By column; NaN bounds where no interval is known."""
    note: str = ""
    """Footnote: source, or how the row was measured."""
    flagged: bool = False
    """Measured on clips under a restrictive licence, which are never mixed with others."""

    def label(self) -> str:
        """Name with its mark."""
        mark = " (published)" if self.kind == "published" else ""
        return self.name + mark + (" (restricted clips)" if self.flagged else "")


class Table(BaseModel):
    """Rows of one protocol."""

    model_config = _CONFIG

    title: str
    """Name of the protocol."""
    columns: tuple[Column, ...]
    """Metrics, in order."""
    rows: tuple[Row, ...]
    """The real data first, then ours, then published ones."""
    facts: dict[str, str] = Field(default_factory=dict)
    """What every number of ours needs to be read: hashes, clips, seed, split."""

    def shown_columns(self) -> list[Column]:
        """Columns that a row has a value for."""
        known = {name for row in self.rows for name in row.values}
        return [column for column in self.columns if column.name in known]

    def best(self, column: Column) -> str | None:
        """Name of the best row of ours in a column; None with fewer than two.

        Published rows do not compete, nor do restricted clips: other data, other evaluators.
        """
        rows = [
            row
            for row in self.rows
            if row.kind == "ours"
            and not row.flagged
            and column.name in row.values
            and math.isfinite(row.values[column.name].mean)
        ]
        if len(rows) < 2:
            return None
        if column.better == "real":
            real = next(
                (row.values.get(column.name) for row in self.rows if row.kind == "real"), None
            )
            if real is None:
                return None
            return min(rows, key=lambda row: abs(row.values[column.name].mean - real.mean)).name
        sign = -1 if column.better == "higher" else 1
        return min(rows, key=lambda row: sign * row.values[column.name].mean).name


def cell(value: Interval | None) -> str:
    """`mean ± half width` in three significant decimals; a hyphen where nothing was measured."""
    if value is None or not math.isfinite(value.mean):
        return "-"
    half = (value.high - value.low) / 2
    digits = 1 if abs(value.mean) >= 100 else 2 if abs(value.mean) >= 20 else 3
    text = f"{value.mean:.{digits}f}"
    return f"{text} ± {half:.{digits}f}" if math.isfinite(half) else text


def markdown(table: Table) -> str:
    """The table with its facts and footnotes."""
    columns = table.shown_columns()
    heads = [f"{_heading(column)} {ARROWS[column.better]}" for column in columns]
    lines = [
        f"## {table.title}",
        "",
        "| | " + " | ".join(heads) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    notes = _notes(table)
    for row in table.rows:
        mark = f" [{notes[row.note]}]" if row.note else ""
        cells = [
            f"**{cell(row.values.get(column.name))}**"
            if row.kind == "ours" and table.best(column) == row.name and not row.flagged
            else cell(row.values.get(column.name))
            for column in columns
        ]
        lines.append(f"| {row.label()}{mark} | " + " | ".join(cells) + " |")
    lines += ["", *(f"[{number}] {note}  " for note, number in notes.items())]
    lines += ["", "| fact | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in table.facts.items()]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A `tabular` for the booktabs package, notes and facts as comments above it."""
    columns = table.shown_columns()
    notes = _notes(table)
    comments = [f"% {name}: {value}" for name, value in table.facts.items()]
    comments += [f"% [{number}] {note}" for note, number in notes.items()]
    heads = [f"{_escaped(_heading(c))} {_LATEX_ARROWS[c.better]}" for c in columns]
    body: list[str] = []
    before: Kind | None = None
    for row in table.rows:
        if before is not None and row.kind != before:
            body.append(r"\midrule")
        before = row.kind
        cells = [cell(row.values.get(column.name)).replace("±", r"$\pm$") for column in columns]
        body.append(" & ".join([_escaped(row.label()), *cells]) + r" \\")
    return "\n".join(
        [
            *comments,
            r"\begin{tabular}{l" + "r" * len(columns) + "}",
            r"\toprule",
            " & ".join(["", *heads]).strip() + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def console(table: Table) -> RichTable:
    """The table for a terminal."""
    columns = table.shown_columns()
    drawn = RichTable(title=table.title, box=None, pad_edge=False, header_style="bold")
    drawn.add_column("")
    for column in columns:
        drawn.add_column(f"{_heading(column)} {ARROWS[column.better]}", justify="right")
    for row in table.rows:
        style = {"real": "cyan", "ours": "", "published": "dim"}[row.kind]
        drawn.add_row(
            row.label(), *(cell(row.values.get(column.name)) for column in columns), style=style
        )
    return drawn


def flat_metrics(table: Table, row: Row) -> dict[str, float]:
    """A row's finite numbers under the names of MLflow: `<protocol>/<metric>`, `_low`, `_high`."""
    prefix = table.title + ("/restricted" if row.flagged else "")
    flat: dict[str, float] = {}
    for name, (mean, low, high, n) in row.values.items():
        numbers = {"": mean, "_low": low, "_high": high, "_n": float(n)}
        flat |= {f"{prefix}/{name}{end}": x for end, x in numbers.items() if math.isfinite(x)}
    return flat


def _heading(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit else column.label


def _notes(table: Table) -> dict[str, int]:
    """Number of each footnote, in order of appearance."""
    found = dict.fromkeys(row.note for row in table.rows if row.note)
    return {note: number for number, note in enumerate(found, 1)}


def _escaped(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(character, character) for character in text)
