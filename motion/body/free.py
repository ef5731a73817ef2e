"""The free body: baked once from anny (Apache-2.0) and kept in the user's cache.

It needs no registration and no download beyond pip. See `motion.body.bake` for what it is.
"""

import dataclasses
import functools
import importlib.metadata
import os
import tempfile
from pathlib import Path

import platformdirs
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file

from motion.body.bake import BAKE_VERSION, bake
from motion.body.layout import BodyData
from motion.body.model import BodyModel


def cache_directory() -> Path:
    """$MOTION_CACHE, or the user's cache directory for this library."""
    override = os.environ.get("MOTION_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("motion")


@functools.lru_cache(maxsize=1)
def free_body() -> BodyModel:
    """The licence-free body; the first call on a machine bakes it (tens of seconds).

    Processes that start together wait for the one that bakes. The returned module is shared:
    copy it before moving it to another device.
    """
    version = importlib.metadata.version("anny")
    path = cache_directory() / f"free-body-{BAKE_VERSION}-anny-{version}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write(path, *bake())
    return BodyModel(*_read_data(path))


def _write(path: Path, data: BodyData, body_id: str) -> None:
    """Write beside the target and rename: a reader never sees half a file."""
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    tensors = {name: value.contiguous() for name, value in fields.items() if value is not None}
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    os.close(handle)
    try:
        save_file(tensors, partial, metadata={"body_id": body_id})
        os.chmod(partial, 0o644)  # mkstemp's 0600 would lock other users out of a shared cache
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _read_data(path: Path) -> tuple[BodyData, str]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return BodyData(**tensors), file.metadata()["body_id"]
