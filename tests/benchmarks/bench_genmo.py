"""GENMO: time and memory of the whole forward pass, banded beside dense; on a GPU, a training step.

    python tests/benchmarks/bench_genmo.py [--widths 96 512] [--frames 300 1200 4800] [--rounds 3]
    python tests/benchmarks/bench_genmo.py --device cuda            # adds the 411 M preset's step

Both arms are the same network with the same weights on the same clip and give the same numbers
(checked before they are timed). The dense arm masks all pairs of frames, as the release does; its
mask is made without the release's Python loop over frames. Arms run in turn; the least times are
compared: quote the ratios. Memory is the growth of the process's peak, each case in a process of
its own, or the allocator's peak on a GPU.
"""

import argparse
import resource
import subprocess
import sys
import time
from functools import partial
from unittest import mock

import torch
from alternation import alternate

from motion.data.statistics import FeatureStatistics
from motion.models.genmo import network as genmo_network
from motion.models.genmo.attention import Band, dense_mask
from motion.models.genmo.conditions import Conditions, Signal
from motion.models.genmo.config import GenmoConfig
from motion.models.genmo.network import Network
from motion.training.flops import flop_counter

LAYERS = {96: 3, 512: 12, 1024: 16}


def config_of(width: int) -> GenmoConfig:
    """The tiny preset, the release's regression size, or the paper's."""
    if width == 96:
        return GenmoConfig.tiny()
    preset = GenmoConfig.genmo() if width == 1024 else GenmoConfig.regression()
    return preset.model_copy(update={"width": width, "num_layers": LAYERS.get(width, 12)})


def conditions(config: GenmoConfig, size: int, frames: int, device: str) -> Conditions:
    """Keypoints, camera and one text."""
    mask = torch.ones(size, frames, dtype=torch.bool, device=device)
    signals = {
        name: Signal(torch.randn(size, frames, dim, device=device), mask)
        for name, dim in config.signal_dims.items()
    }
    return Conditions(
        frame_mask=mask,
        keypoints=torch.rand(size, frames, 17, 2, device=device),
        visible=torch.ones(size, frames, 17, dtype=torch.bool, device=device),
        signals=signals,
        text=torch.randn(size, 1, 20, config.text_dim, device=device),
        text_mask=torch.ones(size, 1, 20, dtype=torch.bool, device=device),
        text_frames=mask[:, None],
    )


def dense_band(frame_mask: torch.Tensor, window: int) -> Band:
    """All pairs of frames, masked."""
    return Band(None, dense_mask(frame_mask, window), frame_mask.shape[1])


class Arm:
    """One way of computing, ready to run."""

    def __init__(self, network: Network, seen: Conditions, *, dense: bool) -> None:
        self.network, self.seen, self.dense = network, seen, dense
        b, t = seen.frame_mask.shape
        device = seen.frame_mask.device
        self.x = torch.randn(b, t, 151, generator=torch.Generator().manual_seed(0)).to(
            device, next(network.parameters()).dtype
        )
        self.time = torch.full((b,), 0.5, device=device)

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        make = dense_band if self.dense else genmo_network.make_band
        with mock.patch.object(genmo_network, "make_band", make):
            return self.network(self.x, self.time, self.seen).x0


def build(width: int, frames: int, device: str) -> tuple[Network, Conditions]:
    torch.manual_seed(0)
    config = config_of(width)
    return Network(config).eval().to(device), conditions(config, 1, frames, device)


def peak(width: int, frames: int, dense: bool) -> float:
    """MiB that a forward pass adds to the peak of a process of its own."""
    words = [sys.executable, __file__, "--case", str(width), str(frames), str(int(dense))]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])


def case(width: int, frames: int, dense: bool) -> None:
    network, seen = build(width, frames, "cpu")
    small, little = build(width, 16, "cpu")
    Arm(small, little, dense=dense)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Arm(network, seen, dense=dense)()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def finished(arm: Arm, device: str) -> None:
    arm()
    if device == "cuda":
        torch.cuda.synchronize()


def compare(widths: list[int], lengths: list[int], rounds: int, device: str) -> None:
    print("| width | frames | banded ms | dense ms | dense/banded | banded MiB | dense MiB |")
    print("|---|---|---|---|---|---|---|")
    for width in widths:
        for frames in lengths:
            network, seen = build(width, frames, device)
            arms = {dense: Arm(network, seen, dense=dense) for dense in (False, True)}
            error = float((arms[False]() - arms[True]()).abs().max())
            assert error < 1e-4, f"the arms differ by {error}"
            actions = {str(dense): partial(finished, arm, device) for dense, arm in arms.items()}
            costs = alternate(rounds, **actions)
            best = {dense: costs[str(dense)].wall for dense in arms}
            memory = {dense: _memory(arms, width, frames, dense, device) for dense in arms}
            print(
                f"| {width} | {frames} | {1000 * best[False]:.1f} | {1000 * best[True]:.1f} | "
                f"{best[True] / best[False]:.2f} | {memory[False]:.0f} | {memory[True]:.0f} |",
                flush=True,
            )


def _memory(arms: dict[bool, Arm], width: int, frames: int, dense: bool, device: str) -> float:
    if device == "cpu":
        return peak(width, frames, dense)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    arms[dense]()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def step_on_gpu(batch: int, peak_tflops: float, checkpointing: bool) -> None:
    """Forward and backward of both modes' network calls, AdamW in float32 master weights."""
    config = GenmoConfig.genmo().model_copy(
        update={
            "gradient_checkpointing": checkpointing,
            "statistics": FeatureStatistics(mean=(0.0,) * 151, std=(1.0,) * 151),
        }
    )
    network = Network(config).cuda()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, fused=True)
    seen = conditions(config, batch, 120, "cuda")
    x, at = torch.randn(batch, 120, 151, device="cuda"), torch.rand(batch, device="cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for _ in range(2):  # estimation and generation
            with torch.autocast("cuda", torch.bfloat16):
                made = network(x, at, seen)
            (made.x0.square().mean() + made.camera.square().mean() + made.static.mean()).backward()
        optimizer.step()

    step()
    counter = flop_counter(model_only=True)
    with counter:
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    used = counter.get_total_flops() / min(times) / 1e12
    print(
        f"| {batch} | {checkpointing} | {1000 * min(times):.0f} | {used:.0f} | "
        f"{100 * used / peak_tflops:.1f} | {torch.cuda.max_memory_allocated() / 2**30:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 512])
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 1200, 4800])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 of one H200")
    parser.add_argument("--case", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case:
        width, frames, dense = options.case
        case(width, frames, bool(dense))
        return
    compare(options.widths, options.frames, options.rounds, options.device)
    if not torch.cuda.is_available():
        print("\nno GPU: the training step of the 411 M preset was not measured")
        return
    print("\n| batch | checkpointing | step ms | TFLOP/s | MFU % | peak GiB |")
    print("|---|---|---|---|---|---|")
    for batch in options.batches:
        for checkpointing in (False, True):
            step_on_gpu(batch, options.peak_tflops, checkpointing)


if __name__ == "__main__":
    main()
