"""Compute an ablation table of the papers, at a size that two CPU cores finish in minutes.

    ray job submit -- python tuning/tables.py comovi-interaction --seeds 0 1 2

Results: `<output>/<table>/table.md`, and the numbers in MLflow's experiment "ablations". Cells that
are committed are not run again.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import mlflow
import ray
import tyro
from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional

from motion import paths
from motion.data.storage import replacing
from motion.training.tracking import git_state
from tuning.ablations import AblationTable, definition_hash, run_table
from tuning.comovi_tables import comovi_architecture, comovi_interaction, comovi_map
from tuning.genmo_tables import genmo_2d, genmo_modes
from tuning.k2m_tables import k2m_adapter, k2m_losses
from tuning.verdicts import flat_metrics, render

TABLES: Final[Mapping[str, Callable[[Path], AblationTable]]] = {
    "comovi-interaction": comovi_interaction,
    "comovi-map": comovi_map,
    "comovi-architecture": comovi_architecture,
    "genmo-2d": genmo_2d,
    "genmo-modes": genmo_modes,
    "k2m-adapter": k2m_adapter,
    "k2m-losses": k2m_losses,
}
"""By name; each is given the folder of its encoded data."""


class Recipe(BaseModel):
    """One ablation table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: Positional[str]
    """Name of the table."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """At least three."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps of a cell; the table's own unless given."""
    output: Path = Field(default_factory=lambda: paths.outputs() / "ablations")
    """Where cells and tables go."""


def main(recipe: Recipe) -> None:
    """Run the table on the cluster that this job runs on."""
    if recipe.table not in TABLES:
        raise ValueError(f"unknown table {recipe.table!r}; expected one of {sorted(TABLES)}")
    ray.init(logging_level=logging.WARNING, ignore_reinit_error=True)
    table = TABLES[recipe.table]((paths.data() / "ablations").resolve())
    if recipe.steps is not None:
        table = replace(table, settings={**table.settings, "steps": recipe.steps})
    output = recipe.output.expanduser().resolve()
    folder = output / f"{table.name}-{definition_hash(table)[:8]}"
    results = run_table(table, recipe.seeds, folder)
    text = render(table, results)
    with replacing(folder / "table.md") as file:
        file.write_text(text)
    print(text)
    mlflow.set_tracking_uri(paths.mlflow_uri())
    mlflow.set_experiment("ablations")
    with mlflow.start_run(run_name=table.name):
        mlflow.log_params({"definition": definition_hash(table), "seeds": str(recipe.seeds)})
        mlflow.set_tag("git", git_state().split("\n")[0])
        mlflow.log_metrics(flat_metrics(table, results))
        mlflow.log_artifact(str(folder / "table.md"))
    print(f"table       {folder / 'table.md'}")


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__, config=(tyro.conf.AvoidSubcommands,)))
