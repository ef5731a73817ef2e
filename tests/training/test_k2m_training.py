"""K2M's stages in the loop: ranks, micro-batches and restarts change nothing."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_direct import errors, losses, records, run
from training_k2m import SYSTEM, TOKENIZER, k2m_batches, k2m_train_config

from motion.training.config import TrainConfig

STAGES = {"tokenizer": TOKENIZER, "transformers": SYSTEM}
SPLITS = {"ranks": (2, 1, 1), "accumulation": (1, 2, 1), "batch": (1, 1, 2)}
"""(workers, accumulation, micro-batch), each a global batch of 2."""


def _state(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.export_dir / "model.safetensors")


@pytest.mark.parametrize("stage", STAGES)
def test_two_micro_batches_are_one_batch_of_both(stage: str) -> None:
    """The loss and its terms over clips of two lengths, without the loop."""
    torch.manual_seed(0)
    module = STAGES[stage].build()
    whole = next(k2m_batches(k2m_train_config(Path(), **_named(stage, 2)), 0, 0))
    parts = k2m_batches(k2m_train_config(Path(), **_named(stage, 1)), 0, 0)
    found = [module(next(parts)) for _ in range(2)]
    loss, terms = module(whole)
    torch.testing.assert_close(torch.stack([one for one, _ in found]).mean(), loss)
    for name, value in terms.items():
        both = torch.stack([logs[name] for _, logs in found]).mean()
        torch.testing.assert_close(both, value, msg=name)


def _named(stage: str, micro_batch: int) -> dict[str, object]:
    accumulation = 2 // micro_batch
    return {
        "name": stage,
        "system": STAGES[stage],
        "num_workers": 1,
        "micro_batch": micro_batch,
        "accumulation": accumulation,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainConfig]:
    """Finished trainings by stage and split, and continued ones."""
    storage = tmp_path_factory.mktemp("k2m")
    configs = {
        f"{stage}-{name}": k2m_train_config(
            storage,
            name=f"{stage}-{name}",
            system=system,
            num_workers=workers,
            accumulation=accumulation,
            micro_batch=micro_batch,
        )
        for stage, system in STAGES.items()
        for name, (workers, accumulation, micro_batch) in SPLITS.items()
    }
    for world in (2, 1):
        chosen = [c for c in configs.values() if c.num_workers == world]
        run(world, chosen, storage, k2m_batches)
    for stage in STAGES:
        for name in ("ranks", "batch"):
            done = configs[f"{stage}-{name}"]
            # The name is part of the identity: the copy lies under another storage root.
            again = done.model_copy(update={"storage": storage / f"{stage}-{name}-again"})
            shutil.copytree(done.run_dir, again.run_dir)
            shutil.rmtree(max(again.run_dir.glob("checkpoint_*")))
            configs[f"{stage}-{name}-again"] = again
    for world in (2, 1):
        chosen = [c for n, c in configs.items() if n.endswith("again") and c.num_workers == world]
        run(world, chosen, storage, k2m_batches)
    return configs


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["ranks", "accumulation"])
def test_splits_of_one_global_batch_are_one_training(
    trained: dict[str, TrainConfig], stage: str, name: str
) -> None:
    config, reference = trained[f"{stage}-{name}"], trained[f"{stage}-batch"]
    assert errors(config) == []
    assert losses(config) == pytest.approx(losses(reference), rel=1e-5)
    for key, value in _state(reference).items():
        torch.testing.assert_close(_state(config)[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["ranks", "batch"])
def test_a_restart_in_the_middle_repeats_the_run_bit_by_bit(
    trained: dict[str, TrainConfig], stage: str, name: str
) -> None:
    config, reference = trained[f"{stage}-{name}-again"], trained[f"{stage}-{name}"]
    assert errors(config) == []
    assert (config.run_dir / "attempts").read_text() == "2"
    assert records(config) == records(reference)  # also compares the replayed steps
    for key, value in _state(reference).items():
        assert torch.equal(_state(config)[key], value), key


@pytest.mark.slow
def test_codes_started_and_moved(trained: dict[str, TrainConfig]) -> None:
    state = _state(trained["tokenizer-batch"])
    assert bool(state["tokenizer.quantizer.started"])
    assert (state["tokenizer.quantizer.codes"].std((1, 2)) > 0).all()
    assert int(state["tokenizer.quantizer.new_step"]) == 7


@pytest.mark.slow
def test_the_second_stage_leaves_the_tokenizer_alone(trained: dict[str, TrainConfig]) -> None:
    config = trained["transformers-batch"]
    torch.manual_seed(config.seed)
    fresh = SYSTEM.build().state_dict()
    found = _state(config)
    frozen = [name for name in found if name.startswith("tokenizer.")]
    assert frozen
    for name in frozen:
        assert torch.equal(found[name], fresh[name])
