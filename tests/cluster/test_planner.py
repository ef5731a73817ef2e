"""The planner's memory against what PyTorch's profiler measures, and its arithmetic."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cluster import planner
from cluster.planner import GPUS, Request, best, buffer_bytes, plan, rows, table, train_config
from cluster.simulation import Footprint, Video, blank_batch, simulate
from motion.batch import Batch
from motion.models.comovi.config import CoMoViConfig
from motion.training.memory import LiveMemory

VIDEO = Video(frames=17, height=96, width=96)
CLIPS = 3
FROZEN = ("motion", "bridges", "fusion", "smpl")


def mid(**changes: Any) -> CoMoViConfig:
    values: dict[str, Any] = {
        "latent_channels": 16,
        "text_dim": 32,
        "text_tokens": 24,
        "width": 96,
        "num_heads": 4,
        "num_layers": 3,
        "ffn_dim": 384,
        "patch": (1, 1, 1),
        "pose_layers": 1,
        "pose_heads": 4,
        "pose_ffn_dim": 128,
        "pose_positions": 16,
        "supervised_layers": 1,
    }
    return CoMoViConfig(**(values | changes))


def clips(config: CoMoViConfig) -> Batch:
    """The planner's batch with real tensors."""
    return blank_batch(config, VIDEO, CLIPS, contextlib.nullcontext())


@functools.cache
def simulated(*, bf16: bool = False, **changes: Any) -> Footprint:
    """Of the mid config with changes; tests share simulations, which are slow."""
    return simulate(mid(**changes), VIDEO, clips=CLIPS, bf16=bf16)


def measured_peak(run: Callable[[], None]) -> int:
    """Peak bytes by the allocator's own reports to torch.profiler."""
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def train_twice(module: nn.Module, data: Batch, *, bf16: bool) -> None:
    """Two optimizer steps of two accumulated micro-batches each."""
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4)
    for _ in range(2):
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, _ = module(data)
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # the engine keeps gradients too


@pytest.mark.parametrize(
    ("changes", "bf16"),
    [
        ({}, False),
        ({"trainable": FROZEN}, False),
        ({"trainable": FROZEN, "gradient_checkpointing": True}, False),
        ({"trainable": FROZEN, "gradient_checkpointing": 2}, True),
    ],
    ids=["all", "frozen", "recomputed", "bf16"],
)
def test_planned_memory_is_what_the_profiler_measures(changes, bf16) -> None:
    config = mid(**changes)
    precision = "bf16" if bf16 else "fp32"
    request = Request(gpus=1, micro_batch=CLIPS, global_batch=2 * CLIPS, precision=precision)
    planned = rows(request, config, simulated(bf16=bf16, **changes))[0]
    data, module = clips(config), config.build()
    with torch.no_grad():
        module(data)  # loads the body, which is no activation
    weights = sum(4 * p.numel() for p in module.parameters())
    peak = measured_peak(lambda: train_twice(module, data, bf16=bf16))
    measured = (weights + peak) / 2**30
    assert planned.total_gib == pytest.approx(measured, rel=0.1)
    assert planned.activations_gib > 0.2 * planned.total_gib  # or states alone would do


def test_fake_and_real_steps_allocate_alike() -> None:
    config = mid(trainable=FROZEN)
    found, module, data = simulated(trainable=FROZEN), config.build(), clips(config)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    with torch.no_grad():
        module(data)  # loads the body
    with LiveMemory() as memory:
        loss, logs = module(data)
        loss.backward()
        del loss, logs
    assert memory.peak == pytest.approx(found.activation_bytes, rel=0.01)
    assert memory.now < 0.01 * memory.peak
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    assert found.parameters == sum(size for size, _ in sizes)
    assert found.trainable == sum(size for size, trained in sizes if trained)


def test_recomputation_and_frozen_weights_in_operations() -> None:
    all_trained, frozen = simulated(), simulated(trainable=FROZEN)
    again = simulated(trainable=FROZEN, gradient_checkpointing=True)
    assert again.model_flops == frozen.model_flops  # a utilization counts no work done twice
    assert again.executed_flops > 1.2 * frozen.executed_flops
    assert again.activation_bytes < 0.7 * frozen.activation_bytes
    # What frozen RGB blocks save is their weights' gradients: as much as their forward pass without
    # the attention. The first one's activations need no gradient either: no bridge lies before it.
    saved = all_trained.model_flops - frozen.model_flops
    layers = mid().num_layers
    assert layers * linear_flops(mid()) < saved < (layers + 2) * linear_flops(mid())


