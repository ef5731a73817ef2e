"""Features of dances, beats and key poses, as the GENMO protocols take them."""

import dataclasses
import math

import pytest
import torch
from genmo_batches import batch

from motion.body import load_body
from motion.evaluation.dance import Points, _dance_values, feature_values, key_mask, real_points
from motion.evaluation.protocols import PROTOCOLS


def points(seed: int, size: int = 12) -> Points:
    generator = torch.Generator().manual_seed(seed)
    steps = 0.05 * torch.randn(size, 40, 24, 3, generator=generator).cumsum(1)
    rest = torch.randn(size, 1, 24, 3, generator=generator)
    return Points(rest + steps, torch.ones(size, 40, dtype=torch.bool), 20.0)


def test_real_features_are_at_distance_zero_and_others_are_not() -> None:
    same = feature_values([points(0)], [points(0)])
    assert same["fid_k"].mean == pytest.approx(0, abs=1e-6)
    assert same["fid_g"].mean == pytest.approx(0, abs=1e-6)
    joints, mask, fps = points(0)
    faster = feature_values([points(0)], [Points(3 * joints, mask, fps)])
    assert faster["fid_k"].mean > 1
    assert math.isnan(faster["fid_k"].low), "without an interval"
    assert faster["div_k"].mean > same["div_k"].mean


def test_beats_are_met_by_who_moves_to_them() -> None:
    """Joints that stop every twenty frames, and music with and without its beats there."""
    frames = torch.arange(160)
    swing = torch.sin(math.pi * (frames + 10.5) / 20)
    joints = torch.zeros(2, 160, 24, 3)
    joints[..., 0] = swing[None, :, None]
    music = torch.zeros(2, 160, 35)
    stops = (frames % 20 == 19) & (frames < 150)
    music[0, :, 34], music[1, :, 34] = stops.float(), torch.roll(stops, 10).float()
    data = dataclasses.replace(batch([160, 160], 160), music=music)
    made = Points(joints, torch.ones(2, 160, dtype=torch.bool), 20.0)
    both = _dance_values([points(0)], [made], [data])["bas"]
    first = dataclasses.replace(data, music=music[[0, 0]])
    second = dataclasses.replace(data, music=music[[1, 1]])
    met = _dance_values([points(0)], [made], [first])["bas"].mean
    missed = _dance_values([points(0)], [made], [second])["bas"].mean
    assert met > 0.7 > missed
    assert both.mean == pytest.approx((met + missed) / 2, abs=1e-6)


def test_keys_are_first_last_and_even_whatever_the_length() -> None:
    data = batch([30, 11], 30)
    mask = key_mask(data, 3)
    assert mask[0].nonzero().flatten().tolist() == [0, 14, 29]
    assert mask[1].nonzero().flatten().tolist() == [0, 5, 10]


def test_real_points_are_the_clips_joints() -> None:
    data = batch([24, 17])
    ((joints, mask, fps),) = real_points(load_body("free"), [data])
    assert joints.shape == (2, 24, 24, 3)
    assert mask.equal(data.frame_mask)
    assert fps == 20.0


@pytest.mark.parametrize("name", ["genmo-t2m", "genmo-inbetween", "genmo-dance"])
def test_protocols_say_what_a_system_sees(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.options["genmo"]["conditions"] == ["music" if name == "genmo-dance" else "text"]
    assert len({column.name for column in protocol.columns}) == len(protocol.columns)
