"""The patch autoencoder: exact where it can be, optimal where it cannot, normalised."""

import pytest
import torch

from motion.encoders import PatchAutoencoder, PatchAutoencoderConfig, load_encoder

SMALL = PatchAutoencoderConfig(channels=12, spatial_stride=4, temporal_stride=2)


def clips(rank: int, *, count: int = 6, seed: int = 0, noise: float = 0.0) -> torch.Tensor:
    """Videos (b, 3, 5, 16, 16) whose 4x4 patches lie in a space of few dimensions."""
    generator = torch.Generator().manual_seed(seed)
    space = torch.Generator().manual_seed(99)
    patterns = torch.randn(rank, 3, 2, 4, 4, generator=space)
    weights = torch.randn(count, 2, 4, 4, rank, generator=generator) * torch.linspace(1, 0.2, rank)
    later = torch.einsum("nthwr,rcspq->nctshpwq", weights, patterns).reshape(count, 3, 4, 16, 16)
    video = torch.cat([later[:, :, :1], later], dim=2)
    video = video + noise * torch.randn(video.shape, generator=generator)
    return video / 20


def changes(video: torch.Tensor) -> torch.Tensor:
    """Later frames as their difference from the first."""
    return video[:, :, 1:] - video[:, :, :1]


def test_low_rank_video_is_reconstructed_exactly() -> None:
    # Differences from the first frame lie in the space of 5 patterns and their 5 first slices.
    encoder = PatchAutoencoder.fit([clips(5)], SMALL)
    held_out = clips(5, seed=1)
    latent = encoder.encode(held_out)
    assert latent.shape == (6, 12, 3, 4, 4)
    torch.testing.assert_close(encoder.decode(latent), held_out, atol=1e-4, rtol=0)


def test_one_frame_is_encoded_as_the_first_latent_of_its_clip() -> None:
    encoder, video = PatchAutoencoder.fit([clips(5)], SMALL), clips(5, seed=2)
    first, clip = encoder.encode(video[:, :, :1]), encoder.encode(video)
    assert first.shape[2] == 1
    torch.testing.assert_close(first, clip[:, :, :1], atol=1e-6, rtol=0)


def test_error_is_the_discarded_variance() -> None:
    """Eckart-Young: the squared error equals the sum of the eigenvalues left out."""
    video = clips(30, count=20, noise=0.3)
    encoder = PatchAutoencoder.fit([video], SMALL)
    error = changes(encoder.decode(encoder.encode(video))) - changes(video)
    patches = changes(video).reshape(20, 3, 2, 2, 4, 4, 4, 4)
    rows = patches.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, 96).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    expected = values[:-12].sum() / 96
    torch.testing.assert_close(error.double().square().mean(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_latents_have_mean_square_one(whitening: float) -> None:
    config = SMALL.model_copy(update={"whitening": whitening})
    video = clips(30, count=20, noise=0.3)
    encoder = PatchAutoencoder.fit([video], config)
    z = encoder.encode(video)[:, :, 1:].transpose(0, 1).flatten(1)
    square = z.square().mean(1)
    torch.testing.assert_close(square.mean(), torch.tensor(1.0), atol=1e-3, rtol=0)
    spread = float(square.max() / square.min())
    assert spread == pytest.approx(1.0, abs=1e-2) if whitening == 1 else spread > 1.5


def test_what_stands_still_has_the_latent_zero() -> None:
    still = clips(6)[:, :, :1].expand(-1, -1, 5, -1, -1).contiguous()
    encoder = PatchAutoencoder.fit([clips(6, seed=3)], SMALL)
    z = encoder.encode(still)
    assert z[:, :, 0].abs().max() > 0.1
    torch.testing.assert_close(z[:, :, 1:], torch.zeros_like(z[:, :, 1:]))


def test_streamed_fit_equals_fit_on_one_batch() -> None:
    video = clips(30, noise=0.3)
    whole = PatchAutoencoder.fit([video], SMALL)
    streamed = PatchAutoencoder.fit((video[i : i + 1] for i in range(len(video))), SMALL)
    torch.testing.assert_close(
        streamed.decode(streamed.encode(video)),
        whole.decode(whole.encode(video)),
        atol=1e-4,
        rtol=0,
    )


def test_constant_clips_stay_finite() -> None:
    video = torch.ones(2, 3, 5, 16, 16)
    encoder = PatchAutoencoder.fit([video], SMALL)
    z = encoder.encode(video)
    assert torch.isfinite(z).all()
    torch.testing.assert_close(encoder.decode(z), video)


def test_save_and_load_keep_everything(tmp_path) -> None:
    encoder = PatchAutoencoder.fit([clips(30, noise=0.3)], SMALL)
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, PatchAutoencoder)
    assert (loaded.hash, loaded.id) == (encoder.hash, "patch-pca-12c-2t-4s")
    torch.testing.assert_close(loaded.encode(clips(8)), encoder.encode(clips(8)), rtol=0, atol=0)


def test_sizes_that_do_not_fit_are_refused() -> None:
    encoder = PatchAutoencoder.fit([clips(8)], SMALL)
    for shape in [(1, 3, 4, 16, 16), (1, 3, 5, 18, 16), (1, 3, 5, 16, 18)]:
        with pytest.raises(ValueError, match="does not fit the strides"):
            encoder.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="cannot have 200 channels"):
        PatchAutoencoder.fit([clips(8)], SMALL.model_copy(update={"channels": 200}))
    with pytest.raises(ValueError, match="at least one clip"):
        PatchAutoencoder.fit([], SMALL)


def test_lanczos_finds_the_same_space_as_the_dense_decomposition(monkeypatch) -> None:
    config = PatchAutoencoderConfig(channels=12, spatial_stride=8, temporal_stride=2)
    video = torch.randn(6, 3, 5, 16, 16, generator=torch.Generator().manual_seed(0)) / 4
    video[..., :8] += torch.linspace(-1, 1, 8)
    dense = PatchAutoencoder.fit([video], config)
    monkeypatch.setattr("motion.encoders.principal._DENSE", 0)
    lanczos = PatchAutoencoder.fit([video], config)
    torch.testing.assert_close(lanczos.encode(video), dense.encode(video), atol=1e-3, rtol=0)
    again = PatchAutoencoder.fit([video], config)
    assert again.hash == lanczos.hash


@pytest.mark.parametrize("rank", [0, 3])
def test_lanczos_bears_fewer_directions_than_channels(rank: int, monkeypatch) -> None:
    monkeypatch.setattr("motion.encoders.principal._DENSE", 0)
    video = clips(rank) if rank else torch.ones(2, 3, 5, 16, 16)
    encoder = PatchAutoencoder.fit([video], SMALL)
    torch.testing.assert_close(encoder.decode(encoder.encode(video)), video, atol=1e-4, rtol=0)
