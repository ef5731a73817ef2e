"""The training loop: one for every Trainable, with or without Ray around it.

`train` needs a process group and an iterator of batches; `train_loop` is what Ray Train's workers
execute. The position of a run is one integer, the step: the order of the data, the noise and the
learning rate are functions of it.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from motion.batch import Batch
from motion.data.storage import replacing
from motion.training import checkpoint, console, export, restore
from motion.training.config import TrainConfig
from motion.training.engine import (
    LARGE_PARAMETERS,
    Engine,
    build_module,
    build_sharded,
    count_parameters,
)
from motion.training.recorder import Profiler, Recorder
from motion.training.shards import MovingAverage, fragments, full_state
from motion.training.step import NonFiniteLossError, StepResult, run_step
from motion.training.tracking import Tracker
from motion.training.validation import on_the_way
from motion.weights import TensorFiles

OpenBatches = Callable[[TrainConfig, int, int], Iterator[Batch]]
"""(config, rank, start step) -> that rank's micro-batches from the step to the last."""

Commit = Callable[[Path, str, dict[str, float], dict[str, Any] | None], None]
"""(this rank's folder, checkpoint name, metrics, arguments of a validation or None)."""

FAILURE_FILE = "failure.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the driver decided once and hands to all workers of all attempts."""

    run_id: str
    """MLflow run."""
    identity: Mapping[str, Any]
    """What decides the result (TrainConfig.identity)."""
    identity_hash: str
    data: Mapping[str, Any]
    """Facts of the dataset (motion.training.dataset.facts)."""
    git: str
    """State of the code on the driver."""
    command: str = ""
    """Command line of the driver."""
    began_s: float = field(default_factory=time.time)
    """When the driver handed the training to Ray, as time.time()."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """How one rank reaches the outside."""

    newest: Path | None
    """Newest committed checkpoint; None lets the loop look in the run's folder."""
    commit: Commit
    """Publishes a checkpoint, whose folder is deleted afterwards; a collective call."""
    tracker: Tracker | None
    """Only on rank 0."""


def train(config: TrainConfig, job: Job, worker: Worker, open_batches: OpenBatches) -> None:
    """Train from the newest intact checkpoint to the last step, then export.

    Raises:
        NonFiniteLossError: on every rank.
        RuntimeError: checkpoints exist but none is intact, or storage cannot be written.
    """
    entered = time.time()
    attempt = _next_attempt(config)
    folder = restore.choose(config.run_dir, worker.newest, _say(config))
    start = _position(folder, job)
    engine = restore.open_engine(
        config, _initial_module(config, resumed=folder is not None), folder
    )
    average = restore.start_average(config, engine, folder)
    torch.manual_seed(config.seed)
    if folder is not None:
        restore.restore_rng(folder, config)
    _announce(config, worker.tracker, attempt, start)
    recorder = Recorder(config, worker.tracker, engine.device, attempt)
    batches = open_batches(config, dist.get_rank(), start)
    phases = {"workers": entered - job.began_s, "engine": time.time() - entered, "checkpoints": 0.0}
    count_flops = dist.get_rank() == 0
    with Profiler(config, worker.tracker, start) as profiler:
        for step in range(start, config.steps):
            profiler.before(step)
            result = run_step(engine, batches, step, count_flops=count_flops and step == start)
            if average is not None:
                average.update(fragments(engine))
            profiler.after(step, last=step + 1 == config.steps)
            recorder.add(step, result)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                saving = time.time()
                _checkpoint(config, job, worker, engine, average, result, step + 1, attempt)
                phases["checkpoints"] += time.time() - saving
    if start == config.steps:
        # The last checkpoint is there; the export that follows it was never written, or deleted.
        _export(config, job, engine, average, start)
    if dist.get_rank() == 0:
        _finish(config, recorder, start, phases, total_s=time.time() - entered)


def _finish(
    config: TrainConfig,
    recorder: Recorder,
    start: int,
    phases: Mapping[str, float],
    *,
    total_s: float,
) -> None:
    """Leave for the driver what the closing summary says."""
    if start == config.steps:
        text = f"all {start} steps were done already; the export was written from the checkpoint"
        console.record_event(config.run_dir, "export", text)
    known = phases["engine"] + phases["checkpoints"] + recorder.first_step_s
    outcome = console.Outcome(
        resumed_at=start,
        last_loss=recorder.last_loss,
        best_loss=recorder.best[0] if recorder.best else None,
        best_step=recorder.best[1] if recorder.best else start,
        clips_per_s=recorder.clips_per_s,
        phases_s={**phases, "first step": recorder.first_step_s, "steps": total_s - known},
        finished_s=time.time(),
    )
    console.write_outcome(config.run_dir, outcome)


def _initial_module(config: TrainConfig, *, resumed: bool) -> nn.Module:
    """The module before the engine: seeded, or from `init_from`; sharded at once where large."""
    if config.zero_stage == 3 and count_parameters(config)[0] >= LARGE_PARAMETERS:
        first = dist.get_rank() == 0
        return build_sharded(config, _initial_values(config, resumed=resumed) if first else None)
    module = build_module(config)
    if _starts_elsewhere(config, module, resumed=resumed):
        assert config.init_from is not None
        weights = export.load_initial(config.init_from, module.state_dict())
        module.load_state_dict(weights, strict=False)
    return module


def _starts_elsewhere(config: TrainConfig, module: nn.Module, *, resumed: bool) -> bool:
    """Whether weights come from `init_from`. A checkpoint brings the trained ones alone: frozen
    ones are read again when a run is continued."""
    frozen = any(not parameter.requires_grad for parameter in module.parameters())
    return config.init_from is not None and (frozen or not resumed)


