"""Starting CoMoVi from a pretrained Wan transformer in diffusers' format."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from motion.models.comovi.network import DualBranch

NEW_PARTS = ("bridges.", "fusion.", "smpl.")
"""Parameters that Wan does not have; they keep their initialization."""


def dual_from_wan(state: Mapping[str, Tensor], *, interleave: int = 1) -> dict[str, Tensor]:
    """CoMoVi's parameters by name from a `WanTransformer3DModel` state dict.

    Embedders are copied once; patch embedding, blocks and head once per branch, with motion block j
    from Wan block j x interleave.
    """
    dual: dict[str, Tensor] = {}
    for name, value in state.items():
        group, _, rest = name.partition(".")
        if group == "condition_embedder":
            dual[f"embedders.{rest}"] = value
        elif group == "blocks":
            index, _, parameter = rest.partition(".")
            dual[f"rgb.blocks.{index}.{parameter}"] = value
            if int(index) % interleave == 0:
                dual[f"motion.blocks.{int(index) // interleave}.{parameter}"] = value.clone()
        else:
            own = name if group == "patch_embedding" else f"head.{name}"
            dual[f"rgb.{own}"] = value
            dual[f"motion.{own}"] = value.clone()
    return dual


def copy_wan(network: DualBranch, state: Mapping[str, Tensor]) -> None:
    """Copy Wan's weights into both branches.

    Raises:
        ValueError: names or shapes do not match one to one; both differences are listed.
    """
    dual = dual_from_wan(state, interleave=network.config.interleave)
    own = {n: p for n, p in network.state_dict().items() if not n.startswith(NEW_PARTS)}
    missing, extra = sorted(set(own) - set(dual)), sorted(set(dual) - set(own))
    wrong = [n for n in own if n in dual and own[n].shape != dual[n].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"the Wan weights do not fit this network: missing {missing[:5]} ({len(missing)}), "
            f"left over {extra[:5]} ({len(extra)}), of another shape {wrong[:5]} ({len(wrong)}); "
            "use a config of the checkpoint's sizes, e.g. CoMoViConfig.wan5b()"
        )
    network.load_state_dict(dual, strict=False)  # all but the new parts, as just checked


def load_wan(network: DualBranch, folder: Path) -> None:
    """Copy all `*.safetensors` of a diffusers transformer folder into both branches.

    Raises:
        ValueError: the folder holds none, or they do not fit.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"no *.safetensors in {folder}: give the `transformer` folder of a Wan model in "
            "diffusers' format"
        )
    state: dict[str, Tensor] = {}
    for file in files:
        state |= load_file(file)
    copy_wan(network, state)
