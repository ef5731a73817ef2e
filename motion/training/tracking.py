"""MLflow: one run per training, created on the driver and continued across restarts.

Workers log through the run id alone; only rank 0 logs. A tracker that cannot be reached does not
end a training: the loss of a record is announced on the console and the training goes on.
"""

import os
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from motion.data.claim import flatten
from motion.training import console
from motion.training.config import TrainConfig

_MAX_PARAM = 500


def open_run(
    config: TrainConfig, *, run_id: str | None, identity: str, tags: Mapping[str, str]
) -> str:
    """Create the training's MLflow run on the driver, or continue `run_id`.

    Args:
        config: its flat fields become the params of a new run.
        run_id: run of an earlier start of the same training.
        identity: hash of what decides the result.
        tags: set in both cases.

    Returns:
        The run id, to be passed to the workers.
    """
    config.storage.mkdir(parents=True, exist_ok=True)  # SQLite makes no folders
    client = MlflowClient(tracking_uri=config.mlflow_uri)
    if run_id is None or not _exists(client, run_id):
        run_id = _create(client, config, identity)
    client.update_run(run_id, status="RUNNING")
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    return run_id


def _exists(client: MlflowClient, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _create(client: MlflowClient, config: TrainConfig, identity: str) -> str:
    experiment = client.get_experiment_by_name(config.experiment)
    # Artifacts lie beside the database: MLflow's default is the working directory.
    experiment_id = (
        experiment.experiment_id
        if experiment is not None
        else client.create_experiment(config.experiment, artifact_location=_artifacts(config))
    )
    run_id = client.create_run(experiment_id, run_name=config.name).info.run_id
    client.set_tag(run_id, "identity", identity)
    for key, value in flatten(config.model_dump(mode="json")).items():
        client.log_param(run_id, key, str(value)[:_MAX_PARAM])
    return run_id


def _artifacts(config: TrainConfig) -> str | None:
    """Artifact folder for a database; a server decides for itself."""
    if config.mlflow_uri.startswith("sqlite:"):
        return (config.storage / "mlflow-artifacts").as_uri()
    return None


def existing_run(config: TrainConfig, run_id: str) -> str:
    """The run id of an earlier training; empty where its run was deleted since."""
    if run_id and _exists(MlflowClient(tracking_uri=config.mlflow_uri), run_id):
        return run_id
    return ""


@contextmanager
def closing(config: TrainConfig, run_id: str) -> Generator[None]:
    """Mark the run after the block as finished, or as failed where the block raised.

    A run that is finished already keeps its end; an empty run id is no run.
    """
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        client = MlflowClient(tracking_uri=config.mlflow_uri)
        if run_id and client.get_run(run_id).info.status != status:
            client.set_terminated(run_id, status=status)


class Tracker:
    """What rank 0 logs during the run."""

    def __init__(self, config: TrainConfig, run_id: str) -> None:
        self._client = MlflowClient(tracking_uri=config.mlflow_uri)
        self._run_dir = config.run_dir
        self.run_id = run_id
        self.lost = 0
        """Records that could not be delivered."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log scalars at a step."""
        now = int(time.time() * 1000)
        records = [Metric(name, value, now, step) for name, value in values.items()]
        self._deliver(lambda: self._client.log_batch(self.run_id, metrics=records))

    def tag(self, key: str, value: str) -> None:
        """Set a tag of the run."""
        self._deliver(lambda: self._client.set_tag(self.run_id, key, value))

    def artifact(self, path: Path, folder: str) -> None:
        """Upload a file into a folder of the run's artifacts."""
        self._deliver(lambda: self._client.log_artifact(self.run_id, str(path), folder))

    def _deliver(self, send: Any) -> None:
        try:
            send()
        except (MlflowException, OSError) as error:
            self.lost += 1
            text = f"[tracking] record {self.lost} lost, training goes on: {error}"
            console.say(self._run_dir, text)


def use_run(uri: str) -> None:
    """Point MLflow's fluent interface in this process at the training's server."""
    mlflow.set_tracking_uri(uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri


def git_state(folder: Path | None = None) -> str:
    """Commit, branch and local changes of the checkout that holds this code, as text."""
    folder = folder or Path(__file__).resolve().parent
    parts = [
        _git(folder, "rev-parse", "HEAD"),
        _git(folder, "status", "--porcelain", "--untracked-files=no"),
        _git(folder, "diff", "HEAD", "--stat"),
    ]
    return "\n".join(parts).strip() + "\n"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git state unknown: {error}"
    if done.returncode:
        return f"git state unknown: {done.stderr.strip()}"
    return done.stdout.rstrip()
