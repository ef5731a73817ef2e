"""One driver per run name: a lock file in the run's folder.

The lock belongs to the open file of the driver process, so the operating system releases it when
that process ends, however it ends. NFS 4 and the usual cluster file systems carry `flock` across
machines; one that does not refuses the lock, and the error says so.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "lock"


@contextmanager
def held(run_dir: Path) -> Generator[None]:
    """Hold the run's lock during the block.

    Raises:
        RuntimeError: another driver holds it, or the storage has no locks.
    """
    path = run_dir / LOCK_FILE
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise RuntimeError(f"{path} cannot be written ({error}): choose another storage") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RuntimeError(
                f"{run_dir.name} is being trained already, by {file.read() or 'another driver'}: "
                "wait for it, stop it (`ray job stop`), or choose another name"
            ) from None
        except OSError as error:
            raise RuntimeError(
                f"{path} cannot be locked ({error}): choose a storage whose file system "
                "supports flock (NFS: version 4)"
            ) from error
        file.truncate(0)
        file.write(_holder())
        file.flush()
        yield


def _holder() -> str:
    metadata = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("metadata", {})
    job = metadata.get("job_submission_id")
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    process = f"process {os.getpid()} on {socket.gethostname()} since {since}"
    return f"Ray job {job} ({process})" if job else process
