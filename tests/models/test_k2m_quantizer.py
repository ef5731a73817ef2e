"""Residual quantization against its formulas written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.models.k2m.config import QuantizerConfig
from motion.models.k2m.quantizer import (
    Draw,
    ResidualQuantizer,
    nearest,
    replacements,
    updated_codes,
)

CONFIG = QuantizerConfig(
    num_codes=8, num_levels=3, decay=0.9, temperature=0.0, level_dropout=0.0, sample_rows=64
)


def quantizer(**changes: object) -> ResidualQuantizer:
    return ResidualQuantizer(CONFIG.model_copy(update=changes), 4)


def latents(seed: int, clips: int = 5, tokens: int = 6) -> torch.Tensor:
    return torch.randn(clips, tokens, 4, generator=torch.Generator().manual_seed(seed))


def draw(step: int, clips: int = 5) -> Draw:
    return Draw(torch.arange(clips) + 100 * step, step, seed=3)


def run(module: ResidualQuantizer, steps: range, *, parts: int = 1) -> list[torch.Tensor]:
    """Training forwards on fixed latents, split into micro-batches."""
    out: list[torch.Tensor] = []
    for step in steps:
        x, keys = latents(step, 6), draw(step, 6)
        for piece in range(parts):
            rows = slice(piece * 6 // parts, (piece + 1) * 6 // parts)
            part = Draw(keys.noise_key[rows], step, keys.seed)
            mask = torch.ones(x[rows].shape[:2], dtype=torch.bool)
            out.append(module(x[rows], mask, part).values)
    return out


def test_codes_follow_the_moving_averages_written_out() -> None:
    torch.manual_seed(0)
    module = quantizer(num_levels=2)
    run(module, range(3))
    codes, counts, sums = (part.clone() for part in (module.codes, module.counts, module.sums))
    x = latents(3, 6).flatten(0, 1)
    run(module, range(3, 4))  # applies step 2
    codes, counts, sums = (part.clone() for part in (module.codes, module.counts, module.sums))
    run(module, range(4, 5))  # applies step 3
    residual = x
    for level in range(2):
        index = ((residual[:, None] - codes[level]) ** 2).sum(-1).argmin(-1)
        for k in range(8):
            mine = residual[index == k]
            n = 0.9 * counts[level, k] + 0.1 * len(mine)
            s = 0.9 * sums[level, k] + 0.1 * mine.sum(0)
            torch.testing.assert_close(module.counts[level, k], n)
            torch.testing.assert_close(module.sums[level, k], s)
            if n >= 1:
                torch.testing.assert_close(module.codes[level, k], s / n)
            else:  # replaced by a residual of this level
                assert (residual - module.codes[level, k]).norm(dim=-1).min() < 1e-5
        residual = residual - codes[level][index]


def test_the_result_uses_codes_from_before_the_update() -> None:
    module = quantizer()
    run(module, range(3))
    before = module.codes.clone()
    x = latents(2, 6)
    found = module(x, torch.ones(6, 6, dtype=torch.bool), draw(2, 6))  # the same step: no update
    assert torch.equal(module.codes, before)
    expected = before[torch.arange(3), found.indices].sum(-2)
    torch.testing.assert_close(found.values, expected)


def test_dead_codes_are_replaced_and_others_are_not() -> None:
    codes, rows = torch.zeros(3, 2), torch.arange(6.0).view(3, 2)
    counts, sums = torch.tensor([1.0, 1.0, 9.0]), torch.ones(3, 2)
    new_counts = torch.tensor([0.0, 2.0, 0.0]).double()
    found, n, s = updated_codes(
        codes, counts, sums, new_counts, torch.zeros(3, 2).double(), rows, 0.9
    )
    torch.testing.assert_close(n, torch.tensor([0.9, 1.1, 8.1]))
    torch.testing.assert_close(found[0], rows[0])
    torch.testing.assert_close(found[1], s[1] / 1.1)
    torch.testing.assert_close(s, 0.9 * sums), "sums go on as they are"


@pytest.mark.parametrize(("rows", "count"), [(20, 8), (3, 8)])
def test_replacements_are_rows_or_near_copies(rows: int, count: int) -> None:
    values = torch.randn(rows, 4)
    found = replacements(values, count, torch.Generator().manual_seed(0))
    away = torch.cdist(found, values).min(1).values
    assert len(found) == count
    assert len(found.unique(dim=0)) == count
    assert (away[: min(rows, count)] == 0).all()
    assert (away < 0.05).all()


def test_rows_without_a_residual_are_taken_last() -> None:
    values = torch.cat([torch.zeros(5, 4), torch.randn(4, 4)])
    found = replacements(values, 4, torch.Generator().manual_seed(1))
    assert (found.norm(dim=-1) > 0).all()


def test_all_levels_start_from_real_residuals() -> None:
    module = quantizer()
    run(module, range(2), parts=1)
    assert bool(module.started)
    spread = module.codes.std((1, 2))
    assert (spread > 1e-3).all(), "levels above the base must not start at zero"


def test_latents_pass_until_the_first_step_that_quantizes() -> None:
    module = quantizer(start_step=2)
    first, second, third = run(module, range(3))
    torch.testing.assert_close(first, latents(0, 6))
    torch.testing.assert_close(second, latents(1, 6))
    assert not torch.allclose(third, latents(2, 6))


def test_decoded_indices_are_the_result_in_evaluation() -> None:
    module = quantizer()
    run(module, range(4))
    module.eval()
    mask = torch.arange(6) < torch.tensor([6, 4, 2, 1, 5])[:, None]
    found = module(latents(9), mask)
    torch.testing.assert_close(module.decode(found.indices)[mask], found.values[mask])
    assert (found.indices[~mask] == -1).all()
    assert (module.decode(found.indices)[~mask] == 0).all()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_skipped_levels_are_null_and_keep_their_codes(level: int) -> None:
    module = quantizer()
    run(module, range(2))
    module._active = lambda draw: level + 1  # type: ignore[method-assign]  # a forced level
    found = module(latents(5), torch.ones(5, 6, dtype=torch.bool), draw(5))
    before = module.codes.clone()
    assert (found.indices[..., level + 1 :] == -1).all()
    torch.testing.assert_close(module.decode(found.indices), found.values)
    module(latents(6), torch.ones(5, 6, dtype=torch.bool), draw(6))
    kept = module.codes[level + 1 :]
    assert torch.equal(kept, before[level + 1 :])


@pytest.mark.parametrize(("mode", "factor"), [("per_level", 3.0), ("single", 1.0)])
def test_gradient_of_the_latents(mode: str, factor: float) -> None:
    module = quantizer(straight_through=mode)
    run(module, range(2))
    x = latents(4).requires_grad_()
    module.eval()(x, torch.ones(5, 6, dtype=torch.bool)).values.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x, factor))


def test_commitment_is_the_mean_over_levels_and_tokens() -> None:
    module = quantizer()
    run(module, range(3))
    module.eval()
    x, mask = latents(7), torch.arange(6) < torch.tensor([6, 3, 2, 1, 5])[:, None]
    found = module(x, mask)
    residual, terms = x, []
    for level in range(3):
        residual = residual - module.codes[level][nearest(residual, module.codes[level])]
        terms.append(residual.square())
    expected = [torch.stack(terms)[:, i][:, mask[i]].mean() for i in range(5)]
    torch.testing.assert_close(found.commitment, torch.stack(expected))


@pytest.mark.parametrize("parts", [2, 3])
def test_micro_batches_do_not_change_the_codes(parts: int) -> None:
    torch.manual_seed(0)
    whole, split = quantizer(level_dropout=0.5), quantizer(level_dropout=0.5)
    split.load_state_dict(whole.state_dict())
    run(whole, range(6))
    run(split, range(6), parts=parts)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], value, rtol=1e-6, atol=1e-7), name


def test_state_resumes_exactly() -> None:
    torch.manual_seed(0)
    module, again = quantizer(temperature=0.5), quantizer(temperature=0.5)
    run(module, range(4))
    again.load_state_dict(module.state_dict())
    one, two = run(module, range(4, 8)), run(again, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@given(st.integers(0, 10_000))
def test_level_dropout_draws_from_seed_and_step(step: int) -> None:
    module = quantizer(level_dropout=0.5)
    levels = {module._active(Draw(torch.tensor([key]), step, 1)) for key in (1, 2)}
    assert len(levels) == 1
    assert levels <= {1, 2, 3}


def test_usage_counts_codes() -> None:
    module = quantizer()
    module.counts[:] = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    torch.testing.assert_close(module.usage()["perplexity"], torch.tensor(4.0))
