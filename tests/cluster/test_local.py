import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from cluster import head, local

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of its own for this module, whatever else runs on the machine."""
    root = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTION_OUTPUTS", str(root))
        local.start()
        yield root
        local.stop()


def test_object_store_fits_small_containers() -> None:
    size, in_shm = head.object_store(shm_free_bytes=64 << 20, memory_free_bytes=16 << 30)
    assert size == 1 << 30
    assert not in_shm, "64 MiB of /dev/shm cannot hold the store: it must lie in a file"
    size, in_shm = head.object_store(shm_free_bytes=8 << 30, memory_free_bytes=2 << 30)
    assert size == (2 << 30) // 5
    assert in_shm


def test_free_port_passes_over_a_taken_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert number < head.free_port(number) < number + 20


def test_environment_is_complete_and_forgets_other_clusters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(head, "has_gpu", lambda: False)
    values = head.environment()
    assert "RAY_ADDRESS" not in values
    assert values["RAY_AUTH_MODE"] == "token"
    assert values["DS_ACCELERATOR"] == "cpu"
    assert values["MOTION_OUTPUTS"] == str(tmp_path)
    assert values["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_stop_leaves_a_process_alone_that_is_not_the_recorded_head(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path))
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        # A recycled process id: same number, another start time.
        record = local.Cluster(
            pid=sleeper.pid,
            created_s=psutil.Process(sleeper.pid).create_time() - 100,
            dashboard="http://127.0.0.1:1",
            gcs="127.0.0.1:1",
            folder=str(tmp_path),
            log=str(tmp_path / "log"),
        )
        (tmp_path / "cluster.json").write_text(json.dumps(asdict(record)))
        assert local.current() is None
        assert not local.stop()
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_start_is_idempotent(outputs: Path) -> None:
    first = local.current()
    assert first is not None
    assert local.start() == first


def test_everything_listens_on_loopback_only(outputs: Path) -> None:
    cluster = local.current()
    assert cluster is not None
    process = psutil.Process(cluster.pid)
    listening = {
        connection.laddr.ip
        for member in [process, *process.children(recursive=True)]
        for connection in member.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_dashboard_refuses_clients_without_the_token(outputs: Path) -> None:
    cluster = local.current()
    assert cluster is not None
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{cluster.dashboard}/api/jobs/", timeout=10)
    assert refusal.value.code == 401


def test_a_job_runs_in_the_repository_with_this_python(
    outputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = outputs / "job.py"
    script.write_text(
        "import os, sys, ray\n"
        "ray.init()\n"
        "@ray.remote\n"
        "def worker():\n"
        "    return os.environ['MOTION_OUTPUTS'], os.environ['OMP_NUM_THREADS']\n"
        "print('DRIVER', os.getcwd(), os.path.dirname(sys.executable), sys.argv[1:])\n"
        "print('WORKER', *ray.get(worker.remote()))\n"
    )
    # Absolute, because the script lies outside the repository here.
    assert local.submit(str(script), ["--steps", "3"]) == 0
    printed = capfd.readouterr().out
    assert "--address http://127.0.0.1:" in printed
    assert f"DRIVER {REPOSITORY} {Path(sys.executable).parent} ['--steps', '3']" in printed
    assert f"WORKER {outputs} 1" in printed


def test_a_failing_job_fails_the_command(outputs: Path) -> None:
    script = outputs / "failing.py"
    script.write_text("raise SystemExit(3)\n")
    assert local.submit(str(script), []) == 1


def test_submit_names_what_is_missing(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert local.main(["submit", "rayjobs/no_such_recipe.py"]) == 1
    assert "no such script" in capsys.readouterr().err


def test_status_tells_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path))
    assert local.main(["status"]) == 1
    assert "not running" in capsys.readouterr().out


def test_stop_ends_every_process_of_the_cluster(outputs: Path) -> None:
    cluster = local.start()
    process = psutil.Process(cluster.pid)
    members = [process, *process.children(recursive=True)]
    assert len(members) > 5
    assert local.stop()
    _, alive = psutil.wait_procs(members, timeout=5)
    assert [member for member in alive if member.status() != psutil.STATUS_ZOMBIE] == []
    assert local.current() is None
