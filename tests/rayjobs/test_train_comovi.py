"""CoMoVi's recipe: its presets state the paper's numbers, and a dry run checks them anywhere."""

from pathlib import Path

import pytest

from motion.evaluation import EvaluationConfig
from motion.models.comovi.config import CoMoViConfig
from motion.training import launch
from motion.training.config import InitConfig
from motion.training.launch import run_stages
from rayjobs.train_comovi import PRESETS, chosen, wan5b


def test_every_preset_reads_what_the_step_before_it_wrote() -> None:
    for build in PRESETS.values():
        recipe = build()
        assert recipe.stage1.data.root == recipe.stage2.data.root == recipe.encode.root.resolve()


@pytest.mark.parametrize("name", PRESETS)
def test_every_evaluation_takes_its_arguments(name: str) -> None:
    recipe = PRESETS[name]()
    for stage in (recipe.stage1, recipe.stage2):
        assert stage.validate_with is not None
        assert stage.validate_with.function == "motion.evaluation:evaluate_export"
        EvaluationConfig.model_validate(stage.validate_with.arguments)


def test_wan5b_states_the_papers_numbers() -> None:
    recipe = wan5b()
    for stage, steps in ((recipe.stage1, 2000), (recipe.stage2, 4000)):
        assert (stage.steps, stage.accumulation, stage.global_batch) == (steps, 4, 96)
        assert stage.optimizer.learning_rate == 2e-5
        assert (stage.zero_stage, stage.precision, stage.use_gpu) == (3, "bf16", True)
    assert recipe.prepare is not None
    clip = recipe.prepare.clip
    assert (clip.num_frames, clip.height, clip.width, clip.fps) == (81, 704, 1280, 16.0)
    one, two = (CoMoViConfig.model_validate(s.system) for s in (recipe.stage1, recipe.stage2))
    assert (one.stage, one.trainable, one.weights.smpl) == (1, ("motion",), False)
    assert (two.stage, two.supervised_layers) == (2, 4)
    assert two.trainable == ("motion", "bridges", "fusion", "smpl")
    assert min(two.weights.model_dump().values()) == 1.0
    assert one.text_dropout == two.text_dropout == 0.1


def test_presets_and_overrides_come_from_the_command_line() -> None:
    assert chosen([]) == PRESETS["tiny"]()
    changed = chosen(["--preset", "wan5b", "--stage2.steps", "700", "--dry-run"])
    assert (changed.stage2.steps, changed.stage1.steps, changed.dry_run) == (700, 2000, True)
    with pytest.raises(SystemExit):
        chosen(["--preset", "wan14b"])


def test_adapters_take_the_place_of_the_motion_branch() -> None:
    recipe = PRESETS["wan5b-lora"]()
    one, two = (CoMoViConfig.model_validate(s.system) for s in (recipe.stage1, recipe.stage2))
    assert one.lora == two.lora
    assert (one.trainable, two.trainable) == ((), ("bridges", "fusion", "smpl"))
    assert recipe.stage1.init_from is not None
    assert recipe.stage1.init_from.allow_missing == ("*.lora_*",)


def test_a_dry_run_lists_all_that_is_unmet_in_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch.ray, "is_initialized", lambda: True)
    nodes = [{"CPU": 16.0, "GPU": 8.0}] * 2
    monkeypatch.setattr(launch, "cluster_nodes", lambda: nodes)
    recipe = wan5b()
    first = recipe.stage1.model_copy(
        update={"storage": tmp_path, "init_from": InitConfig(export=tmp_path / "wan")}
    )
    second = recipe.stage2.model_copy(
        update={"storage": tmp_path, "init_from": InitConfig(export=first.export_dir)}
    )
    with pytest.raises(ValueError, match="workers") as error:
        run_stages([first, second], dry_run=True)
    text = str(error.value)
    assert "comovi-wan5b-1 cannot run" in text
    assert "comovi-wan5b-2 cannot run" in text
    assert "is no export" in text
    table = capsys.readouterr().out
    assert "11,08" in table
    assert "written by an earlier stage" in table
    assert table.count("GiB of model states per worker") == 2
