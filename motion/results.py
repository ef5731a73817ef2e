"""One finished sample, and its files for people and tools; `export` writes any by its suffix."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from motion.body import load_body
from motion.body.model import BodyModel, motion_joints
from motion.data.video import encode_mp4
from motion.export.amass import write_amass
from motion.export.bvh import write_bvh
from motion.export.formats import format_of
from motion.export.gltf import write_glb
from motion.export.joints import write_joints
from motion.export.provenance import Provenance
from motion.export.video import Panel, write_gif, write_mp4, write_webm
from motion.sequence import Motion
from motion.view.render_motion import Camera, render_motion
from motion.view.strip import strip_png


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished sample, or a motion from a file."""

    prompt: str
    """Empty where there is none."""
    fps: float
    rgb: UInt8[np.ndarray, "t h w 3"] | None
    """None, like the map, where the system makes motion alone."""
    motion_map: UInt8[np.ndarray, "t h w 3"] | None
    motion: Motion | None
    """World frame; None where the export predicts no motion (CoMoVi's first stage)."""
    camera: Camera | None
    """The camera of the video; None where there is none: then the whole path is shown."""
    body: BodyModel
    """On the CPU."""
    provenance: Provenance | None
    """None where no model made it."""

    @functools.cached_property
    def rows(self) -> dict[str, UInt8[np.ndarray, "_t _h _w 3"]]:
        """Pictures by label: what the system made, and the body in motion; drawn once."""
        videos = {"RGB": self.rgb, "motion map": self.motion_map}
        rows = {label: frames for label, frames in videos.items() if frames is not None}
        if self.motion is not None:
            camera = None if self.camera is None else self.camera.enlarged(2)
            rows["SMPL"] = render_motion(self.body, self.motion, camera=camera)
        return rows

    @property
    def panels(self) -> list[Panel]:
        """The rows as panels of a video."""
        return [
            Panel(frames=frames, label=label, sharp=label == "motion map")
            for label, frames in self.rows.items()
        ]

    def require_motion(self) -> Motion:
        """The motion, or a ValueError where the sample is a video alone."""
        if self.motion is None:
            raise ValueError(
                "this sample is a video without a motion: write it as .mp4, .webm, .gif or .png"
            )
        return self.motion


def export(
    subject: Result | Motion,
    path: Path,
    *,
    body: BodyModel | None = None,
    provenance: Provenance | None = None,
) -> list[Path]:
    """Write a sample or a motion in the format that the path's suffix names.

    Args:
        subject: what to write; a motion alone is one of the world, without batch.
        path: ends in one of `motion.export.formats.FORMATS`.
        body: of a motion alone, on the CPU; the free body unless given.
        provenance: of a motion alone.

    Returns:
        The file, and its sidecar where the format has no place for its origin.

    Raises:
        ValueError: an unknown suffix, a body or provenance beside a sample that has its own, or a
            subject that lacks what the format holds.
    """
    suffix = format_of(path)
    if isinstance(subject, Motion):
        subject = Result(
            prompt="" if provenance is None else provenance.prompt,
            fps=subject.fps,
            rgb=None,
            motion_map=None,
            motion=subject.to("cpu"),
            camera=None,
            body=body or load_body("free"),
            provenance=provenance,
        )
    elif body is not None or provenance is not None:
        raise ValueError("a sample has its own body and provenance: leave them out")
    return _WRITERS[suffix](subject, path)


def write_result(
    result: Result, stem: Path, *, suffix: str = "", separate: bool = False
) -> list[Path]:
    """Write `stem`.mp4 [RGB | motion map | SMPL], .png (strip) and, with a motion, .npz (AMASS).

    A panel that the system does not make is left out. `suffix` adds one more format of `export`;
    `separate` adds the generated videos in their own size, `stem`_video.mp4 and, losslessly,
    `stem`_map.mp4.
    """
    always = [".mp4", ".png"] if result.motion is None else [".npz", ".mp4", ".png"]
    wanted = always if suffix in ("", *always) else [*always, suffix]
    written = [file for kind in wanted for file in export(result, stem.with_name(stem.name + kind))]
    return [*written, *(_write_videos(result, stem) if separate else [])]


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


def _npz(result: Result, path: Path) -> list[Path]:
    motion, camera = result.require_motion(), result.camera
    return [write_amass(path, motion, result.body, result.provenance, camera=camera)]


def _bvh(result: Result, path: Path) -> list[Path]:
    return write_bvh(path, result.require_motion(), result.body, result.provenance)


def _glb(result: Result, path: Path) -> list[Path]:
    return [write_glb(path, result.require_motion(), result.body, result.provenance)]


def _joints(result: Result, path: Path) -> list[Path]:
    return write_joints(path, result.require_motion(), result.body, result.provenance)


def _mp4(result: Result, path: Path) -> list[Path]:
    return [write_mp4(path, result.panels, result.fps, provenance=result.provenance)]


def _webm(result: Result, path: Path) -> list[Path]:
    return [write_webm(path, result.panels, result.fps, provenance=result.provenance)]


def _gif(result: Result, path: Path) -> list[Path]:
    return [write_gif(path, result.panels, result.fps, provenance=result.provenance)]


def _png(result: Result, path: Path) -> list[Path]:
    strip_png(
        path,
        result.rows,
        result.fps,
        trajectory=_path(result),
        title=f"“{result.prompt}”" if result.prompt else "",
        provenance=result.provenance,
    )
    return [path]


def _path(result: Result) -> Float[np.ndarray, "t 3"] | None:
    """The pelvis over time, where no video shows the place itself."""
    if result.rgb is not None or result.motion is None or result.motion.translation is None:
        return None
    return motion_joints(result.body, result.motion)[:, 0].numpy()


_WRITERS: Final[Mapping[str, Callable[[Result, Path], list[Path]]]] = {
    ".npz": _npz,
    ".bvh": _bvh,
    ".glb": _glb,
    ".npy": _joints,
    ".csv": _joints,
    ".mp4": _mp4,
    ".webm": _webm,
    ".gif": _gif,
    ".png": _png,
}