def linear_flops(config: CoMoViConfig) -> int:
    """Of a block's linear layers, once: self-attention's four, text queries, output and
    feed-forward see the tokens; text keys and values the text."""
    tokens, width = VIDEO.tokens(config), config.width
    on_tokens = tokens * (6 * width**2 + 2 * width * config.ffn_dim)
    return 2 * CLIPS * (on_tokens + config.text_tokens * 2 * width**2)


def test_operations_are_those_of_a_count_by_hand() -> None:
    config = mid(trainable=FROZEN)
    tokens, width, ffn = VIDEO.tokens(config), config.width, config.pose_ffn_dim
    attention = 2 * CLIPS * 2 * tokens * (tokens + config.text_tokens) * width
    linear = linear_flops(config)
    motion = 3 * (linear + attention)  # forward, activations' gradients, weights'
    rgb = 2 * linear + 3 * attention
    square = 2 * CLIPS * tokens * width**2
    bridges = 3 * square
    blocks = config.num_layers * (motion + rgb + bridges) - linear - 2 * attention  # see above
    # The predictor: fused features become keys and values; its own 16 queries hardly count.
    frames = VIDEO.frames - 1
    queries = 2 * CLIPS * frames * (6 * width**2 + 2 * width * ffn)
    predictor = 3 * config.pose_layers * (2 * square + queries)
    by_hand = blocks + predictor + 3 * square
    assert simulated(trainable=FROZEN).model_flops == pytest.approx(by_hand, rel=0.03)


def footprint(**changes: Any) -> Footprint:
    values: dict[str, Any] = {
        "parameters": 10**10,
        "trainable": 5 * 10**9,
        "largest_block": 10**8,
        "activation_bytes": 10 * 2**30,
        "executed_flops": 2 * 10**15,
        "model_flops": 10**15,
    }
    return Footprint(**(values | changes))


def test_time_is_operations_over_utilization_and_cost_follows() -> None:
    request = Request(gpus=8, gpu="h100", mfu=0.5, global_batch=32)
    found = rows(request, request.system(2), footprint())
    assert request.accumulation == 4
    assert found[0].compute_s == pytest.approx(4 * 1e15 / (0.5 * 989e12))
    # ring all-reduce of fp32 gradients
    assert found[0].exchange_s == pytest.approx(2 * 4 * 5e9 * 7 / 8 / 450e9)
    assert found[3].exchange_s > found[2].exchange_s > found[0].exchange_s
    assert all(row.step_s == max(row.compute_s, row.exchange_s) for row in found)


def test_lowest_stage_that_fits() -> None:
    def chosen(memory: float) -> int | None:
        request = Request(gpus=8, memory_gib=memory, reserve=0.0)
        row = best(rows(request, request.system(2), footprint()))
        return None if row is None else row.zero

    stages = [chosen(memory) for memory in (300, 80, 60, 45, 12)]
    assert stages == [0, 1, 2, 3, None]
    totals = [r.total_gib for r in rows(Request(gpus=8), Request().system(2), footprint())]
    assert totals == sorted(totals, reverse=True)


def test_buffers_follow_the_zero_blocks() -> None:
    config = Request().system(2)
    sizes = [buffer_bytes(train_config(Request(), config, s), footprint()) for s in (0, 1, 2, 3)]
    assert sizes[0] == 0
    assert sizes[1] == sizes[2] == 2 * 4 * 2e8
    assert sizes[3] == 4 * 5e7 + 2 * 1e9


def test_the_plan_names_stage_hours_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"preset": "tiny", "frames": 33, "height": 128, "width": 128, "global_batch": 8}
    text = plan(Request.model_validate({**tiny, "gpus": 2, "price_per_hour": 3.0}))
    assert "576 tokens per branch" in text
    assert text.count("lowest ZeRO stage that fits: 0") == 2
    assert "6000 steps" in text.splitlines()[-1]
    monkeypatch.setattr(planner, "simulate", lambda *_, **__: footprint())
    request = Request(gpus=8, gpu="h100", mfu=0.5, global_batch=32, price_per_hour=4.0)
    # 4 x 1e15 FLOP at half of 989e12 per second are 8.09 s; times 6,000 steps, 8 GPUs and the price
    assert plan(request).splitlines()[-1] == "6000 steps: 13.5 h, 108 GPU h, 431 in all"
    none = plan(Request.model_validate({**tiny, "memory_gib": 0.001}))
    assert none.splitlines()[-1].startswith("no ZeRO stage fits")
    lines = table(rows(Request(), Request().system(2), footprint())).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(GPUS) == {"a100-40g", "a100-80g", "h100", "h200", "b200"}


def test_videos_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide into patches"):
        simulate(mid(patch=(1, 4, 4)), VIDEO)
    with pytest.raises(ValueError, match="16 frames"):
        Video(16, 96, 96).latent_shape(mid())
