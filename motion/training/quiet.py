"""What Ray prints beside a training, reduced to warnings that ask for something.

Every record still reaches the log files of the Ray session. Nothing is done about errors.
"""

import logging
import warnings

NOT_SHOWN = ("Progress bars disabled",)
"""Beginnings of warnings that repeat a setting of ours."""


class _Shown(logging.Filter):
    """Lets warnings and errors pass, but for those of `NOT_SHOWN`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING and not record.getMessage().startswith(NOT_SHOWN)


def quiet() -> None:
    """Filter the consoles of Ray Train, Ray Data, MLflow and Alembic in this process."""
    import ray.data  # configures its logger when it is imported

    warnings.filterwarnings("ignore", category=FutureWarning)
    shown = _Shown()
    for name in ("ray", "ray.train", ray.data.__name__, ""):
        for handler in logging.getLogger(name).handlers:
            if type(handler).__name__ == "PlainRayHandler":  # not the session's log files
                handler.addFilter(shown)
    for name in ("mlflow", "alembic", "DeepSpeed"):
        logging.getLogger(name).setLevel(logging.WARNING)
