"""GENMO's ablation tables: which modes are trained, and what clips without 3D are good for.

Cells train the tiny model in one process on embedded clips, as CoMoVi's do, and measure held-out
clips: estimation from keypoints, with ever more of them hidden, text, and in-betweening.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace as with_changes
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import motion_joints
from motion.data.collate import collate
from motion.data.encode import EncodeConfig, encode
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef, Plan
from motion.data.prepare import PrepareConfig, prepare
from motion.data.reading import Reader
from motion.data.statistics import fit_statistics
from motion.diffusion.noise import generator_for
from motion.evaluation.genmo import ESTIMATION, condition_losses
from motion.evaluation.motions import real_motion
from motion.metrics.inbetween import keyframe_errors
from motion.metrics.pose import pa_mpjpe_mm
from motion.metrics.trajectory import world_mpjpe_mm
from motion.models.genmo.config import GenmoConfig, SampleOptions
from motion.models.genmo.system import Genmo
from motion.rotations import interpolate
from motion.sequence import Motion
from motion.training.dataset import shown
from rayjobs.train_genmo import CLIPS, COLUMNS
from tuning.ablations import AblationTable, Claim

HIDDEN: Final = (0.0, 0.25, 0.5, 0.75)
"""Shares of keypoints that are hidden, all frames of a joint and time span alike."""
KEYS: Final = (2, 5)


def train_genmo(
    *,
    seed: int,
    folder: Path,
    root: str,
    steps: int,
    batch_size: int,
    learning_rate: float,
    mode: str = "both",
    two_d: str = "both",
    hidden_motion: float = 0.0,
) -> dict[str, float]:
    """Train tiny GENMO in this process and measure held-out clips, the same for all cells."""
    del folder
    torch.set_num_threads(2)
    config = GenmoConfig.model_validate(
        {**GenmoConfig.tiny().model_dump(), "mode": mode, "two_d": two_d}
    )
    stream = Stream(Path(root), "train", batch_size, seed, hidden_motion)
    system = trained(config, stream, steps=steps, learning_rate=learning_rate, seed=seed)
    return measured(system, Path(root))


class Stream:
    """Batches of a split in the order of a training."""

    def __init__(
        self, root: Path, split: str, batch_size: int, seed: int, hidden_motion: float = 0.0
    ) -> None:
        rows = [row for row in Manifest.load(root).select(split) if not row.flagged]
        clips = [shown(ClipRef.of(row), hidden_motion) for row in rows]
        self.plan = Plan(clips, seed=seed, micro_batch=batch_size, accumulation=1, world=1)
        present = {name for clip in clips for name in clip.present}
        self.reader = Reader(self.plan, root, tuple(name for name in COLUMNS if name in present))

    def batch(self, step: int) -> Batch:
        micro = self.plan.step(step)[0][0]
        found, replaced = self.reader.read(micro)
        if replaced:
            raise ValueError(f"clips cannot be read: {'; '.join(replaced)}")
        return with_changes(Batch.from_columns(collate(found)), counts=micro.counts)


def fitted(config: GenmoConfig, stream: Stream, *, batches: int = 16) -> GenmoConfig:
    """The config with the statistics of some batches, as the training's cameras see them."""
    torch.manual_seed(0)
    seen = Genmo(config)
    views = [(seen.view(batch, "statistics").truth, batch) for batch in _some(stream, batches)]
    return config.fitted(
        fit_statistics((t.features, b.frame_mask & t.path[:, None]) for t, b in views)
    )


def _some(stream: Stream, count: int) -> list[Batch]:
    return [stream.batch(k) for k in range(min(count, stream.plan.steps_per_epoch))]


