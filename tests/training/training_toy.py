"""A tiny Trainable and data without files, for tests of the training loop."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import mlflow
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file
from torch import Tensor, nn

from motion import models
from motion.batch import Batch
from motion.data.manifest import write_dataset
from motion.data.pipeline import StreamConfig
from motion.data.schema import encode_tensor, seal
from motion.data.storage import write_shard
from motion.diffusion.noise import clip_normal, noise_key
from motion.losses import global_mean, mean_over_valid
from motion.models.system import Logs
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig

CHANNELS, WORDS, WIDTH = 3, 4, 7  # odd sizes: shards need padding


class ToyConfig(BaseModel):
    """Masked regression of a clip's latent from noise and text."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["toy"] = "toy"
    hidden: int = 13
    nan_at: int = -1
    kill_at: int = -1
    """Step at which rank 1 kills its process once (marked by `kill_mark`)."""
    kill_mark: str = ""
    delay_s: float = 0.0
    frozen: bool = True

    def build(self) -> "Toy":
        return Toy(self)


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(CHANNELS, config.hidden)
        self.text = nn.Linear(WIDTH, config.hidden)
        self.body = nn.Sequential(nn.GELU(), nn.Linear(config.hidden, config.hidden), nn.GELU())
        self.leave = nn.Linear(config.hidden, CHANNELS)
        nn.init.normal_(self.leave.weight, std=0.2)  # an outer initialisation, as DiTs do
        self.gate = nn.Linear(config.hidden, config.hidden)
        self.gate.requires_grad_(not config.frozen)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        self._misbehave(batch)
        assert batch.latent_map is not None
        assert batch.text is not None
        assert batch.text_mask is not None
        target = batch.latent_map.flatten(2).transpose(1, 2)  # (b, n, c)
        noise = clip_normal(batch.noise_key.cpu(), "noise", target.shape[1:]).to(target)
        words = batch.text_mask[:, 0, :, None].to(target)
        text = (batch.text[:, 0] * words).sum(1) / words.sum(1).clamp(min=1)
        hidden = self.enter(target + noise) + self.text(text)[:, None]
        hidden = self.body(hidden) + self.gate(hidden)
        error = (self.leave(hidden) - target).square()
        frames = batch.frame_mask.repeat_interleave(4, dim=1)  # 2 x 2 positions per frame
        main = global_mean(mean_over_valid(error, frames), batch, "clips")
        aligned = global_mean(
            (text.mean(1) - hidden.mean((1, 2))) ** 2, batch, "text", batch.has_text
        )
        if batch.step == self.config.nan_at:
            aligned = aligned * torch.nan
        return main + 0.1 * aligned, {"map": main.detach(), "text": aligned.detach()}

    def _misbehave(self, batch: Batch) -> None:
        time.sleep(self.config.delay_s)
        if batch.step == self.config.kill_at and self.config.kill_mark:
            mark = Path(self.config.kill_mark)
            if torch.distributed.get_rank() == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


models.SYSTEMS["toy"] = ToyConfig  # pyright: ignore[reportArgumentType]


def clip(index: int, frames: int = 4) -> dict[str, Tensor]:
    """One clip's tensors from its number: ragged frames, sometimes without text."""
    generator = torch.Generator().manual_seed(index)
    return {
        "latent_map": torch.randn(CHANNELS, frames, 2, 2, generator=generator),
        "text": torch.randn(1, WORDS, WIDTH, generator=generator),
        "text_mask": torch.arange(WORDS)[None] < 1 + index % WORDS,
        "frame_mask": torch.arange(frames) < 1 + index % frames,
        "has_text": torch.tensor(index % 3 != 0),
    }


def make_batch(
    indices: list[int], everyone: list[int], micro_batches: int, epoch: int, seed: int
) -> Batch:
    """A micro-batch of the global batch `everyone`."""
    clips = [clip(i) for i in indices]
    stacked = {name: torch.stack([c[name] for c in clips]) for name in clips[0]}
    names = tuple(f"clip{i:03d}" for i in indices)
    return Batch(
        clip_ids=names,
        fps=torch.full((len(indices),), 16.0),
        noise_key=torch.tensor([noise_key(seed, epoch, name) for name in names]),
        num_micro_batches=micro_batches,
        counts={"clips": len(everyone), "text": sum(i % 3 != 0 for i in everyone)},
        **stacked,
    )


