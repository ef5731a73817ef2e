"""MotionCritic: a score of how natural people find a motion (Wang et al. 2025).

The network is a dual-stream transformer over joints and frames (DSTformer of MotionBERT, Zhu et
al. 2023) with a small head, and its parameter names are those of the published checkpoint. It was
trained on 60 frames at 20 fps with the root relative to frame 0; `critic_input` brings a motion to
that form. Scores are unbounded; more is better.
"""

from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.networks.dstformer import MLP, DSTformer, DSTformerConfig
from motion.rotations import interpolate, rotvec_from_matrix
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS

TOKENS = NUM_JOINTS + 1
"""24 joint rotations and the root translation."""


class MotionCriticConfig(BaseModel):
    """Sizes of the network; the defaults are the published checkpoint's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    width: int = Field(default=256, ge=1)
    """Channels of a token."""
    representation: int = Field(default=512, ge=1)
    """Channels of a token before the head."""
    depth: int = Field(default=3, ge=1)
    """Pairs of dual-stream blocks."""
    heads: int = Field(default=8, ge=1)
    """Attention heads; they divide the width."""
    mlp_ratio: int = Field(default=4, ge=1)
    """Hidden channels over channels."""
    max_frames: int = Field(default=243, ge=1)
    """Frames that have a position embedding."""

    @classmethod
    def tiny(cls) -> "MotionCriticConfig":
        """Small enough for tests."""
        return cls(width=16, representation=8, depth=2, heads=2, mlp_ratio=2)


class MotionCritic(nn.Module):
    """Scores clips in the form of `critic_input`."""

    def __init__(self, config: MotionCriticConfig | None = None) -> None:
        super().__init__()
        self.config = config or MotionCriticConfig()
        channels = self.config.representation
        self.mlp = MLP(TOKENS * channels, 2 * channels, 1)
        # MotionBERT's output layer: the critic does not use it, but its checkpoint holds it.
        self.dstran = DSTformer(
            DSTformerConfig(num_tokens=TOKENS, head=True, **self.config.model_dump())
        )

    def forward(self, clips: Float[Tensor, "b t 25 3"]) -> Float[Tensor, "b"]:
        """Score of each clip.

        Raises:
            ValueError: more frames than the network has position embeddings.
        """
        if clips.shape[1] > self.config.max_frames:
            raise ValueError(
                f"{clips.shape[1]} frames exceed the critic's {self.config.max_frames}: "
                "score windows of 60 frames"
            )
        return self.mlp(self.dstran(clips).mean(1).flatten(1))[:, 0]

    @classmethod
    def load(cls, path: Path, config: MotionCriticConfig | None = None) -> "MotionCritic":
        """A critic from the published checkpoint or a bare state dict, in evaluation mode.

        Raises:
            ValueError: the file holds no weights of this network.
        """
        found = torch.load(path, map_location="cpu", weights_only=True)
        state = cast(dict[str, Tensor], found.get("model_state_dict", found))
        state = {name.removeprefix("module."): value for name, value in state.items()}
        critic = cls(config)
        expected = {name: value.shape for name, value in critic.state_dict().items()}
        wrong = sorted(
            name
            for name in expected.keys() | state.keys()
            if name not in state or expected.get(name) != state[name].shape
        )
        if wrong:
            raise ValueError(
                f"{path} does not fit MotionCritic: {len(wrong)} parameters are missing, unknown "
                f"or of another shape, such as {wrong[0]}; give motioncritic_pre.pth"
            )
        critic.load_state_dict(state)
        return critic.eval()


def critic_input(
    motion: Motion,
    *,
    fps: float = 20.0,
    num_frames: int = 60,
    from_origin: bool = True,
    upright: bool = True,
) -> Float[Tensor, "b t 25 3"]:
    """The first `num_frames` of each clip as axis-angles and root translation.

    The K2M paper only truncates to 60 frames; switch the other steps off to see how much a score
    owes to them.

    Args:
        motion: clips of one length, with a translation.
        fps: frame rate of the critic's training.
        num_frames: frames that are scored; shorter clips are scored as they are.
        from_origin: the root starts at the origin.
        upright: a motion in a camera's frame (y down) is turned y up by half a turn about x.

    Raises:
        ValueError: the motion has no translation, or is shorter than two frames at `fps`.
    """
    translation, pose = motion.require_translation(), motion.R_parent_child
    if upright and motion.frame == "camera":
        turn = translation.new_tensor([1.0, -1.0, -1.0])
        root = turn[:, None] * pose[..., :1, :, :]
        pose, translation = torch.cat((root, pose[..., 1:, :, :]), -3), turn * translation
    count = min(num_frames, int((motion.num_frames - 1) * fps / motion.fps + 1e-6) + 1)
    if count < 2:
        raise ValueError(
            f"{motion.num_frames} frames at {motion.fps} fps make {count} at {fps} fps: "
            "give longer clips"
        )
    place = torch.arange(count, dtype=torch.float64, device=pose.device) * motion.fps / fps
    before = place.floor().long().clamp(max=motion.num_frames - 1)
    after = (before + 1).clamp(max=motion.num_frames - 1)
    weight = (place - before).to(pose.dtype)
    a, b = pose[..., before, :, :, :], pose[..., after, :, :, :]
    rotations = interpolate(a, b, weight[:, None].expand(a.shape[:-2]))
    start, end = translation[..., before, :], translation[..., after, :]
    path = start + weight[:, None] * (end - start)
    if from_origin:
        path = path - path[..., :1, :]
    tokens = torch.cat((rotvec_from_matrix(rotations), path[..., None, :]), -2)
    return tokens.reshape(-1, count, TOKENS, 3)
