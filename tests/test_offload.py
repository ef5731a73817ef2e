"""Offloaded weights compute what weights in place compute."""

import copy

import pytest
import torch

from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.system import CoMoVi
from motion.offload import Offload, OffloadConfig, choose_device, place, split


@pytest.fixture(scope="module")
def system() -> CoMoVi:
    torch.manual_seed(0)
    built = CoMoViConfig.tiny().build().eval()
    for parameter in built.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)  # zero outputs would hide a difference
    return built


@pytest.mark.parametrize("mode", ["layers", "split"])
def test_outputs_are_equal(system: CoMoVi, mode: Offload) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 1, 48, 3, 4, 4)
    arguments = (x[0], x[1], torch.tensor([0.4]), torch.randn(1, 32, 64))
    pose = {"initial_pose": torch.randn(1, 144), "pose_layers": (3,)}
    moved = copy.deepcopy(system)
    place(moved, "cpu", OffloadConfig(mode=mode, device_memory_gb=1e-3))
    away = [p.device.type for p in moved.parameters()]
    assert "meta" in away, "some weights must wait elsewhere"
    with torch.no_grad():
        expected, found = system.network(*arguments, **pose), moved.network(*arguments, **pose)
    assert torch.equal(found.rgb, expected.rgb)
    assert torch.equal(found.map, expected.map)
    assert torch.equal(found.poses[0], expected.poses[0])
    assert [p.device.type for p in moved.parameters()] == away, "and go back after their call"


def test_a_split_fills_the_memory_and_cuts_no_block(system: CoMoVi) -> None:
    total = sum(p.numel() for p in system.parameters()) * 4 / 1e9
    places = split(system, "cuda", 0.4 * total)
    assert set(places.values()) == {"device", "cpu"}
    assert not any(
        name.count(".blocks.") and name.split(".blocks.")[1].count(".") for name in places
    )
    assert set(split(system, "cuda", 2 * total).values()) == {"device"}
    with pytest.raises(ValueError, match="needs device_memory_gb"):
        split(system, "cpu", None)


def test_devices_that_are_not_here_are_named() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not here; expected auto or one of"):
        choose_device("cuda:99")
