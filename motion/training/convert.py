"""Pretrained weights in and out: Wan or CoMoVi files to an export, and exports to their layouts.

An export made here holds every weight of the network, so a training starts from it
(`init_from`) without building the network whole anywhere; with encoders it can be sampled from.
"""

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from motion.encoders import (
    TransformersText,
    TransformersTextConfig,
    WanAutoencoder,
    WanAutoencoderConfig,
)
from motion.exported import CONFIG_FILE
from motion.models.comovi.config import CoMoViConfig, Part
from motion.models.comovi.weights.load import (
    Pretrained,
    open_pretrained,
    transformer_config,
    write_layout,
)
from motion.models.comovi.weights.names import Branch, Layout
from motion.training.export import FORMAT, committed

_OURS: Final = "model.safetensors"
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_DATA: Final[dict[str, Any]] = {
    "fps": 16.0, "num_frames": 81, "height": 704, "width": 1280, "map_mode": "lit",
}  # fmt: skip
"""What the public weights were trained on."""


class ConvertConfig(BaseModel):
    """Weights from one layout to another; ours is an export."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """Folder or file of a Wan or CoMoVi transformer, a diffusers pipeline, a hub id, or one of our
    exports."""
    output: Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]
    """Folder that is written; it must not exist."""
    layout: Layout = "motion"
    """What is written: `motion` an export of ours; `diffusers` or `wan` one branch; `comovi` the
    public dual-branch file."""
    branch: Branch = "rgb"
    """Which branch, where the layout holds one."""
    system: CoMoViConfig = Field(default_factory=CoMoViConfig.wan5b)
    """The network; that of an export is taken from the export."""
    fresh: tuple[Part, ...] = ()
    """Parts among bridges, fusion and smpl that are initialized instead of read. A Wan transformer
    has none of them; the released CoMoVi file may lack some."""
    revision: str | None = None
    """Commit of a hub id."""
    encoders: str = ""
    """Folder or hub id of the diffusers pipeline whose text encoder and autoencoder an export
    shall name, so that it can be sampled from; empty for weights to train from."""
    seed: int = 0
    """Of the parts that are initialized."""


def convert(config: ConvertConfig) -> tuple[Path, str]:
    """Convert weights tensor by tensor; returns what was written, and a report.

    Raises:
        ValueError: the source does not fit, the output exists, or the layout cannot hold the
            network.
    """
    if config.output.exists():
        raise ValueError(f"{config.output} exists already: name another output, or remove it")
    folder, system = Path(config.source).expanduser(), config.system
    described = committed(folder) if (folder / _OURS).is_file() else None
    if described is not None:
        system = CoMoViConfig.model_validate(described["system"])
    pretrained = open_pretrained(
        config.source, system, revision=config.revision, fresh=config.fresh, seed=config.seed
    )
    report = pretrained.report()
    staging = config.output.with_name(f".{config.output.name}.{uuid.uuid4().hex[:8]}")
    staging.mkdir(parents=True)
    try:
        if config.layout == "motion":
            _write_export(staging, config, pretrained, described)
        else:
            _write_public(staging, config, pretrained)
        staging.rename(config.output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return config.output, report


def _write_public(folder: Path, config: ConvertConfig, pretrained: Pretrained) -> None:
    write_layout(folder / _WEIGHTS, config.layout, pretrained, branch=config.branch)
    settings = transformer_config(pretrained.config, config.layout)
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _write_export(
    folder: Path, config: ConvertConfig, pretrained: Pretrained, described: dict[str, Any] | None
) -> None:
    """An export whose adapters, if any, are merged."""
    system = pretrained.config.model_copy(update={"lora": None})
    digest = write_layout(folder / _OURS, "motion", pretrained)
    identity = {"kind": "converted", "weights": digest, "fresh": list(pretrained.fresh)}
    text = json.dumps({**identity, "system": system.model_dump(mode="json")}, sort_keys=True)
    before = described or {}
    description: dict[str, Any] = {
        "format": FORMAT,
        "system": system.model_dump(mode="json"),
        "encoders": before.get("encoders", {}),
        "body": before.get("body", system.body),
        "data": before.get("data", _DATA),
        "training": {
            "identity": identity,
            "hash": hashlib.sha256(text.encode()).hexdigest(),
            "converted_from": str(config.source),
        },
        "step": before.get("step", 0),
    }
    if config.encoders:
        description["encoders"] = _save_encoders(folder, config)
    elif described is not None and (Path(config.source).expanduser() / "encoders").is_dir():
        shutil.copytree(Path(config.source).expanduser() / "encoders", folder / "encoders")
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(
        f"# {config.output.name}\n\nWeights converted from `{config.source}`, whose licence "
        f"applies.\n\n{pretrained.report()}\n"
    )


def _save_encoders(folder: Path, config: ConvertConfig) -> dict[str, Any]:
    """References to a pipeline's text encoder and autoencoder, which serves both streams."""
    place = Path(config.encoders).expanduser()
    source = str(place.resolve()) if place.is_dir() else config.encoders
    text = TransformersText(
        TransformersTextConfig(
            source=source,
            subfolder="text_encoder",
            tokenizer_subfolder="tokenizer",
            max_tokens=config.system.text_tokens,
        )
    )
    video = WanAutoencoder(WanAutoencoderConfig(source=source))
    facts: dict[str, Any] = {}
    for kind, encoder in (("text", text), ("rgb", video), ("map", video)):
        encoder.save(folder / "encoders" / kind)
        facts[kind] = {"id": encoder.id, "hash": encoder.hash, "path": f"encoders/{kind}"}
    return facts
