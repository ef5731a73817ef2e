"""Motion: the value that every system emits and every importer makes."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from motion.skeleton import NUM_JOINTS

Frame = Literal["world", "camera"]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A posed body over time, in SMPL's parameters.

    World frame: right-handed, y up, +z forward, metres. Camera frame: OpenCV (x right, y down,
    z forward), metres.
    """

    R_parent_child: Float[Tensor, "*batch t 24 3 3"]
    """Rotation of each joint in its parent's frame; joint 0 is the root in `frame`."""
    translation: Float[Tensor, "*batch t 3"] | None = None
    """Added to every posed point, in metres (AMASS `trans`); None where only the pose is known.
    The pelvis stands at rest pelvis + translation."""
    betas: Float[Tensor, "*batch 10"]
    """Shape coefficients in the shape space of `body_id`; they never cross body models."""
    body_id: str
    """Identity of the body model that the betas belong to, e.g. `free-...` or `smpl-...`."""
    fps: float
    """Frames per second."""
    frame: Frame = "world"
    """The frame that root rotation and translation are expressed in."""

    def __post_init__(self) -> None:
        if self.R_parent_child.shape[-3:] != (NUM_JOINTS, 3, 3):
            raise ValueError(
                f"R_parent_child has shape {tuple(self.R_parent_child.shape)}; "
                f"expected (..., frames, {NUM_JOINTS}, 3, 3)"
            )
        if self.translation is not None and self.translation.shape[-2] != self.num_frames:
            raise ValueError(
                f"translation has {self.translation.shape[-2]} frames, the rotations have "
                f"{self.num_frames}: both must come from the same frames"
            )
        if not self.fps > 0:
            raise ValueError(f"fps is {self.fps}; expected a positive number of frames per second")

    @property
    def num_frames(self) -> int:
        return self.R_parent_child.shape[-4]

    @property
    def duration_s(self) -> float:
        return self.num_frames / self.fps

    def __getitem__(self, index: int | slice | Tensor) -> "Motion":
        """Clip(s) of a batched motion, along the first batch axis."""
        translation = None if self.translation is None else self.translation[index]
        return replace(
            self,
            R_parent_child=self.R_parent_child[index],
            translation=translation,
            betas=self.betas[index],
        )

    def to(self, target: torch.device | torch.dtype | str) -> "Motion":
        """The same motion with its tensors on a device, or cast to a dtype."""
        translation = None if self.translation is None else self.translation.to(target)
        return replace(
            self,
            R_parent_child=self.R_parent_child.to(target),
            translation=translation,
            betas=self.betas.to(target),
        )

    def require_translation(self) -> Float[Tensor, "*batch t 3"]:
        """The translation, or a ValueError where the motion carries only the pose."""
        if self.translation is None:
            raise ValueError(
                "this motion has no root translation; it is needed here: "
                "give a motion with a trajectory"
            )
        return self.translation

    def require_world_clip(self) -> "Motion":
        """This motion, or a ValueError where it is a batch or in the camera's frame."""
        if self.R_parent_child.dim() != 4:
            raise ValueError(
                f"R_parent_child has shape {tuple(self.R_parent_child.shape)}; a file holds one "
                "motion (t, 24, 3, 3): write the clips of a batch one by one (motion[i])"
            )
        if self.frame != "world":
            raise ValueError(
                "this motion is in the camera's frame; files are in the world: apply the camera's "
                "T_world_camera first"
            )
        return self
