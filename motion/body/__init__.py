"""Bodies in SMPL's parameters: the free one, or a user's SMPL file; and their pictures."""

import functools
from pathlib import Path

from motion.body.free import free_body
from motion.body.model import BodyModel

__all__ = ["BodyModel", "load_body"]


@functools.lru_cache(maxsize=8)
def load_body(spec: str) -> BodyModel:
    """The body named by `spec`: "free", or the path of an SMPL, SMPL-H or SMPL-X model file.

    The returned module is shared by all callers: copy it before moving it to another device.

    Raises:
        ValueError: the file does not exist or is not a model file.
    """
    if spec == "free":
        return free_body()
    from motion.body.smpl import smpl_body

    return smpl_body(Path(spec))
