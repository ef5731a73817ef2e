"""Peak memory and time of taking Wan's weights into the dual-branch network, way by way.

    python tests/benchmarks/bench_weights.py

Each way runs in a process of its own on the same random checkpoint of a mid-size Wan transformer.
Memory is what the process itself allocated (anonymous pages; mapped files are the disk's cache) on
top of what it had after its imports, as a share of the network in float32.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.network import DualBranch
from motion.models.comovi.weights.load import build_pretrained, open_pretrained
from motion.models.comovi.weights.names import name_in
from motion.training.convert import ConvertConfig, convert

MID = CoMoViConfig(
    latent_channels=48, text_dim=256, text_tokens=64, width=768, num_heads=12, num_layers=8,
    ffn_dim=3072, pose_layers=2, pose_heads=12, pose_ffn_dim=3072, pose_positions=32,
)  # fmt: skip


def write_checkpoint(folder: Path) -> None:
    """A random `WanTransformer3DModel` of the mid size, in shards."""
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    torch.manual_seed(0)
    WanTransformer3DModel(
        patch_size=MID.patch, num_attention_heads=MID.num_heads,
        attention_head_dim=MID.width // MID.num_heads, in_channels=48, out_channels=48,
        text_dim=MID.text_dim, freq_dim=MID.time_freq_dim, ffn_dim=MID.ffn_dim,
        num_layers=MID.num_layers,
    ).save_pretrained(folder, max_shard_size="50MB")  # fmt: skip


def whole(source: Path) -> None:
    """Build in float32, read all files, copy: the plain way."""
    from safetensors.torch import load_file

    network = DualBranch(MID)
    state = {
        k: v.clone() for file in source.glob("*.safetensors") for k, v in load_file(file).items()
    }
    given: dict[str, torch.Tensor] = {}
    for name in network.state_dict():
        theirs = name_in("diffusers", name, MID)
        if theirs is not None:
            given[name] = state[theirs]
    network.load_state_dict(given, strict=False)


def streamed(source: Path) -> None:
    build_pretrained(open_pretrained(source, MID), dtype=torch.float32)


def streamed_bf16(source: Path) -> None:
    build_pretrained(open_pretrained(source, MID), dtype=torch.bfloat16)


def converted(source: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        convert(ConvertConfig(source=str(source), output=Path(folder) / "export", system=MID))


WAYS: dict[str, Callable[[Path], None]] = {
    "build, read, copy": whole,
    "filled from meta, float32": streamed,
    "filled from meta, bfloat16": streamed_bf16,
    "converted to an export": converted,
}


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(way: str, source: Path) -> None:
    """Run a way in this process; print its peak above the start, and its seconds."""
    import accelerate.utils  # noqa: F401  imported before the measurement, like everything else

    start = peak = anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    WAYS[way](source)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    print(json.dumps([peak - start, seconds]))


def main() -> None:
    with torch.device("meta"):
        size = 4 * sum(p.numel() for p in DualBranch(MID).parameters())
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        for way in WAYS:
            command = [sys.executable, __file__, way, folder]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=dict(os.environ)
            )
            found[way] = tuple(json.loads(done.stdout.splitlines()[-1]))
    print(f"network of {size / 4e6:.0f} M parameters, {size / 1e6:.0f} MB in float32\n")
    print("| way | peak memory / network in float32 | time / plain way |\n|---|---|---|")
    plain = found["build, read, copy"][1]
    for way, (peak, seconds) in found.items():
        print(f"| {way} | {peak / size:.2f} | {seconds / plain:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
