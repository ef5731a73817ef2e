"""What a CoMoVi training takes on a cluster: memory per GPU, time, the ZeRO stage that fits, cost.

    python -m cluster.planner --preset wan5b --gpus 8 --gpu h200 --price-per-hour 4

Model states follow from the ZeRO stage (motion.training.preflight), activations and operations from
the real step run on fake tensors (cluster/simulation.py), buffers from cluster/zero/*.json, the
time from an assumed utilization (MFU) and the bandwidth between GPUs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from cluster.simulation import Footprint, Video, simulate
from motion.models.comovi.config import CoMoViConfig
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig
from motion.training.engine import zero_block
from motion.training.preflight import model_state_gib

Stage = Literal[0, 1, 2, 3]
STAGES: tuple[Stage, ...] = (0, 1, 2, 3)
GIB = 2**30


@dataclass(frozen=True)
class GPU:
    """A kind of GPU, from its data sheet."""

    memory_gib: float
    peak_tflops: float
    """Dense bf16."""
    link_gbs: float
    """To the other GPUs of its node, in one direction, in 1e9 bytes per second."""


GPUS = {
    "a100-40g": GPU(40, 312, 300),
    "a100-80g": GPU(80, 312, 300),
    "h100": GPU(80, 989, 450),
    "h200": GPU(140, 989, 450),
    "b200": GPU(179, 2250, 900),
}

PAPER_STEPS = {1: 2000, 2: 4000}


class Request(BaseModel):
    """A cluster, and the training to plan for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: Literal["wan5b", "tiny"] = "wan5b"
    """CoMoVi's size, with both of its training stages."""
    gpu: Literal["a100-40g", "a100-80g", "h100", "h200", "b200"] = "h200"
    """Kind of GPU."""
    gpus: Annotated[int, Field(ge=1)] = 8
    """How many of them."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory of one GPU, where it is not the data sheet's."""
    link_gbs: Annotated[float, Field(gt=0)] | None = None
    """Bandwidth of one GPU to the others in 1e9 bytes per second and direction, where it is not the
    data sheet's of one node; for several nodes, a GPU's share of its node's network."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price of one GPU per hour, in any currency."""
    mfu: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Assumed model FLOPs over the device's peak while it computes."""
    reserve: Annotated[float, Field(ge=0, lt=1)] = 0.08
    """Share of the memory that is left to CUDA's context, kernels' workspaces and fragmentation."""
    global_batch: Annotated[int, Field(ge=1)] = 96
    """Clips per optimizer step (the paper's: 24 GPUs, 4 accumulated clips each)."""
    micro_batch: Annotated[int, Field(ge=1)] = 1
    """Clips per GPU at a time."""
    frames: Annotated[int, Field(ge=1)] = 81
    """Video frames per clip."""
    height: Annotated[int, Field(ge=16)] = 704
    """Pixels."""
    width: Annotated[int, Field(ge=16)] = 1280
    """Pixels."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """As in TrainConfig: weights and optimizer state are fp32 in both."""
    checkpointing: Annotated[int, Field(ge=0)] | None = None
    """Recompute every n-th block (1: all, 0: none); None leaves it to the preset."""

    @property
    def device(self) -> GPU:
        """The GPU, with what the request says otherwise."""
        sheet = GPUS[self.gpu]
        return GPU(
            self.memory_gib or sheet.memory_gib, sheet.peak_tflops, self.link_gbs or sheet.link_gbs
        )

    @property
    def accumulation(self) -> int:
        """Micro-batches per optimizer step and GPU, rounded up."""
        return -(-self.global_batch // (self.gpus * self.micro_batch))

    def system(self, stage: Literal[1, 2]) -> CoMoViConfig:
        """CoMoVi's config of a training stage."""
        config = {"wan5b": CoMoViConfig.wan5b, "tiny": CoMoViConfig.tiny}[self.preset](stage)
        if self.checkpointing is None:
            return config
        chosen = self.checkpointing or False
        return config.model_copy(update={"gradient_checkpointing": chosen})


@dataclass(frozen=True)
class Row:
    """One ZeRO stage on one GPU."""

    zero: Stage
    states_gib: float
    activations_gib: float
    buffers_gib: float
    total_gib: float
    fits: bool
    compute_s: float
    exchange_s: float
    step_s: float


def rows(request: Request, system: CoMoViConfig, found: Footprint) -> list[Row]:
    """Memory and time of one optimizer step at every ZeRO stage."""
    return [_row(request, train_config(request, system, zero), found) for zero in STAGES]


def train_config(request: Request, system: CoMoViConfig, zero: Stage) -> TrainConfig:
    """The training that is planned."""
    return TrainConfig(
        name="plan",
        system=system,
        data=DataConfig.model_validate({"root": "."}),
        optimizer=OptimizerConfig(learning_rate=2e-5),
        steps=PAPER_STEPS[system.stage],
        micro_batch=request.micro_batch,
        accumulation=request.accumulation,
        num_workers=request.gpus,
        use_gpu=True,
        zero_stage=zero,
        precision=request.precision,
    )


