"""Adapters and frozen weights under the engine: what trains, what an export holds, a restart."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_comovi import comovi_batches, comovi_train_config
from training_direct import errors, run

from motion.models.comovi.config import CoMoViConfig, LoRAConfig
from motion.training.config import InitConfig, TrainConfig
from motion.training.engine import build_module

pytest.importorskip("peft")

LORA = LoRAConfig(branches=("rgb",), rank=4, layers=("self_attention",))


def adapted(storage: Path, start: Path, stage: int) -> TrainConfig:
    plain = comovi_train_config(storage).system
    assert isinstance(plain, CoMoViConfig)
    system = plain.model_copy(update={"trainable": ("motion", "bridges", "fusion", "smpl")})
    return comovi_train_config(
        storage,
        name=f"adapted-{stage}",
        system=system.with_adapters(LORA),
        init_from=InitConfig(export=start, allow_missing=("*.lora_*",)),
        steps=3,
        num_workers=1,
        zero_stage=stage,
    )


@pytest.mark.slow
def test_adapters_train_beside_frozen_weights_that_survive_a_restart(tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = tmp_path / "start"
    start.mkdir()
    module = build_module(comovi_train_config(tmp_path))
    state = {name: torch.randn(value.shape) * 0.1 for name, value in module.state_dict().items()}
    save_file(state, start / "model.safetensors")
    (start / "config.json").write_text(json.dumps({"format": 1, "encoders": {}}))
    configs = [adapted(tmp_path, start, stage) for stage in (0, 3)]
    run(1, configs, tmp_path, comovi_batches)
    exports: list[dict[str, torch.Tensor]] = []
    for config in configs:
        assert errors(config) == []
        found = load_file(config.export_dir / "model.safetensors")
        assert state.keys() < found.keys()
        added = found.keys() - state.keys()
        assert len(added) == 4 * 4 * 2  # blocks, layers, matrices
        assert all(".rgb.blocks." in name and ".attn1." in name for name in added)
        ups = [value for name, value in found.items() if "lora_B" in name]
        assert all(value.abs().max() > 0 for value in ups)  # they begin at zero
        for name, value in state.items():
            frozen = name.startswith(("network.rgb.", "network.embedders."))
            assert torch.equal(found[name], value) == frozen, name
        exports.append(found)
    for name, value in exports[0].items():
        torch.testing.assert_close(exports[1][name], value, atol=1e-5, rtol=1e-4)
    for config in configs:  # written again from the checkpoint, which has no frozen weights
        shutil.rmtree(config.export_dir)
    run(1, configs, tmp_path, comovi_batches)
    for config, before in zip(configs, exports, strict=True):
        assert errors(config) == []
        again = load_file(config.export_dir / "model.safetensors")
        assert all(torch.equal(again[name], value) for name, value in before.items())
