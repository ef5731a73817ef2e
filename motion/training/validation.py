"""Evaluation of exports in a Ray task beside the training (Ray Train's ValidationConfig.fn)."""

import importlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from ray.train import Checkpoint

from motion import paths
from motion.data.console import quiet_process
from motion.training import scores
from motion.training.config import TrainConfig, ValidateConfig
from motion.training.console import record_event
from motion.training.tracking import use_run


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


def settings_of(config: TrainConfig, run_id: str) -> dict[str, Any]:
    """What `validate` needs of a training, as JSON values: Ray keeps them in its snapshot."""
    assert config.validate_with is not None
    return {
        "settings": config.validate_with.model_dump(mode="json"),
        "tracking_uri": config.mlflow_uri,
        "run_dir": str(config.run_dir),
        "run_id": run_id,
    }


def validate(
    checkpoint: Checkpoint,
    *,
    settings: dict[str, Any],
    tracking_uri: str,
    run_dir: str,
    run_id: str,
    export_dir: str,
    step: int,
    temporary: bool,
    **unknown: Any,
) -> dict[str, float]:
    """Call the config's function on an export; the function logs to the MLflow run itself.

    Args:
        checkpoint: what Ray Train attaches the metrics to; the export is evaluated in its place.
        settings: dumped ValidateConfig.
        tracking_uri: where the MLflow run is.
        run_dir: the training's folder, for its events.
        run_id: its MLflow run.
        export_dir: the export to evaluate.
        step: completed steps.
        temporary: the export was written for this call alone and is deleted afterwards.
        unknown: must be empty; Ray's protocol asks for it.

    Returns:
        The function's metrics.
    """
    assert not unknown, unknown
    config = ValidateConfig.model_validate(settings)
    use_run(tracking_uri)
    quiet_process()
    started = time.perf_counter()
    where = paths.evaluation_samples(Path(export_dir), step)
    try:
        metrics = load_function(config)(export_dir, run_id=run_id, step=step, **config.arguments)
    except Exception as error:
        text = f"of step {step} ({checkpoint.path}): {type(error).__name__}: {error}"
        record_event(Path(run_dir), "validation failed", text)
        raise
    finally:
        if temporary:
            shutil.rmtree(Path(export_dir).parent, ignore_errors=True)
    pictures = f", pictures in {where}" if where.is_dir() else ""
    text = f"step {step} in {time.perf_counter() - started:.0f} s{pictures}\n"
    record_event(Path(run_dir), "validation", text + scores.block(metrics))
    return dict(metrics)
