import dataclasses

import pytest
import torch

from motion.batch import Batch
from motion.models.videomae.system import VideoMAETraining, VideoMAETrainingConfig, tube_mask

SMALL = VideoMAETrainingConfig(
    num_frames=4, image_size=32, width=16, num_layers=1, num_heads=2, decoder_width=16,
    decoder_layers=1, mask_ratio=0.5,
)  # fmt: skip


def video_batch(num_clips: int, seed: int = 0) -> Batch:
    rgb = torch.rand(num_clips, 3, 5, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(
        clip_ids=tuple(f"clip{i}" for i in range(num_clips)),
        fps=torch.full((num_clips,), 16.0),
        frame_mask=torch.ones(num_clips, 5, dtype=torch.bool),
        rgb=rgb * 2 - 1,
        has_rgb=torch.ones(num_clips, dtype=torch.bool),
        noise_key=torch.arange(num_clips) + 1,
    )


def row(batch: Batch, i: int, num_micro_batches: int) -> Batch:
    assert batch.rgb is not None
    assert batch.has_rgb is not None
    return dataclasses.replace(
        batch, clip_ids=batch.clip_ids[i : i + 1], fps=batch.fps[i : i + 1],
        frame_mask=batch.frame_mask[i : i + 1], rgb=batch.rgb[i : i + 1],
        has_rgb=batch.has_rgb[i : i + 1], noise_key=batch.noise_key[i : i + 1],
        num_micro_batches=num_micro_batches, counts={"rgb": batch.size},
    )  # fmt: skip


def test_tiny_is_below_one_million_parameters() -> None:
    model = VideoMAETrainingConfig.tiny().build()
    assert 100_000 < sum(p.numel() for p in model.parameters()) < 1_000_000


def test_mask_hides_the_same_positions_in_every_slice_and_follows_the_key() -> None:
    mask = tube_mask(torch.tensor([1, 2]), 64, 3, 0.9).unflatten(1, (3, 64))
    assert (mask.sum(2) == 58).all()
    assert (mask == mask[:, :1]).all()
    assert (mask[0] != mask[1]).any()


def test_loss_does_not_depend_on_the_split_into_micro_batches() -> None:
    model = VideoMAETraining(SMALL)
    batch = video_batch(4)
    whole = model(batch)[0]
    parts = torch.stack([model(row(batch, i, 4))[0] for i in range(4)])
    torch.testing.assert_close(parts.mean(), whole, atol=1e-6, rtol=1e-6)


def test_it_learns_to_fill_a_video_whose_hidden_part_follows_from_the_rest() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 32).expand(2, 3, 5, 32, 32)
    batch = dataclasses.replace(video_batch(2), rgb=ramp.contiguous())
    model = VideoMAETraining(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = float(model(batch)[0])
    for _ in range(80):
        optimizer.zero_grad()
        loss, _ = model(batch)
        loss.backward()
        optimizer.step()
    assert float(model(batch)[0]) < 0.3 * first


def test_features_depend_on_the_video_and_have_one_vector_per_tubelet() -> None:
    model = VideoMAETraining(SMALL).eval()
    batch = video_batch(2)
    assert batch.rgb is not None
    features = model.features(batch.rgb)
    assert features.shape == (2, 2, 16)
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_refuses_another_video_size() -> None:
    with pytest.raises(ValueError, match="num_frames and image_size"):
        VideoMAETraining(VideoMAETrainingConfig.tiny())(video_batch(1))


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    model = VideoMAETraining(SMALL)
    batch = video_batch(1)
    assert batch.rgb is not None
    # Two frames of the four are real: the second tubelet is padding, seen but never compared.
    model.network.decoder.head.weight.data.zero_()  # the same prediction whatever is seen
    short = dataclasses.replace(batch, frame_mask=torch.tensor([[True, True, False, False, False]]))
    other = batch.rgb.clone()
    other[:, :, 2:] = torch.linspace(-1, 1, 32)
    changed = dataclasses.replace(short, rgb=other)
    torch.testing.assert_close(model(short)[0], model(changed)[0])
    whole = dataclasses.replace(changed, frame_mask=batch.frame_mask)
    assert (model(whole)[0] - model(changed)[0]).abs() > 1e-3
    nothing = dataclasses.replace(batch, frame_mask=torch.zeros(1, 5, dtype=torch.bool))
    assert float(model(nothing)[0]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 5}, "num_frames 5 is no multiple of tubelet_size 2"),
        ({"image_size": 100}, "image_size 100 is no multiple of patch_size 16"),
        ({"width": 97}, "width 97 is no multiple of num_heads 4"),
        ({"mask_ratio": 1.0}, "less than 1"),
        ({"mask_ratio": 0.001}, "hides none or all"),
        ({"num_layers": 0}, "greater than or equal to 1"),
    ],
)
def test_refuses_sizes_that_no_network_has(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoMAETrainingConfig.model_validate(changes)
