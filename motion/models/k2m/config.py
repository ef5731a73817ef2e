"""Configuration of K2M: the tokenizer of stage 1, the transformers of stage 2."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motion.networks.dstformer import DSTformerConfig
from motion.skeleton import COCO_17

if TYPE_CHECKING:
    from motion.models.k2m.system import K2M
    from motion.models.k2m.tokenizer import TokenizerTraining

STRIDE = 4
"""Frames per token: two convolutions of stride 2."""
NUM_POINTS = len(COCO_17) + 1
"""COCO's keypoints and one that holds the size of the image."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AdapterConfig(_Frozen):
    """The DSTformer between keypoints and convolutions."""

    kind: Literal["dstformer", "none"] = "dstformer"
    """`none` gives the convolutions the 54 numbers of a frame (table 5b of the paper)."""
    width: int = Field(default=512, ge=2)
    """Channels of a keypoint."""
    representation: int = Field(default=512, ge=1)
    """Channels of a keypoint in the result."""
    depth: int = Field(default=1, ge=1)
    """Pairs of dual-stream blocks."""
    heads: int = Field(default=8, ge=1)
    """Attention heads."""
    mlp_ratio: int = Field(default=2, ge=1)
    """Hidden channels over channels: MotionBERT's full model has 2, its lite one 4."""
    time: Literal["sinusoidal", "learned"] = "sinusoidal"
    """`learned` as in MotionBERT: frames beyond the training window are then never trained."""
    max_frames: int = Field(default=300, ge=1)
    """Frames with a learned embedding."""
    out: Literal["project", "flatten", "head54", "mean"] = "project"
    """How the 18 keypoints enter the convolutions (the paper leaves it open): `project` by one
    linear layer, `flatten` as they are, `head54` as three numbers each, `mean` over keypoints."""
    skip: bool = False
    """Also hand the 54 numbers of a frame to the convolutions: the norms of the DSTformer hide at
    first where in the image the person is, which costs a short training most of its steps."""

    @property
    def network(self) -> DSTformerConfig:
        """The DSTformer of these sizes."""
        return DSTformerConfig(
            num_tokens=NUM_POINTS,
            width=self.width,
            representation=self.representation,
            depth=self.depth,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            time=self.time,
            max_frames=self.max_frames,
            head=self.out == "head54",
        )


class QuantizerConfig(_Frozen):
    """Residual vector quantization with codes that follow moving averages."""

    num_codes: int = Field(default=512, ge=2)
    """Codes per level; every level has its own."""
    num_levels: int = Field(default=6, ge=2)
    """Levels: one base and the residual ones."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """Of the moving averages of counts and sums."""
    min_count: float = Field(default=1.0, gt=0)
    """Moving count of assigned latents per step below which a code is replaced."""
    temperature: float = Field(default=0.5, ge=0)
    """In training, codes are drawn by -distance / temperature plus Gumbel noise; 0 takes the
    nearest, as sampling always does."""
    level_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of steps in which levels above a random one are skipped."""
    straight_through: Literal["per_level", "single"] = "per_level"
    """`per_level` as in MoMask: the encoder's gradient is that of the result times the number of
    active levels. `single`: once."""
    start_step: int = Field(default=1, ge=1)
    """First step that quantizes. Codes start from residuals of the step before, level by level;
    until then latents pass as they are."""
    sample_rows: int = Field(default=2048, ge=1)
    """Latents per step that codes start from and are replaced by; several times `num_codes`."""


class HeadConfig(_Frozen):
    """How the decoder's numbers become SMPL in front of the fixed camera."""

    rotation: Literal["axis_angle", "6d"] = "axis_angle"
    """`axis_angle` as in the paper; `6d` predicts Zhou et al.'s form and is converted."""
    rotation_scale: float = Field(default=0.3, gt=0)
    """Radians (or 6D units) per unit of the decoder's output."""
    depth: Literal["linear", "exp"] = "linear"
    """`linear`: anchor + scale z. `exp`: anchor times exp(scale z / anchor), always positive."""
    anchor_m: tuple[float, float, float] = (0.0, 0.0, 20.0)
    """Where the pelvis of an output of zero stands in the camera's frame. A constant: sampling
    knows no keypoints. At the origin every point would lie behind the camera, without gradient."""
    translation_scale_m: tuple[float, float, float] = (1.0, 1.0, 5.0)
    """Metres per unit of the decoder's output, x, y and z."""
    shared_betas: bool = False
    """One shape per clip, the mean over its frames, so that no frame fakes depth by its size. The
    paper has one per frame."""
    focal_px: float = Field(default=5000.0, gt=0)
    """Focal length of the camera of every video."""

    @property
    def num_channels(self) -> int:
        """Numbers per frame that the decoder makes."""
        return 24 * (3 if self.rotation == "axis_angle" else 6) + 13


