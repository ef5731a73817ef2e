"""Tables of other comparisons have other files, and exports of one folder name other rows."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from motion.evaluation.comparison import ComparisonConfig, Opened, _name, _subjects
from motion.evaluation.protocols import PROTOCOLS
from motion.inference import Pipeline


def export(folder: str, hash: str) -> Any:
    return Mock(spec=Pipeline, export=Path(folder), hash=hash, config={})


def opened(**changes: Any) -> Opened:
    fields: dict[str, Any] = {
        "protocol": PROTOCOLS["comovi-motion"],
        "evaluator": SimpleNamespace(hash="e", statistics_hash="s"),
        "subjects": _subjects([export("/a/mine", "1" * 64)]),
        "manifest": SimpleNamespace(hash="m"),
        "body": None,
    }
    return Mock(spec=Opened, **(fields | changes))


def config(**changes: Any) -> ComparisonConfig:
    return ComparisonConfig(exports=(Path("/a/mine"),), **changes)


def test_files_of_another_comparison_are_others() -> None:
    name = _name(config(), opened())
    assert name.startswith("comovi-motion-mine-")
    assert _name(config(workers=3, output=Path("/b")), opened()) == name, "the same numbers"
    others: list[dict[str, Any]] = [
        {"split": "validation"}, {"num_clips": 10}, {"seed": 1}, {"root_path": "held"},
        {"batch_size": 4}, {"options": {"steps": 2}}, {"restricted": True},
    ]  # fmt: skip
    names = {_name(config(**change), opened()) for change in others}
    shorter = PROTOCOLS["comovi-motion"].model_copy(update={"passes": 1})
    names |= {
        _name(config(), opened(evaluator=SimpleNamespace(hash="e", statistics_hash="t"))),
        _name(config(), opened(evaluator=None)),
        _name(config(), opened(manifest=SimpleNamespace(hash="n"))),
        _name(config(), opened(protocol=shorter)),
        _name(config(), opened(subjects=_subjects([export("/b/mine", "2" * 64)]))),
    }
    assert len(names | {name}) == len(others) + 6
    many = tuple(replace(one, export=Path("x" * 99)) for one in opened().subjects) * 9
    assert len(_name(config(), opened(subjects=many))) < 130, "a file system takes 255"


def test_folders_of_one_name_are_told_apart() -> None:
    found = _subjects(
        [export("/a/x", "1" * 64), export("/b/x", "2" * 64), export("/b/y", "3" * 64)]
    )
    assert [one.name for one in found] == ["x 11111111", "x 22222222", "y"]
    with pytest.raises(ValueError, match="/a/x, /b/z hold the same export"):
        _subjects([export("/a/x", "1" * 64), export("/b/z", "1" * 64)])
