"""How a Trainable executes, apart from what it computes: attention kernel, shared tokens, compiler.

Applied to the finished module before DeepSpeed wraps it. Parameters keep their names, so
checkpoints and exports do not know of it.
"""

from collections.abc import Iterator

from torch import nn

from motion.networks.attention import SequenceGroup, SharesSequence, sequence_groups
from motion.networks.kernel import Kernel, choose_kernel
from motion.training.config import TrainConfig


def prepare(module: nn.Module, config: TrainConfig) -> None:
    """Apply a training's choices to its module; a collective call.

    Raises:
        ValueError: the module has nothing that a choice applies to.
    """
    if config.sequence_parallel > 1:
        share_sequence(module, sequence_groups(config.sequence_parallel))
    if config.attention != "auto":
        require_kernel(module, config.attention)
    if config.compile_blocks:
        compile_blocks(module)


def require_kernel(module: nn.Module, kernel: Kernel) -> None:
    """Let the module's attentions use one kernel.

    Raises:
        ValueError: the module has none that could choose.
    """
    if not choose_kernel(module, kernel):
        raise ValueError(
            f"attention is {kernel!r}, but {type(module).__name__} has no attention of diffusers "
            "that could choose a kernel: leave it at 'auto'"
        )


def share_sequence(module: nn.Module, sequence: SequenceGroup) -> None:
    """Let the ranks of a group share the tokens of a clip.

    Raises:
        ValueError: the module cannot.
    """
    able = [m for m in module.modules() if isinstance(m, SharesSequence)]
    if not able:
        raise ValueError(
            f"sequence_parallel is {sequence.size}, but {type(module).__name__} cannot share the "
            "tokens of a clip among ranks: set it to 1"
        )
    for network in able:
        network.share_sequence(sequence)


def compile_blocks(module: nn.Module, *, backend: str = "inductor") -> int:
    """Compile every repeated block by itself, in place, and return how many there are.

    Blocks of one class share one compiled graph, so that 30 blocks take the time of one; the whole
    network would take many minutes and compile anew for every shape of the rest.

    Raises:
        ValueError: the module repeats no block.
    """
    blocks = list(_repeated_blocks(module))
    if not blocks:
        raise ValueError(
            f"compile_blocks is set, but {type(module).__name__} has no ModuleList of blocks: "
            "unset it"
        )
    for block in blocks:
        block.compile(backend=backend)
    return len(blocks)


def _repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Members of the outermost ModuleLists that consist of further modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.children()))
        else:
            yield from _repeated_blocks(child)
