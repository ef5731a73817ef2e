"""The scales against their closed forms, and a fresh network against the linear estimate."""

import pytest
import torch

from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.network import DualBranch
from motion.models.comovi.preconditioning import Preconditioner

TIMES = torch.tensor([0.001, 0.2, 0.5, 0.9, 1.0])


def scaled(deviation: float) -> Preconditioner:
    module = Preconditioner(1)
    torch.nn.init.constant_(module.log_deviation, torch.tensor(deviation).log().item())
    return module


@pytest.mark.parametrize("deviation", [0.3, 1.0, 4.0])
def test_skip_is_the_regression_of_the_velocity_on_the_input(deviation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = deviation * torch.randn(200_000, generator=generator)
    eps = torch.randn(200_000, generator=generator)
    scales = scaled(deviation)(TIMES)
    for i, t in enumerate(TIMES):
        x_t, v = (1 - t) * x0 + t * eps, eps - x0
        slope = (v * x_t).mean() / (x_t**2).mean()
        rest = (v - slope * x_t).std()
        assert (scales.input[i] * x_t).std().item() == pytest.approx(1.0, rel=0.01)
        assert scales.skip[i].item() == pytest.approx(slope.item(), abs=0.02 * (1 + deviation))
        assert scales.output[i].item() == pytest.approx(rest.item(), rel=0.01)


@pytest.mark.parametrize("deviation", [0.3, 1.0, 4.0])
def test_estimate_and_rest_share_the_variance_of_the_velocity(deviation: float) -> None:
    scales = scaled(deviation)(TIMES)
    total = (scales.skip / scales.input) ** 2 + scales.output**2
    torch.testing.assert_close(total, torch.full_like(total, 1 + deviation**2))


def test_a_fresh_network_gives_the_linear_estimate() -> None:
    config = CoMoViConfig.tiny(1)
    network = DualBranch(config).eval()
    x = torch.randn(2, 2, 48, 3, 4, 4)
    time = torch.tensor([0.3, 0.8])
    out = network(x[0], x[1], time, torch.zeros(2, config.text_tokens, config.text_dim))
    skip = network.rgb.scales(time).skip
    torch.testing.assert_close(out.rgb, skip * x[0])
    torch.testing.assert_close(out.map, skip * x[1])


def test_a_pretrained_size_has_none() -> None:
    with torch.device("meta"):
        network = DualBranch(CoMoViConfig.wan5b())
    assert not [name for name, _ in network.named_parameters() if "precondition" in name]
