"""Sampling where the weights do not fit the accelerator: Accelerate moves them there as they are
needed.
"""

from typing import Any, Final, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch import nn

Offload = Literal["none", "layers", "split"]

WHOLE: Final = ("Block", "DecoderBlock", "T5Block", "UMT5Block", "CLIPEncoderLayer")
"""Classes of modules that a split never cuts: what is inside shares a residual stream."""


class OffloadConfig(BaseModel):
    """Where weights wait while they do not compute."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Offload = "none"
    """"none": all weights lie on the accelerator. "layers": all wait in the machine's memory, and
    each layer visits the accelerator for its own call: least memory, slowest. "split": as many
    layers as fit `device_memory_gb` stay there, the others visit."""
    device_memory_gb: PositiveFloat | None = None
    """Memory for weights under "split", in gigabytes (1e9 bytes); what is free now by default."""


def choose_device(device: str) -> str:
    """The device that a name stands for: "auto" is a GPU where there is one, else the CPU.

    Raises:
        ValueError: no such device here.
    """
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device == "auto":
        return "cuda" if len(found) > 1 else "cpu"
    if device not in found and (device != "cuda" or len(found) == 1):
        raise ValueError(f"device {device!r} is not here; expected auto or one of {found}")
    return device


def place(module: nn.Module, device: str, config: OffloadConfig) -> None:
    """Put a module on a device as the config says; its outputs do not depend on it.

    Raises:
        ValueError: "split" without a known amount of memory.
    """
    if config.mode == "none":
        module.to(device)
        return
    from accelerate import cpu_offload, dispatch_model

    if config.mode == "layers":
        cpu_offload(module, execution_device=torch.device(device), offload_buffers=True)
        return
    places = split(module, device, config.device_memory_gb)
    main = torch.device(device)
    dispatch: Any = dispatch_model
    dispatch(
        module,
        device_map={name: main if where == "device" else "cpu" for name, where in places.items()},
        main_device=main,
        offload_buffers=True,
        force_hooks=True,
    )


def split(module: nn.Module, device: str, memory_gb: float | None) -> dict[str, str]:
    """Which submodules stay on the device ("device") and which visit it ("cpu").

    Raises:
        ValueError: no amount of memory is given, and the device does not tell.
    """
    from accelerate import infer_auto_device_map

    if memory_gb is None:
        if not device.startswith("cuda"):
            raise ValueError(
                f"offloading by 'split' needs device_memory_gb on {device!r}: say how many "
                "gigabytes of weights may stay there"
            )
        memory_gb = 0.8 * torch.cuda.mem_get_info(torch.device(device))[0] / 1e9
    infer: Any = infer_auto_device_map
    found = infer(
        module,
        max_memory={0: int(memory_gb * 1e9), "cpu": 1 << 60},
        no_split_module_classes=list(WHOLE),
    )
    return {name: "device" if where == 0 else "cpu" for name, where in found.items()}


def place_encoder(encoder: object, device: str, config: OffloadConfig) -> None:
    """An encoder on a device. Those of transformers and diffusers, which are large, are offloaded;
    our own are small and read their buffers outside of any call that a hook could catch."""
    module = cast(nn.Module, encoder)
    inner = getattr(module, "model", None)
    if config.mode == "none" or not isinstance(inner, nn.Module):
        module.to(device)
        return
    for name, child in module.named_children():
        if name != "model":
            child.to(device)
    for name, buffer in module.named_buffers(recurse=False):
        setattr(module, name, buffer.to(device))
    place(inner, device, config)
