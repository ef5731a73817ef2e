"""Names of our parameters in other layouts: diffusers' Wan, the original Wan, the public CoMoVi.

Every function goes from our name to theirs. A Wan checkpoint holds one transformer, whose blocks,
patch embedding and head serve both branches; the public CoMoVi has both under names of their own.
"""

from collections.abc import Iterable
from typing import Final, Literal

from motion.models.comovi.config import CoMoViConfig

Layout = Literal["motion", "diffusers", "wan", "comovi"]
"""Ours; `WanTransformer3DModel` of diffusers; the original Wan; the public dual-branch file."""
Branch = Literal["rgb", "motion"]

_ATTENTION: Final = {
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
}
_FEED_FORWARD: Final = {"ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}
_BLOCK: Final = {
    **{f"attn1.{ours}": f"self_attn.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{f"attn2.{ours}": f"cross_attn.{theirs}" for ours, theirs in _ATTENTION.items()},
    **_FEED_FORWARD,
    # diffusers numbers the norms in their order; Wan's third is the one before the text.
    "norm2": "norm3",
    "scale_shift_table": "modulation",
}
_DECODER: Final = {
    **{f"{kind}.{a}": f"{kind}.{b}" for kind in ("sa", "ca") for a, b in _ATTENTION.items()},
    **_FEED_FORWARD,
}
_EMBEDDERS: Final = {
    "text_embedder.linear_1": "text_embedding.0",
    "text_embedder.linear_2": "text_embedding.2",
    "time_embedder.linear_1": "time_embedding.0",
    "time_embedder.linear_2": "time_embedding.2",
    "time_proj": "time_projection.1",
}
_SMPL: Final = {
    "positions.table": "smpl_pe",
    "pose_in": "smpl_proj_in",
    "pose_out": "smpl_proj_out",
}
_SIGNS: Final[dict[Layout, str]] = {
    "motion": "network.embedders.",
    "diffusers": "condition_embedder.",
    "comovi": "rgb_blocks.",
    "wan": "text_embedding.",
}
"""A prefix that only this layout has, in the order in which they are looked for."""


def layout_of(names: Iterable[str]) -> Layout:
    """The layout of a checkpoint.

    Raises:
        ValueError: the names are of none of them.
    """
    known = list(names)
    for layout, sign in _SIGNS.items():
        if any(name.startswith(sign) for name in known):
            return layout
    raise ValueError(
        f"names such as {sorted(known)[:3]} belong to no transformer of Wan or CoMoVi; expected "
        f"names that begin with one of {sorted(_SIGNS.values())}"
    )


def name_in(layout: Layout, name: str, config: CoMoViConfig) -> str | None:
    """The name of a parameter of our network in a layout; None where the layout has no such thing.

    Args:
        layout: the layout.
        name: in `DualBranch`, e.g. "motion.blocks.3.attn1.to_q.weight".
        config: sizes and interaction of the network.

    Raises:
        ValueError: the public code cannot express the network's bridges.
    """
    part, _, rest = name.partition(".")
    if layout == "motion":
        return f"network.{name}"
    if part == "embedders":
        if layout == "diffusers":
            return f"condition_embedder.{rest}"
        return _translated(rest, _EMBEDDERS)
    if part in ("rgb", "motion"):
        return _branch_name(layout, part, rest, config)
    if layout != "comovi":
        return None
    if part == "bridges":
        return _bridge_name(rest, config)
    if part == "fusion":
        return f"smpl_fusion_layers.{rest}"
    if rest.startswith("decoders."):
        _, index, inner = rest.split(".", 2)
        return f"smpl_decoders.{index}.{_translated(inner, _DECODER)}"
    return _translated(rest, _SMPL)


def _branch_name(layout: Layout, branch: str, rest: str, config: CoMoViConfig) -> str | None:
    """Names within a branch. Motion block j starts as Wan block j x interleave."""
    if rest.startswith("preconditioner."):
        return None
    both = layout == "comovi"
    if rest.startswith("blocks."):
        _, number, inner = rest.split(".", 2)
        index = int(number)
        if branch == "motion" and not both:
            index *= config.interleave
        inner = inner if layout == "diffusers" else _translated(inner, _BLOCK)
        return f"{branch}_blocks.{index}.{inner}" if both else f"blocks.{index}.{inner}"
    if rest.startswith("patch_embedding."):
        return f"{branch}_{rest}" if both else rest
    if layout == "diffusers":
        return rest.removeprefix("head.")
    inner = _translated(
        rest, {"head.proj_out": "head.head", "head.scale_shift_table": "head.modulation"}
    )
    return f"{branch}_{inner}" if both else inner


def _bridge_name(rest: str, config: CoMoViConfig) -> str:
    """The public code has one list of bridges for both directions."""
    direction, number, inner = rest.split(".", 2)
    index = int(number)
    if config.interaction == "dual":
        if config.interleave != 2:
            raise ValueError(
                f"interaction 'dual' with interleave {config.interleave} has no public layout: "
                "its list of bridges is indexed past its end at 1 and has unused entries beyond 2; "
                "use 'single_m2v', or keep our own layout"
            )
        index = 2 * index + (direction == "to_rgb")
    return f"zero_linear_blocks.{index}.{inner}"


def _translated(name: str, table: dict[str, str]) -> str:
    """The name with the module that begins it renamed; the parameter's own name stays."""
    for ours, theirs in table.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    raise AssertionError(f"{name} is in no table of names")
