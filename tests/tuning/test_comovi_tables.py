"""CoMoVi's ablation presets: what each is, and that a cell of every kind trains."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motion.batch import Batch
from motion.models.comovi.config import CoMoViConfig, parts_of
from motion.training.alone import train_alone
from motion.training.config import TrainConfig
from tuning import comovi_tables
from tuning.comovi_tables import comovi_architecture, comovi_interaction, comovi_map, train_comovi
from tuning.verdicts import flat_metrics, outcomes, render

FRAMES = 5


def clips(step: int) -> Batch:
    torch.manual_seed(step)
    T = torch.eye(4).repeat(2, FRAMES, 1, 1)
    return Batch(
        clip_ids=("a", "b"),
        fps=torch.full((2,), 16.0),
        frame_mask=torch.ones(2, FRAMES, dtype=torch.bool),
        R_parent_child=torch.eye(3).repeat(2, FRAMES, 24, 1, 1),
        translation=torch.zeros(2, FRAMES, 3),
        betas=torch.zeros(2, 10),
        T_camera_world=T,
        text=torch.randn(2, 1, 4, 64),
        text_mask=torch.ones(2, 1, 4, dtype=torch.bool),
        latent_rgb=torch.randn(2, 48, 2, 3, 3),
        latent_map=torch.randn(2, 48, 2, 3, 3),
        noise_key=torch.tensor([1, 2]),
    )


def stream(config: TrainConfig, rank: int, start: int) -> Iterator[Batch]:
    return map(clips, range(start, config.steps))


FACTS = {"encoders": {}, "body": "free", "hash": "made here"}


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells read these clips instead of a dataset; the training loop is the real one."""
    alone = partial(train_alone, open_batches=stream, facts=lambda _: FACTS)
    monkeypatch.setattr(comovi_tables, "train_alone", alone)
    monkeypatch.setattr(comovi_tables, "split_batches", lambda *_: [clips(9)])


@pytest.mark.usefixtures("no_disk")
def test_every_preset_trains_another_network_or_on_another_picture(tmp_path: Path) -> None:
    tables = [build(tmp_path / "data") for build in (comovi_architecture, comovi_map)]
    for table in tables:
        found: dict[str, dict[str, float]] = {}
        for name, preset in table.presets.items():
            json.dumps(preset)
            small: dict[str, Any] = {"steps": 2, "batch_size": 2, "num_frames": FRAMES}
            arguments = {**table.settings, **preset, **small}
            found[name] = train_comovi(seed=0, folder=tmp_path / table.name / name, **arguments)
            assert all(np.isfinite(value) for value in found[name].values())
        if table.name == "comovi-architecture":
            assert len({tuple(values.values()) for values in found.values()}) == 4
        else:
            assert set(found["without_motion"]) == {"flow_rgb"}
            pictures = {preset.get("root") for preset in table.presets.values()}
            assert len(pictures) == 4


def test_a_preset_without_a_metric_shows_a_dash(tmp_path: Path) -> None:
    table = comovi_map(tmp_path / "data")
    cells = {seed: {"flow_rgb": 1.0 + seed, "joints": 0.1} for seed in range(3)}
    results = {name: cells for name in table.presets}
    results["without_motion"] = {seed: {"flow_rgb": 2.0 + seed} for seed in range(3)}
    assert "| without_motion | 3 ± " in render(table, results)
    assert render(table, results).count(" - |") == 1
    assert "without_motion/joints" not in flat_metrics(table, results)
    assert len(outcomes(table, results)) == len(table.claims)


def test_interaction_cells_are_what_they_were(tmp_path: Path) -> None:
    identity = comovi_interaction(tmp_path / "data").identity("dual", 0)
    assert identity["arguments"] == {"interaction": "dual"}
    assert set(identity["settings"]) == {
        "root",
        "steps",
        "batch_size",
        "num_frames",
        "learning_rate",
    }
    assert "bridges" not in parts_of("none")
    assert CoMoViConfig.tiny().trainable == parts_of("single_m2v")
