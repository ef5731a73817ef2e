"""`fit` runs one training on the Ray cluster; `run_stages` runs a recipe's list of them."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    ValidationConfig,
    ValidationTaskConfig,
)
from ray.train.torch import TorchConfig, TorchTrainer

from motion.data.console import quiet_process
from motion.data.manifest import read_commit
from motion.training import console, dataset, export, lock, preflight, restore, tracking
from motion.training.config import TrainConfig, identity_hash
from motion.training.engine import count_parameters
from motion.training.loop import FAILURE_FILE, Job, OpenBatches, train_loop
from motion.training.step import NonFiniteLossError
from motion.training.validation import settings_of, validate

RUN_FILE = "run.json"
_START_TIMEOUT_S = "600"


def fit(
    config: TrainConfig,
    *,
    dry_run: bool = False,
    open_batches: OpenBatches = dataset.stream_batches,
    pending: frozenset[Path] = frozenset(),
) -> Path:
    """Train, continuing an earlier start of the same name, and return the export.

    Returns at once when the export is committed with the same identity.

    Args:
        config: the training.
        dry_run: check everything, print a table, start nothing.
        open_batches: where batches come from; an importable function.
        pending: exports that earlier stages will write (for a dry run of several stages).

    Raises:
        ValueError: the config does not fit data, cluster, storage or an earlier run of its name.
        RuntimeError: another driver trains under this name.
        NonFiniteLossError: the loss became NaN or infinite.
        ray.train.WorkerGroupError: workers died more often than `max_failures`.
    """
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)
    quiet_process()
    if dry_run:
        _dry_run(config, open_batches, pending)
    else:
        with lock.held(config.run_dir), console.printed(config.run_dir):
            _train(config, open_batches)
    return config.export_dir


def _dry_run(config: TrainConfig, open_batches: OpenBatches, pending: frozenset[Path]) -> None:
    if read_commit(config.data.root) is None:
        print(_table(config, _preflight(config, None, pending)))
        return
    data, identity = _identified(config)
    if not _committed(config, identity):
        _earlier(config, identity)
        checks = _preflight(config, data, pending)
        print(_table(config, {**checks, "one batch": preflight.trial(config, open_batches)}))


def _train(config: TrainConfig, open_batches: OpenBatches) -> None:
    data, identity = _identified(config)
    if _committed(config, identity):
        return
    earlier = _earlier(config, identity)
    checks = _preflight(config, data, frozenset())
    job = _open_job(config, identity, data, earlier)
    facts = {"parameters": checks["parameters"], "dataset": checks["dataset"]}
    facts |= {"mlflow run": job.run_id, "dashboard": _dashboard()}
    console.say(config.run_dir, console.banner(config, facts))
    _run(config, job, open_batches)
    console.say(config.run_dir, console.summary(config, job.began_s))


def _identified(config: TrainConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of the dataset, and the training's identity."""
    data = dataset.facts(config)
    return data, config.identity(dataset_hash=data["hash"], init_hash=_init_hash(config))


def _committed(config: TrainConfig, identity: Mapping[str, Any]) -> bool:
    """Whether this very training has its export already."""
    done = export.committed(config.export_dir)
    if done is None:
        return False
    _require_same(done["training"]["identity"], identity, config.export_dir)
    print(f"{config.name}: {config.export_dir} is already committed; nothing to do", flush=True)
    return True