def _row(request: Request, config: TrainConfig, found: Footprint) -> Row:
    device = request.device
    states = model_state_gib(config, found.parameters, found.trainable)
    activations = found.activation_bytes / GIB
    buffers = buffer_bytes(config, found) / GIB
    total = states + max(activations + buffers, optimizer_bytes(config, found) / GIB)
    compute = found.model_flops * config.accumulation / (request.mfu * device.peak_tflops * 1e12)
    exchange = exchanged_bytes(config, found) / (device.link_gbs * 1e9)
    return Row(
        zero=config.zero_stage,
        states_gib=states,
        activations_gib=activations,
        buffers_gib=buffers,
        total_gib=total,
        fits=total <= device.memory_gib * (1 - request.reserve),
        compute_s=compute,
        exchange_s=exchange,
        step_s=max(compute, exchange),  # overlap_comm
    )


def buffer_bytes(config: TrainConfig, found: Footprint) -> float:
    """What DeepSpeed allocates beside the states during forward and backward."""
    block = zero_block(config.zero_stage, use_gpu=config.use_gpu)
    buckets = 2 if block.get("overlap_comm") and config.zero_stage in (1, 2) else 1
    reduced = 4.0 * buckets * block.get("reduce_bucket_size", 0)
    if config.zero_stage < 3:
        return reduced
    wire = 2 if config.precision == "bf16" else 4
    ahead = 2 * found.largest_block + block["stage3_prefetch_bucket_size"]
    alive = min(found.parameters, max(ahead, block["stage3_max_live_parameters"]))
    return reduced + wire * alive


def optimizer_bytes(config: TrainConfig, found: Footprint) -> float:
    """The copy of its gradients that ZeRO flattens for the update, when activations are gone.

    AdamW's fused kernel itself needs no temporaries.
    """
    partition = found.trainable / config.num_workers
    return {0: 0.0, 1: 4 * partition, 2: 4 * partition, 3: 4 * min(partition, 1e9)}[
        config.zero_stage
    ]


def exchanged_bytes(config: TrainConfig, found: Footprint) -> float:
    """Bytes that one GPU sends per optimizer step with ring algorithms."""
    others = (config.num_workers - 1) / config.num_workers
    wire = 2 if config.precision == "bf16" else 4
    if config.zero_stage == 0:
        return 2 * 4 * found.trainable * others  # DeepSpeed reduces in bf16 from stage 1 on
    reduce = wire * found.trainable * others
    if config.zero_stage == 1:
        return reduce + 4 * found.trainable * others  # and the new weights in fp32
    if config.zero_stage == 2:
        return config.accumulation * reduce + 4 * found.trainable * others
    # Weights are gathered for the forward and the backward pass of every micro-batch.
    return config.accumulation * (reduce + 2 * wire * found.parameters * others)


def best(found: Sequence[Row]) -> Row | None:
    """The lowest ZeRO stage that fits; None if none does."""
    return next((row for row in found if row.fits), None)


def table(found: Sequence[Row]) -> str:
    """Aligned columns, GiB and seconds per optimizer step."""
    head = ("ZeRO", "states", "activations", "buffers", "total", "fits", "compute", "exchange")
    lines: list[tuple[str, ...]] = [(*head, "step")]
    for r in found:
        sizes = (r.states_gib, r.activations_gib, r.buffers_gib, r.total_gib)
        times = (r.compute_s, r.exchange_s, r.step_s)
        lines.append(
            (
                str(r.zero),
                *(f"{size:.1f} GiB" for size in sizes),
                "yes" if r.fits else "no",
                *(f"{seconds:.3g} s" for seconds in times),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    )


def plan(request: Request) -> str:
    """The whole plan as text."""
    video = Video(request.frames, request.height, request.width)
    parts, hours = [_describe(request)], 0.0
    for stage in (1, 2):
        system = request.system(stage)
        bf16 = request.precision == "bf16"
        found = simulate(system, video, clips=request.micro_batch, bf16=bf16)
        step_rows = rows(request, system, found)
        parts += [
            f"\nstage {stage}: {found.parameters / 1e9:.3g} B parameters, "
            f"{found.trainable / 1e9:.3g} B trained; {video.tokens(system)} tokens per branch; "
            f"{found.model_flops:.3g} FLOP per micro-batch ({found.executed_flops:.3g} with "
            "recomputation)",
            table(step_rows),
        ]
        chosen = best(step_rows)
        if chosen is None:
            parts.append("no ZeRO stage fits: more GPUs, more memory each, or sequence_parallel")
            return "\n".join(parts)
        stage_hours = chosen.step_s * PAPER_STEPS[stage] / 3600
        hours += stage_hours
        parts.append(
            f"lowest ZeRO stage that fits: {chosen.zero}; {PAPER_STEPS[stage]} steps in "
            f"{stage_hours:.1f} h"
        )
    gpu_hours = hours * request.gpus
    cost = f", {gpu_hours * request.price_per_hour:,.0f} in all" if request.price_per_hour else ""
    parts.append(f"\n{sum(PAPER_STEPS.values())} steps: {hours:.1f} h, {gpu_hours:.0f} GPU h{cost}")
    return "\n".join(parts)


def _describe(request: Request) -> str:
    device = request.device
    return (
        f"{request.preset} on {request.gpus} x {request.gpu} ({device.memory_gib:g} GiB, "
        f"{device.peak_tflops:g} TFLOP/s, {device.link_gbs:g} GB/s), MFU {request.mfu:.0%}, "
        f"{request.frames} frames of {request.height} x {request.width}, batch "
        f"{request.gpus} x {request.accumulation} x {request.micro_batch}, {request.precision}"
    )


def main() -> None:
    """Print the plan."""
    print(plan(tyro.cli(Request, description=__doc__)))


if __name__ == "__main__":
    main()
