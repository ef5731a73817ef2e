"""Shared fixtures: real data, and one Ray cluster for the whole test session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no failure, and an example's first call may compile.
hypothesis.settings.register_profile("motion", deadline=None)
hypothesis.settings.load_profile("motion")

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real mocap, SMPL, captions and video; skips where it is not declared."""
    root = os.environ.get("MOTION_REAL_DATA")
    if not root:
        pytest.skip("MOTION_REAL_DATA is not set: tests on real data are skipped")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"MOTION_REAL_DATA={root} is not a directory; unset it or correct it")
    return path


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local cluster with 8 logical CPUs, shared by every test of this process."""
    import ray

    ray.init(
        num_cpus=8, include_dashboard=False, log_to_driver=False, object_store_memory=400_000_000
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def write_export() -> Callable[..., Path]:
    """Writes an export of tiny CoMoVi with random weights, trained on an encoded data set by its
    word: `write_export(root, name, stage=2)`."""
    return _write_export


def _write_export(root: Path, name: str, stage: int = 2) -> Path:
    import torch

    from motion.models.comovi.config import CoMoViConfig
    from motion.training import dataset, export
    from motion.training.config import DataConfig, OptimizerConfig, TrainConfig

    config = TrainConfig(
        name=name,
        system=CoMoViConfig.tiny(1 if stage == 1 else 2),
        data=DataConfig(root=root),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        steps=1,
        micro_batch=4,
        storage=root.parent,
    )
    torch.manual_seed(0)
    description = export.describe(
        config,
        step=1,
        identity=config.identity(),
        identity_hash="none",
        data=dataset.facts(config),
        run_id="",
        command="python rayjobs/train_comovi.py --stage2.steps 1",
    )
    state = config.build_system().state_dict()
    return export.write(config.export_dir, description, [state], data_root=root, git="none")
