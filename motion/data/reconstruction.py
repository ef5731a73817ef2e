"""What the autoencoder keeps of a clip: PSNR, and how much of the motion map stays readable."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from motion.body.render import decode_motion_map
from motion.data.reading import bucket_frames
from motion.data.video import decode_mp4, to_frames, to_video
from motion.encoders import Autoencoder, TextEncoder, load_autoencoder, load_text_encoder
from motion.metrics.motion_map import part_accuracy

VIDEOS: Final[Mapping[str, tuple[str, str]]] = {
    "rgb": ("rgb", "latent_rgb"),
    "map": ("motion_map", "latent_map"),
}
"""Encoder name -> the column that it reads and the column that it fills."""


class Encoders:
    """The encoders saved under an encoded data set's root."""

    def __init__(self, root: Path, *, gpu: bool) -> None:
        folder = root / "encoders"
        self.text: TextEncoder = load_text_encoder(folder / "text")
        self.video: dict[str, Autoencoder] = {
            name: load_autoencoder(folder / name)
            for name in VIDEOS
            if (folder / name / "config.json").is_file()  # none where text alone is encoded
        }
        for encoder in (self.text, *self.video.values()):
            cast(nn.Module, encoder).to("cuda" if gpu else "cpu")


def bucket_video(row: Mapping[str, Any], column: str) -> Float[Tensor, "1 3 t h w"]:
    """A row's video in [-1, 1], its last frame repeated to the length of its bucket."""
    frames = decode_mp4(bytes(row[column]))
    missing = max(bucket_frames(row["bucket"]) - len(frames), 0)
    frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return to_video(frames)


def psnr_db(truth: UInt8[np.ndarray, "t h w 3"], found: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Peak signal-to-noise ratio of 8-bit frames in dB; 99 where they are equal."""
    error = float(np.mean((truth.astype(np.float64) - found) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255.0**2 / error))


def measure(
    row: Mapping[str, Any],
    autoencoders: Mapping[str, Autoencoder],
    *,
    map_mode: str,
) -> dict[str, float]:
    """Reconstruct a raw row's videos and compare.

    `psnr_*_db` in dB. `map_part_accuracy`: share of pixels with the right part among those of the
    true or the decoded person, in the frames after the first; what generation can reach at best.
    `held_part_accuracy`: the same for the true first frame, repeated; what it must beat.
    `map_mask_iou`: overlap of the true and the decoded person.
    """
    quality: dict[str, float] = {}
    for name, (column, _) in VIDEOS.items():
        if row[column] is None:
            continue
        video = bucket_video(row, column)
        truth = to_frames(video[0])
        found = to_frames(autoencoders[name].decode(autoencoders[name].encode(video))[0])
        quality[f"psnr_{name}_db"] = psnr_db(truth, found)
        if name == "map" and map_mode == "flat":
            quality |= _readable(truth, found)
    return quality


def _readable(
    truth: UInt8[np.ndarray, "t h w 3"], found: UInt8[np.ndarray, "t h w 3"]
) -> dict[str, float]:
    true, decoded = (decode_motion_map(image, mode="flat") for image in (truth, found))
    union = np.count_nonzero(true.mask | decoded.mask)
    if not union:
        return {}
    later = true.part[1:]
    return {
        "map_part_accuracy": part_accuracy(decoded.part[1:], later),
        "held_part_accuracy": part_accuracy(np.repeat(true.part[:1], len(later), axis=0), later),
        "map_mask_iou": np.count_nonzero(true.mask & decoded.mask) / union,
    }


def summary(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the clips that carry each number, and how many clips were measured."""
    clips = [cast(dict[str, float], json.loads(str(row["quality"]))) for row in measured]
    names = sorted({name for clip in clips for name in clip})
    means = {name: float(np.mean([c[name] for c in clips if name in c])) for name in names}
    return {**means, "measured_clips": len(clips)}
