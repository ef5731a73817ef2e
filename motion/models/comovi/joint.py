"""CoMoVi's baseline of one transformer for both videos (Zhao et al. 2026, section 4.5).

As in VideoJAM, the latents of RGB and motion map are concatenated on the channels: patch embedding
and output head are twice as wide, and the blocks are one branch's. The SMPL predictor reads their
only stream.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from motion.models.comovi.blocks import Branch
from motion.models.comovi.config import CoMoViConfig, Part
from motion.models.comovi.network import DualBranch, DualOutput


class JointBranch(DualBranch):
    """`DualBranch`'s interface on one branch that carries both videos."""

    def __init__(self, config: CoMoViConfig):
        super().__init__(config.model_copy(update={"num_layers": 0}))
        self.config = config
        self.rgb = Branch(
            2 * config.latent_channels,
            config.patch,
            config.width,
            config.ffn_dim,
            config.num_heads,
            config.num_layers,
            config.locality,
            config.preconditioned,
        )
        for name in ("motion", "bridges", "fusion"):  # no parameters; empty lists to go through
            setattr(self, name, nn.ModuleDict({"blocks": nn.ModuleList()}))

    @property
    def parts(self) -> dict[Part, nn.Module]:
        """The parts that there are."""
        return {"embedders": self.embedders, "rgb": self.rgb, "smpl": self.smpl}

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
        """Velocities of both videos, and poses of the chosen blocks; see `DualBranch`."""
        assert run_rgb, "one stream cannot leave out half of itself"
        both = torch.cat((x_rgb, x_map), dim=1)
        grid = self._grid(both)
        context, head_time = self._context(both, time, text)
        scales = self.rgb.scales(time)
        x = self._share(self.rgb.embed(both, scales))
        poses: list[Tensor] = []
        for index in range(self.config.num_layers):
            x = self._run(self.rgb, index, x, context)
            if index in pose_layers:
                assert initial_pose is not None
                tokens = self._whole(x).unflatten(1, (grid[0], -1))
                poses.append(self.smpl(initial_pose, tokens))
        velocity = self._velocity(self.rgb, x, head_time, context.first, grid)
        if scales is not None:
            velocity = scales.skip * both + scales.output * velocity
        rgb, motion_map = velocity.chunk(2, dim=1)
        return DualOutput(rgb, motion_map, tuple(poses))
