import json
from pathlib import Path

import pytest
import tyro
from pydantic import BaseModel, ConfigDict, ValidationError
from training_toy import ToyConfig, toy_train_config

from motion.training.config import TrainConfig, identity_hash


def test_paths_become_absolute_and_the_config_survives_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = toy_train_config(Path("here"))
    assert config.storage == tmp_path / "here"
    assert config.data.root == tmp_path / "here" / "data"
    assert config.mlflow_uri == f"sqlite:///{tmp_path}/here/mlflow.db"
    again = TrainConfig.model_validate(json.loads(config.model_dump_json()))
    assert again == config
    assert isinstance(again.system, ToyConfig)


def test_a_system_needs_a_known_kind_or_a_build_method(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="unknown system kind 'comove'; expected one of"):
        toy_train_config(tmp_path, system={"kind": "comove"})

    class NoBuild(BaseModel):
        model_config = ConfigDict(frozen=True)
        kind: str = "none"

    with pytest.raises(ValidationError, match="expected a config with `kind` and `build"):
        toy_train_config(tmp_path, system=NoBuild())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracking_uri": "sqlite:///mlflow.db"}, "relative and would differ per worker"),
        ({"steps": 2}, "warmup_steps 3 exceeds steps 2"),
        ({"steps": 8, "profile": {"start": 8}}, r"profile.start 8 is not among the steps 0 to 7"),
        ({"keep_checkpoints": 1}, "greater than or equal to 2"),
        ({"name": "a/b"}, "String should match"),
        ({"learning_rate": 1.0}, "Extra inputs"),
        ({"validate_with": {"function": "motion.evaluation"}}, "package.module:function"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        toy_train_config(tmp_path, **changes)


def test_identity_holds_what_decides_the_result_and_nothing_else(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path)

    def identity(**changes: object) -> str:
        return identity_hash(config.model_copy(update=changes).identity(dataset_hash="x"))

    assert identity() == identity(
        num_workers=1, accumulation=4, log_every=1, storage=tmp_path / "b"
    )
    assert identity() != identity(num_workers=1), "the global batch changed"
    assert identity() != identity(seed=1)
    assert identity() != identity(system=ToyConfig(hidden=14))
    moved = config.model_copy(update={"data": config.data.model_copy(update={"root": tmp_path})})
    assert moved.identity(dataset_hash="x") == config.identity(dataset_hash="x")
    assert moved.identity(dataset_hash="y") != config.identity(dataset_hash="x")


def test_flags_override_a_recipe(tmp_path: Path) -> None:
    recipe = toy_train_config(tmp_path)
    changed = tyro.cli(
        TrainConfig,
        default=recipe,
        args=["--optimizer.learning-rate", "0.5", "--system.hidden", "9", "--zero-stage", "3"],
    )
    assert changed.optimizer.learning_rate == 0.5
    assert changed.zero_stage == 3
    assert changed.system == ToyConfig(hidden=9)
    assert changed.storage == recipe.storage
