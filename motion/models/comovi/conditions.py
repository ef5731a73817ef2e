"""What CoMoVi reads from a batch: latents, text and the first pose."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.batch import Batch
from motion.models.comovi.loss import rotations_in_frame
from motion.sequence import Motion


class Latents(NamedTuple):
    """Both streams in float32; zeros where a clip has none."""

    rgb: Float[Tensor, "b c tl hl wl"]
    map: Float[Tensor, "b c tl hl wl"]
    has_rgb: Bool[Tensor, "b"]
    has_map: Bool[Tensor, "b"]


def latents(batch: Batch) -> Latents:
    """Both streams' latents.

    Raises:
        ValueError: the batch has latents of neither stream.
    """
    some = batch.latent_rgb if batch.latent_rgb is not None else batch.latent_map
    if some is None:
        raise ValueError(
            "the batch has neither latent_rgb nor latent_map: encode the data with a video "
            "autoencoder, and read both columns"
        )
    rgb, has_rgb = _stream(batch.latent_rgb, batch.has_rgb, some)
    motion_map, has_map = _stream(batch.latent_map, batch.has_map, some)
    return Latents(rgb, motion_map, has_rgb, has_map)


def _stream(
    latent: Tensor | None, has: Tensor | None, like: Tensor
) -> tuple[Float[Tensor, "b c tl hl wl"], Bool[Tensor, "b"]]:
    present = torch.full((like.shape[0],), latent is not None, device=like.device)
    if latent is None:
        return torch.zeros_like(like, dtype=torch.float32), present
    if has is None:
        return latent.float(), present
    rows = has[:, None, None, None, None]
    return torch.where(rows, latent.float(), 0.0), has


def padded_text(
    batch: Batch, num_tokens: int, dim: int, caption: Int[Tensor, "b"]
) -> Float[Tensor, "b m e"]:
    """The chosen caption of each clip, cut or zero-padded to `num_tokens`.

    The length must not depend on the batch, because padding is attended to (as in Wan). Null text
    is all padding; a clip without text has it.

    Raises:
        ValueError: the tokens are not `dim` wide.
    """
    if batch.text is None:
        return torch.zeros(batch.size, num_tokens, dim, device=batch.frame_mask.device)
    if batch.text.shape[-1] != dim:
        raise ValueError(
            f"text tokens are {batch.text.shape[-1]} wide, the network expects {dim}: set text_dim "
            "to the text encoder's"
        )
    rows = torch.arange(batch.size, device=batch.text.device)
    caption = caption.to(batch.text.device)
    text = batch.text[rows, caption].float()
    if batch.text_mask is not None:
        text = torch.where(batch.text_mask[rows, caption][:, :, None], text, 0.0)
    if batch.has_text is not None:
        text = torch.where(batch.has_text[:, None, None], text, 0.0)
    text = text[:, :num_tokens]
    return nn.functional.pad(text, (0, 0, 0, num_tokens - text.shape[1]))


def first_latents(batch: Batch) -> Float[Tensor, "b c2 1 hl wl"]:
    """The clean first latent frame of RGB and map, stacked on the channels.

    Raises:
        ValueError: one of them is missing.
    """
    if batch.latent_rgb is None or batch.latent_map is None:
        raise ValueError(
            "sampling starts from the first frame: the batch needs latent_rgb[:, :, :1] and "
            "latent_map[:, :, :1]"
        )
    return torch.cat((batch.latent_rgb, batch.latent_map), dim=1)[:, :, :1].float()


class FirstPose(NamedTuple):
    """The first frame's motion in the network's frame, and how to leave that frame."""

    motion: Motion
    R_world_frame: Float[Tensor, "b 1 3 3"] | None

    def to_world(self, motion: Motion) -> Motion:
        """A motion in the network's frame, seen in the batch's; the camera is taken as static."""
        if self.R_world_frame is None:
            return motion
        seen = rotations_in_frame(motion.R_parent_child, self.R_world_frame)
        return replace(motion, R_parent_child=seen, frame="world")


def first_pose(batch: Batch, *, in_camera: bool) -> FirstPose:
    """The first pose of every clip as the network sees it.

    Raises:
        ValueError: pose, betas or a needed camera are missing, or the frame rates differ.
    """
    if batch.R_parent_child is None or batch.betas is None:
        raise ValueError("sampling starts from a pose: the batch needs R_parent_child and betas")
    if bool((batch.fps != batch.fps[0]).any()):
        raise ValueError(
            f"clips of different rates {batch.fps.tolist()} in one batch: sample them apart"
        )
    world = Motion(
        R_parent_child=batch.R_parent_child[:, :1].float(),
        betas=batch.betas.float(),
        body_id=batch.body_id,
        fps=float(batch.fps[0]),
    )
    if not in_camera:
        return FirstPose(world, None)
    if batch.T_camera_world is None:
        raise ValueError(
            "the network works in the camera's frame, but the batch has no T_camera_world: "
            "give the camera of the first frame, or train with pose_frame='world'"
        )
    R_camera_world = batch.T_camera_world[:, :1, :3, :3].float()
    seen = rotations_in_frame(world.R_parent_child, R_camera_world)
    motion = replace(world, R_parent_child=seen, frame="camera")
    return FirstPose(motion, R_camera_world.mT)