def batches(
    config: TrainConfig, rank: int, start_step: int, num_clips: int = 20
) -> Iterator[Batch]:
    """Endless micro-batches of one rank; the global batch depends on seed and step alone."""
    size, step = config.global_batch, start_step
    per_epoch = num_clips // size
    while True:
        epoch, index = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        order = torch.randperm(num_clips, generator=generator).tolist()
        everyone = order[index * size : (index + 1) * size]
        groups = [everyone[i : i + config.micro_batch] for i in range(0, size, config.micro_batch)]
        for group in groups[rank * config.accumulation : (rank + 1) * config.accumulation]:
            yield make_batch(group, everyone, len(groups), epoch, config.seed)
        step += 1


def toy_train_config(storage: Path, **changes: object) -> TrainConfig:
    """A complete toy training."""
    fields: dict[str, object] = {
        "name": "toy",
        "system": ToyConfig(),
        "data": DataConfig(
            root=storage / "data",
            columns=("latent_map", "text_embedding", "text_mask"),
            stream=StreamConfig(use_ray=False),
        ),
        "optimizer": OptimizerConfig(learning_rate=1e-2, warmup_steps=3, schedule="cosine"),
        "steps": 12,
        "micro_batch": 1,
        "accumulation": 2,
        "num_workers": 2,
        "checkpoint_every": 4,
        "log_every": 4,
        "ema_decay": 0.9,
        "record_steps": True,
        "storage": storage,
    }
    return TrainConfig.model_validate({**fields, **changes})


def write_toy_dataset(root: Path, *, flagged: int = -1, num_clips: int = 20) -> None:
    """A committed dataset of clips with a map latent; clip `flagged` is under a licence."""
    rows: list[dict[str, object]] = []
    for index in range(num_clips):
        tensors = {name: value.numpy() for name, value in clip(index).items()}
        values: dict[str, object] = {
            "clip_id": f"clip{index:03d}",
            "source": "toy",
            "split": "train",
            "licence": "CC-BY-NC-4.0" if index == flagged else "CC0-1.0",
            "flagged": index == flagged,
            "fps": 16.0,
            "num_frames": 4,
            "bucket": "4x32x32",
            "captions": ["moves"],
            "body_id": "free-00000000",
            "metadata": "{}",
            "latent_map": encode_tensor(tensors["latent_map"].astype(np.float16)),
            "text_embedding": encode_tensor(tensors["text"].astype(np.float16)),
            "text_mask": encode_tensor(tensors["text_mask"].astype(np.uint8)),
        }
        rows.append(seal(values))
    shard = root / "shards" / "0.parquet"
    encoders = {"text": {"id": "words", "hash": "abc"}}
    write_shard(shard, rows, row_group_size=4, encoders=encoders)
    (root / "encoders" / "text").mkdir(parents=True)
    (root / "encoders" / "text" / "config.json").write_text("{}")
    write_dataset(root, [shard], config={}, encoders=encoders)


def misbehave(trouble: Path) -> None:
    """What the file `trouble` says, once: raise an error, or wait until the driver is dead."""
    if not trouble.is_file():  # Path("") is a folder
        return
    text = trouble.read_text()
    trouble.unlink()
    if text == "raise":
        raise ValueError("trouble was asked for")
    time.sleep(600)


def evaluate(
    export_dir: str, *, run_id: str, step: int, device: str, scale: float = 1.0, trouble: str = ""
) -> dict[str, float]:
    """A validation function: the norm of the exported weights; `trouble` as in `misbehave`."""
    assert device == "cpu"
    misbehave(Path(trouble))
    state = load_file(Path(export_dir) / "ema.safetensors")
    norm = float(sum(value.square().sum() for value in state.values()))
    mlflow.log_metric("toy_norm", scale * norm, step=step, run_id=run_id)
    return {"toy_norm": scale * norm}
