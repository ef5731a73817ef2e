"""K2M's two stages at their smallest, with clips without files, for parity tests of the loop."""

from collections.abc import Iterator
from pathlib import Path

import torch

from motion.batch import Batch
from motion.diffusion.noise import noise_key
from motion.models.k2m.config import (
    AdapterConfig,
    HeadConfig,
    K2MConfig,
    LossConfig,
    QuantizerConfig,
    TokenizerConfig,
    TransformerConfig,
)
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig

FRAMES, WORDS, WIDTH, CODES, LEVELS = 24, 3, 6, 8, 3
TOKENIZER = TokenizerConfig(
    window=16,
    adapter=AdapterConfig(width=8, representation=4, heads=2),
    width=8,
    code_width=6,
    dropout=0.0,
    quantizer=QuantizerConfig(num_codes=CODES, num_levels=LEVELS, sample_rows=32, decay=0.8),
    head=HeadConfig(rotation="6d"),
    loss=LossConfig(limits="anatomical"),
)
_SMALL = TransformerConfig(
    width=8, code_width=8, num_layers=1, num_heads=2, feedforward=8, dropout=0.0
)
SYSTEM = K2MConfig(
    tokenizer=TOKENIZER,
    masked=_SMALL,
    residual=_SMALL,
    text_dim=WIDTH,
    length_dropout=0.0,
    max_tokens=FRAMES // 4,
)


def k2m_train_config(storage: Path, **changes: object) -> TrainConfig:
    """A training of one of the stages, with a global batch of two."""
    fields: dict[str, object] = {
        "data": DataConfig(root=storage / "data"),
        "optimizer": OptimizerConfig(learning_rate=3e-3, eps=1e-4, clip_norm=10.0),
        "steps": 8,
        "micro_batch": 1,
        "num_workers": 2,
        "checkpoint_every": 4,
        "record_steps": True,
        "storage": storage,
    }
    return TrainConfig.model_validate({**fields, **changes})


def k2m_batches(config: TrainConfig, rank: int, start_step: int) -> Iterator[Batch]:
    """Endless micro-batches of one rank: two new clips per step, of one or two ranks."""
    step = start_step
    while True:
        for turn in range(config.accumulation):
            first = 2 * step + (rank * config.accumulation + turn) * config.micro_batch
            yield _batch(range(first, first + config.micro_batch), 2 // config.micro_batch)
        step += 1


def _batch(numbers: range, micro_batches: int) -> Batch:
    clips = [_clip(number) for number in numbers]
    names = tuple(f"clip{number:03d}" for number in numbers)
    stacked = {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
    present = torch.ones(len(clips), dtype=torch.bool)
    return Batch(
        clip_ids=names,
        fps=torch.full((len(clips),), 20.0),
        keypoints_size=torch.tensor([1920.0, 1080.0]).repeat(len(clips), 1),
        has_keypoints=present,
        has_tokens=present,
        has_text=present,
        noise_key=torch.tensor([noise_key(0, 0, name) for name in names]),
        num_micro_batches=micro_batches,
        counts=dict.fromkeys(("clips", "keypoints", "tokens", "text"), 2),
        **stacked,
    )


def _clip(number: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    length = FRAMES - 5 * (number % 2)
    tokens = torch.randint(0, CODES, (4, FRAMES // 4, LEVELS), generator=draw)
    last = (length - torch.arange(4)) // 4
    tokens[torch.arange(FRAMES // 4) >= last[:, None]] = -1
    return {
        "frame_mask": torch.arange(FRAMES) < length,
        "keypoints": 300 + 400 * torch.rand(FRAMES, 17, 2, generator=draw),
        "keypoints_confidence": torch.rand(FRAMES, 17, generator=draw).clamp(min=0.5),
        "tokens": tokens,
        "text": torch.randn(1, WORDS, WIDTH, generator=draw),
        "text_mask": torch.ones(1, WORDS, dtype=torch.bool),
    }
