"""TrainConfig: the single value that a training recipe states.

Batch size, precision, clipping and learning rate are written here once and reach DeepSpeed as
numbers. Every path becomes absolute when the config is built, on the driver, because workers run
in another directory.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast, runtime_checkable

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)
from torch import nn

from motion import models, paths
from motion.data.claim import flatten
from motion.data.pipeline import StreamConfig
from motion.networks.kernel import Kernel


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Count = Annotated[int, Field(ge=1)]


@runtime_checkable
class TrainableConfig(Protocol):
    """What `TrainConfig.system` must be: a frozen pydantic model with these two members."""

    kind: str

    def build(self) -> nn.Module:
        """The Trainable (motion/models/system.py) with freshly initialized weights."""
        ...


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataConfig(_Frozen):
    """The encoded dataset that is trained on."""

    root: AbsolutePath
    """Encoded dataset: the folder that holds manifest.parquet and dataset.json."""
    columns: tuple[str, ...] = ("latent_rgb", "latent_map", "text_embedding", "text_mask")
    """Columns of the shards that the system reads; the others stay on disk."""
    split: Literal["train", "validation", "test"] = "train"
    """Which clips are trained on."""
    source_weights: dict[str, float] = Field(default_factory=dict, exclude_if=lambda x: not x)
    """How often an epoch shows the clips of a source (procedural, mocap ...); 1 unless named."""
    hidden_motion: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda x: not x)
    """Share of the clips, by their ids, whose 3D motion is not shown: they then count as clips with
    2D keypoints and text alone. Clips without keypoints keep theirs."""
    encoders: dict[str, str] = Field(default_factory=dict)
    """Expected content hash per encoder ("text", "rgb", "map"); training refuses other ones, at
    the start and whenever workers start again. Recipes fill it from the encoding that they ran
    (`motion.training.dataset.pinned`)."""
    stream: StreamConfig = StreamConfig()
    """How a worker reads its share: through Ray Data or by itself, how far ahead ..."""


class OptimizerConfig(_Frozen):
    """AdamW (Loshchilov and Hutter 2019) and its learning-rate schedule."""

    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient."""
    eps: float = 1e-8
    """Added to the denominator of the update."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps of linear rise from 0 to the peak."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """What follows the warm-up until the last step."""
    final_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate at the last step as a share of the peak (cosine and linear)."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Global L2 norm to which gradients are clipped."""


class InitConfig(_Frozen):
    """Start from the weights of another training's export."""

    export: AbsolutePath
    """Export directory; a resumable checkpoint is not accepted here."""
    weights: Literal["model", "ema"] = "model"
    """Raw weights, or their moving average."""
    allow_missing: tuple[str, ...] = ()
    """Parameter names that the export may lack (modules that this stage adds): prefixes, or
    patterns with a star, e.g. `*.lora_*`."""


class ValidateConfig(_Frozen):
    """Evaluate exports in a separate Ray task, in the same MLflow run."""

    function: str
    """`module:function`, called as function(export_dir, run_id=..., step=..., device=...,
    **arguments)."""
    every: Count = 1
    """Evaluate after this many checkpoints; the final export is always evaluated."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the function; JSON values."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs that the task reserves beside the workers; None takes one where the cluster has one
    to spare. The final evaluation comes after the workers and may have theirs."""

    @field_validator("function")
    @classmethod
    def _has_module(cls, value: str) -> str:
        if value.count(":") != 1:
            raise ValueError(f"function is {value!r}; expected 'package.module:function'")
        return value


class ProfileConfig(_Frozen):
    """A torch.profiler window on rank 0; the trace is written to the run directory."""

    start: Annotated[int, Field(ge=0)]
    """First step that is recorded."""
    steps: Count = 3
    """Steps that are recorded."""


EXECUTION_FIELDS = frozenset(
    {"num_workers", "use_gpu", "cpus_per_worker", "micro_batch", "accumulation", "log_every"}
    | {"checkpoint_every", "keep_checkpoints", "max_failures", "validate_with", "record_steps"}
    | {"storage", "tracking_uri", "experiment", "profile", "price_per_hour", "peak_tflops"}
    | {"attention", "sequence_parallel", "compile_blocks"}
)
"""Fields that change where and how a run executes but not what it computes: a run may be
continued with other values, as long as the global batch stays the same."""


