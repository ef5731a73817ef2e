"""DeepSpeed behind one small class: ZeRO stages 0 to 3 on CPU (gloo) or GPU (NCCL).

Traits:
- Every number that DeepSpeed sees is taken from TrainConfig; there is no "auto".
- The optimizer is torch's AdamW over the trainable parameters only; frozen ones have no state.
- bf16 is autocast over fp32 weights, so master weights, checkpoints and the moving average are
  exact at every stage, and a system may compute its losses in fp32.
- DeepSpeed's shared-memory op is switched off: it costs a compiler and 28 s, and training never
  calls it.
"""

import importlib
import importlib.resources
import json
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from motion.batch import Batch
from motion.models.system import Logs
from motion.training import execution
from motion.training.config import OptimizerConfig, TrainConfig

LARGE_PARAMETERS = 1_000_000_000
"""From this many parameters on, ZeRO-3 builds the module sharded instead of whole per rank."""


def import_deepspeed() -> Any:
    """DeepSpeed, prepared for machines without a compiler.

    The ops module is fetched by name: a function that mentions an attribute `ops` beside torch
    cannot be pickled by Ray.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*_single.*")
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*_base` is deprecated.*")
    deepspeed = importlib.import_module("deepspeed")
    ops = importlib.import_module("deepspeed.ops")
    ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


def zero_block(stage: int, *, use_gpu: bool) -> dict[str, Any]:
    """The `zero_optimization` block of cluster/zero/stage<stage>.json."""
    path = importlib.resources.files("cluster") / "zero" / f"stage{stage}.json"
    block = json.loads(path.read_text())
    if not use_gpu and "overlap_comm" in block:
        block["overlap_comm"] = False  # overlapping needs CUDA streams
    return block


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """The complete DeepSpeed config of a training."""
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": config.accumulation,
        # DeepSpeed counts workers that share a clip as data parallel, and rightly averages them.
        "train_batch_size": config.micro_batch * config.accumulation * config.num_workers,
        "gradient_clipping": config.optimizer.clip_norm,
        "zero_optimization": zero_block(config.zero_stage, use_gpu=config.use_gpu),
        "torch_autocast": {"enabled": config.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 1 << 40,
        "wall_clock_breakdown": False,
    }


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Learning rate of optimizer step `step` from 0 on: a pure function, so resume is exact."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(steps - 1 - config.warmup_steps, 1)
    shape = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 + 0.5 * math.cos(math.pi * done),
    }[config.schedule]
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (config.final_ratio + (1 - config.final_ratio) * shape)


class Engine:
    """One Trainable under DeepSpeed."""

    def __init__(
        self, config: TrainConfig, module: nn.Module, *, load_universal: bool = False
    ) -> None:
        """Wrap a module; the process group must exist.

        Args:
            config: the training.
            module: the Trainable, on the CPU (or already sharded by `build_sharded`).
            load_universal: the next `load` reads a universal checkpoint.

        Raises:
            ValueError: nothing is trainable, or the module cannot execute as the config says.
        """
        deepspeed = import_deepspeed()
        trainable = [p for p in module.parameters() if p.requires_grad]
        if not trainable:
            raise ValueError(f"{type(module).__name__} has no trainable parameter")
        execution.prepare(module, config)
        settings = deepspeed_config(config)
        if load_universal:
            settings["checkpoint"] = {"load_universal": True}
        chosen = config.optimizer
        optimizer = torch.optim.AdamW(
            trainable,
            lr=chosen.learning_rate,
            betas=chosen.betas,
            eps=chosen.eps,
            weight_decay=chosen.weight_decay,
            fused=config.use_gpu or None,  # one pass over the weights, without temporaries
        )
        self.config = config
        self.stage = config.zero_stage
        self.deepspeed, *_ = deepspeed.initialize(
            model=module,
            model_parameters=trainable,
            optimizer=optimizer,
            config=settings,
            dist_init_required=False,
        )
        self.device = torch.device(self.deepspeed.device)

    @property
    def module(self) -> nn.Module:
        """The Trainable inside."""
        return cast(nn.Module, self.deepspeed.module)

    def forward_backward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Loss and logs of one micro-batch; gradients are added up."""
        with record_function("train/forward"):
            loss, logs = self.deepspeed(batch)
        with record_function("train/backward"):
            self.deepspeed.backward(loss)
        return loss.detach(), logs

    def skip(self) -> None:
        """End a micro-batch that does not complete the accumulation."""
        self.deepspeed.step()

    def update(self, step: int) -> float:
        """Clip and apply the gradients of optimizer step `step`.

        Returns:
            The gradient norm before clipping.
        """
        rate = learning_rate(self.config.optimizer, step, self.config.steps)
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = rate
        norm = self._replicated_norm() if self.stage == 0 else None
        with record_function("train/optimizer"):
            self.deepspeed.step()
        if self.stage == 3:
            # A parameter without a gradient would otherwise be updated with that of the last step
            # that had one; stages 0 to 2 take zeros for it.
            self.deepspeed.optimizer.grad_partitions_flat_buffer.zero_()
        return float(self.deepspeed.get_global_grad_norm() if norm is None else norm)

    def _replicated_norm(self) -> Tensor:
        """Norm at stage 0, where DeepSpeed keeps none: gradients are already averaged here."""
        grads = [p.grad for p in self.module.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads)


def build_module(config: TrainConfig) -> nn.Module:
    """The Trainable, initialized from the run's seed: identical on every rank."""
    torch.manual_seed(config.seed)
    return config.build_system()


def count_parameters(config: TrainConfig) -> tuple[int, int]:
    """(all, trainable) parameters, counted on the meta device: no memory is used."""
    with torch.device("meta"):
        module = config.build_system()
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trainable in sizes if trainable)


def build_sharded(config: TrainConfig, read: Callable[[str], Tensor] | None) -> nn.Module:
    """The Trainable built under zero.Init, with values that rank 0 reads one by one.

    zero.Init shards a layer when its constructor returns, so an initialization that an outer
    module then applies is lost without a word. Taking every value from outside, parameter by
    parameter, gives the weights of the plain build.

    Args:
        config: a training at ZeRO stage 3.
        read: on rank 0 the value by name in the state dict, None elsewhere.
    """
    deepspeed = import_deepspeed()
    zero = deepspeed.zero
    deepspeed.init_distributed(auto_mpi_discovery=False, dist_init_required=False, verbose=False)
    torch.manual_seed(config.seed)
    with zero.Init(config_dict_or_path=deepspeed_config(config)):
        module = config.build_system()
    for name, parameter in module.state_dict(keep_vars=True).items():
        if not isinstance(parameter, nn.Parameter):
            continue
        with zero.GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
            if read is not None:
                parameter.copy_(read(name))
    return module
