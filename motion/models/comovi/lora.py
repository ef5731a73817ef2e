"""Low-rank adapters on the blocks of a frozen branch (Hu et al. 2021), through peft.

Adapters change how modules are nested, but not the names of checkpoints: a weight is called the
same with and without an adapter beside it. So an export without adapters starts a training with
them, and one with them only adds names.
"""

import importlib.util
import re
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from motion.models.comovi.config import LoRAConfig

ADAPTER: Final = "lora_{end}.default.weight"
"""Name of an adapter's matrix beside the weight that it adapts: end A goes down to the rank, B up
again."""
_LAYERS: Final = {
    "self_attention": r"attn1\.(to_q|to_k|to_v|to_out\.0)",
    "cross_attention": r"attn2\.(to_q|to_k|to_v|to_out\.0)",
    "feed_forward": r"ffn\.net\.(0\.proj|2)",
}
_BASE: Final = ".base_layer."


def add_adapters(system: nn.Module, network: nn.Module, config: LoRAConfig) -> None:
    """Put zero adapters on the network's blocks; they alone are trainable afterwards.

    Args:
        system: holds the network; its state dict keeps the names of the network without adapters.
        network: a `DualBranch`.
        config: which blocks and layers, and how wide.

    Raises:
        ValueError: peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise ValueError("adapters need peft: pip install 'motion[lora]', or take lora out")
    from peft import LoraConfig, inject_adapter_in_model

    layers = "|".join(_LAYERS[layer] for layer in config.layers)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  # any number serves
        target_modules=rf"blocks\.\d+\.({layers})",
    )
    for branch in config.branches:
        # By branch: peft would take the network's own config for a transformers one.
        inject_adapter_in_model(settings, network.get_submodule(branch))
    system.register_state_dict_post_hook(_plain_names)
    system.register_load_state_dict_pre_hook(_nested_names)


def adapters(module: nn.Module) -> list[nn.Parameter]:
    """The adapters' matrices."""
    ends = tuple(ADAPTER.format(end=end) for end in "AB")
    return [value for name, value in module.named_parameters() if name.endswith(ends)]


def merged(
    weight: Float[Tensor, "o i"],
    down: Float[Tensor, "r i"],
    up: Float[Tensor, "o r"],
    config: LoRAConfig,
) -> Float[Tensor, "o i"]:
    """The weight that alone does what weight and adapter do, in the weight's type."""
    exact = torch.promote_types(weight.dtype, torch.float32)
    added = up.to(exact) @ down.to(exact) * (config.alpha / config.rank)
    return (weight.to(exact) + added).to(weight.dtype)


def _plain_names(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix) and _BASE in name]:
        state[name.replace(_BASE, ".")] = state.pop(name)


def _nested_names(module: nn.Module, state: dict[str, Any], prefix: str, *_args: Any) -> None:
    for name, _ in module.named_parameters():
        plain = prefix + re.sub(re.escape(_BASE), ".", name)
        if _BASE in name and plain in state:
            state[prefix + name] = state.pop(plain)