class LossWeights(_Frozen):
    """Weights of the seven terms; the defaults are the paper's."""

    rvq: float = Field(default=0.02, ge=0)
    """Commitment of latents to their codes."""
    rec: float = Field(default=0.02, ge=0)
    """Distance of keypoints, pixels."""
    vel: float = Field(default=0.02, ge=0)
    """Distance of the keypoints' changes per frame, pixels."""
    smooth: float = Field(default=0.0001, ge=0)
    """Change of the predicted keypoints per frame, pixels."""
    boundary: float = Field(default=0.0005, ge=0)
    """Distance of keypoints in the first and in the last frame, pixels."""
    pose: float = Field(default=10.0, ge=0)
    """Excess over the limits of joints, radians."""
    shape: float = Field(default=1.0, ge=0)
    """Excess of the mean absolute shape coefficient over `LossConfig.max_shape`."""


class LossConfig(_Frozen):
    """What counts in the losses."""

    weights: LossWeights = LossWeights()
    """Of the terms."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """Keypoints below it count in no term."""
    reduction: Literal["masked_mean", "all_mean"] = "masked_mean"
    """Divide by the number of keypoints that count, or of all keypoints (the paper is silent)."""
    max_shape: float = Field(default=1.0, ge=0)
    """Mean absolute shape coefficient that is free; a standard normal one has 0.8."""
    limits: Literal["measured", "anatomical"] = "measured"
    """Limits of joints: percentiles of captured motion (pose_limits.json), or the fitter's."""


class AugmentConfig(_Frozen):
    """Changes of keypoints, of input and target alike."""

    flip: float = Field(default=0.0, ge=0, le=1)
    """Share of clips that are mirrored."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """Largest relative change of size about the image's middle."""
    shift: float = Field(default=0.0, ge=0, lt=1)
    """Largest shift as a share of the image's sides."""


class TokenizerConfig(_Frozen):
    """Keypoints to tokens to SMPL; the defaults are the paper's."""

    kind: Literal["k2m_tokenizer"] = "k2m_tokenizer"
    window: int = Field(default=64, ge=STRIDE)
    """Frames of a training clip, cut at random; shorter clips are taken whole."""
    adapter: AdapterConfig = AdapterConfig()
    """Reads keypoints."""
    width: int = Field(default=512, ge=1)
    """Channels of the convolutions."""
    code_width: int = Field(default=512, ge=1)
    """Channels of a code; few codes fill few dimensions better."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """In the residual blocks."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """Makes tokens."""
    head: HeadConfig = HeadConfig()
    """Makes SMPL."""
    loss: LossConfig = LossConfig()
    """Compares projections."""
    augment: AugmentConfig = AugmentConfig()
    """Changes the training clips."""
    body: str = "free"
    """"free", or the path of a body model file."""

    @model_validator(mode="after")
    def _whole_tokens(self) -> "TokenizerConfig":
        if self.window % STRIDE:
            raise ValueError(f"window {self.window} is no multiple of {STRIDE} frames, a token")
        return self

    @staticmethod
    def tiny() -> "TokenizerConfig":
        """The CPU size, below one million parameters."""
        return TokenizerConfig(
            adapter=AdapterConfig(width=24, representation=12, heads=2, skip=True),
            width=80,
            code_width=16,
            dropout=0.0,
            quantizer=QuantizerConfig(
                num_codes=64,
                num_levels=4,
                decay=0.98,
                min_count=0.1,
                temperature=0.0,
                straight_through="single",
                start_step=300,
            ),
            head=HeadConfig(
                rotation="6d", depth="exp", shared_betas=True, anchor_m=(0.0, 0.0, 14.0)
            ),
        )

    @staticmethod
    def paper() -> "TokenizerConfig":
        """The paper's sizes."""
        return TokenizerConfig()

    def build(self) -> "TokenizerTraining":
        """The module with random weights."""
        from motion.models.k2m.tokenizer import TokenizerTraining

        return TokenizerTraining(self)


