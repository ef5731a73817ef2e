"""CoMoVi's ablation tables: exchange between the branches, motion pictures, architectures."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch

from motion.batch import Batch
from motion.body.shading import MapMode
from motion.data.encode import EncodeConfig, encode
from motion.data.pipeline import StreamConfig
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.exported import read_weights
from motion.models.comovi.config import CoMoViConfig, Interaction, parts_of
from motion.models.comovi.system import CoMoVi
from motion.training.alone import train_alone
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig
from motion.training.evaluators import split_batches
from tuning.ablations import AblationTable, Claim

COLUMNS: Final = (
    "latent_rgb", "latent_map", "text_embedding", "text_mask", "smpl_rotvec", "smpl_translation",
    "smpl_betas", "intrinsics", "T_camera_world",
)  # fmt: skip


def train_comovi(
    *,
    seed: int,
    folder: Path,
    root: str,
    interaction: str,
    steps: int,
    batch_size: int,
    num_frames: int,
    learning_rate: float,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train tiny CoMoVi in this process and measure held-out losses, the same draws for all cells.

    The network's weights, the order of the clips and the noise derive from the seed alone.

    Args:
        seed: of the training.
        folder: of the cell; the export is written in it.
        root: encoded clips.
        interaction: of the branches.
        steps: optimizer steps.
        batch_size: clips per step.
        num_frames: of a clip.
        learning_rate: peak of a warm-up over a tenth of the steps and a cosine to zero.
        changes: other fields of the system's config.
    """
    torch.set_num_threads(2)
    fixed = {
        "interaction": interaction,
        "trainable": parts_of(cast(Interaction, interaction)),
        "pose_positions": num_frames - 1,
    }
    training = TrainConfig(
        name="cell",
        system=CoMoViConfig.model_validate(
            {**CoMoViConfig.tiny().model_dump(), **fixed, **(changes or {})}
        ),
        data=DataConfig(root=Path(root), columns=COLUMNS, stream=StreamConfig(use_ray=False)),
        optimizer=OptimizerConfig(
            learning_rate=learning_rate,
            betas=(0.9, 0.99),
            warmup_steps=max(1, steps // 10),
            schedule="cosine",
        ),
        steps=steps,
        micro_batch=batch_size,
        seed=seed,
        checkpoint_every=steps,
        storage=folder,
    )
    weights = read_weights(train_alone(training))
    system = CoMoVi(cast(CoMoViConfig, training.system))
    system.load_state_dict(weights)
    return held_out_losses(system.eval(), split_batches(Path(root), "validation", COLUMNS))


@torch.no_grad()
def held_out_losses(system: CoMoVi, batches: Iterable[Batch]) -> dict[str, float]:
    """Means over all clips, four draws of noise and time each."""
    sums: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        for draw in range(4):
            for name, values in system.clip_losses(batch, use=f"ablation/{draw}").items():
                sums.setdefault(name, []).append(values)
    return {name: float(torch.cat(values).nanmean()) for name, values in sums.items()}


NUM_FRAMES: Final = 17
_CELL: Final[Mapping[str, Any]] = {
    "steps": 300, "batch_size": 8, "num_frames": NUM_FRAMES, "learning_rate": 3e-3,
}  # fmt: skip
_LOSSES: Final[Mapping[str, str]] = {
    "flow_rgb": "flow loss, video",
    "flow_map": "flow loss, motion map",
    "joints": "joint loss (m²)",
}


def _clips(root: Path, mode: MapMode) -> None:
    """Encoded clips under `root`, whose motion maps show what `mode` says."""
    raw = root.with_name(root.name + "-raw")
    clip = ProceduralConfig(num_frames=NUM_FRAMES, height=96, width=96, map_mode=mode)
    prepare(PrepareConfig(root=raw, num_train=256, num_validation=64, num_test=0, clip=clip))
    encode(EncodeConfig(raw_root=raw, root=root, fit_clips=64, measured_clips=16))


def comovi_interaction(root: Path) -> AblationTable:
    """How the streams exchange features (CoMoVi, section 4.5 and Fig. 8)."""

    def data(folder: Path) -> None:
        del folder
        _clips(root, "flat")

    text = "section 4.5: fused features injected into the motion branch disturb it"

    def claim(better: str, worse: str, metric: str, source: str) -> Claim:
        return Claim(better=better, worse=worse, metric=metric, direction="lower", source=source)

    guided = "section 4.5: without the motion branch's guidance the video degrades"
    return AblationTable(
        name="comovi-interaction",
        presets={
            name: {"interaction": name} for name in ("single_m2v", "single_v2m", "dual", "none")
        },
        claims=(
            claim("single_m2v", "dual", "flow_map", text),
            claim("single_m2v", "single_v2m", "flow_map", text),
            claim("single_m2v", "none", "flow_rgb", guided),
            claim("single_m2v", "dual", "joints", text),
        ),
        cell=train_comovi,
        metrics=_LOSSES,
        settings={"root": str(root), **_CELL},
        note="Tiny CoMoVi from scratch on embedded clips, minutes per cell: it shows what an "
        "exchange of features does to a small model's held-out losses, not to a pretrained "
        "video model's samples, which the paper judges.",
        prepare=data,
    )


WITHOUT_MOTION: Final[Mapping[str, Any]] = {
    "stage": 1,
    "trainable": ["embedders", "rgb"],
    "weights": {"flow_map": 0.0, "rotation": 0.0, "vertices": 0.0, "joints": 0.0},
}
"""The RGB branch alone: fine-tuning on videos without co-generation."""
SHOWN: Final[Mapping[str, MapMode]] = {
    "map": "flat", "normals": "normals", "parts": "parts", "skeleton": "skeleton",
}  # fmt: skip
"""What the motion branch sees, by preset."""


def comovi_map(root: Path) -> AblationTable:
    """What the motion branch is shown (CoMoVi, Table 4: 2D motion representations)."""
    roots = {
        name: root if mode == "flat" else root.with_name(f"{root.name}-{name}")
        for name, mode in SHOWN.items()
    }

    def data(folder: Path) -> None:
        del folder
        for name, mode in SHOWN.items():
            _clips(roots[name], mode)

    source = "Table 4: without normals, parts or both, motion and video are worse"

    def claim(worse: str, metric: str) -> Claim:
        return Claim(better="map", worse=worse, metric=metric, direction="lower", source=source)

    others = ("normals", "parts", "skeleton")
    return AblationTable(
        name="comovi-map",
        presets={
            **{name: {"root": str(folder)} for name, folder in roots.items()},
            "without_motion": {"root": str(roots["map"]), "changes": dict(WITHOUT_MOTION)},
        },
        claims=(
            *(claim(name, "flow_rgb") for name in (*others, "without_motion")),
            *(claim(name, "joints") for name in others),
        ),
        cell=train_comovi,
        metrics={name: _LOSSES[name] for name in ("flow_rgb", "joints")},
        settings={"interaction": "single_m2v", **_CELL},
        note="Tiny CoMoVi from scratch on embedded clips. The videos are the same in all presets, "
        "so their flow losses compare; those of the maps do not, because the maps differ.",
        prepare=data,
    )


def comovi_architecture(root: Path) -> AblationTable:
    """How the two videos share a network (CoMoVi, Table 4: model architecture designs)."""

    def data(folder: Path) -> None:
        del folder
        _clips(root, "flat")

    source = "Table 4 and section 4.5: two branches with a full copy are best"
    others = ("channel_concat", "interleaved_copy", "fused_into_motion")
    return AblationTable(
        name="comovi-architecture",
        presets={
            "full_copy": {"interaction": "single_m2v"},
            "channel_concat": {"interaction": "concat"},
            "interleaved_copy": {"interaction": "single_m2v", "changes": {"interleave": 2}},
            "fused_into_motion": {"interaction": "fused"},
        },
        claims=tuple(
            Claim(better="full_copy", worse=name, metric=metric, direction="lower", source=source)
            for name in others
            for metric in _LOSSES
        ),
        cell=train_comovi,
        metrics=_LOSSES,
        settings={"root": str(root), **_CELL},
        note="Tiny CoMoVi from scratch on embedded clips. The paper copies a pretrained network, "
        "whose prior the other designs lose; from scratch there is none to lose, "
        "so capacity and the exchange of features alone are compared.",
        prepare=data,
    )
