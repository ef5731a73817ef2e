"""GENMO's ablations: what is measured, and that the tables' claims name what is there."""

from pathlib import Path

import pytest
import torch
from genmo_batches import batch, system, watched

from motion.evaluation.motions import real_motion
from motion.models.genmo.config import GenmoConfig
from motion.rotations import geodesic_rad
from tuning.genmo_tables import estimation, hidden, inbetweening, slerped
from tuning.tables import TABLES


@pytest.mark.parametrize("name", ["genmo-modes", "genmo-2d"])
def test_tables_are_consistent(name: str) -> None:
    table = TABLES[name](Path("data"))
    for preset in table.presets.values():
        fields = {k: v for k, v in preset.items() if k != "hidden_motion"}
        GenmoConfig.model_validate({**GenmoConfig.tiny().model_dump(), **fields})
    assert len(table.claims) >= 3


def test_more_share_hides_more_of_the_same_keypoints() -> None:
    data = watched(batch([24, 24]))
    half, most = hidden(data, 0.5), hidden(data, 0.75)
    assert not hidden(data, 0.0).any()
    assert bool((~half | most).all())
    assert 0.3 < float(half.float().mean()) < 0.7


def test_slerp_keeps_the_keys_and_goes_evenly_between_them() -> None:
    truth = real_motion(batch([24, 24]))
    line = slerped(truth, [0, 10, 23])
    for key in (0, 10, 23):
        torch.testing.assert_close(
            line.R_parent_child[:, key], truth.R_parent_child[:, key], atol=1e-5, rtol=0
        )
    steps = geodesic_rad(line.R_parent_child[:, :10], line.R_parent_child[:, 1:11])
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), atol=1e-3, rtol=0)


def test_measures_are_finite_and_one_per_clip() -> None:
    data, model = watched(batch([24, 24])), system().eval()
    found = {**estimation(model, data), **inbetweening(model, data, samples=1)}
    assert {"pa_mpjpe_mm", "pa_mpjpe_mm_hidden_75", "w_mpjpe_mm", "between_2_pa_mm"} <= set(found)
    for name, values in found.items():
        assert values.shape == (2,), name
        assert values.isfinite().all(), name
    assert float(found["between_5_pa_mm_of_slerp"].mean()) < float(
        found["between_2_pa_mm_of_slerp"].mean()
    )
