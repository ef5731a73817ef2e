"""Evaluation of exports: whether they use their conditions, and the protocols of the papers.

`conditions` holds what a training evaluates along the way; `protocols` names the published
protocols and `comparison` runs them on several exports.
"""

from motion.evaluation.conditions import (
    Evaluation,
    EvaluationConfig,
    evaluate,
    evaluate_export,
    held_out,
    log_to_run,
    picture_samples,
    require_encoders,
)

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "evaluate",
    "evaluate_export",
    "held_out",
    "log_to_run",
    "picture_samples",
    "require_encoders",
]
