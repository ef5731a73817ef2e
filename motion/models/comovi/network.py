"""The dual-branch diffusion transformer (Zhao et al. 2026, section 3.3).

Two complete Wan transformers, one for RGB and one for the motion map, with shared text and time
embedders. Zero-initialized linear bridges let the streams exchange features after every
`interleave`-th RGB block; separate fusion linears feed the SMPL predictor.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motion.models.comovi.blocks import Branch, Rotary, rotary_table
from motion.models.comovi.config import CoMoViConfig, Part
from motion.models.comovi.smpl_predictor import SMPLPredictor
from motion.networks.attention import SequenceGroup, UlyssesProcessor


class DualOutput(NamedTuple):
    """Velocities in float32, and the poses of each requested layer in ascending order."""

    rgb: Float[Tensor, "b c tl hl wl"] | None
    map: Float[Tensor, "b c tl hl wl"]
    poses: tuple[Float[Tensor, "b f _"], ...]


class _Context(NamedTuple):
    """What every block reads."""

    text: Tensor
    time: Tensor
    rotary: Rotary
    first: int


class DualBranch(nn.Module):
    def __init__(self, config: CoMoViConfig):
        super().__init__()
        self.config = config
        self._sequence: SequenceGroup | None = None
        width = config.width
        self.embedders = WanTimeTextImageEmbedding(
            width, config.time_freq_dim, 6 * width, config.text_dim
        )
        self.rgb = self._branch(config.num_layers)
        self.motion = self._branch(config.num_motion_layers)
        coupling = coupling_modules(config)
        self.bridges = cast(nn.ModuleDict, coupling["bridges"])
        self.fusion = cast(nn.ModuleList, coupling["fusion"])
        self.smpl = coupling["smpl"]
        for module in self.embedders.modules():
            if isinstance(module, nn.Linear):
                # Wan's 0.02 at its own width, and as strong a signal at smaller ones
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    @property
    def parts(self) -> dict[Part, nn.Module]:
        """The parts that a config can train or freeze; together they hold every parameter."""
        return {
            "embedders": self.embedders,
            "rgb": self.rgb,
            "motion": self.motion,
            "bridges": self.bridges,
            "fusion": self.fusion,
            "smpl": self.smpl,
        }

    def share_sequence(self, sequence: SequenceGroup) -> None:
        """Compute this rank's share of the tokens from now on; outputs stay whole on every rank.

        Blocks, bridges, fusion and heads run on the share; embedders and SMPL predictor on all.

        Raises:
            ValueError: the heads do not divide among the ranks.
        """
        if self.config.num_heads % sequence.size:
            raise ValueError(
                f"{self.config.num_heads} attention heads do not divide among {sequence.size} "
                "ranks: choose a sequence_parallel that divides num_heads"
            )
        self._sequence = sequence
        for branch in (self.rgb, self.motion):
            for index in range(len(branch.blocks)):
                processor = cast(Any, UlyssesProcessor(sequence))
                branch.block(index).attn1.set_processor(processor)

    def _branch(self, num_layers: int) -> Branch:
        c = self.config
        return Branch(
            c.latent_channels,
            c.patch,
            c.width,
            c.ffn_dim,
            c.num_heads,
            num_layers,
            c.locality,
            c.preconditioned,
        )

    def forward(
        self,
        x_rgb: Float[Tensor, "b c tl hl wl"],
        x_map: Float[Tensor, "b c tl hl wl"],
        time: Float[Tensor, "b"],
        text: Float[Tensor, "b m e"],
        *,
        initial_pose: Float[Tensor, "b p"] | None = None,
        pose_layers: Sequence[int] = (),
        run_rgb: bool = True,
    ) -> DualOutput:
        """Velocities of both streams at noise level `time` in [0, 1].

        The first latent frame of the inputs is the clean condition, whose time is 0. `text` is
        already padded to its fixed length; padded slots are zeros and are attended to, as in Wan.
        Motion blocks in `pose_layers` also give poses, starting from `initial_pose`. In stage 1 no
        bridge is used, and `run_rgb=False` then leaves the RGB branch out.
        """
        coupled = self.config.stage == 2
        assert run_rgb or not (coupled or pose_layers)
        grid = self._grid(x_map)
        context, head_time = self._context(x_map, time, text)
        map_scales = self.motion.scales(time)
        rgb_scales = self.rgb.scales(time) if run_rgb else None
        xm = self._share(self.motion.embed(x_map, map_scales))
        xr = self._share(self.rgb.embed(x_rgb, rgb_scales)) if run_rgb else None
        seen: list[tuple[Tensor, Tensor]] = []
        for i in range(self.config.num_layers):
            j, exchange = divmod(i, self.config.interleave)
            if exchange == 0:
                xm = self._run(
                    self.motion, j, self._bridged(coupled, "to_motion", j, xm, xr), context
                )
            if xr is None:
                continue
            xr = self._run(self.rgb, i, xr, context)
            if exchange == 0:
                if coupled and self.config.interaction == "fused":
                    xm = xm + self.fusion[j](xr)
                if pose_layers:
                    # A token's copy for the other layers: a view would keep the whole stream.
                    chosen = j in pose_layers
                    seen.append((xm, xr) if chosen else (xm[:, :1].clone(), xr[:, :1].clone()))
                xr = self._bridged(coupled, "to_rgb", j, xr, xm)
        poses = self._poses(seen, pose_layers, initial_pose, grid[0]) if pose_layers else ()
        v_map = self._velocity(self.motion, xm, head_time, context.first, grid)
        v_rgb = None if xr is None else self._velocity(self.rgb, xr, head_time, context.first, grid)
        if map_scales is not None:
            v_map = map_scales.skip * x_map + map_scales.output * v_map
        if v_rgb is not None and rgb_scales is not None:
            v_rgb = rgb_scales.skip * x_rgb + rgb_scales.output * v_rgb
        return DualOutput(v_rgb, v_map, poses)

    def _poses(
        self,
        seen: Sequence[tuple[Tensor, Tensor]],
        pose_layers: Sequence[int],
        initial_pose: Tensor | None,
        num_latents: int,
    ) -> tuple[Float[Tensor, "b f _"], ...]:
        """Poses of the chosen motion blocks, from both streams after each block.

        ZeRO-3 fetches ahead only while every step runs the same modules in the same order, so the
        choice of layers must not change it: all fusion linears run, those of other layers on one
        token and with weight zero, and only then the predictor.
        """
        assert initial_pose is not None
        if self.config.interaction == "fused":  # the stream is what the others fuse for this
            whole = {
                j: self._whole(seen[j][0]).unflatten(1, (num_latents, -1)) for j in pose_layers
            }
            return tuple(self.smpl(initial_pose, whole[j]) for j in sorted(whole))
        fused: dict[int, Tensor] = {}
        absent = initial_pose.new_zeros(())
        for j, (xm, xr) in enumerate(seen):
            if j in pose_layers:
                fused[j] = self._whole(xm + self.fusion[j](xr)).unflatten(1, (num_latents, -1))
            else:
                absent = absent + 0.0 * self.fusion[j](xr).float().sum()
        return tuple(self.smpl(initial_pose + absent, fused[j]) for j in sorted(fused))

    def _grid(self, latent: Float[Tensor, "b c tl hl wl"]) -> tuple[int, int, int]:
        """Tokens per axis."""
        sizes, patch = latent.shape[2:], self.config.patch
        if any(size % p for size, p in zip(sizes, patch, strict=True)):
            raise ValueError(
                f"latents of {tuple(sizes)} frames, rows and columns do not divide into patches "
                f"of {patch}: change the video size or the patch"
            )
        return sizes[0] // patch[0], sizes[1] // patch[1], sizes[2] // patch[2]

    def _context(
        self,
        latent: Float[Tensor, "b c tl hl wl"],
        time: Float[Tensor, "b"],
        text: Float[Tensor, "b m e"],
    ) -> tuple[_Context, Float[Tensor, "b 2 d"]]:
        """Embedded text, two-row time modulation and rotary table; the time rows of the heads."""
        dtype = self.embedders.text_embedder.linear_1.weight.dtype
        rows = torch.stack((torch.zeros_like(time), 1000 * time.float()), dim=1)
        # The time path stays out of bfloat16, which rounds 999.8 to 1000.
        with torch.autocast(latent.device.type, enabled=False):
            temb, modulation, embedded, _ = self.embedders(
                rows.flatten(), text.to(dtype), None, timestep_seq_len=2
            )
        size = (latent.shape[2], latent.shape[3], latent.shape[4])
        head_dim = self.config.width // self.config.num_heads
        rotary = rotary_table(
            head_dim, self.config.patch, size, self.config.rope_theta, str(latent.device)
        )
        frames, rows_per_frame, columns = self._grid(latent)
        first = rows_per_frame * columns
        if self._sequence is not None:
            own = self._sequence.part(frames * first)
            rotary = (rotary[0][:, own], rotary[1][:, own])
            first = min(max(first - own.start, 0), own.stop - own.start)
        return _Context(embedded, modulation.unflatten(2, (6, -1)), rotary, first), temb

    def _share(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b own d"]:
        """The tokens that this rank computes."""
        return x if self._sequence is None else x[:, self._sequence.part(x.shape[1])]

    def _whole(self, x: Float[Tensor, "b own d"]) -> Float[Tensor, "b n d"]:
        """All ranks' tokens."""
        return x if self._sequence is None else self._sequence.gather(x)

    def _run(self, branch: Branch, index: int, x: Tensor, context: _Context) -> Tensor:
        block = branch.block(index)
        every = int(self.config.gradient_checkpointing)  # True is 1: all
        if every and index % every == 0 and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(cast(Any, block), x, *context, use_reentrant=False))
        return block(x, *context)

    def _bridged(
        self, coupled: bool, direction: str, j: int, x: Tensor, other: Tensor | None
    ) -> Tensor:
        """x plus what the other stream sends it, where there is such a bridge."""
        bridges = cast(nn.ModuleList, self.bridges[direction])
        return x + bridges[j](other) if coupled and len(bridges) else x

    def _velocity(
        self, branch: Branch, x: Tensor, time: Tensor, first: int, grid: tuple[int, int, int]
    ) -> Tensor:
        return branch.unpatchify(self._whole(branch.head(x, time, first)), grid).float()


def coupling_modules(config: CoMoViConfig) -> dict[Part, nn.Module]:
    """What couples the branches, which no video model has: bridges, fusion and SMPL predictor."""
    width, num_motion = config.width, config.num_motion_layers
    to_motion = config.interaction in ("single_v2m", "dual")
    to_rgb = config.interaction in ("single_m2v", "dual", "fused")
    bridges = nn.ModuleDict(
        {
            "to_motion": _zero_linears(width, num_motion if to_motion else 0),
            "to_rgb": _zero_linears(width, num_motion if to_rgb else 0),
        }
    )
    fusion = _zero_linears(width, num_motion)
    smpl = SMPLPredictor(
        width,
        num_layers=config.pose_layers,
        num_heads=config.pose_heads,
        ffn_dim=config.pose_ffn_dim,
        stride=config.temporal_stride,
        num_positions=config.pose_positions,
        resize_positions=config.pose_positions_resize,
        with_root=config.predict_root,
    )
    return {"bridges": bridges, "fusion": fusion, "smpl": smpl}


def _zero_linears(width: int, count: int) -> nn.ModuleList:
    layers = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
    for parameter in layers.parameters():
        nn.init.zeros_(parameter)
    return layers
