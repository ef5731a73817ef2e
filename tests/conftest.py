"""Shared fixtures: real data, and one Ray cluster for the whole test session."""

import os
from collections.abc import Iterator
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
