"""What a person sees of a training: banner, one aligned line per interval, events, summary.

Driver, rank 0 and the validation task append to runs/<name>/console.log; the driver prints what
appears there. So the terminal shows plain lines, in order, from whichever node wrote them, and the
run keeps them. What Ray forwards by itself (errors, warnings) goes beside it.
"""

import json
import resource
import shutil
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from motion import paths
from motion.data.storage import replacing
from motion.training.config import TrainConfig

EVENTS = "events.jsonl"
CONSOLE = "console.log"
OUTCOME = "outcome.json"
RULE = "-" * 78
_POLL_S = 0.2


def say(run_dir: Path, text: str) -> None:
    """Append lines to the run's console, which the driver prints."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / CONSOLE).open("a") as file:
        file.write(text + "\n")


@contextmanager
def printed(run_dir: Path) -> Generator[None]:
    """Print what is appended to the run's console during the block."""
    path = run_dir / CONSOLE
    ended = threading.Event()

    def follow(position: int) -> None:
        last = False
        while not last:
            last = ended.wait(_POLL_S)  # and then read once more
            if path.is_file() and path.stat().st_size > position:
                # Opened anew each time: NFS looks at the server when a file is opened.
                with path.open("rb") as file:
                    file.seek(position)
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                position += len(whole)
                print(whole.decode(), end="", flush=True)

    start = path.stat().st_size if path.is_file() else 0
    reader = threading.Thread(target=follow, args=(start,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()


def banner(config: TrainConfig, facts: Mapping[str, str]) -> str:
    """What is about to run and where it writes."""
    batch = (
        f"{config.global_batch} clips = {config.data_ranks} workers x {config.accumulation} "
        f"x {config.micro_batch}"
    )
    if config.sequence_parallel > 1:
        batch += f", each by {config.sequence_parallel} workers together"
    rows = {
        "training": config.name,
        "system": str(config.system.model_dump().get("kind")),
        "steps": str(config.steps),
        "global batch": batch,
        "precision": f"{config.precision}, ZeRO {config.zero_stage}, EMA {config.ema_decay}",
        **facts,
        "data": str(config.data.root),
        "run": str(config.run_dir),
        "export": str(config.export_dir),
        "mlflow": _mlflow(config),
        "disk": disk(config),
    }
    width = max(len(name) for name in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    return "\n".join([RULE, *lines, RULE])


def _mlflow(config: TrainConfig) -> str:
    """Where the curves are, and how they are opened."""
    uri = config.mlflow_uri
    if uri.startswith("http"):
        return uri
    ours = uri == f"sqlite:///{paths.outputs() / 'mlflow.db'}"
    command = "make ui" if ours else f"mlflow ui --backend-store-uri {uri}"
    return f"{command}, then http://127.0.0.1:5000" + (f"  ({uri})" if ours else "")


def disk(config: TrainConfig) -> str:
    """What this run takes, and what the storage has left."""
    usage = shutil.disk_usage(config.storage)
    used = sum(
        path.stat().st_size
        for folder in (config.run_dir, config.export_dir)
        for path in folder.rglob("*")
        if path.is_file()
    )
    return (
        f"{used / 1e6:.1f} MB by this run; {usage.free / 1e9:.1f} GB of "
        f"{usage.total / 1e9:.1f} GB free in {config.storage}"
    )


def line(step: int, steps: int, values: Mapping[str, float], terms: Mapping[str, float]) -> str:
    """One aligned console line.

    Args:
        step: completed steps.
        steps: of the whole run.
        values: loss, learning_rate, gradient_norm, clips_per_s, data_wait, memory_gib, eta_s, and
            mfu where the peak is known.
        terms: loss terms by name.
    """
    width = len(str(steps))
    parts = [f"{name} {value:.4f}" for name, value in sorted(terms.items())]
    return (
        f"step {step:>{width}}/{steps}  loss {values['loss']:8.5f}"
        + (f"  ({'  '.join(parts)})" if parts else "")
        + f"  lr {values['learning_rate']:.2e}  grad {values['gradient_norm']:8.3f}"
        f"  {values['clips_per_s']:7.2f} clips/s"
        + (f"  mfu {100 * values['mfu']:4.1f}%" if "mfu" in values else "")
        + f"  data {100 * values['data_wait']:3.0f}%"
        f"  mem {values['memory_gib']:5.2f} GiB  eta {duration(values['eta_s'])}"
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What rank 0 knows at the end of its last attempt; the driver prints it."""

    resumed_at: int
    """Steps that earlier attempts had completed."""
    last_loss: float | None
    """Of the last step; None where this attempt only wrote the export again."""
    best_loss: float | None
    """Lowest mean over an interval of this attempt."""
    best_step: int
    """Last step of that interval."""
    clips_per_s: float
    """Over this attempt, from its second step on, checkpoints included."""
    phases_s: Mapping[str, float]
    """Seconds by phase."""
    finished_s: float
    """When rank 0 was done, as time.time()."""


def write_outcome(run_dir: Path, outcome: Outcome) -> None:
    """Leave the outcome for the driver."""
    with replacing(run_dir / OUTCOME) as temporary:
        temporary.write_text(json.dumps(asdict(outcome), indent=2))


def summary(config: TrainConfig, began_s: float) -> str:
    """Closing lines of a training, from what rank 0 left.

    Args:
        config: the training.
        began_s: when it was handed to Ray, as time.time().
    """
    outcome = Outcome(**json.loads((config.run_dir / OUTCOME).read_text()))
    done = config.steps - outcome.resumed_at
    per_step = outcome.phases_s["steps"] / max(done, 1)
    price = cost_per_1000_steps(config, per_step)
    checkpoints = sorted(path.name for path in config.run_dir.glob("checkpoint_0*"))
    now = time.time()
    phases = {**outcome.phases_s, "validation and end": now - outcome.finished_s}
    resumed = f", resumed at {outcome.resumed_at}" if outcome.resumed_at else ""
    rows = {
        "finished": f"{config.name} after {config.steps} steps{resumed}",
        "loss": _losses(outcome),
        "wall time": duration(now - began_s)
        + (f", {outcome.clips_per_s:.2f} clips/s, {per_step:.3f} s/step" if done else "")
        + (f", {price:.2f} per 1,000 steps" if done and config.price_per_hour else ""),
        "seconds": ", ".join(f"{name} {value:.1f}" for name, value in phases.items()),
        "checkpoints": f"{len(checkpoints)} kept, newest {checkpoints[-1]}",
        "disk": disk(config),
        "export": str(config.export_dir),
        "sample": f'motion sample "a person waves" -o wave.mp4 --checkpoint {config.export_dir}',
    }
    events = [e for e in read_events(config.run_dir) if e["kind"] != "validation"][-12:]
    lines = [f"{name:<11}  {value}" for name, value in rows.items()]
    lines += [f"  {event['kind']}: {event['text']}" for event in events]
    return "\n".join([RULE, *lines, RULE])


def _losses(outcome: Outcome) -> str:
    if outcome.last_loss is None or outcome.best_loss is None:
        return "no step was left to train"
    return (
        f"last {outcome.last_loss:.5f}, best interval {outcome.best_loss:.5f} "
        f"(step {outcome.best_step})"
    )


def duration(seconds: float) -> str:
    """1:02:03, or 02:03 below an hour."""
    hours, rest = divmod(round(seconds), 3600)
    return (f"{hours}:" if hours else "") + f"{rest // 60:02d}:{rest % 60:02d}"


def cost_per_1000_steps(config: TrainConfig, seconds_per_step: float) -> float:
    """In the currency of `price_per_hour`."""
    return config.price_per_hour * config.num_workers * seconds_per_step * 1000 / 3600


def memory_gib(device: torch.device) -> float:
    """Peak memory of this process: of the GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def record_event(run_dir: Path, kind: str, text: str) -> None:
    """Say something worth remembering and append it to the run's events."""
    say(run_dir, f"[{kind}] {text}")
    event = {"time": round(time.time(), 1), "kind": kind, "text": text}
    with (run_dir / EVENTS).open("a") as file:
        file.write(json.dumps(event) + "\n")


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    """Events of all attempts, oldest first."""
    path = run_dir / EVENTS
    return [json.loads(row) for row in path.read_text().splitlines()] if path.is_file() else []
