"""Sample for many prompts: a file of prompts in; videos, motion maps, motions and a table out.

    ray job submit -- python rayjobs/generate.py prompts.txt --output outputs/generated/demo
    ray job submit -- python rayjobs/generate.py prompts.parquet --refine --offload layers

A .txt file has one prompt per line; a .parquet file has the column `prompt` and, where wanted,
`image`, `pose` (files beside it or absolute) and `seed`. A prompt whose sample is committed is not
made again, so a job that died, or one with failures, is simply submitted again.

Results: samples, and `table.parquet` with one row per prompt: its files, or what went wrong. They
lie in `--output`.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import tyro
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from tyro.conf import Positional

from motion import paths
from motion.completion import CompletionConfig
from motion.conditioning.conditions import Conditions
from motion.data.claim import require_same
from motion.data.console import quiet, quiet_process, watched
from motion.data.room import cluster_nodes, require_room, spare_gpus
from motion.data.storage import replacing
from motion.exported import export_hash, newest_export
from motion.inference import Pipeline, write_result
from motion.offload import Offload, OffloadConfig

COLUMNS: Final = ("prompt", "image", "pose", "seed")
"""Of a .parquet file of prompts."""
TABLE: Final = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("files", pa.list_(pa.string())),
        ("seconds", pa.float64()),
        ("error", pa.string()),
    ]
)


class Recipe(BaseModel):
    """Many samples from one export."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompts: Positional[Path]
    """.txt (one prompt per line) or .parquet (columns prompt, image, pose, seed)."""
    export: Path | None = None
    """Folder of an export; the newest of CoMoVi unless given."""
    output: Path | None = None
    """Where samples and table go; `generated/` and the name of the prompts' file unless given."""
    seed: int = 0
    """Prompt i is sampled with seed + i where its row names none."""
    options: dict[str, JsonValue] = {}
    """Sampling options: steps, guidance, shift ..."""
    duration_s: Annotated[float, Field(gt=0)] | None = None
    """Length in seconds; as in training unless given."""
    pose_model: str | None = None
    """ViTPose (folder or hub id) for rows with an image and no pose."""
    refine: bool = False
    """Correct the poses with the generated map."""
    actors: Annotated[int, Field(ge=1)] | None = None
    """Pipelines at work; one per GPU, or one per two CPUs, unless given."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of each; None takes one where the cluster has one."""
    offload: Offload = "none"
    """"layers" or "split" keep weights in the machine's memory while they do not compute, for
    GPUs that are smaller than the model."""
    device_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Weights that may stay on the GPU under "split", gigabytes."""

    def identity(self, export: Path) -> dict[str, Any]:
        """What decides a sample beside its row."""
        return {
            "export": export_hash(export),
            "options": self.options,
            "duration_s": self.duration_s,
            "pose_model": self.pose_model,
            "refine": self.refine,
        }


def read_jobs(recipe: Recipe) -> list[dict[str, Any]]:
    """One job per prompt: id, prompt, seed, image, pose.

    Raises:
        ValueError: no such file, an unknown kind or column, or no prompt.
    """
    file = recipe.prompts.expanduser().absolute()
    if not file.is_file():
        raise ValueError(f"no such file of prompts: {file}")
    if file.suffix == ".txt":
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        rows: list[dict[str, Any]] = [{"prompt": line} for line in lines if line]
    elif file.suffix == ".parquet":
        table = pq.read_table(file)
        unknown = sorted(set(table.column_names) - set(COLUMNS))
        if unknown or "prompt" not in table.column_names:
            raise ValueError(
                f"{file} has the columns {table.column_names}; expected `prompt` and, where "
                f"wanted, some of {COLUMNS[1:]}"
            )
        rows = table.to_pylist()
    else:
        raise ValueError(f"{file} is neither .txt nor .parquet")
    if not rows:
        raise ValueError(f"{file} holds no prompt")
    return [_job(index, row, recipe.seed + index, file.parent) for index, row in enumerate(rows)]


def _job(index: int, row: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    files = {
        name: str(folder / str(row[name])) if row.get(name) else None for name in ("image", "pose")
    }
    given = row.get("seed")
    return {
        "id": f"{index:06d}",
        "prompt": str(row["prompt"]),
        "seed": seed if given is None else int(given),
        **files,
    }


class Generator:
    """A pipeline in an actor: one job in, its files and its record out."""

    def __init__(self, recipe: Recipe, export: Path, output: Path, device: str) -> None:
        quiet_process()
        self.recipe, self.output = recipe, output
        offload = OffloadConfig(mode=recipe.offload, device_memory_gb=recipe.device_memory_gb)
        self.pipeline = Pipeline.load(export, device=device, offload=offload)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Records as JSON. An error belongs to its prompt and does not stop the others."""
        return {"record": [json.dumps(self._one(json.loads(str(job)))) for job in batch["job"]]}

    def _one(self, job: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        record = {name: job[name] for name in ("id", "prompt", "seed")}
        try:
            files = self._sample(job)
        except (ValueError, RuntimeError, OSError) as error:
            return record | {
                "files": [],
                "seconds": time.perf_counter() - started,
                "error": f"{type(error).__name__}: {' '.join(str(error).split())}",
            }
        record |= {"files": files, "seconds": time.perf_counter() - started, "error": None}
        with replacing(record_file(self.output, job["id"])) as file:  # the commit: last
            file.write_text(json.dumps({"job": job, "record": record}))
        return record

    def _sample(self, job: dict[str, Any]) -> list[str]:
        needs_pose = job["image"] and not job["pose"]
        conditions = Conditions(
            image=job["image"],
            pose=job["pose"],
            pose_model=self.recipe.pose_model if needs_pose else None,
        )
        (result,) = self.pipeline.sample(
            [job["prompt"]],
            seed=job["seed"],
            duration_s=self.recipe.duration_s,
            conditions=conditions,
            completion=CompletionConfig(refine=self.recipe.refine),
            **self.recipe.options,
        )
        written = write_result(result, self.output / "samples" / job["id"], separate=True)
        return [str(path.relative_to(self.output)) for path in written]


def record_file(output: Path, name: str) -> Path:
    """Where a finished sample says so."""
    return output / "records" / f"{name}.json"


def generate(recipe: Recipe) -> Path:
    """Make the samples that are missing; the table.

    Raises:
        ValueError: the prompts cannot be read, the output holds samples made otherwise, or the
            actors do not fit the cluster.
        RuntimeError: samples failed; the message names their prompts, and the others are there.
    """
    jobs = read_jobs(recipe)
    export = (recipe.export or newest_export("comovi")).expanduser().resolve()
    chosen = recipe.output or paths.outputs() / "generated" / recipe.prompts.stem
    output = chosen.expanduser().absolute()
    _claim(output, recipe.identity(export))
    done = [found for job in jobs if (found := _committed(output, job)) is not None]
    finished = {record["id"] for record in done}
    pending = [job for job in jobs if job["id"] not in finished]
    made = _run(recipe, pending, export, output) if pending else []
    records = sorted([*done, *made], key=lambda record: record["id"])
    table = output / "table.parquet"
    with replacing(table) as file:
        pq.write_table(pa.Table.from_pylist(records, schema=TABLE), file)
    failed = [record for record in records if record["error"]]
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(jobs)} samples failed (all of them stand in {table}; the same "
            "command tries them again): "
            + "; ".join(f"“{record['prompt']}”: {record['error']}" for record in failed[:10])
        )
    return table


