"""CoMoVi's configuration: sizes, which parts train, and the losses."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motion.diffusion.sampler import Solver

if TYPE_CHECKING:
    from motion.models.comovi.system import CoMoVi

Interaction = Literal["none", "single_m2v", "single_v2m", "dual", "fused", "concat"]
Part = Literal["embedders", "rgb", "motion", "bridges", "fusion", "smpl"]
PARTS: tuple[Part, ...] = ("embedders", "rgb", "motion", "bridges", "fusion", "smpl")
COUPLING_PARTS: tuple[Part, ...] = ("bridges", "fusion", "smpl")
_LACKS: dict[Interaction, tuple[Part, ...]] = {
    "none": ("bridges",),
    "concat": ("motion", "bridges", "fusion"),
}


def parts_of(interaction: Interaction) -> tuple[Part, ...]:
    """The parts that a network with this interaction has."""
    return tuple(part for part in PARTS if part not in _LACKS.get(interaction, ()))


class LossWeights(BaseModel):
    """Weight of each loss term; a term of weight 0 is not computed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    flow_rgb: float = Field(default=1.0, ge=0)
    """Velocity MSE of the RGB latents."""
    flow_map: float = Field(default=1.0, ge=0)
    """Velocity MSE of the motion-map latents."""
    rotation: float = Field(default=1.0, ge=0)
    """MSE of the 6D rotations."""
    vertices: float = Field(default=1.0, ge=0)
    """MSE of the body's loss vertices, in square metres."""
    joints: float = Field(default=1.0, ge=0)
    """MSE of the joints relative to the pelvis, in square metres."""
    translation: float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)
    """MSE of the pelvis' path relative to the first frame, in square metres; `predict_root`."""
    shape: float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)
    """MSE of the betas; `predict_root`."""

    @property
    def smpl(self) -> bool:
        """Whether any term needs the SMPL predictor."""
        return max(self.rotation, self.vertices, self.joints, self.translation, self.shape) > 0


class LoRAConfig(BaseModel):
    """Low-rank adapters: small matrices that train in place of a frozen branch's weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    branches: tuple[Literal["rgb", "motion"], ...] = Field(default=("rgb",), min_length=1)
    """Which branches have adapters; they must not be in `trainable` themselves."""
    rank: int = Field(default=16, ge=1)
    """Width between the two matrices of an adapter."""
    alpha: float = Field(default=16.0, gt=0)
    """An adapter's output is scaled by alpha / rank."""
    layers: tuple[Literal["self_attention", "cross_attention", "feed_forward"], ...] = Field(
        default=("self_attention", "cross_attention", "feed_forward"), min_length=1
    )
    """Layers of each block that have adapters."""


