"""GENMO's network: sizes, the attention band, several texts, no NaN for any ragged batch."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from genmo_batches import batch, config, ragged, rows, system, watched
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.models.genmo.attention import (
    banded_attention,
    dense_mask,
    make_band,
    rotary_table,
    rotate,
)
from motion.models.genmo.blocks import TextBlock, Texts
from motion.models.genmo.conditions import conditions_of
from motion.models.genmo.config import GenmoConfig
from motion.models.genmo.observed import observed_of


@pytest.mark.parametrize(
    ("preset", "millions"),
    [(GenmoConfig.regression(), 39.58), (GenmoConfig.genmo(), 410.81)],
)
def test_denoisers_have_the_release_s_size(preset: GenmoConfig, millions: float) -> None:
    with torch.device("meta"):
        denoiser = preset.build().network.denoiser
    assert sum(p.numel() for p in denoiser.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_tiny_is_below_one_million_parameters() -> None:
    model = GenmoConfig.tiny().build()
    assert 300_000 < sum(p.numel() for p in model.parameters()) < 1_000_000


@given(
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=4),
    half=st.integers(2, 20),
)
@settings(max_examples=40)
def test_banded_attention_equals_the_dense_form(lengths: list[int], half: int) -> None:
    frames, window = max(lengths), 2 * half
    mask = ragged(lengths, frames)
    torch.manual_seed(frames)
    q, k, v = torch.randn(3, len(lengths), frames, 2, 4, dtype=torch.float64).unbind(0)
    made = banded_attention(q, k, v, make_band(mask, window))
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    dense = F.scaled_dot_product_attention(*heads, attn_mask=dense_mask(mask, window))
    assert made.isfinite().all()
    torch.testing.assert_close(made[mask], dense.transpose(1, 2)[mask], atol=1e-6, rtol=0)


def test_a_window_has_its_length_inside_and_is_moved_inside_at_the_ends() -> None:
    seen = dense_mask(ragged([50], 50), 20)[0, 0]
    assert (seen.sum(1) == 20).all()
    assert seen[25].nonzero().flatten().tolist() == list(range(15, 35))
    assert seen[0, :20].all()
    assert seen[49, 30:].all()
    assert dense_mask(ragged([12], 50), 20)[0, 0, :12, :12].all(), "short clips see all of it"


def test_scores_depend_on_distance_in_time_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 30, 1, 8).double().unbind(0)
    table = rotary_table(30, 8, 100.0, torch.device("cpu"))
    scores = torch.einsum("bthe,bshe->ts", rotate(q, table), rotate(k, table))
    for distance in (0, 3, 11):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)


def texts(frames: torch.Tensor) -> Texts:
    torch.manual_seed(3)
    b, k, _ = frames.shape
    mask = torch.ones(b, k, 5, dtype=torch.bool)
    mask[0, 0, 3:] = False
    return Texts(torch.randn(b, k, 5, 24), mask, frames)


def test_a_text_touches_only_the_frames_of_its_window() -> None:
    block = TextBlock(24, 2, 2, 1.0)
    frames = torch.zeros(2, 3, 12, dtype=torch.bool)
    frames[:, 0, 2:6] = frames[:, 1, 4:9] = True
    told, x = texts(frames), torch.randn(2, 12, 24)
    base = block(x, told)
    tokens = told.tokens.clone()
    tokens[:, 1] += 1
    changed = (block(x, told._replace(tokens=tokens)) - base).abs().amax(-1) > 1e-6
    assert (changed == frames[:, 1]).all()
    padded = told.tokens.clone()
    padded[0, 0, 3:] = 9
    torch.testing.assert_close(block(x, told._replace(tokens=padded)), base)


def test_overlapping_texts_add_up_and_absent_ones_count_nothing() -> None:
    block = TextBlock(24, 2, 2, 1.0)
    frames = torch.ones(1, 2, 6, dtype=torch.bool)
    told, x = texts(frames), torch.randn(1, 6, 24)
    both = block._told(x, told)
    alone = [
        block._told(x, Texts(told.tokens[:, i : i + 1], told.mask[:, i : i + 1], frames[:, :1]))
        for i in range(2)
    ]
    bias = block.attention.out.bias
    torch.testing.assert_close(both + bias, alone[0] + alone[1], atol=1e-5, rtol=1e-5)
    nobody = block._told(x, told._replace(frames=torch.zeros_like(frames)))
    assert (nobody == 0).all()


def test_a_clip_is_the_same_alone_and_in_a_padded_batch_of_long_and_short_ones() -> None:
    """Lengths from below the window to many windows, in one batch: finite and independent."""
    model = system().eval()
    lengths = [90, 5, 40, 17]
    whole = watched(batch(lengths, 90))
    x = torch.randn(4, 90, 151)
    time = torch.tensor([0.2, 0.5, 0.9, 1.0])

    def predict(data: object, noisy: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        seen = conditions_of(data, observed_of(data), model.config)  # type: ignore[arg-type]
        return torch.cat(model.network(noisy, at, seen), -1)

    together = predict(whole, x, time)
    assert together.isfinite().all(), "padding too"
    for i, length in enumerate(lengths):
        one = rows(whole, slice(i, i + 1), length)
        alone = predict(one, x[i : i + 1, :length], time[i : i + 1])
        torch.testing.assert_close(together[i : i + 1, :length], alone, atol=2e-5, rtol=1e-4)


def test_absent_conditions_equal_masked_ones() -> None:
    model = system().eval()
    data = batch()
    b, t = data.frame_mask.shape
    nobody = torch.zeros(b, dtype=torch.bool)
    junk = {"music": torch.full((b, t, 5), torch.nan), "image_features": torch.randn(b, t, 4)}
    masked = watched(batch(**junk, has_music=nobody, has_image=nobody), [False, False])
    masked_text = {"has_text": nobody}
    x, time = torch.randn(b, t, 151), torch.full((b,), 0.5)

    def predict(given: object) -> torch.Tensor:
        seen = conditions_of(given, observed_of(given), model.config)  # type: ignore[arg-type]
        return model.network(x, time, seen).x0

    bare = dataclasses.replace(data, text=None, text_mask=None, text_window_s=None)
    torch.testing.assert_close(predict(dataclasses.replace(masked, **masked_text)), predict(bare))


def test_every_parameter_learns_whatever_is_absent() -> None:
    """Under ZeRO-3 a module without gradient is a hang."""
    model = system(speech_dim=3)
    data = batch()
    loss, _ = model(data)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_refuses_features_of_another_width() -> None:
    data = batch(music=torch.zeros(2, 24, 9))
    with pytest.raises(ValueError, match="music_dim"):
        conditions_of(data, observed_of(data), config())
    with pytest.raises(ValueError, match="text_dim"):
        conditions_of(data, observed_of(data), config(text_dim=3, music_dim=9))
    with pytest.raises(ValueError, match="even"):
        config(window=15)
