"""One finished sample, and its files for people and tools."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from motion.body.model import BodyModel
from motion.data.video import encode_mp4
from motion.export.amass import write_amass
from motion.export.provenance import Provenance
from motion.export.video import Panel, write_gif, write_mp4
from motion.sequence import Motion
from motion.view.render_motion import Camera, render_motion
from motion.view.strip import strip_png


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished sample."""

    prompt: str
    fps: float
    rgb: UInt8[np.ndarray, "t h w 3"] | None
    """None, like the map, where the system makes motion alone."""
    motion_map: UInt8[np.ndarray, "t h w 3"] | None
    motion: Motion | None
    """World frame; None where the export predicts no motion (CoMoVi's first stage)."""
    camera: Camera | None
    """The camera of the video; None where there is none: then the whole path is shown."""
    body: BodyModel
    provenance: Provenance


def write_result(
    result: Result, stem: Path, *, gif: bool = False, separate: bool = False
) -> list[Path]:
    """Write `stem`.mp4 [RGB | motion map | SMPL], .png (strip) and, with a motion, .npz (AMASS).

    A panel that the system does not make is left out. `gif` adds the mp4's picture as an endless
    gif; `separate` adds the generated videos in their own size, `stem`_video.mp4 and, losslessly,
    `stem`_map.mp4.
    """
    videos = {"RGB": result.rgb, "motion map": result.motion_map}
    rows = {label: frames for label, frames in videos.items() if frames is not None}
    panels = [
        Panel(frames=frames, label=label, sharp=label == "motion map")
        for label, frames in rows.items()
    ]
    written: list[Path] = []
    if result.motion is not None:
        camera = None if result.camera is None else result.camera.enlarged(2)
        posed = render_motion(result.body, result.motion, camera=camera)
        panels.append(Panel(frames=posed, label="SMPL"))
        rows["SMPL"] = posed
        written.append(
            write_amass(
                stem.with_name(stem.name + ".npz"),
                result.motion,
                result.body,
                result.provenance,
                camera=result.camera,
            )
        )
    if separate:
        written += _write_videos(result, stem)
    if gif:
        file = stem.with_name(stem.name + ".gif")
        written.append(write_gif(file, panels, result.fps, provenance=result.provenance))
    written.append(
        write_mp4(
            stem.with_name(stem.name + ".mp4"), panels, result.fps, provenance=result.provenance
        )
    )
    written.append(
        strip_png(
            stem.with_name(stem.name + ".png"),
            rows,
            result.fps,
            title=f"“{result.prompt}”",
            provenance=result.provenance,
        )
    )
    return written


def _write_videos(result: Result, stem: Path) -> list[Path]:
    written: list[Path] = []
    for name, frames in (("video", result.rgb), ("map", result.motion_map)):
        if frames is None:
            continue
        file = stem.with_name(f"{stem.name}_{name}.mp4")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_mp4(frames, result.fps, lossless=name == "map"))
        written.append(file)
    return written
