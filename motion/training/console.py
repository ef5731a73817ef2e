"""What a person sees of a training: banner, one aligned line per interval, summary, events."""

import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from motion.training.config import TrainConfig

EVENTS = "events.jsonl"


def banner(config: TrainConfig, facts: Mapping[str, str]) -> str:
    """What is about to run and where it writes."""
    batch = (
        f"{config.global_batch} clips = {config.num_workers} workers x {config.accumulation} "
        f"x {config.micro_batch}"
    )
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
        "mlflow": config.mlflow_uri,
    }
    width = max(len(name) for name in rows)
    rule = "-" * 78
    return "\n".join([rule, *(f"{name:<{width}}  {value}" for name, value in rows.items()), rule])


def line(step: int, steps: int, values: Mapping[str, float], terms: Mapping[str, float]) -> str:
    """One aligned console line.

    Args:
        step: completed steps.
        steps: of the whole run.
        values: loss, learning_rate, gradient_norm, clips_per_s, data_wait, memory_gib, eta_s.
        terms: loss terms by name.
    """
    width = len(str(steps))
    parts = [f"{name} {value:.4f}" for name, value in sorted(terms.items())]
    return (
        f"step {step:>{width}}/{steps}  loss {values['loss']:8.5f}"
        + (f"  ({'  '.join(parts)})" if parts else "")
        + f"  lr {values['learning_rate']:.2e}  grad {values['gradient_norm']:8.3f}"
        f"  {values['clips_per_s']:7.2f} clips/s  data {100 * values['data_wait']:3.0f}%"
        f"  mem {values['memory_gib']:5.2f} GiB  eta {duration(values['eta_s'])}"
    )


def summary(config: TrainConfig, *, seconds: float, resumed_at: int, final: float) -> str:
    """Closing lines of a worker group that reached the last step."""
    done = config.steps - resumed_at
    cost = cost_per_1000_steps(config, seconds / max(done, 1))
    price = f", {cost:.2f} per 1,000 steps" if config.price_per_hour else ""
    events = read_events(config.run_dir)
    lines = [
        "-" * 78,
        f"{config.name}: {config.steps} steps, {done} of them in this attempt in "
        f"{duration(seconds)} ({seconds / max(done, 1):.3f} s/step{price}); last loss {final:.5f}",
        *(f"  {event['kind']}: {event['text']}" for event in events[-12:]),
    ]
    return "\n".join(lines)


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
    """Print something worth remembering and append it to the run's events."""
    print(f"[{kind}] {text}", flush=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    event = {"time": round(time.time(), 1), "kind": kind, "text": text}
    with (run_dir / EVENTS).open("a") as file:
        file.write(json.dumps(event) + "\n")


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    """Events of all attempts, oldest first."""
    path = run_dir / EVENTS
    return [json.loads(row) for row in path.read_text().splitlines()] if path.is_file() else []