def _earlier(config: TrainConfig, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """run.json of an earlier start of this very training."""
    file = config.run_dir / RUN_FILE
    if not file.is_file():
        return None
    earlier: dict[str, Any] = json.loads(file.read_text())
    _require_same(earlier["identity"], identity, config.run_dir)
    return earlier


def _dashboard() -> str:
    """Address of the cluster's dashboard."""
    url = ray.init(ignore_reinit_error=True, logging_level=logging.WARNING).dashboard_url
    return f"http://{url}" if url else "none on this cluster"


def run_stages(stages: Sequence[TrainConfig], *, dry_run: bool = False) -> list[Path]:
    """Run a recipe's trainings in order.

    Stages whose export is committed are skipped, so a recipe is simply started again.
    """
    pending = frozenset(stage.export_dir for stage in stages) if dry_run else frozenset[Path]()
    return [fit(stage, dry_run=dry_run, pending=pending) for stage in stages]


def _init_hash(config: TrainConfig) -> str:
    """Identity of the export that weights come from; empty where it is none or not there yet."""
    if config.init_from is None:
        return ""
    description = export.committed(config.init_from.export)
    return "" if description is None else str(description["training"]["hash"])


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> None:
    """Refuse to mix two trainings under one name."""
    names = sorted(set(before) | set(now))
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        listed = "".join(f"\n  {n}: {before.get(n)!r} there, {now.get(n)!r} now" for n in changed)
        raise ValueError(
            f"{place} holds a training of this name with another config:{listed}\n"
            "Choose another name, restore these fields, or delete that folder"
        )


def _preflight(
    config: TrainConfig, data: Mapping[str, Any] | None, pending: frozenset[Path]
) -> dict[str, str]:
    """All checks; what each found, by title. `data` is None before the dataset is made."""
    clips = "not there yet: data and shapes were not checked"
    if data is not None:
        clips = f"{data['num_clips']} clips in buckets {data['buckets']}, {data['hash'][:16]}"
    total, trainable = count_parameters(config)
    state = preflight.model_state_gib(config, total, trainable)
    return {
        "resources": preflight.check_resources(config, preflight.cluster_nodes()),
        "storage": preflight.check_storage(config, trainable),
        "weights": preflight.check_init(config, pending, {} if data is None else data["encoders"]),
        "validation": preflight.check_validation(config),
        "dataset": clips,
        "parameters": f"{total:,} ({trainable:,} trainable)",
        "memory": f"{state:.3f} GiB of model states per worker, activations not counted",
    }


def _table(config: TrainConfig, checks: Mapping[str, str]) -> str:
    return console.banner(config, checks) + "\ndry run: everything above was checked"


def _open_job(
    config: TrainConfig,
    identity: Mapping[str, Any],
    data: Mapping[str, Any],
    earlier: Mapping[str, Any] | None,
) -> Job:
    """Claim the name, and create or continue the MLflow run."""
    git = tracking.git_state()
    digest = identity_hash(dict(identity))
    run_id = tracking.open_run(
        config,
        run_id=None if earlier is None else earlier["run_id"],
        identity=digest,
        tags={"dataset_hash": data["hash"], "git": git.split("\n")[0]},
    )
    record = {"run_id": run_id, "identity": dict(identity), "hash": digest}
    (config.run_dir / RUN_FILE).write_text(json.dumps(record, indent=2))
    return Job(run_id=run_id, identity=identity, identity_hash=digest, data=data, git=git)


def _run(config: TrainConfig, job: Job, open_batches: OpenBatches) -> None:
    """Run the workers to the end, and close the MLflow run with what became of it."""
    restore.repair_snapshot(
        config.run_dir, partial(console.record_event, config.run_dir, "checkpoint")
    )
    failure = config.run_dir / FAILURE_FILE
    failure.unlink(missing_ok=True)
    ok = False
    try:
        _trainer(config, job, open_batches).fit()
        if failure.is_file():
            raise NonFiniteLossError(json.loads(failure.read_text())["text"])
        ok = True
    finally:
        tracking.close_run(config, job.run_id, ok=ok)


def _trainer(config: TrainConfig, job: Job, open_batches: OpenBatches) -> TorchTrainer:
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_TIMEOUT_S)
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it shows every print twice
    environment = {} if config.use_gpu else {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    validation = None
    if config.validate_with is not None:
        validation = ValidationConfig(
            fn=validate,
            task_config=ValidationTaskConfig(fn_kwargs=settings_of(config, job.run_id)),
            ray_remote_kwargs={"num_cpus": 1, "num_gpus": config.validate_with.num_gpus},
        )
    return TorchTrainer(
        train_loop,
        train_loop_config={"config": config, "job": job, "open_batches": open_batches},
        torch_config=TorchConfig(timeout_s=1800),
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker}
            | ({"GPU": 1} if config.use_gpu else {}),
        ),
        run_config=RunConfig(
            name=config.name,
            storage_path=str(config.run_dir.parent),
            failure_config=FailureConfig(
                max_failures=config.max_failures, controller_failure_limit=3
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
            worker_runtime_env={"env_vars": environment},
            logging_config=LoggingConfig("WARNING"),
        ),
        validation_config=validation,
    )
