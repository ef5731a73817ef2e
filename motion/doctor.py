"""`motion doctor`: what this machine lacks for training, and what to do about it."""

import importlib.metadata
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch

from motion import paths
from motion.body.free import cache_directory

Level = Literal["ok", "warn", "fail"]

MIN_SHM_BYTES: Final = 1 << 30
MIN_DISK_BYTES: Final = 5 << 30


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the doctor's table."""

    name: str
    level: Level
    found: str
    remedy: str = ""
    """What to do; empty where nothing is wrong."""


def examine() -> list[Check]:
    """All checks, in the order in which they matter."""
    return [
        python(),
        *packages(),
        gpu(),
        compiler(),
        shared_memory(),
        storage(),
        body_cache(),
        token(),
        port(8265, "Ray's dashboard and jobs"),
        port(6379, "Ray's control store"),
        port(5000, "make ui"),
    ]


def is_ready(checks: Sequence[Check]) -> bool:
    """Is everything there that is needed? Warnings need no mending."""
    return all(check.level != "fail" for check in checks)


def verdict(checks: Sequence[Check]) -> str:
    """The last line: ready, or what must be mended; after it what deserves a look."""
    failed = [check.name for check in checks if check.level == "fail"]
    things = "1 thing" if len(failed) == 1 else f"{len(failed)} things"
    line = f"{things} to mend: {', '.join(failed)}" if failed else "ready"
    warned = [check.name for check in checks if check.level == "warn"]
    return f"{line} (worth a look: {', '.join(warned)})" if warned else line


def python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    remedy = "" if fits else "use Python 3.11 to 3.13: make setup PYTHON=python3.11"
    return Check(name="python", level="ok" if fits else "fail", found=version, remedy=remedy)


def packages() -> list[Check]:
    """Versions of the four packages that a run leans on most, and which others are missing."""
    checks: list[Check] = []
    for name in ("torch", "ray", "deepspeed", "mlflow"):
        found = _version(name)
        checks.append(
            Check(name=name, level="ok", found=found)
            if found
            else Check(name=name, level="fail", found="not installed", remedy="make setup")
        )
    return [*checks, requirements(importlib.metadata.requires("motion") or [])]


def requirements(asked: Sequence[str]) -> Check:
    """Are the packages installed that this one requires, extras left out?"""
    needed = [line for line in asked if "extra ==" not in line]
    names = [re.split(r"[\[<>=!~; (]", line, maxsplit=1)[0] for line in needed]
    missing = [name for name in names if _version(name) is None]
    if missing:
        found = f"not installed: {', '.join(missing)}"
        return Check(name="packages", level="fail", found=found, remedy="make setup")
    return Check(name="packages", level="ok", found=f"all {len(names)} that are required")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def gpu() -> Check:
    driver = shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check(name="GPU", level="ok", found=f"{len(names)} x {names[0]}")
    if driver:
        return Check(
            name="GPU",
            level="fail",
            found="nvidia-smi is there, but torch sees no GPU",
            remedy="remove .venv and run make setup (it then takes the CUDA build of torch)",
        )
    return Check(name="GPU", level="ok", found="none: tiny presets train on the CPU")


def compiler() -> Check:
    """DeepSpeed builds its fused operators on first use; the CPU presets use none."""
    missing = [
        name
        for name, found in {
            "c++": shutil.which("c++") or shutil.which("g++"),
            "ninja": shutil.which("ninja") or _beside_python("ninja"),
        }.items()
        if not found
    ]
    if not missing:
        return Check(name="compiler", level="ok", found="c++ and ninja")
    return Check(
        name="compiler",
        level="fail" if torch.cuda.is_available() else "warn",
        found=f"no {' and no '.join(missing)}",
        remedy="apt-get install g++ ninja-build (needed for DeepSpeed's GPU operators)",
    )


def shared_memory(folder: Path = Path("/dev/shm")) -> Check:
    if not folder.is_dir():
        return Check(name="/dev/shm", level="ok", found="none: Ray uses the temporary folder")
    free = shutil.disk_usage(folder).free
    small = free < MIN_SHM_BYTES
    remedy = "slow, not fatal: docker run --shm-size 2g" if small else ""
    found = f"{_size(free)} free"
    return Check(name="/dev/shm", level="warn" if small else "ok", found=found, remedy=remedy)


def storage() -> Check:
    """Whether the outputs root, or the first parent of it that exists, can be written."""
    root = paths.outputs()
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = f"make it writable, or set {paths.ENVIRONMENT_VARIABLE} to another folder"
        found = f"{place} cannot be written: {error.strerror}"
        return Check(name="outputs", level="fail", found=found, remedy=remedy)
    free = shutil.disk_usage(place).free
    small = free < MIN_DISK_BYTES
    remedy = f"free some space, or set {paths.ENVIRONMENT_VARIABLE}" if small else ""
    found = f"{root}, {_size(free)} free"
    return Check(name="outputs", level="warn" if small else "ok", found=found, remedy=remedy)


def body_cache() -> Check:
    folder = cache_directory()
    baked = sorted(folder.glob("free-body-*.safetensors"))
    if baked:
        return Check(name="free body", level="ok", found=str(baked[-1]))
    remedy = "the first use bakes it, once, within a minute"
    return Check(name="free body", level="warn", found=f"not yet in {folder}", remedy=remedy)


def token() -> Check:
    """The token that a cluster with authentication asks of every client."""
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if os.environ.get("RAY_AUTH_TOKEN"):
        found, level, remedy = "RAY_AUTH_TOKEN", "ok", ""
    elif file.is_file():
        found, level, remedy = str(file), "ok", ""
    else:
        found, level, remedy = f"none in {file}", "warn", "ray get-auth-token --generate"
    if level == "ok" and os.environ.get("RAY_AUTH_MODE") != "token":
        level, remedy = "warn", "for your own `ray job ...`: export RAY_AUTH_MODE=token"
    return Check(name="Ray token", level=level, found=found, remedy=remedy)


def port(number: int, use: str) -> Check:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        taken = probe.connect_ex(("127.0.0.1", number)) == 0
    if not taken:
        return Check(name=f"port {number}", level="ok", found=f"free ({use})")
    remedy = "fine if that is yours; otherwise the next free port is taken (ss -ltnp)"
    if number == 5000:
        remedy = "fine if that is your make ui; otherwise: make ui UI_PORT=5001"
    return Check(name=f"port {number}", level="warn", found=f"in use ({use})", remedy=remedy)


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
