"""Attention whose tokens two ranks share, and the choice of its kernel."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from motion.networks.attention import SequenceGroup, SharesSequence
from motion.networks.kernel import choose_kernel
from motion.training.execution import require_kernel, share_sequence


def _ranks() -> ModuleType:
    """The module by a name that spawned processes can import too."""
    path = Path(__file__).with_name("sequence_ranks.py")
    sys.path.insert(0, str(path.parent))
    return importlib.import_module("sequence_ranks")


ranks = _ranks()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """Mean loss and gradients of two ranks that share every clip, by case."""
    folder = tmp_path_factory.mktemp("sequence")
    mp.spawn(ranks.work, args=(str(folder),), nprocs=ranks.WORLD)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("case", ranks.CASES)
def test_two_ranks_that_share_clips_equal_one(case: str, shared) -> None:
    alone = ranks.gradients(ranks.system(**ranks.CASES[case]), ranks.batch())
    assert set(alone) == set(shared[case])
    for name, value in alone.items():
        torch.testing.assert_close(shared[case][name], value, atol=1e-5, rtol=1e-5, msg=name)
    names = [n for n in alone if n.startswith("network.motion.blocks.0")]
    assert all(alone[name].abs().max() > 0 for name in names if "to_k.bias" not in name)


def test_tokens_and_heads_must_divide() -> None:
    three = SequenceGroup(dist.ProcessGroup(1, 3), 1, 3)
    assert three.part(48) == slice(16, 32)
    with pytest.raises(ValueError, match="50 tokens do not divide among 3 ranks"):
        three.part(50)
    with pytest.raises(ValueError, match="2 attention heads do not divide among 3"):
        share_sequence(ranks.system(), three)
    with pytest.raises(ValueError, match="Linear cannot share"):
        share_sequence(torch.nn.Linear(2, 2), three)
    assert isinstance(ranks.system().network, SharesSequence)


@pytest.mark.parametrize("kernel", ["math", "flash"])
def test_kernels_agree(kernel) -> None:
    model = ranks.system()
    plain = ranks.gradients(model, ranks.batch())
    model.zero_grad()
    assert choose_kernel(model, kernel) == 2 * 2 * 3 + 2  # self and text in six blocks, predictor
    for name, value in ranks.gradients(model, ranks.batch()).items():
        torch.testing.assert_close(value, plain[name], atol=2e-5, rtol=1e-4, msg=name)


def test_a_kernel_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no attention of diffusers"):
        require_kernel(torch.nn.Linear(2, 2), "math")
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(ValueError, match="needs the package flash_attn"):
            require_kernel(ranks.system(), "flash_attn_2")
