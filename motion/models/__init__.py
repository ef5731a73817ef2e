"""What can be trained, by the `kind` that its config and every export name."""

from typing import Final

from motion.models.comovi.config import CoMoViConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.videomae.system import VideoMAETrainingConfig

SYSTEMS: Final[
    dict[str, type[CoMoViConfig] | type[EvaluatorConfig] | type[VideoMAETrainingConfig]]
] = {
    "comovi": CoMoViConfig,
    "evaluator": EvaluatorConfig,
    "videomae": VideoMAETrainingConfig,
}


def sampled() -> list[str]:
    """Kinds that can be sampled from: their configs hold sampling options."""
    return sorted(kind for kind, config in SYSTEMS.items() if "sampling" in config.model_fields)
