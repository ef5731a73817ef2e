"""Where the time of finished trainings went: `python -m motion.training.times`.

Reads what runs leave behind: the files of data sets, `outcome.json`, MLflow's records of intervals
and the trace of a profile window (`--profile` of the recipes). Prints Markdown tables.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import tyro
from mlflow.tracking import MlflowClient
from pydantic import BaseModel, ConfigDict, Field

from motion import paths
from motion.data.manifest import COMMIT_FILE
from motion.training.console import OUTCOME

SPANS: Final = ("train/data", "train/forward", "train/backward", "train/optimizer")
"""Names that a step's parts have in a trace."""
_CLAIMS: Final = ("prepare.json", "encode.json")


class TimesConfig(BaseModel):
    """Which runs to report on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    names: tuple[str, ...] = ()
    """Trainings, by name; all that finished unless given."""
    first_step: int = Field(default=20, ge=0)
    """Steps before this one do not count for the wait: caches fill, operators compile."""


class Wait(NamedTuple):
    """How long a training waited for data, over the intervals of its records."""

    seconds: float
    """Waited by rank 0."""
    of_seconds: float
    """That the intervals lasted."""
    steps: int


def dataset_seconds(data: Path) -> dict[str, float]:
    """Seconds from the claim of each data set in a folder to its commit, in the order of claims.

    Of a job that was interrupted and submitted again, the pause counts as well.
    """
    found: list[tuple[float, str, float]] = []
    for commit in data.glob(f"*/{COMMIT_FILE}"):
        for claim in (commit.with_name(name) for name in _CLAIMS):
            if claim.is_file():
                began = claim.stat().st_mtime
                found.append((began, commit.parent.name, commit.stat().st_mtime - began))
    return {name: seconds for _, name, seconds in sorted(found)}


def waited(client: MlflowClient, run_id: str, first_step: int) -> Wait:
    """The wait for data in the intervals that begin at `first_step` (from 0) or later."""
    share = {m.step: m.value for m in client.get_metric_history(run_id, "data_wait")}
    step_s = {m.step: m.value for m in client.get_metric_history(run_id, "step_s")}
    seconds = of_seconds = 0.0
    steps, before = 0, 0
    for end in sorted(share.keys() & step_s.keys()):
        if before >= first_step:
            lasted = step_s[end] * (end - before)
            of_seconds, seconds = of_seconds + lasted, seconds + share[end] * lasted
            steps += end - before
        before = end
    return Wait(seconds, of_seconds, steps)


def split(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each part of the steps in a trace; "rest" is what lies between the parts.

    Raises:
        ValueError: the trace has no parts.
    """
    parts = [e for e in events if e.get("name") in SPANS and e.get("cat") == "user_annotation"]
    if not parts:
        raise ValueError(
            f"the trace has none of {', '.join(SPANS)}: it is of an older version; record another"
        )
    seconds = {
        name.removeprefix("train/"): 1e-6 * sum(e["dur"] for e in parts if e["name"] == name)
        for name in SPANS
    }
    ends = [e["ts"] + e["dur"] for e in parts]
    whole = 1e-6 * (max(ends) - min(e["ts"] for e in parts))
    return {**seconds, "rest": whole - sum(seconds.values())}


def _table(title: str, seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    rows = [f"| {name} | {s:.3g} | {100 * s / total:.1f} |" for name, s in seconds.items() if total]
    return "\n".join([f"**{title}**\n\n| part | seconds | % |\n|---|---:|---:|", *rows, ""])


def main(config: TimesConfig) -> None:
    """Print what is known of the data sets and trainings below the outputs root.

    Raises:
        ValueError: no such training finished.
    """
    print(_table("Data sets, from claim to commit", dataset_seconds(paths.data())))
    outcomes = {p.parent.name: json.loads(p.read_text()) for p in paths.runs().glob(f"*/{OUTCOME}")}
    unknown = sorted(set(config.names) - set(outcomes))
    if unknown or not outcomes:
        raise ValueError(
            f"no training {', '.join(unknown) or 'at all'} finished in {paths.runs()}; there are: "
            f"{', '.join(sorted(outcomes)) or 'none'}"
        )
    client = MlflowClient(tracking_uri=paths.mlflow_uri())
    for name in config.names or sorted(outcomes, key=lambda n: outcomes[n]["finished_s"]):
        print(_table(f"Training {name}", outcomes[name]["phases_s"]))
        wait = _newest_wait(client, name, config.first_step)
        if wait is not None and wait.steps:
            share = 100 * wait.seconds / wait.of_seconds
            print(f"waited for data from step {config.first_step} on: {share:.2f} % of "
                  f"{wait.of_seconds:.1f} s in {wait.steps} steps\n")  # fmt: skip
        for trace in sorted((paths.runs() / name / "profile").glob("trace_step*.json")):
            events = json.loads(trace.read_text())["traceEvents"]
            print(_table(f"{name}, {trace.stem}, under the profiler", split(events)))


def _newest_wait(client: MlflowClient, name: str, first_step: int) -> Wait | None:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(
        experiments, f"attributes.run_name = '{name}'", order_by=["attributes.start_time DESC"]
    )
    return waited(client, found[0].info.run_id, first_step) if found else None


if __name__ == "__main__":
    main(tyro.cli(TimesConfig))
