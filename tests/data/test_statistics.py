"""Statistics of a stream equal those of all its frames at once."""

import pytest
import torch

from motion.data.statistics import Statistics, fit_statistics


def stream(offset: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for size in (1, 3, 2):
        features = torch.randn(size, 7, 4, generator=generator) * torch.tensor([1.0, 5, 0.1, 0])
        mask = torch.rand(size, 7, generator=generator) > 0.3
        features[~mask] = 1e6
        batches.append((features + offset, mask))
    return batches


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equal_those_of_all_valid_frames(offset: float) -> None:
    rows = torch.cat([features[mask] for features, mask in stream(offset)]).double()
    found = fit_statistics(stream(offset))
    expected = rows.std(0, correction=0)
    expected[3] = 1.0
    torch.testing.assert_close(found.mean.double(), rows.mean(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.std.double(), expected, rtol=1e-5, atol=1e-6)


def test_round_trip_and_file(tmp_path) -> None:
    found = fit_statistics(stream(0.0))
    features = stream(0.0)[1][0]
    torch.testing.assert_close(found.denormalize(found.normalize(features)), features)
    found.save(tmp_path / "statistics.safetensors")
    loaded = Statistics.load(tmp_path / "statistics.safetensors")
    assert torch.equal(loaded.mean, found.mean)
    assert torch.equal(loaded.std, found.std)


def test_nothing_valid_and_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="no valid frame"):
        fit_statistics([(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool))])
    with pytest.raises(ValueError, match="NaN"):
        fit_statistics([(torch.full((1, 2, 3), torch.nan), torch.ones(1, 2, dtype=torch.bool))])
