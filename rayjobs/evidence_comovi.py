"""Measure whether tiny CoMoVi learns and uses its conditions: the run behind docs/results.md.

    ray job submit -- python rayjobs/evidence_comovi.py

The recipe of train_comovi.py on more clips and with more steps, then an evaluation on at least 256
held-out clips. Below 40 minutes on two CPU cores; what is committed is skipped. Results, under the
outputs root: exports/comovi-evidence-1 and -2, evaluation/comovi-evidence-2/report.md.
"""

from typing import Literal

import tyro
from pydantic import BaseModel, ConfigDict

from motion import paths
from motion.data.encode import EncodeConfig
from motion.data.prepare import PrepareConfig
from motion.evaluation import EvaluationConfig
from motion.models.comovi.config import CoMoViConfig
from motion.report import committed_report, write_report
from motion.training.config import TrainConfig
from motion.training.validation import in_task
from rayjobs import train_comovi


class Evidence(BaseModel):
    """The training and its evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    training: train_comovi.Recipe
    """The longer tiny run."""
    evaluation: EvaluationConfig
    """What is measured on its export."""
    dry_run: bool = False
    """Check everything, start nothing."""


def evidence() -> Evidence:
    """Sizes that fit 40 minutes on two cores."""
    raw, encoded = paths.data() / "evidence", paths.data() / "evidence-encoded"

    def stage(name: str, number: Literal[1, 2], steps: int, rate: float) -> TrainConfig:
        # ZeRO 2: the model fits many times over, and gathering its small weights costs more than
        # computing with them. All stages train the same weights (tests/training/test_parity.py).
        return train_comovi.tiny_stage(
            name,
            CoMoViConfig.tiny(number),
            encoded,
            steps=steps,
            learning_rate=rate,
            ema_decay=0.995,
            zero_stage=2,
        )

    return Evidence(
        training=train_comovi.Recipe(
            prepare=PrepareConfig(
                root=raw,
                num_train=2048,
                num_validation=256,
                num_test=0,
                clip=train_comovi.TINY_CLIPS,
            ),
            encode=EncodeConfig(raw_root=raw, root=encoded, fit_clips=128, actors=2),
            # Most of the time for the branches alone: the SMPL terms join a network that moves
            # the person already, and learn from it in a fraction of the steps.
            stage1=stage("comovi-evidence-1", 1, 1900, 3e-3),
            stage2=stage("comovi-evidence-2", 2, 900, 2e-3),
        ),
        evaluation=EvaluationConfig(num_clips=256, batch_size=32),
    )


def main(config: Evidence) -> None:
    """Train, then evaluate in a task of the cluster that this job runs on."""
    training = config.training.model_copy(update={"dry_run": config.dry_run})
    train_comovi.main(training)
    if config.dry_run:
        return
    export = config.training.stage2.export_dir
    folder = paths.outputs() / "evaluation" / export.name
    files = committed_report(export, folder, config.evaluation)
    if files is None:
        files = in_task(write_report, export, folder, config.evaluation)
    for file in files:
        print(f"evidence    {file}")


if __name__ == "__main__":
    config = (tyro.conf.AvoidSubcommands,)
    main(tyro.cli(Evidence, default=evidence(), description=__doc__, config=config))