class SampleOptions(BaseModel):
    """How to sample (Wan's reference settings)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=50, ge=1)
    """Network calls per guided branch."""
    guidance: float = 6.0
    """Weight of the text against the null text; 1 is none and halves the cost."""
    shift: float = Field(default=5.0, gt=0)
    """Shift of the sampling times towards noise."""
    solver: Solver = "unipc"
    """Of the sampling equation (motion.diffusion.sampler)."""


class CoMoViConfig(BaseModel):
    """Sizes and training of the dual-branch network (Zhao et al. 2026)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["comovi"] = "comovi"

    latent_channels: int = Field(gt=0)
    """Channels of the video autoencoder."""
    temporal_stride: int = Field(default=4, gt=0)
    """Video frames per latent frame; the first frame is alone."""
    text_dim: int = Field(gt=0)
    """Width of the text encoder's tokens."""
    text_tokens: int = Field(gt=0)
    """Text tokens; shorter prompts are zero-padded to it, longer ones cut (Wan: 512)."""

    width: int = Field(gt=0)
    """Token width of both branches. Keep it >= channels x patch, or the noise cannot pass."""
    num_heads: int = Field(gt=0)
    """Attention heads of both branches."""
    num_layers: int = Field(gt=0)
    """Blocks of the RGB branch."""
    ffn_dim: int = Field(gt=0)
    """Inner width of a block's feed-forward layer."""
    patch: tuple[int, int, int] = (1, 2, 2)
    """Latent frames, rows and columns per token; the first must be 1."""
    time_freq_dim: int = Field(default=256, gt=0)
    """Width of the sinusoidal time embedding."""
    rope_theta: float = Field(default=10_000.0, gt=1)
    """Base of the rotary wavelengths (Wan: 10,000). On a grid of a few cells most of Wan's waves
    are flat; a smaller base tells neighbors apart."""
    locality: float = Field(default=0.0, ge=0)
    """Initial bias of self-attention's queries and keys towards the token's own row and column,
    in all frames. 0 is Wan's; a model from scratch otherwise spends its first thousand steps on
    learning to look at the clean first frame. Without effect once weights are loaded."""
    preconditioned: bool = False
    """Add the network's output to the best linear estimate of the velocity, scaled to unit variance
    (motion.models.comovi.preconditioning). For training from scratch: Wan's weights give the whole
    velocity and do not fit."""
    interleave: int = Field(default=1, gt=0)
    """RGB blocks per motion block."""
    interaction: Interaction = "single_m2v"
    """Bridges between the streams; the paper's final design adds motion to RGB only. "fused" also
    lets the motion stream go on from the fused features of the SMPL predictor, and "concat" is one
    transformer for both videos' channels (the paper's ablations, section 4.5)."""

    pose_layers: int = Field(default=6, gt=0)
    """Decoder blocks of the SMPL predictor, shared by all supervised layers."""
    pose_heads: int = Field(gt=0)
    """Attention heads of the SMPL predictor."""
    pose_ffn_dim: int = Field(gt=0)
    """Inner width of its feed-forward layers."""
    pose_positions: int = Field(gt=0)
    """Length of the learned table of query positions, in predicted frames."""
    pose_positions_resize: bool = True
    """Interpolate the table to other clip lengths; False demands the exact length."""
    predict_root: bool = Field(default=False, exclude_if=lambda value: not value)
    """The SMPL predictor also gives the pelvis' path in `pose_frame` and the betas, which the
    paper's does not: the sample is then a complete motion by itself."""
    pose_frame: Literal["camera", "world"] = "camera"
    """Axes of the root rotation inside the network. The video determines it in the camera's, where
    a clip must carry its camera; "world" takes it as the batch gives it."""

    stage: Literal[1, 2] = 2
    """1: the branches run apart; bridges, fusion and SMPL predictor exist but stand idle.
    2: everything runs. Both stages have the same parameters."""
    trainable: tuple[Part, ...] = PARTS
    """Parts that receive gradients; the rest is frozen and stays out of the optimizer."""
    lora: LoRAConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """Adapters on frozen branches, trained beside `trainable`. They need the extra `lora` (peft).
    Not named in the identity of a training without, which is what it was before."""
    weights: LossWeights = LossWeights()
    supervised_layers: int = Field(default=4, gt=0)
    """Motion blocks that get SMPL supervision in a step: the last and random others."""
    shift: float = Field(default=5.0, gt=0)
    """Shift of the training times towards noise (5 at 704 x 1280; smaller for small latents)."""
    text_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of clips trained with the null text, which guidance needs."""
    error_limit: float = Field(default=50.0, gt=0)
    """Velocity errors beyond it count as zero."""
    gradient_checkpointing: bool | Annotated[int, Field(ge=1)] = False
    """Recompute blocks in the backward pass instead of storing what is inside them: True all of
    them, a number n every n-th, False none."""
    body: str = "free"
    """Body model of the vertex and joint losses: "free", or the path of a SMPL file."""
    sampling: SampleOptions = SampleOptions()
    """Default sampling options of an export."""

    @model_validator(mode="after")
    def _consistent(self) -> "CoMoViConfig":
        if self.width % self.num_heads or self.width // self.num_heads % 2:
            raise ValueError(
                f"width {self.width} does not give {self.num_heads} heads of even width: "
                "change one of them"
            )
        if self.width % self.pose_heads:
            raise ValueError(
                f"width {self.width} does not divide into pose_heads {self.pose_heads}"
            )
        if self.num_layers % self.interleave:
            raise ValueError(
                f"num_layers {self.num_layers} is no multiple of interleave {self.interleave}"
            )
        if self.patch[0] != 1:
            raise ValueError(
                f"patch {self.patch} mixes latent frames; its first entry must be 1, because the "
                "first latent frame is a clean condition with a time of its own"
            )
        if self.supervised_layers > self.num_motion_layers:
            raise ValueError(
                f"supervised_layers is {self.supervised_layers}, but there are only "
                f"{self.num_motion_layers} motion blocks"
            )
        self._check_stage()
        return self

    def _check_stage(self) -> None:
        idle = set(self.trainable) & set(COUPLING_PARTS)
        if self.stage == 1 and (idle or self.weights.smpl):
            raise ValueError(
                "stage 1 runs the branches apart: take bridges, fusion and smpl out of trainable "
                f"(now {self.trainable}) and set the rotation, vertices and joints weights to 0"
            )
        adapted = self.lora.branches if self.lora else ()
        both = sorted(set(adapted) & set(self.trainable))
        if both:
            raise ValueError(
                f"adapters are for frozen branches, but {both} is trainable: take it out of "
                "trainable or of lora.branches"
            )
        if self.stage == 1 and "rgb" in adapted and not self.weights.flow_rgb:
            raise ValueError(
                "stage 1 does not run the rgb branch while weights.flow_rgb is 0: its adapters "
                "would never train; take it out of lora.branches"
            )
        if "rgb" in self.trainable and not self.weights.flow_rgb:
            raise ValueError("the rgb branch is trainable but weights.flow_rgb is 0: freeze it")
        if not self.weights.smpl and set(self.trainable) & {"fusion", "smpl"}:
            raise ValueError("fusion and smpl are trainable, but no SMPL loss has a weight")
        self._check_variant()

    def _check_variant(self) -> None:
        lacking = [part for part in self.trainable if part not in parts_of(self.interaction)]
        if lacking:
            raise ValueError(
                f"interaction {self.interaction!r} has no {' and '.join(lacking)}: take them out "
                f"of trainable, which may name {parts_of(self.interaction)}"
            )
        if self.interaction == "concat" and (self.interleave != 1 or not self.weights.flow_rgb):
            raise ValueError(
                "interaction 'concat' has one stream: set interleave to 1 and weights.flow_rgb "
                "above 0"
            )
        rooted = max(self.weights.translation, self.weights.shape)
        if rooted and not self.predict_root:
            raise ValueError(
                "weights.translation and weights.shape train the head of predict_root: set it, or "
                "set both weights to 0"
            )
        if self.predict_root and self.stage == 2 and "smpl" in self.trainable and not rooted:
            raise ValueError(
                "predict_root has a head that no loss trains: give weights.translation or "
                "weights.shape a value above 0"
            )

    @property
    def num_motion_layers(self) -> int:
        return self.num_layers // self.interleave

    @classmethod
    def tiny(cls, stage: Literal[1, 2] = 2) -> "CoMoViConfig":
        """Below 1 M parameters for a CPU: 33 frames of 128 x 128 as 48 x 9 x 8 x 8 latents.

        Trained from scratch, so there is no pretrained RGB branch to freeze: stage 1 trains both
        branches and the embedders, stage 2 everything (deviation from the paper). For the same
        reason the network is preconditioned, attention starts local on rotary waves that fit a grid
        of 8 x 8 cells, and times lie near noise, where only the conditions tell what will happen.
        The SMPL terms, two orders of magnitude below the flow terms, weigh ten times the paper's.
        Two sampling steps and no guidance: more of either gives more contrast, and more errors.
        """
        weights = LossWeights(rotation=10.0, vertices=10.0, joints=10.0)
        return cls(
            latent_channels=48,
            text_dim=64,
            text_tokens=32,
            width=64,
            num_heads=2,
            num_layers=4,
            ffn_dim=256,
            patch=(1, 1, 1),
            time_freq_dim=64,
            pose_layers=2,
            pose_heads=4,
            pose_ffn_dim=128,
            pose_positions=32,
            supervised_layers=2,
            rope_theta=20.0,
            locality=1.0,
            preconditioned=True,
            shift=8.0,
            sampling=SampleOptions(steps=2, guidance=1.0, shift=8.0),
            stage=stage,
            trainable=("embedders", "rgb", "motion") if stage == 1 else PARTS,
            weights=_uncoupled(weights) if stage == 1 else weights,
        )

    @classmethod
    def wan5b(cls, stage: Literal[1, 2] = 2) -> "CoMoViConfig":
        """The paper's size, 11.08 B parameters, on Wan 2.2 TI2V-5B: 81 frames at 704 x 1280.

        Stage 1 adapts the motion branch alone; stage 2 couples the branches with the RGB branch and
        the embedders frozen (supplement, Training).
        """
        alone = _uncoupled(LossWeights(flow_rgb=0.0))
        return cls(
            latent_channels=48,
            text_dim=4096,
            text_tokens=512,
            width=3072,
            num_heads=24,
            num_layers=30,
            ffn_dim=14336,
            pose_layers=6,
            pose_heads=12,
            pose_ffn_dim=4096,
            pose_positions=80,
            gradient_checkpointing=True,
            stage=stage,
            trainable=("motion",) if stage == 1 else ("motion", *COUPLING_PARTS),
            weights=alone if stage == 1 else LossWeights(),
        )

    def with_adapters(self, lora: LoRAConfig) -> "CoMoViConfig":
        """The same with adapters in place of the weights of their branches."""
        rest = tuple(part for part in self.trainable if part not in lora.branches)
        return CoMoViConfig.model_validate({**self.model_dump(), "trainable": rest, "lora": lora})

    def build(self) -> "CoMoVi":
        """The system, on the default device (under `torch.device("meta")`: without storage)."""
        from motion.models.comovi.system import CoMoVi

        return CoMoVi(self)


def _uncoupled(weights: LossWeights) -> LossWeights:
    smpl = ("rotation", "vertices", "joints", "translation", "shape")
    return weights.model_copy(update=dict.fromkeys(smpl, 0.0))
