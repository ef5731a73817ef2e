"""Checks before a training starts: a clear error now instead of a hanging cluster later."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from motion.batch import Batch
from motion.data.room import Nodes, require_room
from motion.training import export
from motion.training.config import TrainConfig
from motion.training.engine import build_module, count_parameters
from motion.training.loop import OpenBatches
from motion.training.validation import load_function, task_resources

_TRIAL_PARAMETERS = 20_000_000
"""Up to this size, a dry run computes the loss of one batch on the CPU."""


def check_resources(config: TrainConfig, nodes: Nodes) -> str:
    """Can the cluster ever hold workers, data pipeline and evaluation?

    Ray Train retries an infeasible request for ever, so it is refused here.

    Returns:
        A line that describes request and cluster.

    Raises:
        ValueError: it cannot; the message says how many workers fit.
    """
    gpus = float(config.use_gpu)
    how = (
        f"Lower num_workers (raise accumulation to keep the global batch of {config.global_batch}) "
        "or cpus_per_worker"
    )
    each = {"CPU": config.cpus_per_worker, "GPU": gpus}
    line = require_room(config.num_workers, each, nodes, what="workers", how=how)
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    taken = config.num_workers * config.cpus_per_worker
    needed = int(config.data.stream.use_ray) + int(config.validates_on_the_way)
    if cpus - taken < needed:
        raise ValueError(
            f"the workers take {taken:g} of {cpus:g} CPUs and leave {cpus - taken:g}; the data "
            f"pipeline and the evaluation beside them need {needed}. Lower cpus_per_worker or "
            "num_workers, or set data.stream.use_ray=False"
        )
    if config.validate_with is not None:
        held = config.num_workers * gpus if config.validates_on_the_way else 0.0
        task_resources(config.validate_with.num_gpus, nodes, taken=held)
    return line


def check_storage(config: TrainConfig, total: int, trainable: int) -> str:
    """Is the storage writable, with room for checkpoints and export?

    Args:
        config: the training.
        total: parameters; checkpoints and exports hold the frozen ones too.
        trainable: how many of them are trained.

    Raises:
        ValueError: it is not.
    """
    average = 4 if config.ema_decay is not None else 0
    state = trainable * (4 + 8 + average) + (total - trainable) * 4  # master, Adam, EMA; weights
    need = state * (config.keep_checkpoints + 1) + total * (4 + average)
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.run_dir) as file:
            file.write(os.urandom(16))
    except OSError as error:
        raise ValueError(
            f"storage {config.storage} is not writable ({error}); choose another storage"
        ) from error
    free = shutil.disk_usage(config.storage).free
    if free < need:
        raise ValueError(
            f"storage {config.storage} has {free / 2**30:.1f} GiB free, {config.keep_checkpoints} "
            f"checkpoints and the export take about {need / 2**30:.1f} GiB: free some, or lower "
            "keep_checkpoints"
        )
    return f"{config.storage}, {free / 2**30:.1f} GiB free, about {need / 2**30:.2f} needed"


def check_init(config: TrainConfig, pending: frozenset[Path], encoders: Mapping[str, Any]) -> str:
    """Does `init_from` fit the system and the data?

    Args:
        config: the training.
        pending: exports that earlier stages of the same recipe will write.
        encoders: of the dataset, by kind; empty before it is made.

    Raises:
        ValueError: no such export, names or shapes that do not match, or other encoders.
    """
    if config.init_from is None:
        return f"seed {config.seed}"
    if config.init_from.export in pending:
        return f"{config.init_from.export} (written by an earlier stage)"
    with torch.device("meta"):
        state = config.build_system().state_dict()
    export.check_initial(config.init_from, state)
    export.check_encoders(config.init_from, encoders)
    return str(config.init_from.export)


def check_validation(config: TrainConfig) -> str:
    """Can the validation function be imported?

    Raises:
        ValueError: it cannot.
    """
    if config.validate_with is None:
        return "none"
    load_function(config.validate_with)
    return f"{config.validate_with.function} every {config.validate_with.every} checkpoints"


def model_state_gib(config: TrainConfig, total: int, trainable: int) -> float:
    """Model states per worker in GiB, without activations and communication buffers.

    fp32 weights, gradients, master copy (stages 1 and 2 keep one beside the weights), two Adam
    moments and the moving average; which of them are sharded follows from the stage.
    """
    average = 4 if config.ema_decay is not None else 0
    frozen = 4 * (total - trainable)
    share = config.num_workers
    by_stage = {
        0: 4 + 4 + 8 + average,
        1: 4 + 4 + (4 + 8 + average) / share,
        2: 4 + (4 + 4 + 8 + average) / share,
        3: (4 + 4 + 8 + average) / share,
    }
    frozen_share = frozen / share if config.zero_stage == 3 else frozen
    return (trainable * by_stage[config.zero_stage] + frozen_share) / 2**30


def trial(config: TrainConfig, open_batches: OpenBatches) -> str:
    """Shapes of one batch and, for small models, the loss that it gives on the CPU."""
    stream = config.data.stream.model_copy(update={"use_ray": False})
    data = config.data.model_copy(update={"stream": stream})
    here = config.model_copy(update={"data": data})
    batch = next(open_batches(here, 0, 0)).stamp(step=0, steps=config.steps, seed=config.seed)
    text = ", ".join(f"{name} {shape}" for name, shape in shapes(batch).items())
    if count_parameters(config)[0] > _TRIAL_PARAMETERS:
        return text + "; too large for a trial on this machine"
    with torch.no_grad():
        loss, logs = build_module(here)(batch)
    terms = ", ".join(f"{name} {float(value):.4f}" for name, value in sorted(logs.items()))
    return f"{text}; loss {float(loss):.4f} ({terms})"


def shapes(batch: Batch) -> dict[str, str]:
    """Shape by field of the tensors that the batch carries."""
    return {
        name: "x".join(map(str, value.shape))
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor) and value.dim() > 1
    }
