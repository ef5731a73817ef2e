"""The GPU rows of bench_comovi_step.py: CoMoVi's 5B step and its sampling at 704 x 1280 x 81.

They need torch, diffusers and deepspeed, no Ray; each runs in a process of its own, so that one
that does not fit costs nothing but its row.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comovi_clips import WAN_LATENT, now, one_step, random_clips

from cluster.simulation import Video, simulate
from motion.models.comovi.config import CoMoViConfig, SampleOptions
from motion.models.comovi.system import CoMoVi
from motion.networks.kernel import choose_kernel
from motion.training.execution import compile_blocks

PEAK_TFLOPS = 989.0
"""Dense bf16 of H100 and H200."""

GPU_ROWS: list[dict[str, Any]] = [
    {"zero": None, "kernel": "auto", "compile": False},
    {"zero": None, "kernel": "math", "compile": False},
    {"zero": None, "kernel": "auto", "compile": True},
    *({"zero": stage, "kernel": "auto", "compile": False} for stage in (0, 1, 2, 3)),
]
"""zero None: bf16 weights and optimizer state by torch alone; a stage: the project's engine, fp32
weights and state under bf16 autocast."""


def gpu_table(sampling_steps: int) -> None:
    """Print the 5B stage-2 step at 704 x 1280 x 81, batch 1."""
    if not torch.cuda.is_available():
        print("\nGPU rows skipped: torch sees no CUDA device on this machine")
        return
    flops = simulate(CoMoViConfig.wan5b(2), Video(81, 704, 1280)).model_flops
    print(
        f"\n5B stage 2, 704 x 1280 x 81, batch 1, {flops:.3g} model FLOP per step\n\n"
        "| optimizer | attention | compiled | s / step | tokens/s | MFU | peak GiB |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in GPU_ROWS:
        found = child({**row, "flops": flops})
        kind = "bf16, torch" if row["zero"] is None else f"fp32, ZeRO {row['zero']}"
        print(f"| {kind} | {row['kernel']} | {row['compile']} | {found} |", flush=True)
    print("\n50-step sampling, guidance 6: " + child({"sample": sampling_steps}), flush=True)


def child(row: dict[str, Any]) -> str:
    command = [sys.executable, __file__, json.dumps(row)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1][:160] + " | | | "
    return done.stdout.strip().splitlines()[-1]


def gpu_row(row: dict[str, Any]) -> str:
    """One row, in a process of its own."""
    config = CoMoViConfig.wan5b(2)
    batch = random_clips(config, WAN_LATENT)
    if "sample" in row:
        return sampling_time(config, batch, row["sample"])
    with torch.device("cuda"):
        system = config.build()
    step = torch_step(system, row) if row["zero"] is None else engine_step(system, config, row)
    moved, times = batch.to("cuda"), []
    for _ in range(4):
        start = now()
        step(moved)
        times.append(now() - start)
    seconds = statistics.median(times[1:])
    tokens = 2 * Video(81, 704, 1280).tokens(config)
    mfu = row["flops"] / seconds / PEAK_TFLOPS / 1e12
    peak = torch.cuda.max_memory_allocated() / 2**30
    return f"{seconds:.2f} | {tokens / seconds:,.0f} | {mfu:.1%} | {peak:.1f}"


def torch_step(system: CoMoVi, row: dict[str, Any]) -> Callable[[Any], None]:
    system = system.to(torch.bfloat16)
    choose_kernel(system, row["kernel"])
    if row["compile"]:
        compile_blocks(system)
    trained = [p for p in system.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 2e-5, fused=True)
    return partial(one_step, system, optimizer=optimizer)


def engine_step(system: CoMoVi, config: CoMoViConfig, row: dict[str, Any]) -> Callable[[Any], None]:
    from motion.training.config import DataConfig, OptimizerConfig, TrainConfig
    from motion.training.engine import Engine

    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29411"}
    torch.distributed.init_process_group("nccl")
    training = TrainConfig(
        name="bench",
        system=config,
        data=DataConfig.model_validate({"root": "."}),
        optimizer=OptimizerConfig(learning_rate=2e-5),
        steps=100,
        micro_batch=1,
        use_gpu=True,
        precision="bf16",
        zero_stage=row["zero"],
        attention=row["kernel"],
        compile_blocks=row["compile"],
    )
    engine = Engine(training, system)

    def step(batch: Any) -> None:
        engine.forward_backward(batch)
        engine.update(0)

    return step


def sampling_time(config: CoMoViConfig, batch: Any, steps: int) -> str:
    with torch.device("cuda"):
        system = config.build().to(torch.bfloat16).eval()
    generator = torch.Generator("cuda").manual_seed(0)
    start = now()
    options = SampleOptions(steps=steps, guidance=6.0)
    system.sample(batch.to("cuda"), options, generator=generator)
    seconds = now() - start
    return f"{seconds:.1f} s for {steps} steps ({50 * seconds / steps:.0f} s per 50)"


if __name__ == "__main__":
    print(gpu_row(json.loads(sys.argv[1])))
