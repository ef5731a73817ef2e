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
import numpy as np
import ray
import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional

from motion import paths
from motion.batch import Batch
from motion.data.collate import collate
from motion.data.encode import EncodeConfig, encode
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef, Plan
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.reading import Reader
from motion.data.storage import replacing
from motion.models.comovi.config import PARTS, CoMoViConfig
from motion.models.comovi.system import CoMoVi
from motion.training.tracking import git_state
from tuning.ablations import AblationTable, Claim, definition_hash, run_table
from tuning.verdicts import flat_metrics, render

COLUMNS: Final = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "smpl_rotvec", "smpl_translation",
    "smpl_betas", "intrinsics", "T_camera_world",
)  # fmt: skip


def train_comovi(
    *,
    seed: int,
    folder: Path,
    root: str,
    interaction: str,
    steps: int,
    batch_size: int,
    num_frames: int,
) -> dict[str, float]:
    """Train tiny CoMoVi in this process and measure held-out losses, the same draws for all cells.

    One process, plain AdamW and no autocast: a cell compares presets, not the trainer. The
    network's weights, the order of the clips and the noise derive from the seed alone.
    """
    del folder
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    parts = tuple(part for part in PARTS if interaction != "none" or part != "bridges")
    tiny = CoMoViConfig.tiny().model_dump()
    config = CoMoViConfig.model_validate(
        {**tiny, "interaction": interaction, "trainable": parts, "pose_positions": num_frames - 1}
    )
    system = config.build()
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3, betas=(0.9, 0.99))
    rise, fall = max(1, steps // 10), steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min(1.0, (k + 1) / rise) * 0.5 * (1 + np.cos(np.pi * min(k, fall) / fall)),
    )
    batches = _batches(Path(root), "train", batch_size, seed)
    system.train()
    for step in range(steps):
        loss, _ = system(batches(step).stamp(step=step, steps=steps, seed=seed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return held_out_losses(system, Path(root), batch_size)


def held_out_losses(system: CoMoVi, root: Path, batch_size: int) -> dict[str, float]:
    """Means over all validation clips, four draws of noise and time each."""
    batches = _batches(root, "validation", batch_size, seed=0)
    system.eval()
    sums: dict[str, list[torch.Tensor]] = {}
    count = len(Manifest.load(root).select("validation")) // batch_size
    with torch.no_grad():
        for index in range(count):
            for draw in range(4):
                losses = system.clip_losses(batches(index), use=f"ablation/{draw}")
                for name, values in losses.items():
                    sums.setdefault(name, []).append(values)
    return {name: float(torch.cat(values).nanmean()) for name, values in sums.items()}


def _batches(root: Path, split: str, batch_size: int, seed: int) -> Callable[[int], Batch]:
    clips = [ClipRef.of(row) for row in Manifest.load(root).select(split) if not row.flagged]
    plan = Plan(clips, seed=seed, micro_batch=batch_size, accumulation=1, world=1)
    reader = Reader(plan, root, COLUMNS)

    def batch(step: int) -> Batch:
        found, replaced = reader.read(plan.step(step)[0][0])
        if replaced:
            raise ValueError(f"clips cannot be read: {'; '.join(replaced)}")
        return Batch.from_columns(collate(found))

    return batch


NUM_FRAMES: Final = 17


def comovi_interaction(root: Path) -> AblationTable:
    """How the streams exchange features (CoMoVi, section 4.5 and Fig. 8)."""
    raw = root.with_name(root.name + "-raw")
    clip = ProceduralConfig(num_frames=NUM_FRAMES, height=96, width=96)

    def data(folder: Path) -> None:
        del folder
        prepare(PrepareConfig(root=raw, num_train=256, num_validation=64, num_test=0, clip=clip))
        encode(EncodeConfig(raw_root=raw, root=root, fit_clips=64, measured_clips=16))

    text = "section 4.5: fused features injected into the motion branch disturb it"

    def claim(better: str, worse: str, metric: str, source: str) -> Claim:
        return Claim(better=better, worse=worse, metric=metric, direction="lower", source=source)

    guided = "section 4.5: without the motion branch's guidance the video degrades"
    return AblationTable(
        name="comovi-interaction",
        presets={
            name: {"interaction": name} for name in ("single_m2v", "single_v2m", "dual", "none")
        },
        claims=(
            claim("single_m2v", "dual", "flow_map", text),
            claim("single_m2v", "single_v2m", "flow_map", text),
            claim("single_m2v", "none", "flow_rgb", guided),
            claim("single_m2v", "dual", "joints", text),
        ),
        cell=train_comovi,
        metrics={
            "flow_rgb": "flow loss, video",
            "flow_map": "flow loss, motion map",
            "joints": "joint loss (m²)",
        },
        settings={"root": str(root), "steps": 300, "batch_size": 8, "num_frames": NUM_FRAMES},
        note="Tiny CoMoVi from scratch on embedded clips, minutes per cell: it shows what an "
        "exchange of features does to a small model's held-out losses, not to a pretrained "
        "video model's samples, which the paper judges.",
        prepare=data,
    )


TABLES: Final[Mapping[str, Callable[[Path], AblationTable]]] = {
    "comovi-interaction": comovi_interaction
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
