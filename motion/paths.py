"""Where runs leave their files: one root, absolute paths, decided on the driver.

The root is `$MOTION_OUTPUTS`, or `outputs/` in the working directory. Ray workers change their
directory, so the driver resolves these paths and hands them on as values; the local cluster also
exports `MOTION_OUTPUTS`, so that a job finds the same root.
"""

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "MOTION_OUTPUTS"


def outputs() -> Path:
    """Absolute root of everything that runs write. It is not created here."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or "outputs").expanduser().absolute()


def data() -> Path:
    """Datasets that `prepare` and `encode` wrote: one folder per dataset."""
    return outputs() / "data"


def runs() -> Path:
    """Resumable training state (Ray Train's storage path): one folder per run."""
    return outputs() / "runs"


def exports() -> Path:
    """Self-describing models for sampling: one folder per training."""
    return outputs() / "exports"


def samples() -> Path:
    """Default place of generated files."""
    return outputs() / "samples"


def evaluation_samples(export: Path, step: int) -> Path:
    """Where the evaluation of an export after `step` training steps leaves its pictures."""
    return samples() / f"{export.name}-step{step:06d}"


def mlflow_uri() -> str:
    """Absolute SQLite address of the experiment database: an address relative to the working
    directory would give every Ray worker a database of its own. Creates the root folder, because
    SQLite does not."""
    root = outputs()
    root.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{root / 'mlflow.db'}"
