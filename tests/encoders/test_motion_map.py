"""The map autoencoder reads parts that linear decoding blurs, and paints nothing but a flat map."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from motion.body.render import NUM_CODES, decode_motion_map
from motion.data.procedural import ProceduralConfig, generate_clip
from motion.encoders import (
    MapAutoencoder,
    MapReadoutConfig,
    PatchAutoencoder,
    PatchAutoencoderConfig,
    load_encoder,
)
from motion.encoders.motion_map import _targets
from motion.encoders.readout import RandomFeatures, RidgeSums
from motion.metrics.motion_map import part_accuracy

CLIP = ProceduralConfig(num_frames=9, height=96, width=96)
TRAIN, HELD_OUT = range(16), range(1000, 1004)
READOUT = MapReadoutConfig(features=128, rank=96, rank_first=64)


def maps(seeds: range) -> torch.Tensor:
    frames = np.stack([generate_clip(seed, CLIP).motion_map for seed in seeds])
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def frames_of(video: torch.Tensor) -> np.ndarray:
    return ((video + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy()


@pytest.fixture(scope="module")
def train() -> torch.Tensor:
    return maps(TRAIN)


@pytest.fixture(scope="module")
def linear(train: torch.Tensor) -> PatchAutoencoder:
    return PatchAutoencoder.fit([train], PatchAutoencoderConfig(spatial_stride=16, channels=32))


@pytest.fixture(scope="module")
def encoder(linear: PatchAutoencoder, train: torch.Tensor) -> MapAutoencoder:
    return MapAutoencoder.fit(linear, train.split(4), READOUT)


def accuracy(autoencoder, video: torch.Tensor) -> float:
    found = frames_of(autoencoder.decode(autoencoder.encode(video)))
    pairs = zip(found, frames_of(video), strict=True)
    return float(
        np.mean([part_accuracy(*(decode_motion_map(x).part for x in pair)) for pair in pairs])
    )


def test_latents_are_those_of_the_linear_autoencoder(linear, encoder, train) -> None:
    assert torch.equal(encoder.encode(train[:2]), linear.encode(train[:2]))


def test_parts_are_readable_on_held_out_clips_where_linear_decoding_loses_them(
    linear, encoder
) -> None:
    video = maps(HELD_OUT)
    assert accuracy(linear, video) < 0.25
    assert accuracy(encoder, video) > 0.4


def test_decoded_maps_hold_exact_codes_and_white_only(encoder) -> None:
    latent = encoder.encode(maps(HELD_OUT))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    for z in (latent, latent + noise):
        video = encoder.decode(z)
        assert video.shape == (4, 3, 9, 96, 96)
        frames = frames_of(video)
        torch.testing.assert_close(
            video, torch.from_numpy(frames).permute(0, 4, 1, 2, 3) / 127.5 - 1
        )
        person = (frames != 255).any(-1)
        assert 0.01 < person.mean() < 0.6
        codes = {int(255 * (code + 1) / NUM_CODES + 0.5) for code in range(NUM_CODES)}
        assert set(np.unique(frames[person][:, 0]).tolist()) <= codes
        decoded = decode_motion_map(frames[0])
        np.testing.assert_array_equal(decoded.mask, person[0])
        assert np.linalg.norm(frames[person][:, 1:] / 127.5 - 1, axis=-1).max() < 1.01


def test_normals_are_near_the_truth(encoder, train) -> None:
    true = decode_motion_map(frames_of(train[:1])[0])
    found = decode_motion_map(frames_of(encoder.decode(encoder.encode(train[:1])))[0])
    both = true.mask & found.mask
    cosine = (true.normal * found.normal).sum(-1)[both]
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 30


def test_targets_say_where_each_pixel_is() -> None:
    frames = maps(range(1)).permute(0, 2, 3, 4, 1)[0]
    pixels = ((frames + 1) * 127.5).round().byte().numpy()[1:]
    targets = _targets(pixels, 4, 16).toarray().reshape(2, 6, 6, 27, 4, 16, 16)
    presence = targets[..., :24, :, :, :].transpose(0, 4, 1, 5, 2, 6, 3).reshape(8, 96, 96, 24)
    part = decode_motion_map(pixels).part
    np.testing.assert_array_equal(presence.argmax(-1)[part >= 0], part[part >= 0])
    np.testing.assert_array_equal(presence.sum(-1), part >= 0)


def test_save_and_load_keep_everything(encoder, train, tmp_path) -> None:
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, MapAutoencoder)
    assert (loaded.hash, loaded.id) == (encoder.hash, "patch-pca-32c-4t-16s-parts")
    z = encoder.encode(train[:1])
    torch.testing.assert_close(loaded.decode(z), encoder.decode(z), rtol=0, atol=0)
    assert loaded.hash != loaded.linear.hash
    other = MapAutoencoder(
        encoder.linear,
        READOUT,
        encoder.view,
        encoder.features,
        encoder.first,
        deepcopy(encoder.group),
    )
    other.group.scale *= 2
    assert other.hash != loaded.hash


def test_full_rank_solution_is_ridge_regression() -> None:
    from scipy.sparse import csr_matrix

    generator = torch.Generator().manual_seed(0)
    features = RandomFeatures.draw(torch.ones(5), 7)(torch.randn(300, 5, generator=generator))
    targets = torch.randn(300, 20, generator=generator)
    sums = RidgeSums(13, 20)
    for rows, values in zip(features.split(100), targets.split(100), strict=True):
        sums.add(rows, csr_matrix(values.numpy()))
    factors = sums.solve(2.0, 13)
    shrink = torch.full((13,), 2.0)
    shrink[0] = 0
    exact = torch.linalg.solve(features.T @ features + shrink.diag(), features.T @ targets)
    found = factors.reduce.float() * factors.scale @ factors.expand.float()
    expected = features @ exact
    assert float((features @ found - expected).norm() / expected.norm()) < 0.03
