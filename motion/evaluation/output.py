"""Where a table goes: files, the terminal, and the MLflow runs of the compared exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlflow
from pydantic import JsonValue
from rich.console import Console

from motion.data.storage import replacing
from motion.evaluation.conditions import log_to_run
from motion.evaluation.plots import table_png
from motion.evaluation.tables import Table, console, flat_metrics, latex, markdown
from motion.training.tracking import use_run

_WIDTH_PIPED: Final = 200
"""Columns of a table that is not printed on a terminal."""


@dataclass(frozen=True)
class Subject:
    """One export that is compared."""

    export: Path
    name: str
    """Of its row; no other export of the comparison has it."""
    hash: str
    config: Mapping[str, JsonValue]
    """Its config.json."""


def write_table(table: Table, stem: Path) -> list[Path]:
    """Write `stem`.json, .md, .tex and .png; the written files."""
    texts = {
        ".json": table.model_dump_json(indent=2),
        ".md": markdown(table),
        ".tex": latex(table),
    }
    written: list[Path] = []
    for suffix, text in texts.items():
        file = stem.with_name(stem.name + suffix)
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(file)
    return [*written, table_png(stem.with_name(stem.name + ".png"), table)]


def log_table(table: Table, subjects: Sequence[Subject], files: Sequence[Path]) -> None:
    """Each export's numbers and the table in the MLflow run of its training, where it has one."""
    ours = [row for row in table.rows if row.kind == "ours"]
    for subject in subjects:
        training = subject.config.get("training")
        assert isinstance(training, dict)
        uri, run_id = training.get("mlflow_uri"), training.get("run_id")
        if not uri or not run_id:
            continue
        before = mlflow.get_tracking_uri()
        use_run(str(uri))
        step = subject.config.get("step")
        assert isinstance(step, int)
        metrics = {
            name: value
            for row in ours
            if row.name == subject.name
            for name, value in flat_metrics(table, row).items()
        }
        log_to_run(str(run_id), step, metrics, files)
        use_run(before)


def show(table: Table) -> None:
    """Print the table, unbroken where it goes to a file or a pipe, which have no width."""
    terminal = Console()
    if not terminal.is_terminal:
        terminal = Console(width=max(terminal.width, _WIDTH_PIPED))
    terminal.print(console(table))
