"""What can be trained, by the `kind` that its config and every export name."""

from typing import Final

from motion.models.comovi.config import CoMoViConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.genmo.config import GenmoConfig
from motion.models.k2m.config import K2MConfig, TokenizerConfig
from motion.models.videomae.system import VideoMAETrainingConfig

SYSTEMS: Final[
    dict[
        str,
        type[CoMoViConfig]
        | type[EvaluatorConfig]
        | type[GenmoConfig]
        | type[K2MConfig]
        | type[TokenizerConfig]
        | type[VideoMAETrainingConfig],
    ]
] = {
    "comovi": CoMoViConfig,
    "evaluator": EvaluatorConfig,
    "genmo": GenmoConfig,
    "k2m": K2MConfig,
    "k2m_tokenizer": TokenizerConfig,
    "videomae": VideoMAETrainingConfig,
}


def sampled() -> list[str]:
    """Kinds that can be sampled from: their configs hold sampling options."""
    return sorted(kind for kind, config in SYSTEMS.items() if "sampling" in config.model_fields)
