"""`fit` runs one training on the Ray cluster; `run_stages` runs a recipe's list of them."""

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
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

from motion.data.claim import require_same
from motion.data.console import quiet_process
from motion.data.manifest import read_commit
from motion.data.room import cluster_nodes
from motion.training import (
    console,
    dataset,
    export,
    lock,
    preflight,
    restore,
    tracking,
    validation,
)
from motion.training.config import TrainConfig, identity_hash
from motion.training.engine import count_parameters
from motion.training.loop import FAILURE_FILE, Job, OpenBatches, train_loop
from motion.training.step import NonFiniteLossError
from motion.training.validation import EvaluationFailedError
from motion.weights import listing

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

    Returns at once when the export is committed with the same identity and evaluated.

    Args:
        config: the training.
        dry_run: check everything, print a table, start nothing.
        open_batches: where batches come from; an importable function.
        pending: exports that earlier stages will write (for a dry run of several stages).

    Raises:
        ValueError: the config does not fit data, cluster, storage or an earlier run of its name.
        RuntimeError: another driver trains under this name.
        NonFiniteLossError: the loss became NaN or infinite.
        EvaluationFailedError: the export is committed, but its evaluation failed.
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
    unmet: list[str] = []
    if read_commit(config.data.root) is None:
        checks = _preflight(config, None, pending, unmet)
    else:
        data, identity = _identified(config)
        if _committed(config, identity) is not None:
            return
        _earlier(config, identity)
        checks = _preflight(config, data, pending, unmet)
        checks["one batch"] = preflight.trial(config, open_batches)
    print(_table(config, checks))
    if unmet:
        raise ValueError(f"{config.name} cannot run like this:" + listing("unmet", unmet))


def _train(config: TrainConfig, open_batches: OpenBatches) -> None:
    """Train where there is no export yet, evaluate where that was not done yet."""
    data, identity = _identified(config)
    done = _committed(config, identity)
    if done is not None:
        run_id = tracking.existing_run(config, done["training"]["run_id"])
        with tracking.closing(config, run_id):
            _evaluate(config, run_id)
        return
    earlier = _earlier(config, identity)
    checks = _preflight(config, data, frozenset())
    job = _open_job(config, identity, data, earlier)
    facts = {"parameters": checks["parameters"], "dataset": checks["dataset"]}
    facts |= {"mlflow run": job.run_id, "dashboard": _dashboard()}
    console.say(config.run_dir, console.banner(config, facts))
    with tracking.closing(config, job.run_id):
        _run(config, job, open_batches)
        _evaluate(config, job.run_id)
    console.say(config.run_dir, console.summary(config, job.began_s))


def _evaluate(config: TrainConfig, run_id: str) -> None:
    """Evaluate the committed export, unless the same evaluation is complete."""
    if not validation.evaluated(config):
        preflight.check_validation(config)
        validation.evaluate_final(config, run_id)


