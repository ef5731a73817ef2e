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


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Attention(nn.Module):
    """Self-attention over the second axis but one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.proj = nn.Linear(width, width)
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Float[Tensor, "a b n c"]) -> Float[Tensor, "a b n c"]:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.movedim(-3, 0).transpose(-2, -3)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(-2, -3).flatten(-2))


class _Block(nn.Module):
    """Attention over joints and over frames, each with its MLP, in one of the two orders."""

    def __init__(self, config: MotionCriticConfig, *, space_first: bool) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        self.space_first = space_first
        self.norm1_s, self.norm1_t = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn_s = _Attention(width, config.heads)
        self.attn_t = _Attention(width, config.heads)
        self.norm2_s, self.norm2_t = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp_s, self.mlp_t = _MLP(width, hidden, width), _MLP(width, hidden, width)

    def _space(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b t j c"]:
        x = x + self.attn_s(self.norm1_s(x))
        return x + self.mlp_s(self.norm2_s(x))

    def _time(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b t j c"]:
        x = x + self.attn_t(self.norm1_t(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_t(self.norm2_t(x))

    def forward(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b t j c"]:
        return self._time(self._space(x)) if self.space_first else self._space(self._time(x))


class _DualStream(nn.Module):
    def __init__(self, config: MotionCriticConfig) -> None:
        super().__init__()
        width = config.width
        self.joints_embed = nn.Linear(3, width)
        self.blocks_st = nn.ModuleList(
            _Block(config, space_first=True) for _ in range(config.depth)
        )
        self.blocks_ts = nn.ModuleList(
            _Block(config, space_first=False) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.pre_logits = nn.Sequential()
        self.pre_logits.add_module("fc", nn.Linear(width, config.representation))
        self.pre_logits.add_module("act", nn.Tanh())
        # MotionBERT's output layer: the critic does not use it, but its checkpoint holds it.
        self.head = nn.Linear(config.representation, 3)
        self.temp_embed = nn.Parameter(torch.zeros(1, config.max_frames, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, TOKENS, width))
        self.ts_attn = nn.ModuleList(nn.Linear(2 * width, 2) for _ in range(config.depth))

    def forward(self, x: Float[Tensor, "b t 25 3"]) -> Float[Tensor, "b t 25 r"]:
        hidden = self.joints_embed(x) + self.pos_embed + self.temp_embed[:, : x.shape[1]]
        for space, time, fuse in zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True):
            both = torch.stack((space(hidden), time(hidden)), -1)
            weight = fuse(both.movedim(-1, -2).flatten(-2)).softmax(-1)
            hidden = (both * weight[..., None, :]).sum(-1)
        return self.pre_logits(self.norm(hidden))


class MotionCritic(nn.Module):
    """Scores clips in the form of `critic_input`."""

    def __init__(self, config: MotionCriticConfig | None = None) -> None:
        super().__init__()
        self.config = config or MotionCriticConfig()
        channels = self.config.representation
        self.mlp = _MLP(TOKENS * channels, 2 * channels, 1)
        self.dstran = _DualStream(self.config)

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
