"""CoMoVi's training step: its time by part, what each measure gains, and the 5B step on a GPU.

    python tests/benchmarks/bench_comovi_step.py                      # CPU tables; GPU's if there
    python tests/benchmarks/bench_comovi_step.py --only gpu --sampling-steps 50

Every round runs the plain step and each measure once, on shared weights: compare ratios, not
seconds. Random weights and clips: time does not depend on them.
"""

import argparse
import platform
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comovi_clips import MID, MID_LATENT, SMALL_LATENT, now, one_step, random_clips
from comovi_gpu import gpu_table
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor, nn

from cluster.simulation import Video, activation_peak
from motion.models.comovi.blocks import Block
from motion.models.comovi.config import PARTS, CoMoViConfig
from motion.models.comovi.system import CoMoVi
from motion.networks.kernel import choose_kernel
from motion.training.execution import compile_blocks


class Parts:
    """Seconds of the forward pass by part, through hooks; parts do not overlap."""

    def __init__(self, system: CoMoVi):
        self.seconds: dict[str, float] = defaultdict(float)
        network = system.network
        groups: dict[str, list[nn.Module]] = {
            "embed": [
                network.embedders, network.rgb.patch_embedding, network.motion.patch_embedding,
            ],
            "RGB blocks": [*network.rgb.blocks, network.rgb.head],
            "motion blocks": [*network.motion.blocks, network.motion.head],
            "bridges and fusion": [
                *network.bridges["to_rgb"], *network.bridges["to_motion"], *network.fusion,
            ],
            "SMPL predictor": [network.smpl],
        }  # fmt: skip
        for name, modules in groups.items():
            for module in modules:
                module.register_forward_pre_hook(partial(self._enter, name))
                module.register_forward_hook(partial(self._leave, name))

    def _enter(self, name: str, *_: Any) -> None:
        self.seconds[name] -= now()

    def _leave(self, name: str, *_: Any) -> None:
        self.seconds[name] += now()


def split(config: CoMoViConfig, latent: tuple[int, int, int], rounds: int) -> None:
    """Print the step by part."""
    system, batch = config.build(), random_clips(config, latent)
    trained = [p for p in system.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, fused=True)
    one_step(system, random_clips(config, SMALL_LATENT), optimizer)
    parts, total = Parts(system), defaultdict(float)
    for _ in range(rounds):
        start = now()
        loss, _ = system(batch)
        forward = now()
        loss.backward()
        backward = now()
        optimizer.step()
        optimizer.zero_grad()
        total["backward"] += backward - forward
        total["optimizer"] += now() - backward
        total["forward"] += forward - start
    named = sum(parts.seconds.values())
    rest = {"body loss, flow losses, noise": total.pop("forward") - named}
    found = {**parts.seconds, **rest, **total}
    whole = sum(found.values())
    print(f"\n| part of the step | share | ({whole / rounds:.2f} s in all) |\n| --- | --- | --- |")
    for name, seconds in found.items():
        print(f"| {name} | {seconds / whole:.1%} | {seconds / rounds:.3f} s |")


def per_token(
    block: Block, x: Tensor, text: Tensor, time: Tensor, rotary: Any, first: int
) -> Tensor:
    """diffusers' block with a modulation for every token instead of two rows."""
    rows = torch.cat(
        (
            time[:, :1].expand(-1, first, -1, -1),
            time[:, 1:].expand(-1, x.shape[1] - first, -1, -1),
        ),
        dim=1,
    )
    return WanTransformerBlock.forward(block, x, text, rows.contiguous(), rotary)


def with_per_token(system: CoMoVi) -> None:
    for block in system.modules():
        if isinstance(block, Block):
            block.forward = partial(per_token, block)  # type: ignore[method-assign]


def autocast_step(system: CoMoVi, batch: Any, *, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = system(batch)
    loss.backward()
    system.zero_grad()


Change = Callable[[CoMoVi], Any]
MEASURES: list[tuple[str, dict[str, Any], Change | None, bool]] = [
    ("a time row per token (not two)", {}, with_per_token, False),
    ("weight gradients of the RGB branch too", {"trainable": PARTS}, None, False),
    ("every block recomputed", {"gradient_checkpointing": True}, None, False),
    ("every second block recomputed", {"gradient_checkpointing": 2}, None, False),
    ("attention by plain matrix products", {}, lambda s: choose_kernel(s, "math"), False),
    ("bf16 autocast", {}, None, True),
    ("compiled blocks", {}, compile_blocks, False),
]
"""Name, change of the config, change of the built system, bf16: one difference to the plain step
each."""


PLAIN = "plain: two time rows, frozen RGB, fp32, eager"


def measures(mid: CoMoViConfig, latent: tuple[int, int, int], rounds: int) -> None:
    """Print each measure's time and activations against the plain step."""
    batch, small = random_clips(mid, latent), random_clips(mid, SMALL_LATENT)
    plain = mid.build()
    steps = {PLAIN: partial(autocast_step, plain, bf16=False)}
    for name, fields, change, bf16 in MEASURES:
        other = mid.model_copy(update=fields).build()
        other.load_state_dict(plain.state_dict(), assign=True)  # 1 GB less for each
        if change is not None:
            change(other)
        steps[name] = partial(autocast_step, other, bf16=bf16)
        steps[name](batch if change is compile_blocks else small)
    steps[PLAIN](small)
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, step in steps.items():
            start = now()
            step(batch)
            times[name].append(now() - start)
    held = activations(mid, latent, bf16=False)
    plain_s = statistics.median(times[PLAIN])
    print("\n| forward and backward | time / plain | activations / plain |\n| --- | --- | --- |")
    print(f"| {PLAIN} | 1 ({plain_s:.2f} s) | 1 ({held / 2**30:.2f} GiB) |")
    for name, fields, change, bf16 in MEASURES:
        ratio = statistics.median(a / b for a, b in zip(times[name], times[PLAIN], strict=True))
        shown = ""
        if change is None:  # the simulation sees configs and autocast
            found = activations(mid.model_copy(update=fields), latent, bf16=bf16)
            shown = f"{found / held:.2f}"
        print(f"| {name} | {ratio:.2f} | {shown} |", flush=True)


def activations(config: CoMoViConfig, latent: tuple[int, int, int], *, bf16: bool) -> int:
    video = Video(1 + 4 * (latent[0] - 1), 16 * latent[1], 16 * latent[2])
    return activation_peak(config, video, bf16=bf16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["split", "measures", "gpu"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=MID.num_layers, help="of the CPU tables")
    parser.add_argument(
        "--latent", type=int, nargs=3, default=MID_LATENT, help="frames, rows, columns"
    )
    parser.add_argument("--sampling-steps", type=int, default=50)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    torch.manual_seed(0)
    supervised = min(MID.supervised_layers, options.layers)
    mid = MID.model_copy(update={"num_layers": options.layers, "supervised_layers": supervised})
    latent = tuple(options.latent)
    if options.only in (None, "split"):
        split(mid, latent, options.rounds)
    if options.only in (None, "measures"):
        measures(mid, latent, options.rounds)
    if options.only in (None, "gpu"):
        gpu_table(options.sampling_steps)


if __name__ == "__main__":
    main()
