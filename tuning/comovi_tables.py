"""CoMoVi's ablation tables: exchange between the branches, motion pictures, architectures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch

from motion.batch import Batch
from motion.body.shading import MapMode
from motion.data.collate import collate
from motion.data.encode import EncodeConfig, encode
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef, Plan
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.data.reading import Reader
from motion.models.comovi.config import CoMoViConfig, Interaction, parts_of
from motion.models.comovi.system import CoMoVi
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
    changes: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train tiny CoMoVi in this process and measure held-out losses, the same draws for all cells.

    One process, plain AdamW and no autocast: a cell compares presets, not the trainer. The
    network's weights, the order of the clips and the noise derive from the seed alone. `changes`
    are other fields of the config than the interaction.
    """
    del folder
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    tiny = CoMoViConfig.tiny().model_dump()
    fixed = {
        "interaction": interaction,
        "trainable": parts_of(cast(Interaction, interaction)),
        "pose_positions": num_frames - 1,
    }
    config = CoMoViConfig.model_validate({**tiny, **fixed, **(changes or {})})
    system = config.build()
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3, betas=(0.9, 0.99))
    rise, fall = max(1, steps // 10), steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min(1.0, (k + 1) / rise) * 0.5 * (1 + np.cos(np.pi * min(k, fall) / fall)),
    )
    batches = _batches(Path(root), "train", batch_size, seed)
    system.train()
    for step in range(steps):
        loss, _ = system(batches(step).stamp(step=step, steps=steps, seed=seed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return held_out_losses(system, Path(root), batch_size)


def held_out_losses(system: CoMoVi, root: Path, batch_size: int) -> dict[str, float]:
    """Means over all validation clips, four draws of noise and time each."""
    batches = _batches(root, "validation", batch_size, seed=0)
    system.eval()
    sums: dict[str, list[torch.Tensor]] = {}
    count = len(Manifest.load(root).select("validation")) // batch_size
    with torch.no_grad():
        for index in range(count):
            for draw in range(4):
                losses = system.clip_losses(batches(index), use=f"ablation/{draw}")
                for name, values in losses.items():
                    sums.setdefault(name, []).append(values)
    return {name: float(torch.cat(values).nanmean()) for name, values in sums.items()}


def _batches(root: Path, split: str, batch_size: int, seed: int) -> Callable[[int], Batch]:
    clips = [ClipRef.of(row) for row in Manifest.load(root).select(split) if not row.flagged]
    plan = Plan(clips, seed=seed, micro_batch=batch_size, accumulation=1, world=1)
    reader = Reader(plan, root, COLUMNS)

    def batch(step: int) -> Batch:
        found, replaced = reader.read(plan.step(step)[0][0])
        if replaced:
            raise ValueError(f"clips cannot be read: {'; '.join(replaced)}")
        return Batch.from_columns(collate(found))

    return batch


NUM_FRAMES: Final = 17
_CELL: Final[Mapping[str, Any]] = {"steps": 300, "batch_size": 8, "num_frames": NUM_FRAMES}
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