def _identified(config: TrainConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of the dataset, and the training's identity."""
    data = dataset.facts(config)
    return data, config.identity(
        dataset_hash=data["hash"], init_hash=export.initial_hash(config.init_from)
    )


def _committed(config: TrainConfig, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """config.json of the export, where this very training has one already."""
    done = export.committed(config.export_dir)
    if done is None:
        return None
    _require_same(done["training"]["identity"], identity, config.export_dir)
    left = "nothing to do" if validation.evaluated(config) else "its evaluation is left to do"
    print(f"{config.name}: {config.export_dir} is already committed; {left}", flush=True)
    return done


def _earlier(config: TrainConfig, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """run.json of an earlier start of this very training."""
    file = config.run_dir / RUN_FILE
    if not file.is_file():
        return None
    earlier: dict[str, Any] = json.loads(file.read_text())
    _require_same(earlier["identity"], identity, config.run_dir)
    return earlier


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> None:
    require_same(before, now, place=place, what="a training of this name", other="name")


def _dashboard() -> str:
    """Address of the cluster's dashboard."""
    url = ray.init(ignore_reinit_error=True, logging_level=logging.WARNING).dashboard_url
    return f"http://{url}" if url else "none on this cluster"


def run_stages(stages: Sequence[TrainConfig], *, dry_run: bool = False) -> list[Path]:
    """Run a recipe's trainings in order.

    Stages whose export is committed are skipped, so a recipe is simply started again. A failing
    evaluation does not keep the stages after it from training, nor does what a dry run finds
    missing for one stage keep it from looking at the others.

    Raises:
        ValueError: a dry run found that a stage could not run.
        EvaluationFailedError: an evaluation failed; all stages are trained and exported.
    """
    pending = frozenset(stage.export_dir for stage in stages) if dry_run else frozenset[Path]()
    failed: list[str] = []
    unmet: list[str] = []
    for stage in stages:
        try:
            fit(stage, dry_run=dry_run, pending=pending)
        except EvaluationFailedError as error:
            failed.append(str(error))
        except ValueError as error:
            if not dry_run:
                raise
            unmet.append(str(error))
    if unmet:
        raise ValueError("\n".join(unmet))
    if failed:
        raise EvaluationFailedError("\n".join(failed))
    return [stage.export_dir for stage in stages]


def _preflight(
    config: TrainConfig,
    data: Mapping[str, Any] | None,
    pending: frozenset[Path],
    unmet: list[str] | None = None,
) -> dict[str, str]:
    """All checks; what each found, by title.

    Args:
        config: the training.
        data: facts of the dataset, None before it is made.
        pending: exports that earlier stages will write.
        unmet: collects what is not fulfilled; without it, the first such thing is raised.
    """

    def checked(check: Callable[[], str]) -> str:
        try:
            return check()
        except ValueError as error:
            if unmet is None:
                raise
            unmet.append(str(error))
            return f"NOT MET: {error}"

    clips = "not there yet: data and shapes were not checked"
    if data is not None:
        clips = f"{data['num_clips']} clips in buckets {data['buckets']}, {data['hash'][:16]}"
    encoders = {} if data is None else data["encoders"]
    total, trainable = count_parameters(config)
    state = preflight.model_state_gib(config, total, trainable)
    return {
        "resources": checked(lambda: preflight.check_resources(config, cluster_nodes())),
        "storage": checked(lambda: preflight.check_storage(config, total, trainable)),
        "weights": checked(lambda: preflight.check_init(config, pending, encoders)),
        "validation": checked(lambda: preflight.check_validation(config)),
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
    return Job(
        run_id=run_id,
        identity=identity,
        identity_hash=digest,
        data=data,
        git=git,
        command=command_line(),
    )


def command_line() -> str:
    """The command that runs this process, as one would type it again."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def _run(config: TrainConfig, job: Job, open_batches: OpenBatches) -> None:
    """Run the workers to the end."""
    restore.repair_snapshot(
        config.run_dir, partial(console.record_event, config.run_dir, "checkpoint")
    )
    failure = config.run_dir / FAILURE_FILE
    failure.unlink(missing_ok=True)
    _trainer(config, job, open_batches).fit()
    if failure.is_file():
        raise NonFiniteLossError(json.loads(failure.read_text())["text"])


def _validation(config: TrainConfig, job: Job) -> ValidationConfig | None:
    """Evaluation of exports on the way, beside the workers."""
    if config.validate_with is None or not config.validates_on_the_way:
        return None
    resources = validation.task_resources(
        config.validate_with.num_gpus,
        cluster_nodes(),
        taken=float(config.num_workers * config.use_gpu),
    )
    settings = validation.settings_of(config, job.run_id, validation.device_of(resources))
    return ValidationConfig(
        fn=validation.validate,
        task_config=ValidationTaskConfig(fn_kwargs=settings),
        ray_remote_kwargs=resources,
    )


def _trainer(config: TrainConfig, job: Job, open_batches: OpenBatches) -> TorchTrainer:
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_TIMEOUT_S)
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it shows every print twice
    environment = {} if config.use_gpu else {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
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
        validation_config=_validation(config, job),
    )
