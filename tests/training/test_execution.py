"""Options that change how a step executes must not change what it computes."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_comovi import comovi_batches, comovi_train_config
from training_toy import toy_train_config

from motion.models.comovi import blocks
from motion.models.comovi.blocks import Block
from motion.models.comovi.smpl_predictor import DecoderBlock
from motion.models.comovi.system import CoMoVi
from motion.training.execution import compile_blocks

TOLERANCE = {"atol": 1e-6, "rtol": 1e-5}


def system(storage: Path, **changes: Any) -> CoMoVi:
    """Of the parity tests' size, with outputs that are not zero."""
    config = comovi_train_config(storage).system.model_copy(update=changes)
    torch.manual_seed(0)
    model = config.build()
    for name, parameter in model.named_parameters():
        if "proj_out.weight" in name or "pose_out.weight" in name:
            nn.init.normal_(parameter, std=0.1)
        if name.startswith(("network.bridges", "network.fusion")):
            nn.init.normal_(parameter, std=0.05)
    return model


def step(model: CoMoVi, storage: Path) -> dict[str, Tensor]:
    """Loss, terms and gradients of one batch."""
    model.zero_grad()
    loss, logs = model(next(comovi_batches(comovi_train_config(storage), 0, 0)))
    loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **logs, **grads}


@pytest.mark.parametrize("every", [True, 1, 2, 3])
def test_recomputation_changes_no_bit(tmp_path: Path, every: bool | int) -> None:
    plain = step(system(tmp_path), tmp_path)
    calls: list[nn.Module] = []
    model = system(tmp_path, gradient_checkpointing=every)
    for block in model.network.rgb.blocks:
        block.register_forward_pre_hook(lambda module, _: calls.append(module))
    found = step(model, tmp_path)
    assert all(torch.equal(found[name], value) for name, value in plain.items())
    assert len(calls) == 4 + {1: 4, 2: 2, 3: 2}[int(every)]  # of 4 blocks


def test_compiled_blocks_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = step(system(tmp_path), tmp_path)
    # The tests' own checks of shapes, which production has not, cannot be compiled.
    for owner, name in (
        (Block, "forward"), (DecoderBlock, "forward"), (blocks, "modulated"), (blocks, "gated"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, inspect.unwrap(getattr(owner, name)))
    model = system(tmp_path)
    names = list(model.state_dict())
    assert compile_blocks(model, backend="aot_eager") == 4 + 4 + 1  # two branches, one decoder
    assert list(model.state_dict()) == names
    found = step(model, tmp_path)
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, **TOLERANCE, msg=name)
    with pytest.raises(ValueError, match="no ModuleList of blocks"):
        compile_blocks(nn.Linear(2, 2))


def test_bf16_stays_near_fp32_and_keeps_times_and_residuals_in_fp32(tmp_path: Path) -> None:
    """Stated bound: 1 % of every loss term, 3 % of the gradient's length."""
    model = system(tmp_path)
    times: list[Tensor] = []
    streams: list[torch.dtype] = []
    model.network.embedders.register_forward_hook(lambda *a: times.append(a[2][1]))
    for block in model.modules():
        if isinstance(block, Block):
            block.register_forward_hook(lambda *a: streams.append(a[2].dtype))
    exact = step(model, tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = step(model, tmp_path)
    assert torch.equal(times[0], times[1])
    assert set(streams) == {torch.float32}
    terms = ("loss", "flow_rgb", "flow_map", "rotation", "vertices", "joints")
    for name in terms:
        torch.testing.assert_close(rounded[name], exact[name], rtol=1e-2, atol=0, msg=name)
    assert any(not torch.equal(rounded[name], exact[name]) for name in terms)
    ours, theirs = (
        torch.cat([v.flatten() for n, v in sorted(found.items()) if n not in terms])
        for found in (rounded, exact)
    )
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_options_are_checked_and_belong_to_no_identity(tmp_path: Path) -> None:
    plain = comovi_train_config(tmp_path)
    together = comovi_train_config(tmp_path, num_workers=4, sequence_parallel=2)
    assert (together.data_ranks, together.global_batch) == (2, plain.global_batch)
    assert together.identity() == plain.identity()
    other = comovi_train_config(tmp_path, attention="math", compile_blocks=True)
    assert other.identity() == plain.identity()
    with pytest.raises(ValueError, match="no multiple of sequence_parallel 4"):
        comovi_train_config(tmp_path, sequence_parallel=4)
    with pytest.raises(ValueError, match="zero_stage below 3"):
        toy_train_config(tmp_path, zero_stage=3, compile_blocks=True)
