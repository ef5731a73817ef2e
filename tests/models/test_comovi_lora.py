"""Adapters on a frozen branch: zero at the start, alone in training, merged without loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motion.models.comovi.config import CoMoViConfig, LoRAConfig
from motion.models.comovi.lora import merged
from motion.models.comovi.system import CoMoVi
from motion.models.comovi.weights.load import build_pretrained, open_pretrained

pytest.importorskip("peft")

BOTH = LoRAConfig(branches=("rgb", "motion"), rank=4, alpha=8.0)
COUPLING = ("bridges", "fusion", "smpl")


def config(**changes: Any) -> CoMoViConfig:
    values: dict[str, Any] = {
        "latent_channels": 3, "text_dim": 10, "text_tokens": 6, "width": 24, "num_heads": 2,
        "num_layers": 3, "ffn_dim": 32, "patch": (1, 1, 1), "time_freq_dim": 16, "pose_layers": 1,
        "pose_heads": 2, "pose_ffn_dim": 16, "pose_positions": 8, "supervised_layers": 2,
        "trainable": COUPLING,
    }  # fmt: skip
    return CoMoViConfig(**(values | changes))


def system(**changes: Any) -> CoMoVi:
    torch.manual_seed(0)
    model = config(**changes).build()
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            torch.manual_seed(len(name))
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def inputs(model: CoMoVi) -> dict[str, Any]:
    torch.manual_seed(4)
    dtype = next(model.parameters()).dtype
    return {
        "x_rgb": torch.randn(2, 3, 3, 4, 4, dtype=dtype),
        "x_map": torch.randn(2, 3, 3, 4, 4, dtype=dtype),
        "time": torch.rand(2),
        "text": torch.randn(2, 6, 10, dtype=dtype),
        "initial_pose": torch.randn(2, 144),
        "pose_layers": (0, 2),
    }


def outputs(model: CoMoVi) -> list[Tensor]:
    with torch.no_grad():
        out = model.network(**inputs(model))
    assert out.rgb is not None
    return [out.rgb, out.map, *out.poses]


def trained(model: CoMoVi) -> CoMoVi:
    """Adapters as after some training."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_zero_adapters_change_nothing() -> None:
    plain, adapted = system(), system(lora=BOTH)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    for one, two in zip(outputs(plain), outputs(adapted), strict=True):
        assert (one - two).abs().max() == 0.0


def test_only_adapters_and_the_parts_named_train() -> None:
    model = system(lora=LoRAConfig(branches=("rgb",)), trainable=()).train()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names
    assert all("lora_" in name and name.startswith("network.rgb.blocks.") for name in names)
    # attention 4 x 2 and feed-forward 2 in each of 3 blocks, two matrices each
    assert len(names) == 3 * 10 * 2
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):  # the first step moves B alone: A's gradient is a product with B = 0
        optimizer.zero_grad()
        out = model.network(**inputs(model))
        (out.rgb.square().mean() + out.map.square().mean()).backward()
        optimizer.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == names
    frozen = [n for n, p in model.named_parameters() if p.grad is not None and n not in names]
    assert frozen == []


def test_layers_and_branches_are_chosen() -> None:
    chosen = LoRAConfig(branches=("motion",), layers=("self_attention",))
    model = system(lora=chosen)
    names = [n for n, _ in model.named_parameters() if "lora_A" in n]
    assert len(names) == 3 * 4
    assert all(n.startswith("network.motion.blocks.") and ".attn1." in n for n in names)


def test_names_of_checkpoints_do_not_know_the_nesting() -> None:
    plain, adapted = system(), system(lora=BOTH)
    names = set(adapted.state_dict())
    assert set(plain.state_dict()) < names
    assert all("lora_" in name for name in names - set(plain.state_dict()))
    assert any(".base_layer." in name for name, _ in adapted.named_parameters())
    source = trained(system(lora=BOTH))
    adapted.load_state_dict(source.state_dict(), strict=True)
    for one, two in zip(outputs(source), outputs(adapted), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(RuntimeError, match=r"Missing.*lora_A"):
        adapted.load_state_dict(plain.state_dict(), strict=True)


def test_merged_weights_do_what_adapters_did(tmp_path: Path) -> None:
    model = trained(system(lora=BOTH))
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "m.safetensors"
    )
    network = build_pretrained(open_pretrained(tmp_path / "m.safetensors", model.config)).eval()
    assert not any("lora" in name for name in network.state_dict())
    whole = system()
    whole.network = network
    for one, two in zip(outputs(model), outputs(whole), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    bare = load_file(tmp_path / "m.safetensors")
    changed = network.rgb.blocks[0].attn1.to_q.weight
    assert not torch.equal(changed, bare["network.rgb.blocks.0.attn1.to_q.weight"])


def test_merging_is_exact_in_double_precision() -> None:
    torch.manual_seed(1)
    weight, x = torch.randn(6, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    down, up = torch.randn(4, 5, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    expected = x @ weight.T + (BOTH.alpha / BOTH.rank) * (x @ down.T @ up.T)
    torch.testing.assert_close(x @ merged(weight, down, up, BOTH).T, expected, atol=1e-12, rtol=0)
    assert merged(weight.bfloat16(), down.float(), up.float(), BOTH).dtype == torch.bfloat16


def test_adapters_on_trained_or_idle_branches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['motion'\] is trainable"):
        config(lora=BOTH, trainable=("motion",))
    idle = {"rotation": 0, "vertices": 0, "joints": 0, "flow_rgb": 0}
    with pytest.raises(ValueError, match="does not run the rgb branch"):
        config(lora=BOTH, stage=1, trainable=(), weights=idle)


def test_a_config_without_adapters_is_described_as_before() -> None:
    assert "lora" not in config().model_dump(mode="json")
    again = CoMoViConfig.model_validate(config(lora=BOTH).model_dump(mode="json"))
    assert again.lora == BOTH