def _initial_values(config: TrainConfig, *, resumed: bool) -> Callable[[str], torch.Tensor]:
    """Initial values of a large module by name, on one rank.

    Where an export gives them all, each is read when it is asked for, and the module is never
    built whole.
    """
    with torch.device("meta"):
        module = config.build_system()
    if _starts_elsewhere(config, module, resumed=resumed):
        assert config.init_from is not None
        state = module.state_dict()
        files = TensorFiles([export.check_initial(config.init_from, state)])
        if state.keys() <= files.specs.keys():
            return files.read
        whole = build_module(config)
        whole.load_state_dict(export.load_initial(config.init_from, state), strict=False)
        return whole.state_dict().__getitem__
    return build_module(config).state_dict().__getitem__


def _position(folder: Path | None, job: Job) -> int:
    """Completed steps of a checkpoint, which must belong to this training."""
    if folder is None:
        return 0
    state = checkpoint.read_state(folder)
    if state["identity"] != job.identity_hash:
        raise RuntimeError(
            f"{folder} was written by another training (identity {state['identity'][:12]}, this "
            f"one is {job.identity_hash[:12]}); choose another name or delete the run's folder"
        )
    return int(state["step"])


def _next_attempt(config: TrainConfig) -> int:
    """Worker-group starts of this run so far, agreed upon by all ranks."""
    found = [0]
    if dist.get_rank() == 0:
        path = config.run_dir / "attempts"
        found[0] = int(path.read_text()) + 1 if path.is_file() else 1
        with replacing(path) as temporary:
            temporary.write_text(str(found[0]))
    dist.broadcast_object_list(found)
    return found[0]


def _say(config: TrainConfig) -> Callable[[str], None]:
    def say(text: str) -> None:
        if dist.get_rank() == 0:
            console.record_event(config.run_dir, "checkpoint", text)

    return say


def _announce(config: TrainConfig, tracker: Tracker | None, attempt: int, start: int) -> None:
    if tracker is None:
        return
    if attempt > 1:
        text = f"attempt {attempt} continues after step {start} of {config.steps}"
        console.record_event(config.run_dir, "restart", text)
    tracker.tag("attempt", str(attempt))


def _checkpoint(
    config: TrainConfig,
    job: Job,
    worker: Worker,
    engine: Engine,
    average: MovingAverage | None,
    result: StepResult,
    completed: int,
    attempt: int,
) -> None:
    """Save, export where due, and publish after `completed` steps; a collective call."""
    started = time.perf_counter()
    state = checkpoint.describe(
        config, step=completed, identity=job.identity_hash, git=job.git.split("\n")[0]
    )
    metrics = {"step": float(completed), "loss": result.loss}
    with tempfile.TemporaryDirectory(prefix="checkpoint_") as name:  # gone also where it fails
        folder = Path(name)
        checkpoint.save(folder, engine, average, state)
        validation = _export(config, job, engine, average, completed)
        worker.commit(folder, restore.folder_name(completed, attempt), metrics, validation)
    if worker.tracker is not None:
        worker.tracker.metrics({"checkpoint_s": time.perf_counter() - started}, completed)
        worker.tracker.tag("newest_checkpoint", restore.folder_name(completed, attempt))


def _export(
    config: TrainConfig, job: Job, engine: Engine, average: MovingAverage | None, completed: int
) -> dict[str, Any] | None:
    """Write the final export, or one to validate; arguments of its validation, None if not due."""
    last = completed == config.steps
    check = config.validate_with
    due = check is not None and completed % (check.every * config.checkpoint_every) == 0
    if not (last or due):
        return None
    target = config.export_dir if last else on_the_way(config, completed)
    states = full_state(engine, average)
    if dist.get_rank() == 0:
        description = export.describe(
            config,
            step=completed,
            identity=job.identity,
            identity_hash=job.identity_hash,
            data=job.data,
            run_id=job.run_id,
            command=job.command,
        )
        export.write(target, description, states, data_root=config.data.root, git=job.git)
    dist.barrier()
    # `fit` evaluates the final export when the workers have ended.
    return None if last else {"export_dir": str(target), "step": completed}


def train_loop(settings: dict[str, Any]) -> None:
    """Ray Train's worker function.

    A loss that is not finite would be so again after a restart: it is written to failure.json,
    which `fit` raises, instead of being raised here and retried.

    Args:
        settings: config (TrainConfig), job (Job), open_batches (OpenBatches).
    """
    import ray.train

    from motion.data.console import quiet_process

    config: TrainConfig = settings["config"]
    job: Job = settings["job"]
    quiet_process()
    newest = ray.train.get_checkpoint()
    worker = Worker(
        newest=Path(newest.path) if newest is not None else None,
        commit=_report,
        tracker=Tracker(config, job.run_id) if dist.get_rank() == 0 else None,
    )
    try:
        train(config, job, worker, settings["open_batches"])
    except NonFiniteLossError as error:
        if dist.get_rank() == 0:
            text = json.dumps({"kind": "non-finite", "text": str(error)})
            with replacing(config.run_dir / FAILURE_FILE) as temporary:
                temporary.write_text(text)


def _report(
    folder: Path, name: str, metrics: dict[str, float], validation: dict[str, Any] | None
) -> None:
    import ray.train

    task = ray.train.ValidationTaskConfig(fn_kwargs=validation) if validation else False
    ray.train.report(
        metrics,
        checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
        checkpoint_dir_name=name,
        validation=task,
    )
