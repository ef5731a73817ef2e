"""A Ray cluster on this machine: `python -m cluster.local start|stop|status|submit`.

It is the smallest cluster that behaves like a real one: jobs come in through `ray job submit`
with token authentication, and every port listens on 127.0.0.1 only. Its head runs as one process
group of ours with its own temporary folder, so that it neither joins nor stops a cluster of
somebody else. `cluster.json` under the outputs root says what runs.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from cluster import head
from motion import paths

REPOSITORY: Final = Path(__file__).resolve().parents[1]
START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Cluster:
    """What `cluster.json` records of a running cluster."""

    pid: int
    created_s: float
    """Start time of the head process: a recycled process id is not taken for the cluster."""
    dashboard: str
    gcs: str
    folder: str
    """Ray's sessions, sockets and logs."""
    log: str


def current() -> Cluster | None:
    """The cluster of this outputs root, if its head process still runs."""
    try:
        cluster = Cluster(**json.loads(_state_file().read_text()))
    except FileNotFoundError:
        return None
    return cluster if _head_process(cluster) else None


def start() -> Cluster:
    """Start the cluster and wait until it takes jobs; a running one is returned as it is.

    Raises:
        RuntimeError: it did not come up; the message carries the end of its log.
    """
    if cluster := current():
        return cluster
    authentication = head.token()
    folder = _ray_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old_sessions(folder)
    dashboard_port, gcs_port = head.free_port(head.DASHBOARD_PORT), head.free_port(head.GCS_PORT)
    log = folder / "head.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            head.command(folder, dashboard_port, gcs_port),
            cwd=REPOSITORY,  # jobs without a working_dir run here
            # Its processes must not look for "the" cluster where another one runs as well.
            env=head.environment() | {"RAY_ADDRESS": f"127.0.0.1:{gcs_port}"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    cluster = Cluster(
        pid=process.pid,
        created_s=psutil.Process(process.pid).create_time(),
        dashboard=f"http://127.0.0.1:{dashboard_port}",
        gcs=f"127.0.0.1:{gcs_port}",
        folder=str(folder),
        log=str(log),
    )
    file = _state_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(cluster), indent=2))
    _wait_until_ready(cluster, process, authentication)
    return cluster


def stop() -> bool:
    """Stop the cluster that `start` recorded, and nothing else; False if none ran."""
    cluster = current()
    process = _head_process(cluster) if cluster else None
    if process:
        processes = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)  # `ray start --block` then ends its own processes
        _, alive = psutil.wait_procs(processes, timeout=15)
        for remaining in alive:
            remaining.kill()
        psutil.wait_procs(alive, timeout=5)
    _state_file().unlink(missing_ok=True)
    return process is not None


def submit(script: str, arguments: list[str]) -> int:
    """Run `ray job submit -- python script arguments`, stream its log, return its exit code.

    Raises:
        RuntimeError: no cluster runs, or there is no such script.
    """
    cluster = current()
    if cluster is None:
        raise RuntimeError("no local cluster runs: python -m cluster.local start")
    if not (REPOSITORY / script).is_file():
        raise RuntimeError(f"no such script: {REPOSITORY / script}")
    job = f"{Path(script).stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    command = ["ray", "job", "submit", "--address", cluster.dashboard, "--submission-id", job]
    command += ["--", "python", script, *arguments]
    print(f"$ RAY_AUTH_MODE=token {shlex.join(command)}", flush=True)
    with subprocess.Popen(
        [head.ray_program(), *command[1:]], cwd=REPOSITORY, env=head.environment()
    ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()
            print(
                f"\nthe job goes on; end it with: RAY_AUTH_MODE=token ray job stop "
                f"--address {cluster.dashboard} {job}"
            )
            return 130
    if code:
        return code
    # The client also ends with 0 when it only lost the log stream: the job's own word counts.
    state = head.ask(cluster.dashboard, f"/api/jobs/{job}", head.token())["status"]
    if state != "SUCCEEDED":
        print(f"job {job} is {state}", file=sys.stderr)
    return int(state != "SUCCEEDED")


def describe(cluster: Cluster | None) -> str:
    """A few aligned lines about the cluster."""
    if cluster is None:
        return "local cluster  not running (python -m cluster.local start)"
    return (
        f"local cluster  running, head process {cluster.pid}, {head.logical_cpus()} logical CPUs\n"
        f"dashboard      {cluster.dashboard}  (asks for the token: ray get-auth-token)\n"
        f"logs           {cluster.folder}/session_latest/logs\n"
        f"outputs        {paths.outputs()}\n"
        f"end it         python -m cluster.local stop"
    )


def _state_file() -> Path:
    return paths.outputs() / "cluster.json"


def _ray_folder() -> Path:
    # Short, because Unix sockets lie below it; one per outputs root and user.
    digest = hashlib.blake2s(str(paths.outputs()).encode(), digest_size=3).hexdigest()
    return Path(tempfile.gettempdir()) / f"motion-ray-{os.getuid()}-{digest}"


def _remove_old_sessions(folder: Path) -> None:
    # The latest session's logs stay until the next start but one.
    for session in sorted(folder.glob("session_2*"))[:-1]:
        shutil.rmtree(session, ignore_errors=True)


def _head_process(cluster: Cluster) -> psutil.Process | None:
    try:
        process = psutil.Process(cluster.pid)
        same = abs(process.create_time() - cluster.created_s) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _wait_until_ready(
    cluster: Cluster, process: "subprocess.Popen[bytes]", authentication: str
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            head.ask(cluster.dashboard, "/api/jobs/", authentication)
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
    ended = process.poll()
    stop()
    tail = "\n".join(Path(cluster.log).read_text(errors="replace").splitlines()[-15:])
    reason = f"ended with {ended}" if ended is not None else f"took over {START_TIMEOUT_S:.0f} s"
    raise RuntimeError(f"the local cluster did not start: its head {reason}\n{tail}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.local", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("start", help="start it, or say that it runs")
    verbs.add_parser("stop", help="stop it; clusters of others are left alone")
    verbs.add_parser("status", help="say whether it runs; exit code 1 if not")
    job = verbs.add_parser("submit", help="run a script of the repository as a Ray job")
    job.add_argument("script", help="path from the repository's root: rayjobs/train_comovi.py")
    job.add_argument("arguments", nargs=argparse.REMAINDER, help="handed to the script")
    options = parser.parse_args(arguments)
    os.environ.setdefault(paths.ENVIRONMENT_VARIABLE, str(REPOSITORY / "outputs"))
    try:
        if options.verb == "start":
            print(describe(start()))
        elif options.verb == "stop":
            print("local cluster  stopped" if stop() else "local cluster  was not running")
        elif options.verb == "submit":
            return submit(options.script, options.arguments)
        else:
            cluster = current()
            print(describe(cluster))
            return int(cluster is None)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
