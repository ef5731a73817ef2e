"""Pretrained weights for the dual-branch network: found, compared, loaded, written back.

Nothing is loaded before every name and shape has been compared, and then one tensor at a time: the
network is built on the meta device, so that no copy in float32 is ever held beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from jaxtyping import Shaped
from torch import Tensor

from motion.models.comovi.config import COUPLING_PARTS, PARTS, CoMoViConfig, Part
from motion.models.comovi.lora import ADAPTER, merged
from motion.models.comovi.network import DualBranch, coupling_modules
from motion.models.comovi.weights.files import find_files
from motion.models.comovi.weights.names import Branch, Layout, layout_of, name_in
from motion.weights import Spec, TensorFiles, compare, fill, folded, summary, write

BRIDGED: Final = ("none", "single_m2v", "single_v2m", "dual", "fused")
"""Interactions of two branches."""


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint that fits a network in every name and shape."""

    config: CoMoViConfig
    layout: Layout
    files: TensorFiles
    origin: Mapping[str, str]
    """Name in the files by our name, of everything that is not fresh."""
    fresh: tuple[Part, ...]
    """Parts that the files do not give: initialized as for a training from scratch."""
    seed: int
    """Of the fresh parts."""

    @cached_property
    def _fresh(self) -> dict[str, Tensor]:
        if not self.fresh:
            return {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            modules = coupling_modules(self.config)
        return {
            f"{part}.{name}": value
            for part in self.fresh
            for name, value in modules[part].state_dict().items()
        }

    @property
    def specs(self) -> dict[str, Spec]:
        """Shape and type of every parameter, by our names."""
        given = {name: self.files.specs[theirs] for name, theirs in self.origin.items()}
        made = {n: Spec(tuple(v.shape), v.dtype) for n, v in self._fresh.items()}
        return given | made

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        """The value of one of our parameters; adapters of a trained LoRA are merged into it."""
        if name not in self.origin:
            return self._fresh[name]
        theirs = self.origin[name]
        value = self.files.read(theirs)
        stem = theirs.removesuffix(".weight")
        down, up = (f"{stem}.{ADAPTER.format(end=end)}" for end in "AB")
        if down not in self.files.specs:
            return value
        assert self.config.lora is not None
        return merged(value, self.files.read(down), self.files.read(up), self.config.lora)

    @cached_property
    def is_dead(self) -> bool:
        """Whether the SMPL predictor's decoders are all zero, as the public loader fills what a
        checkpoint lacks: every gradient is then a product with a zero factor, for ever."""
        weights = [
            name
            for name in self.origin
            if name.startswith("smpl.decoders.")
            and ".norm_" not in name
            and name.endswith("weight")
        ]
        return bool(weights) and not any(bool(self.read(name).any()) for name in weights)

    def report(self) -> str:
        """What comes from where, in some lines."""
        lines = [
            f"{len(self.files.specs)} tensors of {len(self.files.files)} files in the layout "
            f"{self.layout!r} give {summary(self.origin, 1)}"
        ]
        if self.fresh:
            lines.append(f"initialized afresh: {', '.join(self.fresh)}")
        if self.is_dead:
            lines.append(
                "the SMPL decoders are all zero and could never learn: name smpl in fresh to "
                "train them"
            )
        return "\n".join(lines)


def open_pretrained(
    source: str | Path,
    config: CoMoViConfig,
    *,
    revision: str | None = None,
    fresh: Sequence[Part] = (),
    seed: int = 0,
) -> Pretrained:
    """Compare a checkpoint with a network; reads headers alone.

    Args:
        source: see `find_files`.
        config: of the network.
        revision: commit of a hub id.
        fresh: among bridges, fusion and smpl, the parts that are initialized instead of read. Of
            a Wan transformer, which has none of them, that is all three whatever is said here.
        seed: of their initialization.

    Raises:
        ValueError: no checkpoint there, or names or shapes that do not fit; all are listed.
    """
    wrong = sorted(set(fresh) - set(COUPLING_PARTS))
    if wrong:
        raise ValueError(f"fresh names {wrong}; only {COUPLING_PARTS} can be initialized afresh")
    if config.interaction not in BRIDGED:
        raise ValueError(
            f"interaction {config.interaction!r} is one transformer, which no public weights fit: "
            "use one with two branches, e.g. 'single_m2v'"
        )
    files = TensorFiles(find_files(source, revision))
    layout = layout_of(files.specs)
    new: tuple[Part, ...] = tuple(
        part
        for part in PARTS
        if part in fresh or (part in COUPLING_PARTS and layout in ("diffusers", "wan"))
    )
    bare = config.model_copy(update={"lora": None})
    with init_empty_weights(include_buffers=True):
        network = DualBranch(bare)
    shapes = {n: tuple(p.shape) for n, p in network.state_dict().items()}
    origin: dict[str, str] = {}
    for name in shapes:
        if name.partition(".")[0] in new:
            continue
        theirs = name_in(layout, name, config)
        if theirs is None:
            raise ValueError(
                f"{name} exists in no public checkpoint: these weights fit networks that are not "
                "preconditioned, e.g. CoMoViConfig.wan5b()"
            )
        origin[name] = theirs
    wanted = {theirs: shapes[name] for name, theirs in origin.items()}
    adapters = ADAPTER.partition("{")[0]
    found = {
        name: shape
        for name, shape in files.shapes.items()
        if not (config.lora and adapters in name) and not _is_fresh(name, layout, config, new)
    }
    difference = compare(found, wanted)
    if difference:
        remedy = "fresh=('smpl', ...) initializes what a public checkpoint lacks"
        raise ValueError(
            f"{source} does not fit the network:"
            + difference.report(remedy if layout in ("comovi", "motion") else "")
            + "\nUse a config of the checkpoint's sizes"
        )
    return Pretrained(config, layout, files, origin, new, seed)


def _is_fresh(name: str, layout: Layout, config: CoMoViConfig, fresh: Sequence[Part]) -> bool:
    """Whether a tensor of the files belongs to a part that is not taken from them."""
    if layout not in ("comovi", "motion"):
        return False
    starts = {
        "bridges": ("zero_linear_blocks.", "network.bridges."),
        "fusion": ("smpl_fusion_layers.", "network.fusion."),
        "smpl": ("smpl_pe", "smpl_proj_", "smpl_decoders.", "network.smpl."),
    }
    return name.startswith(tuple(start for part in fresh for start in starts[part]))


def build_pretrained(
    pretrained: Pretrained,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> DualBranch:
    """The network with the checkpoint's values, filled tensor by tensor.

    Args:
        pretrained: of `open_pretrained`.
        device: where the weights come to lie.
        dtype: of the weights; as in the files where None.
    """
    with init_empty_weights(include_buffers=True):
        network = DualBranch(pretrained.config.model_copy(update={"lora": None}))
    fill(network, pretrained.read, network.state_dict(), device=device, dtype=dtype)
    return network


def write_layout(
    file: Path,
    layout: Layout,
    pretrained: Pretrained,
    *,
    branch: Branch = "rgb",
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write weights in a layout, in the types that they have; returns the file's SHA-256.

    Args:
        file: a .safetensors file.
        layout: which names; those of Wan hold one branch and the embedders.
        pretrained: what is written.
        branch: which of the two, for the layouts of Wan.
        metadata: texts for the header.

    Raises:
        ValueError: the layout cannot hold this network.
    """
    config, specs = pretrained.config, pretrained.specs
    single = layout in ("diffusers", "wan")
    if single and branch == "motion" and config.interleave > 1:
        raise ValueError(
            f"the motion branch has every {config.interleave}th block only, and no Wan transformer "
            "has gaps: write the rgb branch, or the layout 'comovi'"
        )
    kept = ("embedders", branch) if single else PARTS
    ours = {
        theirs: name
        for name in specs
        if name.partition(".")[0] in kept and (theirs := name_in(layout, name, config)) is not None
    }
    lost = [name for name in folded(specs) if ".preconditioner." in name]
    if lost and layout != "motion":
        raise ValueError(f"the layout {layout!r} has no place for {lost}: keep our own")
    return write(
        file,
        {theirs: specs[name] for theirs, name in ours.items()},
        lambda theirs: pretrained.read(ours[theirs]),
        metadata=metadata,
    )


def transformer_config(config: CoMoViConfig, layout: Layout) -> dict[str, Any] | None:
    """config.json beside one branch in a layout of Wan; None for the others."""
    if layout == "diffusers":
        return {
            "_class_name": "WanTransformer3DModel",
            "patch_size": list(config.patch),
            "num_attention_heads": config.num_heads,
            "attention_head_dim": config.width // config.num_heads,
            "in_channels": config.latent_channels,
            "out_channels": config.latent_channels,
            "text_dim": config.text_dim,
            "freq_dim": config.time_freq_dim,
            "ffn_dim": config.ffn_dim,
            "num_layers": config.num_layers,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": 1e-6,
            "rope_max_seq_len": 1024,
        }
    if layout == "wan":
        return {
            "_class_name": "WanModel",
            "model_type": "ti2v",
            "dim": config.width,
            "ffn_dim": config.ffn_dim,
            "freq_dim": config.time_freq_dim,
            "in_dim": config.latent_channels,
            "out_dim": config.latent_channels,
            "num_heads": config.num_heads,
            "num_layers": config.num_layers,
            "text_len": config.text_tokens,
            "eps": 1e-6,
        }
    return None
