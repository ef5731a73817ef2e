"""A wrong name on a recipe's command line: one error that says it, and what there is."""

import pytest
import tyro

from rayjobs import train_comovi, train_evaluator

OPTIONS = (tyro.conf.AvoidSubcommands,)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without the frame that a terminal shows around it."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    lines = [line.strip("│ ") for line in (printed.out + printed.err).splitlines()]
    return " ".join(line for line in lines if line)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--stage1.optimizer.lerning-rate", "1"],
            [
                "--stage1.optimizer.lerning-rate",
                "Perhaps you meant",
                "--stage1.optimizer.learning-",
            ],
        ),
        (["--stage2.system.kind", "comove"], ["'comove'", "--stage2.system.kind", "('comovi',)"]),
        (
            ["--prepare.clip.families", "walk", "wolk"],
            ["unknown families ['wolk']", "prepare.clip", "'squat'"],
        ),
        (["--stage", "3"], ["'3'", "--stage", "'all'", "'2'"]),
        (["--prepare.source", "bvh"], ["'bvh'", "--source mocap --mocap.folder DIR"]),
    ],
    ids=["field", "system", "family", "stage", "source"],
)
def test_an_unknown_name_is_answered_with_those_that_exist(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        tyro.cli(train_comovi.Recipe, default=train_comovi.tiny(), args=words, config=OPTIONS)
    assert ended.value.code != 0
    said = _said(capsys)
    for part in expected:
        assert part in said


def test_an_unknown_preset_is_answered_with_those_that_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        tyro.extras.overridable_config_cli(train_evaluator.PRESETS, args=["large"], config=OPTIONS)
    assert ended.value.code != 0
    said = _said(capsys)
    assert "large" in said
    for name in train_evaluator.PRESETS:
        assert name in said
