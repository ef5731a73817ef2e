"""K2M's ablation tables name what exists."""

from pathlib import Path

import pytest

from motion.models.k2m.config import TokenizerConfig
from tuning.k2m_tables import configured, k2m_adapter, k2m_losses


def test_a_term_is_left_out_alone() -> None:
    full, without = TokenizerConfig.tiny(), configured({"vel": 0.0}, "dstformer")
    assert without.loss.weights.vel == 0
    assert without.loss.weights.rec == full.loss.weights.rec
    assert configured({}, "dstformer") == full
    assert configured({}, "none").adapter.kind == "none"


@pytest.mark.parametrize("table", [k2m_losses, k2m_adapter])
def test_tables_are_consistent(table) -> None:  # type: ignore[no-untyped-def]
    found = table(Path("data"))
    for preset in found.presets.values():
        without = preset.get("without", "")
        weights = {without: 0.0} if without else {}
        configured(weights, preset.get("adapter", "dstformer"))
    assert found.identity(next(iter(found.presets)), 0)["settings"]["root"].startswith("k2m")
