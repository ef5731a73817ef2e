from pathlib import Path

import mlflow
import pytest

from motion import paths


def test_outputs_follow_the_environment_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path / "elsewhere"))
    assert paths.outputs() == tmp_path / "elsewhere"
    for folder in (paths.data(), paths.runs(), paths.exports(), paths.samples()):
        assert folder.parent == tmp_path / "elsewhere"


def test_default_root_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MOTION_OUTPUTS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert paths.outputs() == tmp_path / "outputs"


def test_mlflow_address_is_one_that_mlflow_opens_from_any_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path / "outputs"))
    uri = paths.mlflow_uri()
    assert uri.startswith("sqlite:////")
    assert (tmp_path / "outputs").is_dir()
    monkeypatch.chdir("/")
    mlflow.MlflowClient(tracking_uri=uri).search_experiments()
    assert (tmp_path / "outputs" / "mlflow.db").is_file()
