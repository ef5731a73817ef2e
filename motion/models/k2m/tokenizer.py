"""K2M's first stage: 2D keypoints to residual tokens to SMPL, learned from projections alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.batch import Batch
from motion.body.keypoint_map import KeypointMap
from motion.losses import global_mean
from motion.models.k2m.config import NUM_POINTS, STRIDE, AdapterConfig, TokenizerConfig
from motion.models.k2m.convolutions import Decoder, Encoder
from motion.models.k2m.keypoints import Keypoints, augmented, keypoints_of, random_window
from motion.models.k2m.loss import body_terms, keypoint_terms
from motion.models.k2m.quantizer import Draw, Quantized, ResidualQuantizer
from motion.models.k2m.smpl_head import Projection, Smpl, points_of, project, smpl_of
from motion.models.placed_body import PlacedBody
from motion.models.system import Logs
from motion.networks.dstformer import DSTformer

_FIRST_ADDED = 0.1
"""Size of what the adapter adds at first beside the plain numbers."""


class Adapter(nn.Module):
    """Keypoints of a frame to the channels of the convolutions."""

    def __init__(self, config: AdapterConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.network = None if config.kind == "none" else DSTformer(config.network)
        self.project = None
        if config.kind == "dstformer" and config.out == "project":
            self.project = nn.Linear(NUM_POINTS * config.representation, width)
            if config.skip:  # what is learned comes to the plain numbers, instead of drowning them
                nn.init.normal_(self.project.weight, std=_FIRST_ADDED / width**0.5)
                nn.init.zeros_(self.project.bias)
        flat = NUM_POINTS * config.representation
        sizes = {"project": width, "flatten": flat, "head54": 54, "mean": config.representation}
        self.num_channels = 0 if config.kind == "none" else sizes[config.out]
        if config.kind == "none" or config.skip:
            self.num_channels += 3 * NUM_POINTS

    def forward(
        self, points: Float[Tensor, "b t 18 3"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t c"]:
        if self.network is None:
            return points.flatten(2)
        hidden = self._read(self.network, points, mask)
        return torch.cat([hidden, points.flatten(2)], -1) if self.config.skip else hidden

    def _read(
        self, network: DSTformer, points: Float[Tensor, "b t 18 3"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t c"]:
        hidden = network(points, mask)
        if self.project is not None:
            return self.project(hidden.flatten(2))
        if self.config.out == "head54":
            return network.coordinates(hidden).flatten(2)
        return hidden.mean(2) if self.config.out == "mean" else hidden.flatten(2)


class Tokenizer(nn.Module):
    """Adapter, encoder, quantizer and decoder."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.adapter = Adapter(config.adapter, config.width)
        width, codes = config.width, config.code_width
        self.encoder = Encoder(self.adapter.num_channels, width, codes, config.dropout)
        self.quantizer = ResidualQuantizer(config.quantizer, codes)
        self.decoder = Decoder(codes, width, config.head.num_channels, config.dropout)
        self.body = PlacedBody(config.body)
        self._maps: dict[torch.device, KeypointMap] = {}

    @property
    def device(self) -> torch.device:
        return self.quantizer.codes.device

    def quantize(self, keypoints: Keypoints, draw: Draw | None = None) -> Quantized:
        """Latents of keypoints as codes; `draw` as in `ResidualQuantizer`."""
        hidden = self.adapter(keypoints.features(), keypoints.mask)
        latents = self.encoder(hidden.mT, keypoints.mask[:, None].to(hidden)).mT
        return self.quantizer(latents, keypoints.token_mask, draw)

    @torch.no_grad()
    def encode(self, keypoints: Keypoints) -> Int[Tensor, "b n q"]:
        """Tokens by level; -1 where there is none. They do not depend on padding."""
        return self.quantize(keypoints).indices

    @torch.no_grad()
    def decode(self, tokens: Int[Tensor, "b n q"]) -> Smpl:
        """SMPL of tokens, in the camera's frame: four frames each."""
        mask = tokens[..., 0] >= 0
        return self.smpl(self.quantizer.decode(tokens), mask)

    def smpl(self, latents: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Smpl:
        """SMPL of latents."""
        raw = self.decoder(latents.mT, mask[:, None].to(latents)).mT
        frames = mask.repeat_interleave(STRIDE, 1)
        with torch.autocast(latents.device.type, enabled=False):
            return smpl_of(raw, self.config.head, self.body.on(latents.device), frames)

    def projection(self, smpl: Smpl, size: Float[Tensor, "b 2"]) -> Projection:
        """Keypoints of SMPL in images of these sizes."""
        with torch.autocast(size.device.type, enabled=False):
            body = self.body.on(size.device)
            if self.config.head.shared_betas:
                points = body.keypoints(smpl.R_parent_child, smpl.betas[:, 0], smpl.translation)
            else:
                if size.device not in self._maps:
                    self._maps[size.device] = KeypointMap(body)
                points = points_of(smpl, self._maps[size.device])
            return project(points, size, self.config.head.focal_px)


class TokenizerTraining(nn.Module):
    """The tokenizer and its loss."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Loss of random windows of the batch's keypoints.

        Nothing else of the batch is read: no 3D enters a loss.

        Raises:
            ValueError: the batch carries no keypoints or not their image's size.
        """
        keypoints = random_window(keypoints_of(batch), self.config.window, batch.noise_key)
        keypoints = augmented(keypoints, self.config.augment, batch.noise_key)
        draw = Draw(batch.noise_key, batch.step, batch.seed)
        terms, found = self.terms(keypoints, draw)
        weights = self.config.loss.weights.model_dump()
        present = batch.has_keypoints
        means = {
            name: global_mean(per_clip, batch, "keypoints", present)
            for name, per_clip in terms.items()
        }
        loss = torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
        # A point behind the camera has no gradient from its keypoint.
        hidden = (~found.seen & keypoints.mask[..., None]).float().flatten(1).mean(1)
        logs = {**means, "behind": global_mean(hidden, batch, "keypoints", present)}
        # Equal on all ranks, so their mean is itself.
        logs |= self.tokenizer.quantizer.usage()
        return loss, {name: value.detach() for name, value in logs.items()}

    def terms(
        self, keypoints: Keypoints, draw: Draw | None = None
    ) -> tuple[dict[str, Float[Tensor, "b"]], Projection]:
        """The seven terms per clip, not weighted, and the projected keypoints."""
        tokenizer = self.tokenizer
        quantized = tokenizer.quantize(keypoints, draw)
        smpl = tokenizer.smpl(quantized.values, keypoints.token_mask)
        found = tokenizer.projection(smpl, keypoints.size)
        terms = {
            "rvq": quantized.commitment,
            **keypoint_terms(found, keypoints, self.config.loss),
            **body_terms(smpl, keypoints.mask, self.config.loss),
        }
        return terms, found
