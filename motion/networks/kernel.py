"""Which kernel computes attention."""

import importlib.util
from typing import Literal

from torch import nn

Kernel = Literal["auto", "math", "flash", "efficient", "cudnn", "flash_attn_2", "flash_attn_3"]
"""auto: torch's `scaled_dot_product_attention` picks the best of its own four (math, flash,
efficient, cudnn), each of which can also be demanded; flash_attn_*: the packages of that name."""

_BACKENDS: dict[Kernel, str] = {  # diffusers' names
    "auto": "native",
    "math": "_native_math",
    "flash": "_native_flash",
    "efficient": "_native_efficient",
    "cudnn": "_native_cudnn",
    "flash_attn_2": "flash",
    "flash_attn_3": "_flash_3",
}

_PACKAGES: dict[Kernel, str] = {
    "flash_attn_2": "flash_attn",
    "flash_attn_3": "flash_attn_interface",
}


def choose_kernel(module: nn.Module, kernel: Kernel) -> int:
    """Let every attention of diffusers inside `module` use one kernel.

    Returns:
        How many attentions there are.

    Raises:
        ValueError: the kernel's package is not installed.
    """
    package = _PACKAGES.get(kernel)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ValueError(
            f"attention kernel {kernel!r} needs the package {package}, which is not installed: "
            "install it, or use 'auto'"
        )
    from diffusers.models.attention import AttentionModuleMixin  # seconds, not for every CLI call

    found = [m for m in module.modules() if isinstance(m, AttentionModuleMixin)]
    for attention in found:
        attention.set_attention_backend(_BACKENDS[kernel])
    return len(found)
