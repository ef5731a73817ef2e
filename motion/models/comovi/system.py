"""CoMoVi: co-generation of a video, its motion map and 3D motion (Zhao et al. 2026)."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motion.batch import Batch
from motion.diffusion.guidance import guided
from motion.diffusion.noise import clip_normal, clip_uniform, sample_normal
from motion.diffusion.path import RectifiedFlow, noised, velocity, x0_from_velocity
from motion.diffusion.sampler import Denoiser, sample
from motion.diffusion.schedule import sampling_times, training_times
from motion.losses import global_mean, mean_over_valid
from motion.models.comovi.conditions import (
    FirstPose,
    first_latents,
    first_pose,
    latents,
    padded_text,
)
from motion.models.comovi.config import CoMoViConfig, SampleOptions
from motion.models.comovi.joint import JointBranch
from motion.models.comovi.lora import adapters, add_adapters
from motion.models.comovi.loss import (
    PoseTarget,
    body_losses,
    flow_loss,
    pose_target,
    supervised_layers,
    valid_latents,
)
from motion.models.comovi.network import DualBranch, DualOutput
from motion.models.comovi.root import pelvis_path, root_losses, rooted
from motion.models.comovi.smpl_predictor import POSE_DIM
from motion.models.placed_body import PlacedBody
from motion.models.system import Logs, Sample
from motion.representations.rotation6d import Rotation6D
from motion.sequence import Motion

MODALITY = {"flow_rgb": "rgb", "flow_map": "map"}
"""What a clip must carry for a term; the SMPL terms need "motion"."""
SMPL_TERMS = ("rotation", "vertices", "joints", "translation", "shape")


class CoMoVi(nn.Module):
    """The dual-branch flow with its SMPL predictor.

    A batch needs RGB and motion-map latents, of which the first frame is the clean condition; text,
    poses, betas and the camera are each optional with a presence mask. Null text is a prompt of
    length zero: all slots are zero padding, which Wan's cross-attention sees anyway.
    """

    def __init__(self, config: CoMoViConfig):
        super().__init__()
        self.config = config
        joint = config.interaction == "concat"
        self.network = JointBranch(config) if joint else DualBranch(config)
        if config.lora is not None:
            add_adapters(self, self.network, config.lora)
        for part, module in self.network.parts.items():
            module.requires_grad_(part in config.trainable)
        for matrix in adapters(self.network):
            matrix.requires_grad_(True)
        self._bodies = PlacedBody(config.body)

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Weighted sum of the terms, each a mean over the global batch's clips that carry it."""
        terms, present = self._terms(batch, "train")
        means = {
            name: global_mean(per_clip, batch, MODALITY.get(name, "motion"), present[name])
            for name, per_clip in terms.items()
        }
        weights: dict[str, float] = self.config.weights.model_dump()
        loss = torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
        return loss, {name: mean.detach() for name, mean in means.items()}

    def clip_losses(self, batch: Batch, *, use: str = "train") -> dict[str, Float[Tensor, "b"]]:
        """Each active loss term of each clip, neither weighted nor normalized.

        Noise, time and caption derive from the clips' noise keys and `use`: two batches that differ
        only in a condition are compared under equal noise. A clip without the term's modality gives
        NaN. Text dropout acts in training mode only.
        """
        terms, present = self._terms(batch, use)
        return {
            name: per_clip.masked_fill(~present[name], torch.nan)
            for name, per_clip in terms.items()
        }

    def _terms(
        self, batch: Batch, use: str
    ) -> tuple[dict[str, Float[Tensor, "b"]], dict[str, Bool[Tensor, "b"]]]:
        """Losses per clip by term, and which clips carry the term."""
        config, weights, path = self.config, self.config.weights, RectifiedFlow()
        streams = latents(batch)
        x0 = torch.cat((streams.rgb, streams.map), dim=1)
        valid = valid_latents(batch, x0.shape[2], config.temporal_stride)
        eps = clip_normal(batch.noise_key, f"{use}/noise", x0.shape[1:]).to(x0.device)
        uniform = clip_uniform(batch.noise_key, f"{use}/timestep")
        time = training_times(uniform, config.shift).to(x0.device)
        x_s = torch.cat((x0[:, :, :1], noised(path, x0, eps, time)[:, :, 1:]), dim=2)
        pose = pose_target(batch, in_camera=config.pose_frame == "camera")
        layers: tuple[int, ...] = ()
        if weights.smpl:
            layers = supervised_layers(
                batch.seed, batch.step, config.num_motion_layers, config.supervised_layers
            )
        # Stage 1 of the paper needs no RGB branch. The config alone decides: alike on all ranks.
        run_rgb = config.stage == 2 or weights.flow_rgb > 0
        text = self._text(batch, use)
        initial = self._initial(batch, pose.rotation6d[:, 0])
        out = self._network(x_s, time, text, initial, layers, run_rgb=run_rgb)
        target_rgb, target_map = velocity(path, x0, eps, time).chunk(2, dim=1)
        terms: dict[str, Tensor] = {}
        present = {"flow_rgb": streams.has_rgb, "flow_map": streams.has_map}
        if weights.flow_rgb and out.rgb is not None:
            terms["flow_rgb"] = flow_loss(out.rgb, target_rgb, valid, config.error_limit)
        if weights.flow_map:
            terms["flow_map"] = flow_loss(out.map, target_map, valid, config.error_limit)
        if layers:
            terms |= self._pose_terms(out.poses, pose, batch)
            present |= dict.fromkeys(SMPL_TERMS, pose.present)
        return terms, present

    def _network(
        self,
        x: Float[Tensor, "b c2 tl hl wl"],
        time: Float[Tensor, "b"],
        text: Float[Tensor, "b m e"],
        initial_pose: Float[Tensor, "b p"],
        pose_layers: tuple[int, ...],
        *,
        run_rgb: bool = True,
    ) -> DualOutput:
        """The network on RGB and map latents stacked on the channels."""
        x_rgb, x_map = x.chunk(2, dim=1)
        return self.network(
            x_rgb,
            x_map,
            time,
            text,
            initial_pose=initial_pose,
            pose_layers=pose_layers,
            run_rgb=run_rgb,
        )

    def _pose_terms(
        self, poses: tuple[Float[Tensor, "b f _"], ...], target: PoseTarget, batch: Batch
    ) -> dict[str, Float[Tensor, "b"]]:
        """SMPL terms, averaged over the supervised layers; all in float32."""
        weights, true, valid = (
            self.config.weights,
            target.rotation6d[:, 1:],
            batch.frame_mask[:, 1:],
        )
        per_layer: list[dict[str, Tensor]] = []
        for output in poses:
            predicted, root = output.split((POSE_DIM, output.shape[-1] - POSE_DIM), dim=-1)
            terms = {"rotation": mean_over_valid((predicted - true) ** 2, valid)}
            if weights.vertices or weights.joints:
                body = self._bodies.of(batch)
                terms |= body_losses(body, predicted, true, target.betas, valid)
            if self.config.predict_root:
                path = self._pelvis(batch)[:, 1:]
                terms |= root_losses(root, path, target.betas, valid)
            per_layer.append(terms)
        active = [name for name in per_layer[0] if getattr(weights, name)]
        return {name: torch.stack([t[name] for t in per_layer]).mean(0) for name in active}

    def _pelvis(self, batch: Batch) -> Float[Tensor, "b t 3"]:
        in_camera = self.config.pose_frame == "camera"
        return pelvis_path(batch, self._bodies.of(batch), in_camera=in_camera)

    def _initial(self, batch: Batch, rotation6d: Float[Tensor, "b 144"]) -> Float[Tensor, "b p"]:
        """What the SMPL predictor starts from: the first pose, with a root the pelvis' place."""
        if not self.config.predict_root:
            return rotation6d
        return torch.cat((rotation6d, self._pelvis(batch)[:, 0]), dim=-1)

    def _text(self, batch: Batch, use: str) -> Float[Tensor, "b m e"]:
        """One caption per clip, drawn by its noise key; dropped captions are null text."""
        keys, config = batch.noise_key, self.config
        captions = torch.full((batch.size,), 1 if batch.text is None else batch.text.shape[1])
        if batch.text_mask is not None:
            captions = batch.text_mask.any(-1).sum(1).cpu()
        pick = (clip_uniform(keys, f"{use}/caption") * captions).long()
        text = padded_text(batch, config.text_tokens, config.text_dim, pick)
        if not self.training:
            return text
        kept = clip_uniform(keys, f"{use}/text_dropout") >= config.text_dropout
        return text * kept.to(text)[:, None, None]

    @torch.no_grad()
    def sample(self, batch: Batch, options: SampleOptions, *, generator: torch.Generator) -> Sample:
        """Video latents, map latents and motion for the batch's conditions.

        Read from the batch: the first latent frame of RGB and map, the first pose, betas and first
        camera (taken as static), the first caption, and `frame_mask` for the number of frames. The
        motion has no translation unless `predict_root`. In stage 1 there is no motion.

        Raises:
            ValueError: a condition is missing.
        """
        config, condition = self.config, first_latents(batch)
        num_latents = 1 + (batch.frame_mask.shape[1] - 1) // config.temporal_stride
        valid_latents(batch, num_latents, config.temporal_stride)  # the length must fit
        first = first_pose(batch, in_camera=config.pose_frame == "camera")
        times = sampling_times(options.steps, options.shift)
        given = padded_text(
            batch, config.text_tokens, config.text_dim, torch.zeros(batch.size, dtype=torch.long)
        )
        initial = self._initial(batch, Rotation6D().encode(first.motion)[:, 0])
        poses: list[Tensor] = []

        def denoiser(text: Tensor, *, with_pose: bool) -> Denoiser:
            def predict(x: Tensor, t: Tensor) -> Tensor:
                last = with_pose and float(t) <= float(times[-2])
                layers = (config.num_motion_layers - 1,) if last else ()
                out = self._network(x, t.expand(batch.size), text, initial, layers)
                poses.extend(out.poses)
                assert out.rgb is not None
                v = torch.cat((out.rgb, out.map), dim=1)
                return x0_from_velocity(RectifiedFlow(), x, v, t)

            return predict

        x = sample(
            guided(
                denoiser(given, with_pose=config.stage == 2),
                denoiser(torch.zeros_like(given), with_pose=False),
                options.guidance,
            ),
            _noise(condition, num_latents, generator),
            RectifiedFlow(),
            times,
            solver=options.solver,
            constrain=lambda x: torch.cat((condition, x[:, :, 1:]), dim=2),
        )
        latent_rgb, latent_map = x.chunk(2, dim=1)
        motion = _motion(first, poses[-1][..., :POSE_DIM]) if poses else None
        if motion is not None and config.predict_root:
            camera = batch.T_camera_world if config.pose_frame == "camera" else None
            T_frame_world = None if camera is None else camera[:, 0].float()
            motion = rooted(motion, self._bodies.of(batch), initial, poses[-1], T_frame_world)
        return Sample(motion=motion, latent_rgb=latent_rgb, latent_map=latent_map)


def _noise(
    like: Float[Tensor, "b c 1 hl wl"], num_latents: int, generator: torch.Generator
) -> Float[Tensor, "b c tl hl wl"]:
    """Noise of all latent frames, sample by sample."""
    shape = (like.shape[1], num_latents, *like.shape[3:])
    return sample_normal(len(like), shape, generator).to(like.device)


def _motion(first: FirstPose, predicted: Float[Tensor, "b f 144"]) -> Motion:
    """The given first pose followed by the predicted ones, in the world frame."""
    rest = Rotation6D().decode(predicted, like=first.motion)
    R = torch.cat((first.motion.R_parent_child, rest.R_parent_child), dim=1)
    return first.to_world(replace(rest, R_parent_child=R))
