"""A sample made a whole world motion: its root path, and its poses refined, from its motion map.

CoMoVi predicts rotations. Where the person is and how tall follows from the generated map and the
camera: parts that lie apart by so many pixels are so far away (`motion.body.placement`). The same
map can correct the poses (`motion.body.fit_map`).
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeFloat
from torch import Tensor

from motion.batch import Batch
from motion.body.fit_map import MapFitConfig, fit_map
from motion.body.model import BodyModel
from motion.data.video import to_frames
from motion.models.system import Sample
from motion.sequence import Motion


class CompletionConfig(BaseModel):
    """What is read from the generated maps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    refine: bool = False
    """Correct the poses with the map; without, they stay the system's: the path alone is taken."""
    shape_std: NonNegativeFloat = 0.0
    """How far the betas may leave the given ones, in standard deviations of people; 0 holds them.
    For betas that are guessed, not known; with a refinement alone."""
    fit: MapFitConfig = MapFitConfig()
    """How the body is fitted to the map."""

    def given(self) -> dict[str, JsonValue]:
        """What differs from the defaults, by option name."""
        return {"refine": True} if self.refine else {}


@torch.no_grad()
def complete(
    sample: Sample,
    batch: Batch,
    body: BodyModel,
    *,
    readable: bool = True,
    config: CompletionConfig | None = None,
) -> Motion:
    """The sample's motions in the world, with a root path.

    A path that the system itself made is kept, unless the poses are refined: then it is where the
    refinement starts. A clip whose map shows no person keeps its poses and stays where it began.

    Args:
        sample: decoded, with motions and motion maps.
        batch: what was sampled for; it says where the clips begin, and has their cameras, which
            are taken as static.
        body: the motions'.
        readable: the maps are flat. From others nothing is read: without a path of their own,
            people stay where they began.
        config: what is read from the maps.

    Raises:
        ValueError: the sample has no motion or no map, the batch has no path or no camera, or maps
            that cannot be read shall refine the poses.
    """
    config = config or CompletionConfig()
    motion, maps = sample.motion, sample.motion_map
    if motion is None or maps is None:
        raise ValueError(
            "the sample has no motion or no motion map: a root path is read from both; sample an "
            "export that makes them"
        )
    if config.refine and not readable:
        raise ValueError(
            "poses are refined by flat motion maps alone: this export was trained on others, whose "
            "parts cannot be read; leave refine out"
        )
    if motion.translation is not None and not config.refine:
        return motion
    starts, intrinsics, cameras = _known(batch)
    shape_std = config.shape_std if config.refine else 0.0
    fit = config.fit.model_copy(update={"shape_std": shape_std})
    found: list[Motion] = []
    for index, video in enumerate(maps):
        one, start, frames = motion[index], starts[index], to_frames(video)
        if not readable or bool((frames == 255).all()):
            found.append(_held(one, start))
            continue
        # A path goes with poses that look like the map: from wrong ones, depth is misjudged.
        whole = fit_map(
            body, one, frames, intrinsics[index], cameras[index], first=start, config=fit
        ).motion
        found.append(whole if config.refine else _on_path(body, one, whole))
    return replace(
        motion,
        R_parent_child=torch.stack([one.R_parent_child for one in found]),
        translation=torch.stack([one.require_translation() for one in found]),
        betas=torch.stack([one.betas for one in found]),
    )


def _known(
    batch: Batch,
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3 3"], Float[Tensor, "b 4 4"]]:
    """Place of the first frame in the world, intrinsics and camera of each clip, on the CPU."""
    if batch.translation is None or batch.intrinsics is None or batch.T_camera_world is None:
        raise ValueError(
            "a root path needs the first frame's place and the camera: read smpl_translation, "
            "intrinsics and T_camera_world"
        )
    known = (batch.translation[:, 0], batch.intrinsics[:, 0], batch.T_camera_world[:, 0])
    start, intrinsics, camera = (value.float().cpu() for value in known)
    return start, intrinsics, camera


def _on_path(body: BodyModel, motion: Motion, whole: Motion) -> Motion:
    """Other poses on the path of a refined motion, as high above the ground as its body is."""
    refined, own = (
        body.vertices(one.R_parent_child, one.betas)[..., 1].amin(1) for one in (whole, motion)
    )
    path = whole.require_translation().clone()
    path[:, 1] += refined - own
    return replace(motion, translation=path)


def _held(motion: Motion, start: Float[Tensor, "3"]) -> Motion:
    """The motion on its own path, or without one on the spot."""
    if motion.translation is not None:
        return motion
    return replace(motion, translation=start.expand(motion.num_frames, 3))
