"""GENMO's configuration: sizes, conditions, modes, losses and augmentation."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motion.data.statistics import FeatureStatistics, Statistics
from motion.representations.gravity_view import GravityView
from motion.representations.group_statistics import with_group_floor

if TYPE_CHECKING:
    from motion.models.genmo.system import Genmo

Mode = Literal["both", "estimation", "generation"]
Condition = Literal["text", "keypoints", "camera", "image", "music", "speech"]
CONDITIONS: Final[tuple[Condition, ...]] = (
    "text", "keypoints", "camera", "image", "music", "speech",
)  # fmt: skip
MUSIC_DIM: Final = 35
KEY_DIM: Final = 148
"""Features that a key pose gives: all of the motion vector but the velocity, which comes last."""
MAX_KEYS: Final = 5
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LossWeights(_Frozen):
    """Weight of each loss term, the same in both modes."""

    simple: float = Field(default=1.0, ge=0)
    """MSE of the normalized motion vector."""
    joints: float = Field(default=50.0, ge=0)
    """MSE of the joints relative to the pelvis, in square metres, in the camera's frame."""
    vertices: float = Field(default=50.0, ge=0)
    """MSE of the body's loss vertices relative to the pelvis, in square metres, likewise."""
    reprojection: float = Field(default=20.0, ge=0)
    """MSE of the projected keypoints in units of the person's box (paper eq. 6)."""
    camera: float = Field(default=1.0, ge=0)
    """MSE of the standardized weak-perspective camera."""
    path: float = Field(default=1.0, ge=0)
    """L1 of the path rolled out from the predicted velocity and the true orientation, in metres."""
    static: float = Field(default=1.0, ge=0)
    """Cross-entropy of the static joints."""


class Augmentation(_Frozen):
    """What is done to conditions in training; shares are probabilities. Evaluation does none."""

    synthetic_camera: Share = 0.5
    """Clips that have a camera and keypoints of their own and are yet seen by a synthetic camera.
    Clips that have none always are."""
    keypoint_noise: float = Field(default=1.0, ge=0)
    """Scale of bias, peaks and jitter of synthetic keypoints (WHAM's tables)."""
    hide_joint: Share = 0.03
    """Keypoints hidden alone, with all that hang on them."""
    hide_legs: Share = 0.03
    """Clips whose legs are hidden for 30 to 89 frames."""
    hide_spans: Share = 0.75
    """Clips with 1 to 3 spans of 1 to 30 frames in which nothing is seen; and, drawn apart, clips
    in which a quarter of the keypoints is hidden in every frame."""
    drop_frame: Share = 0.1
    """Frames of box, camera, image, music or speech that are dropped, each for itself."""
    drop_told: Share = 0.1
    """Clips that lose their text, music or speech, each for itself: guidance needs it."""
    told: Share = 0.5
    """Clips with text, music or speech that are trained on it; the others train estimation
    without. A told clip's synthetic camera stands still, and generation does not see its turns."""
    keyframes: Share = 0.2
    """Clips whose pose is given to generation in 1 to 5 random frames."""
    drop_observed: Share = 0.5
    """Told clips that lose keypoints, box and image in generation."""


class SampleOptions(_Frozen):
    """How to sample."""

    mode: Literal["auto", "estimation", "generation"] = "auto"
    """One pass from the estimation input, or steps from noise. `auto` generates where a text,
    music, speech or a keyframe is given, and estimates elsewhere."""
    steps: int = Field(default=50, ge=1)
    """DDIM steps of generation."""
    guidance: float = 2.5
    """Weight of the guided conditions; 1 is none. Where none of them is given it is 1."""
    guided: tuple[Condition, ...] = ("text", "music", "speech")
    """Conditions that the weak side of guidance does not see; observations stay on both sides."""
    conditions: tuple[Condition, ...] = CONDITIONS
    """Conditions that are read from the batch; the others are ignored."""
    keyframes: int = Field(default=0, ge=0)
    """In-betweening: so many evenly spaced frames of the batch's motion are given (0: those that
    the batch marks as keyframes)."""
    static_joints: bool = False
    """Remove from the path what joints that stand still seem to move."""
    inverse_kinematics: bool = False
    """Then hold these ankles and wrists in place by inverse kinematics."""


