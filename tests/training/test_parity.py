"""Results must not depend on ranks, micro-batches, ZeRO stage or restarts.

All trainings of this file share four starts of plain gloo processes.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_comovi import comovi_batches, comovi_train_config
from training_direct import errors, losses, records, run
from training_toy import ToyConfig, toy_train_config

from motion.training.config import TrainConfig
from motion.training.console import OUTCOME, read_events

SPLITS = {"ranks": (2, 1, 1), "accumulation": (1, 2, 1), "one_batch": (1, 1, 2)}
"""(workers, accumulation, micro-batch), each a global batch of 2."""


def _weights(config: TrainConfig, name: str) -> torch.Tensor:
    state = load_file(config.export_dir / f"{name}.safetensors")
    return torch.cat([state[key].flatten() for key in sorted(state)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainConfig]:
    """Finished trainings by name."""
    storage = tmp_path_factory.mktemp("trainings")
    configs = {
        f"stage{s}": toy_train_config(storage, name=f"stage{s}", zero_stage=s, steps=20)
        for s in range(4)
    }
    for name, (workers, accumulation, micro_batch) in SPLITS.items():
        configs[name] = toy_train_config(
            storage,
            name=name,
            num_workers=workers,
            accumulation=accumulation,
            micro_batch=micro_batch,
            steps=8,
        )
    for stage in (0, 3):
        name = f"bf16_{stage}"
        configs[name] = toy_train_config(
            storage, name=name, zero_stage=stage, steps=20, precision="bf16"
        )
    configs["nan"] = toy_train_config(storage, name="nan", system=ToyConfig(nan_at=6))
    for world in (2, 1):
        run(world, [c for c in configs.values() if c.num_workers == world], storage)
    _interrupt(configs, storage)
    return configs


def _interrupt(configs: dict[str, TrainConfig], storage: Path) -> None:
    """Continue the stages from step 16: on 2 ranks, from 12 where 16 is damaged, and on 1 rank.

    "exported" has all its checkpoints and lacks nothing but the export.
    """
    for stage in range(4):
        uninterrupted = configs[f"stage{stage}"]
        for kind, workers in [("resumed", 2), ("damaged", 2), ("alone", 1), ("exported", 2)]:
            changes = {"num_workers": workers, "accumulation": 4 // workers}
            name = f"{kind}{stage}"
            # The name is part of the identity: the copy lies under another storage root.
            config = uninterrupted.model_copy(update={**changes, "storage": storage / name})
            shutil.copytree(uninterrupted.run_dir, config.run_dir)
            if kind != "exported":
                shutil.rmtree(max(config.run_dir.glob("checkpoint_*")))
            configs[name] = config
        newest = max(configs[f"damaged{stage}"].run_dir.glob("checkpoint_*"))
        shard = max(newest.glob("native/*.pt"), key=lambda path: path.stat().st_size)
        shard.write_bytes(shard.read_bytes()[:-64])
    continued = [c for n, c in configs.items() if n.startswith(("resumed", "damaged", "exported"))]
    run(2, continued, storage)
    run(1, [c for n, c in configs.items() if n.startswith("alone")], storage)


@pytest.mark.slow
def test_splits_of_one_global_batch_give_one_loss_curve(trained: dict[str, TrainConfig]) -> None:
    reference = torch.tensor(losses(trained["one_batch"]))
    assert reference[-1] < reference[0]
    for name in ("ranks", "accumulation"):
        assert errors(trained[name]) == []
        torch.testing.assert_close(
            torch.tensor(losses(trained[name])), reference, atol=1e-6, rtol=0
        )
    everyone = {
        name: [sorted(clips) for _, clips in records(trained[name]).values()] for name in SPLITS
    }
    assert everyone["ranks"] == everyone["accumulation"] == everyone["one_batch"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stages_agree(trained: dict[str, TrainConfig], stage: int) -> None:
    config, reference = trained[f"stage{stage}"], trained["stage0"]
    assert errors(config) == []
    assert torch.tensor(losses(config)) == pytest.approx(torch.tensor(losses(reference)), abs=1e-5)
    for name in ("model", "ema"):
        torch.testing.assert_close(
            _weights(config, name), _weights(reference, name), atol=1e-6, rtol=0
        )


@pytest.mark.slow
def test_parameters_without_a_gradient_in_a_step_are_alike_at_all_stages(tmp_path: Path) -> None:
    """CoMoVi supervises random layers: the fusion linears of the others take no part in a step.

    Nor does it matter whether two ranks have a clip each, or share the tokens of two in turn.
    """
    changes: dict[str, dict[str, int]] = {"apart": {}}
    changes["shared"] = {"sequence_parallel": 2, "accumulation": 2}
    configs = {
        (kind, stage): comovi_train_config(
            tmp_path, name=f"{kind}{stage}", zero_stage=stage, **changes[kind]
        )
        for kind, stage in (("apart", 0), ("apart", 3), ("shared", 2), ("shared", 3))
    }
    run(2, list(configs.values()), tmp_path, comovi_batches)
    reference = configs.pop(("apart", 0))
    assert errors(reference) == []
    for config in configs.values():
        assert errors(config) == []
        assert losses(config) == pytest.approx(losses(reference), abs=1e-5)
        torch.testing.assert_close(
            _weights(config, "model"), _weights(reference, "model"), atol=1e-5, rtol=0
        )


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
def test_bf16_stays_near_fp32_and_exports_fp32(trained: dict[str, TrainConfig], stage: int) -> None:
    config = trained[f"bf16_{stage}"]
    assert errors(config) == []
    found, exact = losses(config), losses(trained["stage0"])
    assert found != exact
    assert found == pytest.approx(exact, rel=0.02)
    assert _weights(config, "model").dtype == torch.float32


@pytest.mark.slow
def test_the_average_is_the_textbook_one_and_lags_the_weights(
    trained: dict[str, TrainConfig],
) -> None:
    config = trained["stage3"]
    raw, average = load_file(config.export_dir / "model.safetensors"), _weights(config, "ema")
    assert "gate.weight" in raw, "frozen weights belong to the export"
    assert raw["leave.weight"].std() > 0.15, "the outer initialisation was lost"
    assert 1e-4 < (average - _weights(config, "model")).abs().max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("kind", ["resumed", "damaged"])
def test_a_restart_repeats_the_run_bit_by_bit(
    trained: dict[str, TrainConfig], kind: str, stage: int
) -> None:
    config, reference = trained[f"{kind}{stage}"], trained[f"stage{stage}"]
    assert errors(config) == []
    assert records(config) == records(reference)  # also compares the replayed steps
    for name in ("model", "ema"):
        assert torch.equal(_weights(config, name), _weights(reference, name))
    events = [e["text"] for e in read_events(config.run_dir) if e["kind"] == "checkpoint"]
    if kind == "resumed":
        assert events == []
    else:
        assert len(events) == 1
        assert "falling back to the one before: checkpoint_00000016_001" in events[0]
        assert "bytes, expected" in events[0]


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_a_deleted_export_is_written_again_from_the_last_checkpoint(
    trained: dict[str, TrainConfig], stage: int
) -> None:
    config, reference = trained[f"exported{stage}"], trained[f"stage{stage}"]
    assert errors(config) == []
    assert records(config) == records(reference), "no step was trained again"
    for name in ("model", "ema"):
        assert torch.equal(_weights(config, name), _weights(reference, name))
    outcome = json.loads((config.run_dir / OUTCOME).read_text())
    assert [outcome[k] for k in ("last_loss", "best_loss", "clips_per_s")] == [None, None, 0.0]
    (event,) = [e["text"] for e in read_events(config.run_dir) if e["kind"] == "export"]
    assert event.startswith("all 20 steps were done already")


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_another_world_size_continues(trained: dict[str, TrainConfig], stage: int) -> None:
    config, reference = trained[f"alone{stage}"], trained[f"stage{stage}"]
    assert errors(config) == []
    assert (config.run_dir / "attempts").read_text() == "2"
    rank0 = config.run_dir / "steps" / "rank0.jsonl"
    replayed = [row for row in rank0.read_text().splitlines() if '"attempt": 2' in row]
    assert len(replayed) == 4, "expected to continue after step 16 of 20"
    again = [float(row.split('"loss": ')[1].split(",")[0]) for row in replayed]
    assert again == pytest.approx(losses(reference)[16:], abs=1e-6)
    for name in ("model", "ema"):
        torch.testing.assert_close(
            _weights(config, name), _weights(reference, name), atol=1e-6, rtol=0
        )


@pytest.mark.slow
def test_nan_stops_every_rank_with_clips_term_and_remedy(trained: dict[str, TrainConfig]) -> None:
    config = trained["nan"]
    messages = errors(config)
    assert len(messages) == 2
    assert messages[0] == messages[1]
    assert messages[0].startswith("NonFiniteLossError: step 6: ")
    assert "rank 0: term text of clips clip" in messages[0]
    assert "rank 1: term text of clips clip" in messages[0]
    assert "lower optimizer.learning_rate" in messages[0]
    assert sorted(records(config)) == [0, 1, 2, 3, 4, 5]
    assert not config.export_dir.exists()
