"""What the loop leaves behind per step: console lines, metrics, step records, a profile."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from motion.training import console
from motion.training.config import TrainConfig
from motion.training.engine import learning_rate
from motion.training.step import StepResult
from motion.training.tracking import Tracker


class Recorder:
    """Collects steps and writes an aligned line and an MLflow record per interval (rank 0).

    The first step of an attempt starts the data pipeline and counts operations: it enters the
    losses, but no rate.
    """

    def __init__(
        self, config: TrainConfig, tracker: Tracker | None, device: torch.device, attempt: int
    ) -> None:
        """`tracker` is None on every rank but 0."""
        self._config = config
        self._tracker = tracker
        self._device = device
        self._attempt = attempt
        self._interval: list[StepResult] = []
        self._began = self._started = self._warm = time.perf_counter()
        self._steps = 0
        self._flops = 0
        self.best: tuple[float, int] | None = None
        """Lowest mean loss of an interval, and the interval's last step, counted from 1."""
        self.last_loss: float | None = None
        self.replaced = 0
        """Broken rows that were replaced in this attempt, on all ranks."""
        self._steps_file = config.run_dir / "steps" / f"rank{dist.get_rank()}.jsonl"
        if config.record_steps:
            self._steps_file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def first_step_s(self) -> float:
        """Seconds until the end of the attempt's first step."""
        return self._warm - self._began

    @property
    def clips_per_s(self) -> float:
        """Over the attempt's steps after the first, checkpoints included."""
        seconds = max(time.perf_counter() - self._warm, 1e-9)
        return self._config.global_batch * max(self._steps - 1, 0) / seconds

    def add(self, step: int, result: StepResult) -> None:
        """Record optimizer step `step`, counted from 0."""
        self.replaced += result.num_replaced
        for text in result.replaced:
            console.record_event(self._config.run_dir, "replaced", text)
        if self._config.record_steps:
            self._write_step(step, result)
        self._interval.append(result)
        self._flops = self._flops or result.flops
        self.last_loss = result.loss
        ends = (step + 1) % self._config.log_every == 0 or step + 1 == self._config.steps
        self._steps += 1
        if self._steps == 1 and not ends:
            self._started = time.perf_counter()
        if ends:
            self._flush(step)
        if self._steps == 1:
            self._warm = time.perf_counter()

    def _write_step(self, step: int, result: StepResult) -> None:
        record = {
            "attempt": self._attempt,
            "step": step,
            "loss": result.loss,
            "clips": list(result.clip_ids),
            "gradient_norm": result.gradient_norm,
        }
        with self._steps_file.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _flush(self, step: int) -> None:
        """Report the interval that ends with `step`; checkpoint time counts as part of it."""
        now = time.perf_counter()
        seconds = max(now - self._started, 1e-9)
        steps, self._interval, self._started = self._interval, [], now
        loss = sum(s.loss for s in steps) / len(steps)
        self.best = min(self.best or (math.inf, 0), (loss, step + 1))
        if self._tracker is None:
            return
        timed = steps[1:] if self._steps == len(steps) > 1 else steps
        step_s = seconds / len(timed)
        terms = {n: sum(s.terms[n] for s in steps) / len(steps) for n in steps[0].terms}
        tflops = self._flops * self._config.accumulation / step_s / 1e12
        values = {
            "loss": loss,
            "learning_rate": learning_rate(self._config.optimizer, step, self._config.steps),
            "gradient_norm": sum(s.gradient_norm for s in steps) / len(steps),
            "clips_per_s": self._config.global_batch / step_s,
            "data_wait": sum(s.wait_s for s in timed) / seconds,
            "memory_gib": console.memory_gib(self._device),
            "eta_s": (self._config.steps - step - 1) * step_s,
            "tflops_per_worker": tflops,
        }
        if self._config.peak_tflops:
            values["mfu"] = tflops / self._config.peak_tflops
        text = console.line(step + 1, self._config.steps, values, terms)
        console.say(self._config.run_dir, text)
        self._tracker.metrics(self._metrics(values, terms, step_s), step + 1)

    def _metrics(
        self, values: Mapping[str, float], terms: Mapping[str, float], step_s: float
    ) -> dict[str, float]:
        metrics = {name: value for name, value in values.items() if name != "eta_s"}
        metrics |= {f"loss/{name}": value for name, value in terms.items()}
        metrics |= {"step_s": step_s, "replaced_clips": float(self.replaced)}
        if self._config.price_per_hour:
            metrics["cost_per_1000_steps"] = console.cost_per_1000_steps(self._config, step_s)
        return metrics


class Profiler:
    """A torch.profiler window over the steps that the config names, on rank 0.

    A context: a training that fails within the window leaves no profiler running in its process.
    """

    def __init__(self, config: TrainConfig, tracker: Tracker | None, start_step: int) -> None:
        window = config.profile if tracker is not None else None
        if window is not None and window.start < start_step:
            text = f"profile window at step {window.start} lies before the resumed {start_step}"
            console.record_event(config.run_dir, "profile", text)
            window = None
        self._window = window
        self._tracker = tracker
        self._folder: Path = config.run_dir / "profile"
        self._profile: torch.profiler.profile | None = None

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_: object) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def before(self, step: int) -> None:
        """Start recording where the window starts."""
        if self._window is not None and step == self._window.start:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profile = torch.profiler.profile(activities=activities, profile_memory=True)
            self._profile.start()

    def after(self, step: int, *, last: bool) -> None:
        """Write the trace where the window or the training ends."""
        window, profile = self._window, self._profile
        if window is None or profile is None or self._tracker is None:
            return
        if step + 1 < window.start + window.steps and not last:
            return
        profile.stop()
        self._profile = None
        self._folder.mkdir(parents=True, exist_ok=True)
        trace = self._folder / f"trace_step{window.start}.json"
        profile.export_chrome_trace(str(trace))
        table = self._folder / f"operators_step{window.start}.txt"
        table.write_text(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40))
        for path in (trace, table):
            self._tracker.artifact(path, "profile")