def trained(
    config: GenmoConfig, stream: Stream, *, steps: int, learning_rate: float, seed: int
) -> Genmo:
    """Plain AdamW, warm-up and cosine, and the average of the weights over the last steps.

    The network's weights, the order of the clips and the noise derive from the seed alone.
    """
    config = fitted(config, stream)
    torch.manual_seed(seed)
    system = config.build()
    average = torch.optim.swa_utils.AveragedModel(
        system.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    optimizer = torch.optim.AdamW(system.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    warmup = max(1, steps // 20)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, warmup)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warmup))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])
    system.train()
    for step in range(steps):
        loss, _ = system(stream.batch(step).stamp(step=step, steps=steps, seed=seed))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(system.network)
    system.network.load_state_dict(average.module.state_dict())
    return system.eval()


@torch.no_grad()
def measured(system: Genmo, root: Path, *, batch_size: int = 32) -> dict[str, float]:
    """Means over the validation clips."""
    stream = Stream(root, "validation", batch_size, 0)
    parts: list[Mapping[str, Tensor]] = []
    for batch in _some(stream, stream.plan.steps_per_epoch):
        losses = condition_losses(system, batch, 2)
        parts.append({**losses, **estimation(system, batch), **inbetweening(system, batch)})
    return {name: float(torch.cat([p[name] for p in parts]).nanmean()) for name in parts[0]}


def estimation(system: Genmo, batch: Batch) -> dict[str, Float[Tensor, "b"]]:
    """Errors in mm of one pass from keypoints, and with ever more of them hidden."""
    body, truth = system.bodies.on(batch.frame_mask.device), real_motion(batch)
    real, mask = motion_joints(body, truth), batch.frame_mask
    errors: dict[str, Tensor] = {}
    for share in HIDDEN:
        assert batch.keypoints_confidence is not None
        seen = ~hidden(batch, share)
        trust = torch.where(seen, batch.keypoints_confidence, 0.0)
        given = with_changes(batch, keypoints_confidence=trust)
        made = system.sample(given, ESTIMATION, generator=torch.Generator().manual_seed(0)).motion
        assert made is not None
        joints = motion_joints(body, made)
        suffix = f"_hidden_{100 * share:.0f}" if share else ""
        errors[f"pa_mpjpe_mm{suffix}"] = pa_mpjpe_mm(joints, real, mask).nanmean(1)
        if not share:
            errors["w_mpjpe_mm"] = world_mpjpe_mm(joints, real, mask, align="start").nanmean(1)
    return errors


def hidden(batch: Batch, share: float) -> Bool[Tensor, "b t 17"]:
    """Spans of 12 frames of single joints, drawn by the clips' keys; more share hides more."""
    b, t = batch.frame_mask.shape
    drawn = torch.stack(
        [
            torch.rand(-(-t // 12), 17, generator=generator_for(int(key), "occlusion"))
            for key in batch.noise_key
        ]
    )
    return drawn.repeat_interleave(12, 1)[:, :t].reshape(b, t, 17) < share


def inbetweening(system: Genmo, batch: Batch, *, samples: int = 2) -> dict[str, Float[Tensor, "b"]]:
    """Least error over samples in mm, with 2 and 5 key poses and the text; and of slerp.

    The paper measures at the keyframes, where the poses are given; here also between them.
    """
    body, truth = system.bodies.on(batch.frame_mask.device), real_motion(batch)
    real, mask = motion_joints(body, truth), batch.frame_mask
    errors: dict[str, Tensor] = {}
    for count in KEYS:
        options = SampleOptions(steps=5, guidance=1.0, keyframes=count, conditions=("text",))
        made: list[Tensor] = []
        for draw in range(samples):
            generator = torch.Generator().manual_seed(draw)
            motion = system.sample(batch, options, generator=generator).motion
            assert motion is not None
            made.append(motion_joints(body, motion))
        keys = torch.linspace(0, mask.shape[1] - 1, count).round().long()
        at_keys = torch.zeros_like(mask)
        at_keys[:, keys] = True
        stacked = torch.stack(made, 1)
        errors[f"keys_{count}_wa_mm"] = keyframe_errors(stacked, real, at_keys).wa_mm
        between = torch.stack([pa_mpjpe_mm(j, real, mask).nanmean(1) for j in made]).amin(0)
        errors[f"between_{count}_pa_mm"] = between
        line = motion_joints(body, slerped(truth, keys.tolist()))
        errors[f"between_{count}_pa_mm_of_slerp"] = pa_mpjpe_mm(line, real, mask).nanmean(1)
    return errors


def slerped(truth: Motion, keys: Sequence[int]) -> Motion:
    """Rotations on the shortest arc between key poses, the path on straight lines."""
    R, path = truth.R_parent_child.clone(), truth.require_translation().clone()
    for first, last in pairwise(keys):
        weight = torch.linspace(0, 1, last - first + 1)[None, :, None]
        start, end = truth.R_parent_child[:, [first]], truth.R_parent_child[:, [last]]
        shape = (len(R), last - first + 1, R.shape[2])
        R[:, first : last + 1] = interpolate(
            start.expand(*shape, 3, 3), end.expand(*shape, 3, 3), weight.expand(shape)
        )
        path[:, first : last + 1] = torch.lerp(path[:, [first]], path[:, [last]], weight)
    return with_changes(truth, R_parent_child=R, translation=path)


_METRICS: Final = {
    "pa_mpjpe_mm": "PA-MPJPE (mm)",
    "w_mpjpe_mm": "W-MPJPE (mm)",
    "pa_mpjpe_mm_hidden_50": "PA-MPJPE, half hidden (mm)",
    "pa_mpjpe_mm_hidden_75": "PA-MPJPE, 75 % hidden (mm)",
    "generation_simple_from_text": "x0 error from text",
    "between_2_pa_mm": "PA-MPJPE between 2 keys (mm)",
    "between_5_pa_mm": "PA-MPJPE between 5 keys (mm)",
}
_NOTE: Final = (
    "Tiny GENMO on embedded clips, minutes per cell: it shows directions at this size, not the "
    "paper's figures."
)


def _data(root: Path) -> None:
    raw = root.with_name(root.name + "-raw")
    prepare(PrepareConfig(root=raw, num_train=1024, num_validation=128, num_test=0, clip=CLIPS))
    encode(EncodeConfig(raw_root=raw, root=root, video=None, segments=True, keep_video=()))


def _table(
    root: Path, name: str, presets: Mapping[str, Mapping[str, Any]], claims: tuple[Claim, ...]
) -> AblationTable:
    root = root.with_name(root.name + "-genmo")
    return AblationTable(
        name=name,
        presets=presets,
        claims=claims,
        cell=train_genmo,
        metrics=_METRICS,
        settings={"root": str(root), "steps": 400, "batch_size": 16, "learning_rate": 3e-3},
        note=_NOTE,
        prepare=lambda _: _data(root),
    )


def _lower(better: str, worse: str, metric: str, source: str) -> Claim:
    return Claim(better=better, worse=worse, metric=metric, direction="lower", source=source)


def genmo_modes(root: Path) -> AblationTable:
    """Both modes against each alone (GENMO, tables 6, 7 and 9)."""
    seven = "table 7: both modes 114.6, regression alone 121.1, diffusion alone 128.6 (EMDB WA)"
    return _table(
        root,
        "genmo-modes",
        {name: {"mode": name} for name in ("both", "estimation", "generation")},
        (
            _lower("both", "estimation", "w_mpjpe_mm", seven),
            _lower("both", "generation", "w_mpjpe_mm", seven),
            _lower(
                "both",
                "estimation",
                "pa_mpjpe_mm_hidden_75",
                "table 9: generative training helps under occlusion",
            ),
            _lower(
                "both",
                "generation",
                "between_2_pa_mm",
                "table 6: without estimation in-betweening is worse",
            ),
        ),
    )


def genmo_2d(root: Path) -> AblationTable:
    """Three quarters of the clips without 3D: in both modes, in one, or not (tables 2, 4, 5)."""
    presets = {
        name: {"two_d": name, "hidden_motion": 0.75} for name in ("both", "estimation", "none")
    }
    four = "tables 4 and 5: with 2D training R@3 .632 against .556, FID .207 against .515"
    return _table(
        root,
        "genmo-2d",
        presets,
        (
            _lower("both", "none", "pa_mpjpe_mm", "table 2: 34.6 against 35.2 (3DPW)"),
            _lower("both", "none", "generation_simple_from_text", four),
            _lower("both", "estimation", "generation_simple_from_text", four),
        ),
    )
