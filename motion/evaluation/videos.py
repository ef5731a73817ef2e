"""Generated videos: VBench by its package, temporal flickering by ours, real videos first."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from motion.data.video import decode_mp4, to_frames
from motion.evaluation.clips import Clips
from motion.evaluation.estimation import pooled_interval
from motion.evaluation.sampling import Request, videos_folder
from motion.evaluation.tables import Row
from motion.metrics.interval import Interval
from motion.metrics.vbench import temporal_flickering, vbench_scores

Sampling = Callable[[Request, Clips, Sequence[int]], None]


def video_rows(
    clips: Clips, requests: Sequence[Request], sample: Sampling, dimensions: Sequence[str]
) -> tuple[Row | None, list[Row], dict[str, str]]:
    """Row of the real videos, rows of the exports, and facts.

    Args:
        clips: whose conditions are sampled for.
        requests: one per export.
        sample: makes the samples that are missing.
        dimensions: of VBench, run by its package; none: temporal flickering alone, which is ours.
    """
    ours: list[Row] = []
    for request in requests:
        sample(request, clips, [0])
        folder = videos_folder(request.file(clips.chunks()[0], 0))
        files = [folder / f"{ref.clip_id}.mp4" for ref in clips.refs]
        values = _flickering(files)
        if dimensions:
            nan, n = float("nan"), len(files)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            chosen = _linked(files, request.folder / f"vbench-{clips.hash[:12]}")
            found = vbench_scores(chosen, chosen.parent, dimensions, device=device)
            values |= {name: Interval(value, nan, nan, n) for name, value in found.items()}
        ours.append(Row(name=request.name, kind="ours", values=values))
    facts = {"clips": str(len(clips.refs))}
    return _real_videos(clips), ours, facts


def _real_videos(clips: Clips) -> Row | None:
    """Flickering of the clips' own videos, where the dataset keeps them."""
    if not all("rgb" in ref.present for ref in clips.refs):
        return None
    pixels = [clips.batch(chunk, 0, ("rgb",)) for chunk in clips.chunks()]
    found: list[float] = []
    for batch in pixels:
        assert batch.rgb is not None
        for video, mask in zip(batch.rgb, batch.frame_mask, strict=True):
            found.append(temporal_flickering(to_frames(video)[mask.numpy()]))
    return Row(name="real data", kind="real", values={"temporal_flickering": _mean(found)})


def _linked(files: Sequence[Path], folder: Path) -> Path:
    """A folder of these videos alone: VBench takes all that it finds in one."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for file in files:
        link = videos / file.name
        if not link.exists():
            link.symlink_to(file)
    return videos


def _flickering(files: Sequence[Path]) -> dict[str, Interval]:
    return {"temporal_flickering": _mean([temporal_flickering(decode_mp4(f)) for f in files])}


def _mean(values: Sequence[float]) -> Interval:
    """Mean over clips with its bootstrap interval; NaN values are undefined and do not count."""
    known = torch.tensor([[v, 1.0] if np.isfinite(v) else [0.0, 0.0] for v in values])
    return pooled_interval(known.double())
