"""The dual-branch network against diffusers' Wan, and the SMPL predictor."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from motion.models.comovi.config import CoMoViConfig, LossWeights
from motion.models.comovi.network import DualBranch
from motion.models.comovi.smpl_predictor import Positions, SMPLPredictor
from motion.models.comovi.weights.load import build_pretrained, open_pretrained

MODES = ("none", "single_m2v", "single_v2m", "dual")


def small(**changes: Any) -> CoMoViConfig:
    values: dict[str, Any] = {
        "latent_channels": 3,
        "text_dim": 10,
        "text_tokens": 6,
        "width": 24,
        "num_heads": 2,
        "num_layers": 4,
        "ffn_dim": 32,
        "time_freq_dim": 16,
        "pose_layers": 2,
        "pose_heads": 2,
        "pose_ffn_dim": 16,
        "pose_positions": 8,
        "supervised_layers": 1,
    } | changes
    if values.get("interaction") == "none":
        values["trainable"] = ("embedders", "rgb", "motion", "fusion", "smpl")
    return CoMoViConfig(**values)


def wan() -> WanTransformer3DModel:
    torch.manual_seed(3)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=3,
        out_channels=3,
        text_dim=10,
        freq_dim=16,
        ffn_dim=32,
        num_layers=4,
        rope_max_seq_len=1024,
    )
    return model.eval()


def inputs(batch: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(4)
    return {
        "x_rgb": torch.randn(batch, 3, 3, 4, 6),
        "x_map": torch.randn(batch, 3, 3, 4, 6),
        "time": torch.rand(batch),
        "text": torch.randn(batch, 6, 10),
    }


def network(**changes: Any) -> DualBranch:
    torch.manual_seed(5)
    model = DualBranch(small(**changes)).eval()
    for module in (model.rgb, model.motion):
        torch.nn.init.normal_(module.head.proj_out.weight, std=0.2)
    return model


@pytest.mark.parametrize("mode", MODES)
def test_zero_bridges_equal_two_wan_transformers(mode: str, tmp_path: Path) -> None:
    reference, x = wan(), inputs()
    reference.save_pretrained(tmp_path)
    model = build_pretrained(open_pretrained(tmp_path, small(interaction=mode))).eval()
    per_token = x["time"][:, None].expand(2, 18) * 1000 * (torch.arange(18) >= 6)
    with torch.no_grad():
        out = model(**x)
        for ours, stream in ((out.rgb, "x_rgb"), (out.map, "x_map")):
            theirs = reference(x[stream], per_token, x["text"], return_dict=False)[0]
            assert (ours - theirs).abs().max() == 0.0


def test_modules_run_in_one_order_whatever_layers_are_supervised() -> None:
    """ZeRO-3 gathers ahead along the recorded order of modules."""
    model, pose = network(), torch.randn(2, 144)
    names = {module: name for name, module in model.named_modules()}
    orders: list[list[str]] = []
    for layers in ((0, 3), (2, 3)):
        order: list[str] = []
        hooks = [
            module.register_forward_pre_hook(lambda m, _, to=order: to.append(names[m]))
            for module in model.modules()
        ]
        out = model(**inputs(), initial_pose=pose, pose_layers=layers)
        for hook in hooks:
            hook.remove()
        assert len(out.poses) == 2
        orders.append(order)
    assert orders[0] == orders[1]
    assert {f"fusion.{j}" for j in range(4)} <= set(orders[0])


def test_fusion_of_every_layer_gets_a_gradient_even_if_zero() -> None:
    model, pose = network(), torch.randn(2, 144)
    out = model(**inputs(), initial_pose=pose, pose_layers=(1, 3))
    torch.stack(out.poses).square().sum().backward()
    gradients = [linear.weight.grad for linear in model.fusion]
    assert all(gradient is not None for gradient in gradients)
    assert all(not gradients[j].any() for j in (0, 2))


def test_interleaved_motion_blocks_copy_every_other_wan_block(tmp_path: Path) -> None:
    reference = wan()
    reference.save_pretrained(tmp_path)
    model = build_pretrained(open_pretrained(tmp_path, small(interleave=2)))
    table = reference.state_dict()["blocks.2.scale_shift_table"]
    assert torch.equal(model.motion.blocks[1].scale_shift_table, table)


@pytest.mark.parametrize(("mode", "interleave"), list(itertools.product(MODES, (1, 2))))
def test_every_mode_runs_and_sends_features_only_along_its_bridges(mode, interleave) -> None:
    model = network(interaction=mode, interleave=interleave)
    for parameter in model.bridges.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = inputs()
    layers = tuple(range(4 // interleave))
    pose = torch.randn(2, 144)
    with torch.no_grad():
        base = model(**x, initial_pose=pose, pose_layers=layers)
        rgb = model(**(x | {"x_rgb": x["x_rgb"] + 1}), initial_pose=pose, pose_layers=layers)
        map_ = model(**(x | {"x_map": x["x_map"] + 1}), initial_pose=pose, pose_layers=layers)
    assert [p.shape for p in base.poses] == [(2, 8, 144)] * len(layers)
    assert torch.equal(rgb.map, base.map) == (mode in ("none", "single_m2v"))
    assert torch.equal(map_.rgb, base.rgb) == (mode in ("none", "single_v2m"))
    count = 4 // interleave
    sizes = {"none": 0, "dual": 2 * count}.get(mode, count)
    assert sum(p.dim() == 2 for p in model.bridges.parameters()) == sizes


def test_stage_one_uses_no_bridge_and_may_leave_the_rgb_branch_out() -> None:
    alone = {"trainable": ("motion",), "weights": LossWeights(rotation=0, vertices=0, joints=0)}
    model = network(stage=1, **alone)
    for parameter in model.bridges.parameters():
        torch.nn.init.normal_(parameter)
    x = inputs()
    with torch.no_grad():
        both, one = model(**x), model(**x, run_rgb=False)
        moved = model(**(x | {"x_map": x["x_map"] + 1}))
    assert torch.equal(both.map, one.map)
    assert one.rgb is None
    assert torch.equal(both.rgb, moved.rgb)


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for flag in (False, True):
        model = network(gradient_checkpointing=flag)
        out = model(**inputs())
        (out.rgb.square().mean() + out.map.square().mean()).backward()
        grads.append(model.rgb.blocks[0].attn1.to_q.weight.grad)
    assert torch.equal(*grads)


def test_bfloat16_keeps_outputs_and_poses_in_float32() -> None:
    model = network().to(torch.bfloat16)
    pose = torch.randn(2, 144)
    with torch.no_grad():
        out = model(**inputs(), initial_pose=pose, pose_layers=(3,))
    assert out.rgb.dtype == out.map.dtype == torch.float32
    assert torch.equal(out.poses[0], pose[:, None].expand(-1, 8, -1))  # not rounded to bfloat16


def test_autocast_keeps_the_residual_stream_in_float32() -> None:
    model = network()
    seen: list[torch.dtype] = []
    model.rgb.blocks[2].register_forward_hook(lambda *a: seen.append(a[2].dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(**inputs())
    assert seen == [torch.float32]


def test_latents_must_divide_into_patches() -> None:
    x = inputs()
    with pytest.raises(ValueError, match="do not divide into patches"):
        network()(**(x | {"x_rgb": x["x_rgb"][..., :5], "x_map": x["x_map"][..., :5]}))


def predictor(**changes: Any) -> SMPLPredictor:
    torch.manual_seed(6)
    sizes = {"num_layers": 2, "num_heads": 2, "ffn_dim": 16, "stride": 4, "num_positions": 8}
    return SMPLPredictor(24, **(sizes | {"resize_positions": True} | changes))


def test_untrained_predictor_repeats_the_initial_pose() -> None:
    pose = torch.randn(2, 144)
    out = predictor()(pose, torch.randn(2, 3, 5, 24))
    assert torch.equal(out, pose[:, None].expand(-1, 8, -1))


def test_smpl_predictor_learns_from_the_video() -> None:
    """Every weight gets a gradient, and two videos give two motions: no dead saddle."""
    model = predictor()
    pose, fused = torch.randn(4, 144), torch.randn(4, 3, 5, 24, requires_grad=True)
    target = fused.detach()[:, 1:].mean(2).repeat_interleave(4, 1) @ torch.randn(24, 144)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(pose, fused) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []
    assert fused.grad is not None
    assert fused.grad[:, 1:].abs().min(dim=0).values.max() > 0
    with torch.no_grad():
        change = model(pose, fused) - model(pose, fused.roll(1, 0))
    assert change.abs().mean() > 1e-3


def test_a_query_sees_only_its_own_latent_frame() -> None:
    model = predictor()
    torch.nn.init.normal_(model.pose_out.weight)
    for decoder in model.decoders:  # without self-attention frames cannot tell each other
        torch.nn.init.zeros_(decoder.sa.to_out[0].weight)
    pose, fused = torch.randn(1, 144), torch.randn(1, 4, 5, 24)
    for latent in range(4):
        other = fused.clone()
        other[:, latent] += torch.randn(5, 24)
        changed = (model(pose, fused) - model(pose, other)).abs().amax((0, 2)) > 1e-6
        expected = torch.zeros(12, dtype=torch.bool)
        if latent:
            expected[4 * (latent - 1) : 4 * latent] = True
        assert torch.equal(changed, expected)


def test_positions_resize_or_refuse() -> None:
    table = Positions(8, 24, resize=True)
    resized = table(15)
    torch.testing.assert_close(resized[:, ::2], table.table)
    assert torch.equal(table(8), table.table)
    with pytest.raises(ValueError, match="12 frames to predict"):
        Positions(8, 24, resize=False)(12)


def test_sizes_of_the_presets() -> None:
    with torch.device("meta"):
        system = CoMoViConfig.wan5b().build()
    parts = {
        name: sum(p.numel() for p in module.parameters()) / 1e9
        for name, module in system.network.parts.items()
    }
    assert sum(parts.values()) == pytest.approx(11.08, abs=0.005)
    assert parts["rgb"] == pytest.approx(4.911, abs=0.001)
    assert parts["bridges"] == parts["fusion"] == pytest.approx(0.283, abs=0.001)
    assert parts["embedders"] == pytest.approx(0.089, abs=0.001)
    assert sum(p.numel() for p in CoMoViConfig.tiny().build().parameters()) < 1_000_000
