"""Evaluation of exports in a Ray task: beside the training, and of the final export after it.

Exports on the way are evaluated by Ray Train (`ValidationConfig.fn`, here `validate`) while the
workers go on. The final one is evaluated by `fit` once the workers have ended, with their GPU. Its
metrics lie in the export as evaluation.json: a driver that died during the evaluation repeats
it, and none repeats one that is complete.
"""

import importlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.train import Checkpoint

from motion import paths
from motion.data.console import quiet_process
from motion.data.room import Nodes, cluster_nodes, require_room, spare_gpus
from motion.data.storage import replacing
from motion.training import scores
from motion.training.config import TrainConfig, ValidateConfig
from motion.training.console import record_event
from motion.training.tracking import use_run

RECORD = "evaluation.json"


class EvaluationFailedError(RuntimeError):
    """A training has its export, but the evaluation of it failed."""


def load_function(config: ValidateConfig) -> Callable[..., Mapping[str, float]]:
    """The function that `validate_with.function` names.

    Raises:
        ValueError: there is no such module or function.
    """
    module, _, name = config.function.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"validate_with.function {config.function!r} cannot be imported: {error}"
        ) from error
    return cast("Callable[..., Mapping[str, float]]", found)


def task_resources(num_gpus: float | None, nodes: Nodes, *, taken: float = 0.0) -> dict[str, float]:
    """What an evaluation or a sampling reserves: one CPU, and a GPU where there is one to spare.

    Args:
        num_gpus: as configured; None takes one GPU where the cluster has one left.
        nodes: of the cluster.
        taken: GPUs that training workers hold meanwhile.

    Returns:
        Options of `ray.remote`.

    Raises:
        ValueError: the cluster can never hold it.
    """
    gpus = spare_gpus(num_gpus, nodes, taken=taken)
    how = "Lower num_gpus (0 evaluates on a CPU)"
    require_room(1, {"CPU": 1.0, "GPU": gpus}, nodes, what="evaluation", how=how)
    return {"num_cpus": 1.0, "num_gpus": gpus}


def device_of(resources: Mapping[str, float]) -> str:
    """Where a task with these resources computes."""
    return "cuda" if resources["num_gpus"] else "cpu"


def in_task(function: Callable[..., Any], *arguments: Any, num_gpus: float | None = None) -> Any:
    """Call function(*arguments, device=...) in a Ray task with an evaluation's resources."""
    resources = task_resources(num_gpus, cluster_nodes())
    task = cast(Any, ray.remote)(**resources)(function)
    return ray.get(task.remote(*arguments, device=device_of(resources)))


def on_the_way(config: TrainConfig, step: int) -> Path:
    """The export that is written after `step` steps for its evaluation alone.

    The last part is the name: an evaluation files its pictures under it.
    """
    return config.run_dir / "exports" / f"step_{step:08d}" / config.name


def settings_of(config: TrainConfig, run_id: str, device: str) -> dict[str, Any]:
    """What an evaluation needs of a training, as JSON values: Ray keeps them in its snapshot."""
    assert config.validate_with is not None
    return {
        "settings": config.validate_with.model_dump(mode="json"),
        "tracking_uri": config.mlflow_uri,
        "run_dir": str(config.run_dir),
        "run_id": run_id,
        "device": device,
    }


def validate(
    checkpoint: Checkpoint, *, export_dir: str, step: int, **settings: Any
) -> dict[str, float]:
    """Ray Train's validation function: evaluate an export on the way, then delete it.

    Args:
        checkpoint: what Ray Train attaches the metrics to; the export is evaluated in its place.
        export_dir: the export (`on_the_way`).
        step: completed steps.
        settings: of `settings_of`.
    """
    try:
        return evaluate(export_dir, step, settings)
    finally:
        folder = Path(export_dir).parent
        assert folder.name.startswith("step_"), folder  # never a folder of final exports
        shutil.rmtree(folder, ignore_errors=True)


def evaluate(export_dir: str, step: int, given: Mapping[str, Any]) -> dict[str, float]:
    """Call the configured function, which logs to the MLflow run, and record what came of it."""
    config = ValidateConfig.model_validate(given["settings"])
    use_run(given["tracking_uri"])
    quiet_process()
    run_dir, started = Path(given["run_dir"]), time.perf_counter()
    call = {"run_id": given["run_id"], "step": step, "device": given["device"]}
    try:
        metrics = load_function(config)(export_dir, **call, **config.arguments)
    except Exception as error:
        text = f"of step {step}: {type(error).__name__}: {error}"
        record_event(run_dir, "validation failed", text)
        raise
    where = paths.evaluation_samples(Path(export_dir), step)
    pictures = f", pictures in {where}" if where.is_dir() else ""
    text = f"step {step} in {time.perf_counter() - started:.0f} s{pictures}\n"
    record_event(run_dir, "validation", text + scores.block(metrics))
    return dict(metrics)


def evaluated(config: TrainConfig) -> bool:
    """Whether nothing is left to evaluate: none is configured, or the same one is complete."""
    if config.validate_with is None:
        return True
    file = config.export_dir / RECORD
    return file.is_file() and json.loads(file.read_text())["of"] == _key(config.validate_with)


def evaluate_final(config: TrainConfig, run_id: str) -> None:
    """Evaluate the committed export in a Ray task and commit the metrics beside it.

    Raises:
        EvaluationFailedError: it failed; the export stays.
    """
    assert config.validate_with is not None
    resources = task_resources(config.validate_with.num_gpus, cluster_nodes())
    given = settings_of(config, run_id, device_of(resources))
    task = cast(Any, ray.remote)(**resources)(_evaluate_final)
    try:
        ray.get(task.remote(str(config.export_dir), config.steps, given))
    except RayError as error:
        raise EvaluationFailedError(
            f"{config.name} is trained and exported, but its evaluation failed "
            f"({getattr(error, 'cause', None) or error}): submit the job again to repeat "
            "the evaluation alone, or set validate_with=None"
        ) from error


def _evaluate_final(export_dir: str, step: int, given: Mapping[str, Any]) -> None:
    metrics = evaluate(export_dir, step, given)
    key = _key(ValidateConfig.model_validate(given["settings"]))
    with replacing(Path(export_dir) / RECORD) as file:
        file.write_text(json.dumps({"of": key, "step": step, "metrics": metrics}, indent=2))


def _key(config: ValidateConfig) -> dict[str, Any]:
    """What decides an evaluation's result."""
    return config.model_dump(mode="json", include={"function", "arguments"})