class GenmoConfig(_Frozen):
    """Sizes and training (Li et al. 2025)."""

    kind: Literal["genmo"] = "genmo"

    width: int = Field(gt=0)
    """Features of a frame's token."""
    num_layers: int = Field(gt=0)
    """Pairs of a text block and a frame block."""
    num_heads: int = Field(gt=0)
    mlp_ratio: int = Field(default=4, gt=0)
    """Width of the feed-forward layers over `width`."""
    window: int = Field(default=120, ge=2)
    """Frames that a frame of a longer clip sees; even."""
    rope_theta: float = Field(default=10_000.0, gt=1)
    """Base of the rotary wavelengths."""
    gate: float = 0.0
    """Start of the learned factors of the residual branches."""
    text_dim: int = Field(default=0, ge=0)
    """Width of the text encoder's tokens; 0 builds no text blocks."""
    image_dim: int = Field(default=0, ge=0)
    """Width of a frame's image features; 0 has none."""
    music_dim: int = Field(default=MUSIC_DIM, ge=0)
    """Width of a frame's music features; 0 has none."""
    speech_dim: int = Field(default=0, ge=0)
    """Width of a frame's speech features; 0 has none."""
    gravity_axis: Literal["up", "down"] = "up"
    """Whether the y axis of the gravity-view frame points up, or down as in GVHMR."""
    statistics: FeatureStatistics | None = None
    """Mean and deviation of the motion vector over the training clips."""
    least_deviation: float = Field(default=0.3, ge=0)
    """Least deviation of a feature as a share of its group's mean one: joints that hardly move must
    not drown in noise."""

    mode: Mode = "both"
    """Which modes are trained: estimation alone is regression, generation alone plain diffusion."""
    estimation_input: Literal["zeros", "gaussian"] = "zeros"
    """Input of the estimation mode at the last noise level: zeros (the paper's introduction, the
    release) or noise (its equation 5)."""
    two_d: Literal["both", "estimation", "none"] = "both"
    """What clips without 3D train: both modes (estimation-guided, section 3.2), estimation alone,
    or nothing."""
    weights: LossWeights = LossWeights()
    augmentation: Augmentation = Augmentation()
    gradient_checkpointing: bool = False
    """Recompute each block in the backward pass instead of storing it."""
    body: str = "free"
    """Body model of the geometric losses: "free", or the path of a SMPL file."""
    sampling: SampleOptions = SampleOptions()
    """Default sampling options of an export."""

    @model_validator(mode="after")
    def _consistent(self) -> "GenmoConfig":
        if self.width % self.num_heads or self.width // self.num_heads % 2:
            raise ValueError(
                f"width {self.width} does not give {self.num_heads} heads of even width: "
                "change one of them"
            )
        if self.window % 2:
            raise ValueError(f"window is {self.window}; expected an even number of frames")
        found = self.statistics
        if found is not None and len(found.mean) != GravityView.dim:
            raise ValueError(
                f"statistics of {len(found.mean)} features; the motion vector has "
                f"{GravityView.dim}: take them with motion.training.genmo.with_statistics"
            )
        return self

    @property
    def representation(self) -> GravityView:
        """The motion vector."""
        return GravityView(gravity_axis=self.gravity_axis)

    @property
    def signal_dims(self) -> dict[str, int]:
        """Frame-aligned conditions beside the keypoints, with their widths."""
        given = {"image": self.image_dim, "music": self.music_dim, "speech": self.speech_dim}
        known = {"box": 3, "turn": 6, "keyframes": KEY_DIM}
        return known | {name: dim for name, dim in given.items() if dim}

    def fitted(self, statistics: Statistics) -> "GenmoConfig":
        """The same system with the statistics of its motion vector, by true deviations."""
        groups = self.representation.slices.values()
        floored = with_group_floor(statistics, groups, share=self.least_deviation)
        return self.model_copy(update={"statistics": FeatureStatistics.of(floored)})

    @classmethod
    def tiny(cls, text_dim: int = 64) -> "GenmoConfig":
        """Below 1 M parameters for a CPU.

        What was filmed keeps its own camera, and less is hidden: with the release's augmentation a
        model this small learns little in minutes.
        """
        return cls(
            width=96,
            num_layers=3,
            num_heads=4,
            mlp_ratio=2,
            window=64,
            gate=0.5,
            text_dim=text_dim,
            augmentation=Augmentation(synthetic_camera=0.0, keypoint_noise=0.3, hide_spans=0.2),
            sampling=SampleOptions(steps=10),
        )

    @classmethod
    def regression(cls) -> "GenmoConfig":
        """The release's single-mode network, 39.6 M parameters in the denoiser, without text."""
        return cls(width=512, num_layers=12, num_heads=8, image_dim=1024, mode="estimation")

    @classmethod
    def genmo(cls) -> "GenmoConfig":
        """The paper's size, 411 M parameters in the denoiser, on a text encoder of width 1024."""
        return cls(width=1024, num_layers=16, num_heads=8, text_dim=1024, image_dim=1024)

    def build(self) -> "Genmo":
        """The system, on the default device (under `torch.device("meta")`: without storage)."""
        from motion.models.genmo.system import Genmo

        return Genmo(self)
