"""VBench (Huang et al. 2024) as CoMoVi reports it: image-to-video clips, all but dynamic degree.

Temporal flickering and the formulas that turn frame features into scores are ours; the networks
behind the other dimensions (DINO, CLIP, AMT, LAION, MUSIQ, DreamSim) are run by the `vbench`
package where it is installed. Scores lie in [0, 1]; more is better.
"""

import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

DIMENSIONS = (
    "subject_consistency", "background_consistency", "motion_smoothness", "temporal_flickering",
    "aesthetic_quality", "imaging_quality",
)  # fmt: skip
"""Dimensions that need neither VBench's own prompts nor the conditioning image. CoMoVi's table
also has I2V subject and I2V background: `image_consistency` on DINO and DreamSim features."""


def temporal_flickering(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """1 - mean absolute difference of neighboring frames / 255.

    VBench means it for clips of a static scene, which its RAFT filter selects; on others it
    measures motion.

    Returns:
        NaN for fewer than two frames.
    """
    if len(frames) < 2:
        return float("nan")
    wide = frames.astype(np.int16)
    return 1 - float(np.abs(np.diff(wide, axis=0)).mean()) / 255


def motion_smoothness(
    frames: UInt8[np.ndarray, "t h w 3"], interpolated: UInt8[np.ndarray, "s h w 3"]
) -> float:
    """1 - mean absolute difference / 255 of the odd frames and what interpolation makes of them.

    Args:
        frames: the video.
        interpolated: frames 1, 3, ... made from their neighbors (AMT-S in VBench); an even last
            frame has no second neighbor and is left out.

    Raises:
        ValueError: `interpolated` has another number of frames.
    """
    dropped = frames[1 : len(frames) - 1 : 2]
    if len(dropped) != len(interpolated):
        raise ValueError(
            f"{len(interpolated)} interpolated frames for a video of {len(frames)}: "
            f"expected {len(dropped)}, one between every two even frames"
        )
    if not len(dropped):
        return float("nan")
    return 1 - float(np.abs(dropped.astype(np.int16) - interpolated).mean()) / 255


def frame_consistency(features: Float[Tensor, "t d"]) -> Float[Tensor, "s"]:
    """Per frame after the first: mean cosine to the previous and to the first frame, each >= 0.

    Subject consistency on DINO ViT-B/16 features, background consistency on CLIP ViT-B/32. VBench
    averages over the frames of all videos, so long videos weigh more.
    """
    unit = torch.nn.functional.normalize(features, dim=-1)
    previous = (unit[1:] * unit[:-1]).sum(-1).clamp(min=0)
    first = (unit[1:] @ unit[0]).clamp(min=0)
    return (previous + first) / 2


def image_consistency(
    image: Float[Tensor, "d"], features: Float[Tensor, "t d"]
) -> Float[Tensor, ""]:
    """0.4 largest cosine of the conditioning image to a frame + 0.3 mean + 0.3 least of neighbors.

    I2V subject on DINO features, I2V background on DreamSim features.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(features) < 2:
        raise ValueError(f"image consistency of {len(features)} frame: give at least 2")
    unit = torch.nn.functional.normalize(features, dim=-1)
    to_image = (unit @ torch.nn.functional.normalize(image, dim=-1)).max()
    neighbors = (unit[1:] * unit[:-1]).sum(-1)
    return 0.4 * to_image + 0.3 * neighbors.mean() + 0.3 * neighbors.min()


def vbench_scores(
    videos: Path, output: Path, dimensions: Sequence[str] = DIMENSIONS, *, device: str = "cuda"
) -> dict[str, float]:
    """Scores of a folder of videos by the `vbench` package, which downloads its networks.

    Args:
        videos: folder of mp4 files; their names are the prompts.
        output: folder for the package's JSON files.
        dimensions: dimensions that the package supports for custom videos.
        device: where its networks run.

    Raises:
        RuntimeError: the package is not installed.
        ValueError: no videos.
    """
    if importlib.util.find_spec("vbench") is None:
        raise RuntimeError(
            "VBench is not installed: run `pip install vbench` in an environment of its own (it "
            "pins old libraries) and evaluate there; temporal_flickering needs no package"
        )
    if not any(videos.glob("*.mp4")):
        raise ValueError(f"{videos} holds no .mp4 file: give the folder of the sampled videos")
    package: Any = importlib.import_module("vbench")
    output.mkdir(parents=True, exist_ok=True)
    information = Path(package.__file__).parent / "VBench_full_info.json"
    package.VBench(torch.device(device), str(information), str(output)).evaluate(
        videos_path=str(videos),
        name="videos",
        dimension_list=list(dimensions),
        mode="custom_input",
    )
    results = json.loads((output / "videos_eval_results.json").read_text())
    return {name: float(results[name][0]) for name in dimensions}