class TransformerConfig(_Frozen):
    """A transformer over tokens; the defaults are the paper's."""

    width: int = Field(default=384, ge=2, multiple_of=2)
    """Channels."""
    code_width: int = Field(default=512, ge=1)
    """Channels of a token's embedding."""
    num_layers: int = Field(default=6, ge=1)
    """Blocks."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads."""
    feedforward: int = Field(default=1024, ge=1)
    """Hidden channels of a block."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """In every block and after the positions."""
    text_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of clips that are trained without their caption, for guidance."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "TransformerConfig":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads {self.num_heads}")
        return self


class SampleOptions(_Frozen):
    """How tokens are drawn; the defaults are those of MoMask's evaluation."""

    steps: int = Field(default=10, ge=1)
    """Passes of the masked transformer."""
    guidance: float = Field(default=4.0, ge=0)
    """Classifier-free guidance of the base level; 1 is none."""
    residual_guidance: float = Field(default=5.0, ge=0)
    """The same of the residual levels."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draws."""
    keep: float = Field(default=0.1, gt=0, le=1)
    """Share of the codes, the likeliest, that a draw chooses among."""
    predict_length: bool = False
    """Draw the length from the caption, whatever length the batch has."""
    regenerate_s: tuple[tuple[float, float], ...] = ()
    """Spans of time in seconds to make anew, while the rest of the clip's tokens stays: editing
    and in-betweening. Without, the whole clip is made."""

    @model_validator(mode="after")
    def _one_length(self) -> "SampleOptions":
        if self.predict_length and self.regenerate_s:
            raise ValueError("a clip that is edited keeps its length: leave predict_length out")
        return self


class K2MConfig(_Frozen):
    """Text to tokens to SMPL: the frozen tokenizer and what is trained on its tokens."""

    kind: Literal["k2m"] = "k2m"
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Of stage 1; its weights come from `init_from`."""
    masked: TransformerConfig = TransformerConfig()
    """Predicts the base level."""
    residual: TransformerConfig = TransformerConfig(text_dropout=0.2)
    """Predicts the other levels, one after the other."""
    text_dim: int = Field(default=512, ge=1)
    """Width of a token of the data set's text encoder."""
    text_tokens: int = Field(default=0, ge=0)
    """0: the caption is one token, the mean of its features (a pooled vector stays itself), as in
    the paper. Otherwise the most tokens that the transformers see."""
    max_tokens: int = Field(default=75, ge=1)
    """Longest clip in tokens that the length predictor knows: 10 s at 30 fps."""
    length_dropout: float = Field(default=0.2, ge=0, lt=1)
    """In the first two layers of the length predictor."""
    share_weights: bool = True
    """The residual transformer's output matrix of a level is the embedding of that level."""
    count_padding: bool = False
    """Draw the number of masked tokens from the padded length, as MoMask does: short clips then
    may have no target."""
    shorten: float = Field(default=1 / 3, ge=0, le=1)
    """Share of clips that are trained one token shorter, cut at a random frame."""
    sampling: SampleOptions = SampleOptions()
    """How samples are drawn."""

    @property
    def body(self) -> str:
        """The body of the motions."""
        return self.tokenizer.body

    @staticmethod
    def tiny(text_dim: int = 64, tokenizer: TokenizerConfig | None = None) -> "K2MConfig":
        """The CPU size: below one million parameters beside the tokenizer's."""
        small = TransformerConfig(
            width=96, code_width=64, num_layers=3, num_heads=4, feedforward=192, dropout=0.1
        )
        return K2MConfig(
            tokenizer=tokenizer or TokenizerConfig.tiny(),
            masked=small,
            residual=small.model_copy(update={"text_dropout": 0.2, "num_layers": 2}),
            text_dim=text_dim,
            text_tokens=24,
        )

    def build(self) -> "K2M":
        """The module with random weights."""
        from motion.models.k2m.system import K2M

        return K2M(self)
