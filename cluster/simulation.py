"""What one micro-batch of CoMoVi takes, found by running the real code on fake tensors.

Fake tensors have shapes and no storage, so that 11 B parameters at 704 x 1280 are walked through in
seconds on any machine. The step is the one that trains: checkpointing, frozen parts, autocast and
losses included, and it stays true when the code changes.
"""

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from motion.batch import Batch
from motion.models.comovi.config import CoMoViConfig
from motion.training.flops import flop_counter
from motion.training.memory import LiveMemory


@dataclass(frozen=True)
class Video:
    """The clips of a micro-batch."""

    frames: int
    height: int
    """Pixels."""
    width: int
    spatial_stride: int = 16
    """Pixels per latent of the video autoencoder."""

    def latent_shape(self, config: CoMoViConfig) -> tuple[int, int, int, int]:
        """Channels, frames, rows, columns.

        Raises:
            ValueError: the video does not divide into latents and patches.
        """
        num_latents, rest = divmod(self.frames - 1, config.temporal_stride)
        rows, columns = self.height / self.spatial_stride, self.width / self.spatial_stride
        if rest or rows % config.patch[1] or columns % config.patch[2]:
            raise ValueError(
                f"{self.frames} frames of {self.height} x {self.width} do not divide into patches "
                f"of {config.patch} latents of {config.temporal_stride} frames and "
                f"{self.spatial_stride} pixels"
            )
        return config.latent_channels, 1 + num_latents, int(rows), int(columns)

    def tokens(self, config: CoMoViConfig) -> int:
        """Tokens of one clip in one branch."""
        _, frames, rows, columns = self.latent_shape(config)
        return frames * rows * columns // (config.patch[1] * config.patch[2])


@dataclass(frozen=True)
class Footprint:
    """One micro-batch on one device."""

    parameters: int
    trainable: int
    largest_block: int
    """Parameters of the largest repeated block: what ZeRO-3 gathers at once."""
    activation_bytes: int
    """Peak of what forward and backward allocate, without the gradients of parameters."""
    executed_flops: int
    """What the device computes, recomputation included."""
    model_flops: int
    """Forward, activation gradients and weight gradients of the trained parts: what a utilization
    is measured by."""


def simulate(config: CoMoViConfig, video: Video, *, clips: int = 1, bf16: bool = True) -> Footprint:
    """Footprint of a training step's micro-batch, on fake tensors."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        module = config.build()
    batch = blank_batch(config, video, clips, mode)
    with flop_counter() as executed, flop_counter(model_only=True) as model:
        _forward_backward(module, batch, bf16=bf16)
    # After the counters, which keep the inputs of modules alive, and after the first pass, which
    # loads the body: that is no activation.
    module.zero_grad()
    peak = _peak(module, batch, bf16=bf16)
    if config.gradient_checkpointing:
        with mode:
            module = config.model_copy(update={"gradient_checkpointing": False}).build()
        with flop_counter(model_only=True) as model:
            _forward_backward(module, batch, bf16=bf16)
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return Footprint(
        parameters=sum(size for size, _ in sizes),
        trainable=sum(size for size, trained in sizes if trained),
        largest_block=max(_repeated(module), default=0),
        activation_bytes=peak,
        executed_flops=executed.get_total_flops(),
        model_flops=model.get_total_flops(),
    )


def activation_peak(
    config: CoMoViConfig, video: Video, *, clips: int = 1, bf16: bool = True
) -> int:
    """Bytes: `Footprint.activation_bytes` alone, in a third of the time."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        module = config.build()
    batch = blank_batch(config, video, clips, mode)
    with torch.no_grad():
        module(batch)  # loads the body, which is no activation
    return _peak(module, batch, bf16=bf16)


def _peak(module: nn.Module, batch: Batch, *, bf16: bool) -> int:
    """Of a step whose gradients are dropped as they come."""
    hooks = [
        parameter.register_post_accumulate_grad_hook(_drop_gradient)
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    with LiveMemory() as memory:
        _forward_backward(module, batch, bf16=bf16)
    for hook in hooks:
        hook.remove()
    return memory.peak


def _forward_backward(module: nn.Module, batch: Batch, *, bf16: bool) -> None:
    with warnings.catch_warnings():
        # What the CPU's kernels do not fuse says nothing about the training's device.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = module(batch)
        loss.backward()


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _repeated(module: nn.Module) -> list[int]:
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList)]
    return [sum(p.numel() for p in block.parameters()) for blocks in lists for block in blocks]


def blank_batch(
    config: CoMoViConfig, video: Video, clips: int, large: AbstractContextManager[Any]
) -> Batch:
    """A batch whose large tensors are made in the context `large`, e.g. as fake ones.

    What decides the flow of the program is real.
    """
    latent = (clips, *video.latent_shape(config))
    with large:
        rgb, motion_map = torch.zeros(latent), torch.zeros(latent)
        text = torch.zeros(clips, 1, config.text_tokens, config.text_dim)
    poses = torch.eye(3).expand(clips, video.frames, 24, 3, 3)
    return Batch(
        clip_ids=tuple(str(index) for index in range(clips)),
        fps=torch.full((clips,), 16.0),
        frame_mask=torch.ones(clips, video.frames, dtype=torch.bool),
        R_parent_child=poses.clone(),
        betas=torch.zeros(clips, 10),
        T_camera_world=torch.eye(4).repeat(clips, video.frames, 1, 1),
        text=text,
        latent_rgb=rgb,
        latent_map=motion_map,
        noise_key=torch.arange(clips),
        counts=dict.fromkeys(("clips", "rgb", "map", "motion", "text", "camera"), clips),
    )
