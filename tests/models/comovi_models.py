"""CoMoVi of a few thousand weights, for tests."""

from typing import Any

import torch

from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.system import CoMoVi


def config(**changes: Any) -> CoMoViConfig:
    values: dict[str, Any] = {
        "latent_channels": 3,
        "text_dim": 10,
        "text_tokens": 6,
        "width": 24,
        "num_heads": 2,
        "num_layers": 3,
        "ffn_dim": 32,
        "patch": (1, 1, 1),
        "time_freq_dim": 16,
        "pose_layers": 1,
        "pose_heads": 2,
        "pose_ffn_dim": 16,
        "pose_positions": 8,
        "supervised_layers": 3,
    }
    return CoMoViConfig(**(values | changes))


def system(**changes: Any) -> CoMoVi:
    """Built with outputs that are not zero, as after some training."""
    torch.manual_seed(0)
    model = config(**changes).build()
    for name, parameter in model.named_parameters():
        if "proj_out.weight" in name or "pose_out.weight" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        if name.startswith(("network.bridges", "network.fusion")):
            torch.nn.init.normal_(parameter, std=0.05)
    return model
