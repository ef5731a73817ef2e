"""K2M's recipe: every step reads what the one before it writes, and no 3D reaches a training."""

import pytest

from motion.models.k2m.config import K2MConfig, TokenizerConfig
from rayjobs.train_k2m import PRESETS, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_steps_fit_together(name: str) -> None:
    recipe: Recipe = PRESETS[name][1]
    assert recipe.prepare is not None
    assert recipe.project is not None
    assert recipe.encode is not None
    assert recipe.project.data.source_root == recipe.prepare.root
    assert recipe.encode.raw_root == recipe.project.data.root
    for stage in (recipe.evaluator, recipe.tokenizer):
        assert stage.data.root == recipe.encode.root.resolve()
    assert recipe.tokens.data.source_root == recipe.encode.root
    assert recipe.tokens.export == recipe.tokenizer.export_dir
    assert recipe.transformers.data.root == recipe.tokens.data.root.resolve()
    assert recipe.transformers.init_from is not None
    assert recipe.transformers.init_from.export == recipe.tokenizer.export_dir
    system = recipe.transformers.system
    assert isinstance(system, K2MConfig)
    assert system.tokenizer == recipe.tokenizer.system


@pytest.mark.parametrize("name", PRESETS)
def test_no_3d_enters_a_training(name: str) -> None:
    recipe: Recipe = PRESETS[name][1]
    for stage in (recipe.evaluator, recipe.tokenizer, recipe.transformers):
        assert not any("smpl" in column for column in stage.data.columns)


def test_the_tokenizer_s_weights_are_found_in_the_second_stage() -> None:
    config = TokenizerConfig.tiny()
    first, second = config.build().state_dict(), K2MConfig.tiny(tokenizer=config).build()
    found = second.load_state_dict(first, strict=False)
    assert found.unexpected_keys == []
    assert {name.split(".")[0] for name in found.missing_keys} == {"masked", "residual", "length"}
