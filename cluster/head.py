"""How the head process of a local cluster is started, and how its dashboard is asked."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

import psutil

from motion import paths

DASHBOARD_PORT: Final = 8265
GCS_PORT: Final = 6379
MIN_LOGICAL_CPUS: Final = 8
"""Ray's CPUs are admission tickets, not cores: a training of two ranks with its data pipeline and
a validation task needs about eight, also where the machine has two cores to share among them."""


def logical_cpus() -> int:
    """CPUs that the cluster offers: the machine's, or `MIN_LOGICAL_CPUS` where it has fewer."""
    return max(MIN_LOGICAL_CPUS, os.cpu_count() or 1)


def object_store(shm_free_bytes: int, memory_free_bytes: int) -> tuple[int, bool]:
    """Size of the object store in bytes, and whether it fits into /dev/shm.

    Our clips stream through it and leave, so 1 GiB is plenty; a container has 64 MiB of /dev/shm
    unless told otherwise, and then the store lies in a file of the temporary folder.
    """
    size = max(128 << 20, min(1 << 30, memory_free_bytes // 5))
    return size, shm_free_bytes > size * 1.1


def free_port(preferred: int) -> int:
    """`preferred` on 127.0.0.1, or the next free port after it.

    Raises:
        RuntimeError: twenty ports in a row are taken.
    """
    for port in range(preferred, preferred + 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(
        f"ports {preferred} to {preferred + 19} of 127.0.0.1 are all taken; "
        "stop what listens there (`ss -ltnp` lists it)"
    )


def has_gpu() -> bool:
    """Whether an NVIDIA driver is installed."""
    return shutil.which("nvidia-smi") is not None


def environment() -> dict[str, str]:
    """Environment of the head process, which its workers and job drivers inherit."""
    values = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    values |= {
        # `python` in a job's entrypoint is the interpreter that runs this file.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        paths.ENVIRONMENT_VARIABLE: str(paths.outputs()),
        "PYTHONUNBUFFERED": "1",  # a job's lines reach the terminal as they are printed
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray replaces a loopback node address by the machine's public one unless it believes
        # that clusters of several nodes are switched off; this is what keeps it on 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # One machine is never preempted; the watcher costs an actor and an error line per start.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        # Ray warns at four times this number, the machine's cores by default, of our eight CPUs.
        "RAY_worker_maximum_startup_concurrency": str(logical_cpus()),
        "RAY_COLOR_PREFIX": "0",
    }
    # How often Train looks at its workers, in seconds: the default of 2 s delays every report.
    values.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    values.setdefault("OMP_NUM_THREADS", "1")
    if not has_gpu():
        values["DS_ACCELERATOR"] = "cpu"
    return values


def token() -> str:
    """The cluster's token, generated in `~/.ray/auth_token` on first use."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if not file.is_file():
        run = subprocess.run([ray_program(), "get-auth-token", "--generate"], capture_output=True)
        if run.returncode or not file.is_file():
            raise RuntimeError(
                f"no token in {file} and none could be made: {run.stderr.decode().strip()[-300:]}"
            )
    return file.read_text().strip()


def ray_program() -> str:
    """Ray's command line beside this interpreter: PATH may hold another one."""
    return str(Path(sys.executable).parent / "ray")


def command(folder: Path, dashboard_port: int, gcs_port: int) -> list[str]:
    """`ray start --head --block`, with its sessions in `folder` and every port on 127.0.0.1."""
    shm = Path("/dev/shm")
    shm_free = shutil.disk_usage(shm).free if shm.is_dir() else 0
    store_bytes, in_shm = object_store(shm_free, psutil.virtual_memory().available)
    start = [ray_program(), "start", "--head", "--block", "--disable-usage-stats"]
    start += ["--node-ip-address", "127.0.0.1", "--port", str(gcs_port)]
    start += ["--include-dashboard", "true", "--dashboard-host", "127.0.0.1"]
    start += ["--dashboard-port", str(dashboard_port), "--dashboard-agent-listen-port", "0"]
    start += ["--num-cpus", str(logical_cpus()), "--object-store-memory", str(store_bytes)]
    start += ["--temp-dir", str(folder), "--log-color", "false"]
    return start if in_shm else [*start, "--plasma-directory", str(folder)]


def ask(dashboard: str, path: str, authentication: str) -> Any:
    """The JSON that the dashboard answers; urllib's errors where it does not."""
    headers = {"Authorization": f"Bearer {authentication}"}
    request = urllib.request.Request(f"{dashboard}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)