def _claim(output: Path, identity: dict[str, Any]) -> None:
    file = output / "generate.json"
    if file.is_file():
        found = json.loads(file.read_text())
        require_same(found, identity, place=output, what="samples", other="output")
        return
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(identity, indent=2, sort_keys=True))


def _committed(output: Path, job: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a job that is done.

    Raises:
        ValueError: that place is taken by another prompt.
    """
    file = record_file(output, job["id"])
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    require_same(found["job"], job, place=file, what="a sample", other="output")
    return found["record"]


def _run(
    recipe: Recipe, jobs: Sequence[dict[str, Any]], export: Path, output: Path
) -> list[dict[str, Any]]:
    nodes = cluster_nodes()
    gpus = spare_gpus(recipe.num_gpus, nodes)
    total = sum(node.get("GPU" if gpus else "CPU", 0.0) for node in nodes)
    count = min(recipe.actors or max(1, int(total / (gpus or 2.0))), len(jobs))
    require_room(
        count, {"CPU": 1.0, "GPU": gpus}, nodes, what="pipelines", how="Lower actors or num_gpus"
    )
    items = [{"job": json.dumps(job)} for job in jobs]
    dataset = quiet(ray.data.from_items(items, override_num_blocks=len(items)))
    made = dataset.map_batches(
        cast(Any, Generator),
        batch_size=1,
        batch_format="numpy",
        fn_constructor_kwargs={
            "recipe": recipe,
            "export": export,
            "output": output,
            "device": "cuda" if gpus else "cpu",
        },
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1.0,
        num_gpus=gpus,
    )
    rows = watched(made.iter_rows(), len(jobs), "sampling")
    return [json.loads(str(row["record"])) for row in rows]


def main(recipe: Recipe) -> None:
    """Generate on the cluster that this job runs on."""
    ray.init(logging_level=logging.WARNING, ignore_reinit_error=True)
    print(f"table       {generate(recipe)}")


if __name__ == "__main__":
    main(tyro.cli(Recipe, description=__doc__, config=(tyro.conf.AvoidSubcommands,)))