class TrainConfig(_Frozen):
    """One complete training: what `motion.training.launch.fit` runs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run, of its folder and of its export. Restarting a name continues the run."""
    system: SerializeAsAny[BaseModel]
    """Config of the system that is trained: an entry of motion.models.SYSTEMS, or any frozen
    pydantic model with a `kind` and a `build()` that returns a Trainable."""
    data: DataConfig
    """What is trained on."""
    optimizer: OptimizerConfig
    """How weights are updated."""
    steps: Count
    """Optimizer steps of the whole run."""
    micro_batch: Count
    """Clips per worker and forward pass."""
    accumulation: Count = 1
    """Forward passes per worker and optimizer step."""
    num_workers: Count = 1
    """Ray Train workers: one per GPU, or CPU processes."""
    use_gpu: bool = False
    """One GPU per worker with NCCL, otherwise CPU with gloo."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that a worker reserves; the pipeline needs CPUs that no worker reserves."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO: 0 replicates, 1 shards optimizer state, 2 gradients too, 3 weights too."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Weights in the forward pass; master weights, optimizer state and EMA stay fp32."""
    attention: Kernel = "auto"
    """Kernel of the attention layers; "auto" leaves the choice to torch."""
    sequence_parallel: Count = 1
    """Workers that share the tokens of one clip (Ulysses), for clips that are too long for one
    device; divides num_workers, the attention heads and the tokens. 1: each has its own clips."""
    compile_blocks: bool = False
    """Compile the repeated blocks with torch.compile; needs a C++ compiler (CPU) or Triton (GPU),
    and a ZeRO stage below 3, whose hooks on every layer would cut the graphs to pieces."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of the moving average of the weights; None keeps none."""
    seed: int = 0
    """Seed of initialization, data order, noise and dropout."""
    init_from: InitConfig | None = None
    """Start from another training's export."""
    log_every: Count = 10
    """Steps per console line and MLflow record."""
    checkpoint_every: Count = 500
    """Steps per resumable checkpoint; the last step always writes one."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Newest checkpoints that are kept: at least 2, so that a damaged one has a predecessor."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Worker deaths that are repaired by a restart from the newest checkpoint."""
    validate_with: ValidateConfig | None = None
    """Evaluation beside the training."""
    storage: AbsolutePath = Field(default_factory=paths.outputs)
    """Folder that all nodes share: runs/<name>, exports/<name>, mlflow.db."""
    tracking_uri: str = ""
    """MLflow server URL or database; empty means sqlite in `storage`."""
    experiment: str = "motion"
    """MLflow experiment."""
    profile: ProfileConfig | None = None
    """torch.profiler window."""
    record_steps: bool = False
    """Write step, loss in full precision and clip ids of every rank to runs/<name>/steps."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price of one worker in any currency per hour: gives the cost per 1,000 steps."""
    peak_tflops: Annotated[float, Field(ge=0)] = 0.0
    """Peak of one worker's device at this precision in 1e12 operations per second, from its data
    sheet: gives the model FLOPs utilization. 0 is unknown."""

    @field_validator("system", mode="before")
    @classmethod
    def _known_system(cls, value: Any) -> Any:
        if isinstance(value, dict):
            kind = cast("dict[str, Any]", value).get("kind")
            if kind not in models.SYSTEMS:
                raise ValueError(
                    f"unknown system kind {kind!r}; expected one of {sorted(models.SYSTEMS)}"
                )
            return models.SYSTEMS[kind].model_validate(value)
        if not isinstance(value, TrainableConfig):
            raise ValueError(
                f"system is a {type(value).__name__}; expected a config with `kind` and `build()`"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.optimizer.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps {self.optimizer.warmup_steps} exceeds steps {self.steps}; "
                "lower the one or raise the other"
            )
        if self.profile is not None and self.profile.start >= self.steps:
            raise ValueError(
                f"profile.start {self.profile.start} is not among the steps 0 to {self.steps - 1}: "
                "nothing would be recorded; lower it, or raise steps"
            )
        if self.tracking_uri.startswith("sqlite:///") and self.tracking_uri[10:11] != "/":
            raise ValueError(
                f"tracking_uri {self.tracking_uri!r} is relative and would differ per worker; "
                "write sqlite:////absolute/path.db or a server URL"
            )
        return self

    @model_validator(mode="after")
    def _executable(self) -> "TrainConfig":
        if self.num_workers % self.sequence_parallel:
            raise ValueError(
                f"num_workers {self.num_workers} is no multiple of sequence_parallel "
                f"{self.sequence_parallel}: change one of them"
            )
        if self.compile_blocks and self.zero_stage == 3:
            raise ValueError(
                "compile_blocks needs a zero_stage below 3, whose hooks on every layer would cut "
                "the compiled graphs to pieces: use stage 2, or leave the blocks uncompiled"
            )
        return self

    @property
    def data_ranks(self) -> int:
        """Groups of workers that have clips of their own."""
        return self.num_workers // self.sequence_parallel

    @property
    def global_batch(self) -> int:
        """Clips per optimizer step over all workers."""
        return self.micro_batch * self.accumulation * self.data_ranks

    @property
    def validates_on_the_way(self) -> bool:
        """Whether evaluations run beside the workers, before the last step."""
        check = self.validate_with
        return check is not None and check.every * self.checkpoint_every < self.steps

    @property
    def run_dir(self) -> Path:
        """Checkpoints, records and logs of this run."""
        return self.storage / "runs" / self.name

    @property
    def export_dir(self) -> Path:
        """The committed export."""
        return self.storage / "exports" / self.name

    @property
    def mlflow_uri(self) -> str:
        """Absolute tracking URI."""
        return self.tracking_uri or f"sqlite:///{self.storage / 'mlflow.db'}"

    def build_system(self) -> nn.Module:
        """The Trainable with freshly initialized weights."""
        return cast(TrainableConfig, self.system).build()

    def identity(self, *, dataset_hash: str = "", init_hash: str = "") -> dict[str, Any]:
        """What decides the result, as flat `a.b: value`: equal identities train equal weights.

        Args:
            dataset_hash: hash of the manifest, which stands in for the path of the data.
            init_hash: identity hash of the export that training starts from.
        """
        fields = self.model_dump(mode="json", exclude=set(EXECUTION_FIELDS))
        fields["data"]["root"] = dataset_hash or fields["data"]["root"]
        del fields["data"]["encoders"]  # a check; the dataset's hash holds what was found
        fields["data"]["stream"] = {"captions": self.data.stream.captions}  # the rest is speed
        if init_hash:
            fields["init_from"]["export"] = init_hash
        return flatten({**fields, "global_batch": self.global_batch})


def identity_hash(identity: dict[str, Any]) -> str:
    """SHA-256 of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
