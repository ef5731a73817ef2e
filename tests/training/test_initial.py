"""Where a training's first weights come from, and how much of them is ever held."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from training_toy import ToyConfig, toy_train_config

from motion.training import loop
from motion.training.config import InitConfig, TrainConfig


@pytest.fixture
def started(tmp_path: Path) -> tuple[TrainConfig, dict[str, torch.Tensor]]:
    """A training that starts from an export with weights of its own."""
    torch.manual_seed(11)
    state = {name: torch.randn(p.shape) for name, p in ToyConfig().build().state_dict().items()}
    export = tmp_path / "export"
    export.mkdir()
    save_file(state, export / "model.safetensors")
    (export / "config.json").write_text(json.dumps({"format": 1, "encoders": {}}))
    config = toy_train_config(tmp_path, zero_stage=3)
    return config.model_copy(update={"init_from": InitConfig(export=export)}), state


def test_frozen_weights_come_from_the_export_also_when_a_run_is_continued(started) -> None:
    """A checkpoint holds what is trained alone."""
    config, state = started
    for resumed in (False, True):
        module = loop._initial_module(config, resumed=resumed)
        assert torch.equal(module.gate.weight, state["gate.weight"])
    trained = config.model_copy(update={"system": ToyConfig(frozen=False)})
    again = loop._initial_module(trained, resumed=True)
    assert not torch.equal(again.gate.weight, state["gate.weight"])


def test_a_whole_export_is_read_without_building_the_module(
    started, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = started

    def build(_: TrainConfig) -> torch.nn.Module:
        raise AssertionError("the module was built whole")

    monkeypatch.setattr(loop, "build_module", build)
    read = loop._initial_values(config, resumed=False)
    assert all(torch.equal(read(name), value) for name, value in state.items())
    with pytest.raises(AssertionError, match="built whole"):
        loop._initial_values(config.model_copy(update={"init_from": None}), resumed=False)


def test_names_that_an_export_may_lack_are_prefixes_or_patterns(started) -> None:
    config, state = started
    assert config.init_from is not None
    lacking = {name: value for name, value in state.items() if not name.startswith("gate.")}
    save_file(lacking, config.init_from.export / "model.safetensors")
    for patterns in (("gate.",), ("*.weight", "gate.b*"), ("g*",)):
        init = config.init_from.model_copy(update={"allow_missing": patterns})
        values = loop._initial_values(config.model_copy(update={"init_from": init}), resumed=False)
        assert torch.equal(values("enter.weight"), state["enter.weight"])
        assert values("gate.weight").shape == state["gate.weight"].shape
    for patterns in ((), ("ate.",), ("*.weight",)):
        init = config.init_from.model_copy(update={"allow_missing": patterns})
        with pytest.raises(ValueError, match=r"missing \(add a prefix"):
            loop._initial_values(config.model_copy(update={"init_from": init}), resumed=False)
