"""The systems, by the `kind` that their config and every export names."""

from typing import Final

from motion.models.comovi.config import CoMoViConfig

SYSTEMS: Final = {"comovi": CoMoViConfig}
