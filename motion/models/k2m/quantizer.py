"""Residual vector quantization whose codes are moving averages of what is assigned to them.

After MoMask (Guo et al. 2024) and van den Oord et al. 2017, appendix A.1, with three differences:

- Codes start level by level from residuals of a sample of latents. Starting level 0 from the batch
  itself leaves all residuals, and so all other levels, at zero.
- Codes, counts, sums and what the last step collected are buffers: a resumed run goes on exactly.
- A step's statistics are summed over micro-batches and ranks when they are collected, in float64,
  and applied once, at the first training forward of the next step. Latents that replace dead codes
  are chosen by their clips' noise keys, never by rank.
"""

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from motion.diffusion.noise import clip_uniform, generator_for
from motion.losses import mean_over_valid
from motion.models.k2m.config import QuantizerConfig

_NOISE = 0.01
"""Deviation of copies of a latent, times 1 / sqrt(width), where there are fewer latents than
codes."""


class Quantized(NamedTuple):
    """Latents as sums of codes."""

    values: Float[Tensor, "b n d"]
    indices: Int[Tensor, "b n q"]
    """Codes by level; -1 where a level was skipped or the token is padding."""
    commitment: Float[Tensor, "b"]
    """Mean squared distance of residuals to their codes, mean over the active levels."""


class Draw(NamedTuple):
    """What randomness of a training step derives from."""

    noise_key: Int[Tensor, "b"]
    step: int
    seed: int

    def generator(self, use: str) -> torch.Generator:
        """The same on every rank."""
        return generator_for((self.seed << 32) + self.step, use)


def nearest(rows: Float[Tensor, "*n d"], codes: Float[Tensor, "k d"]) -> Int[Tensor, "*n"]:
    """Index of the nearest code."""
    return distances(rows, codes).argmin(-1)


def distances(rows: Float[Tensor, "*n d"], codes: Float[Tensor, "k d"]) -> Float[Tensor, "*n k"]:
    """Squared distances, up to rounding."""
    squares = rows.square().sum(-1, keepdim=True) + codes.square().sum(-1)
    return squares - 2 * rows @ codes.mT


def updated_codes(
    codes: Float[Tensor, "k d"],
    counts: Float[Tensor, "k"],
    sums: Float[Tensor, "k d"],
    new_counts: Float64[Tensor, "k"],
    new_sums: Float64[Tensor, "k d"],
    replacements: Float[Tensor, "k d"],
    decay: float,
    min_count: float = 1.0,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k"], Float[Tensor, "k d"]]:
    """Codes, counts and sums after a step: N <- mu N + (1 - mu) n, S likewise, c = S / N.

    A code with N below `min_count` becomes its replacement; its counts and sums go on as they are.
    """
    counts = decay * counts + (1 - decay) * new_counts.to(counts)
    sums = decay * sums + (1 - decay) * new_sums.to(sums)
    alive = (counts >= min_count)[:, None]
    mean = sums / counts.clamp(min=min_count)[:, None]
    return torch.where(alive, mean.to(codes), replacements), counts, sums


def replacements(
    rows: Float[Tensor, "m d"], count: int, generator: torch.Generator
) -> Float[Tensor, "count d"]:
    """`count` different rows at random; copies with a little noise where there are too few.

    Rows of zero (a residual whose latent became a code) are taken last.
    """
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    size = rows[order].square().sum(-1)
    empty = (size <= 1e-12 * size.mean()).int()
    order = order[empty.argsort(stable=True)]
    if len(rows) >= count:
        return rows[order[:count]]
    copies = math.ceil(count / len(rows))
    tiled = rows[order].repeat(copies, 1)[:count]
    noise = torch.randn(tiled.shape, generator=generator).to(rows)
    noise[: len(rows)] = 0
    return tiled + _NOISE / math.sqrt(rows.shape[1]) * noise


class ResidualQuantizer(nn.Module):
    """Levels of codes; each quantizes what the levels before it left."""

    codes: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor
    replaced: Tensor
    new_counts: Tensor
    new_sums: Tensor
    new_levels: Tensor
    new_step: Tensor
    sample: Tensor
    sample_lot: Tensor

    def __init__(self, config: QuantizerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        levels, codes = config.num_levels, config.num_codes
        rows = max(config.sample_rows, 1)
        buffers = {
            "codes": torch.randn(levels, codes, width),
            "counts": torch.ones(levels, codes),
            "sums": torch.zeros(levels, codes, width),
            "started": torch.tensor(False),
            "replaced": torch.zeros(levels),
            "new_counts": torch.zeros(levels, codes, dtype=torch.float64),
            "new_sums": torch.zeros(levels, codes, width, dtype=torch.float64),
            "new_levels": torch.tensor(0),
            "new_step": torch.tensor(-1),
            "sample": torch.zeros(rows, width),
            "sample_lot": torch.full((rows,), torch.inf, dtype=torch.float64),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"], draw: Draw | None = None
    ) -> Quantized:
        """Quantize latents.

        Args:
            x: latents.
            mask: True where a token is real.
            draw: in training, what to draw from; then statistics are collected too.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if draw is None or not self.training:
                found, chosen = self._quantize(x, self.config.num_levels, None)
                return self._result(x, mask, found, chosen)
            self._begin(draw)
            levels = self._active(draw)
            found, chosen = self._quantize(x, levels, draw)
            self._collect(x.detach(), mask, found, chosen, draw)
            if draw.step < self.config.start_step:
                return Quantized(x, found, mean_over_valid(0 * x, mask))
            return self._result(x, mask, found, chosen)

    def decode(self, indices: Int[Tensor, "b n q"]) -> Float[Tensor, "b n d"]:
        """Sum of the codes of all levels; -1 adds nothing."""
        levels = torch.arange(indices.shape[-1], device=indices.device)
        found = self.codes[levels, indices.clamp(min=0)]
        return torch.where((indices >= 0)[..., None], found, 0.0).sum(-2)

    def usage(self) -> dict[str, Tensor]:
        """Perplexity of the moving counts, mean over levels and of the base, and the share of codes
        that were replaced after the last step."""
        share = self.counts / self.counts.sum(-1, keepdim=True).clamp(min=1e-9)
        entropy = -(share * share.clamp(min=1e-12).log()).sum(-1)
        return {
            "perplexity": entropy.exp().mean(),
            "perplexity_base": entropy[0].exp(),
            "dead_codes": self.replaced.mean(),
        }

    def _active(self, draw: Draw) -> int:
        """Levels of this step: choices of modules derive from (seed, step)."""
        generator = draw.generator("level_dropout")
        skip = float(torch.rand((), generator=generator)) < self.config.level_dropout
        last = int(torch.randint(self.config.num_levels, (), generator=generator))
        return last + 1 if skip else self.config.num_levels

    def _quantize(
        self, x: Float[Tensor, "b n d"], levels: int, draw: Draw | None
    ) -> tuple[Int[Tensor, "b n q"], list[Float[Tensor, "b n d"]]]:
        """Indices and codes of the active levels; without gradient."""
        config, residual = self.config, x.detach()
        found: list[Tensor] = []
        chosen: list[Tensor] = []
        noise = None
        if draw is not None and config.temperature > 0:
            shape = (x.shape[1], levels, config.num_codes)
            uniform = clip_uniform(draw.noise_key, "quantizer", shape)
            noise = -(-uniform.clamp(min=1e-20).log()).clamp(min=1e-20).log().to(x)
        for level in range(levels):
            away = distances(residual, self.codes[level])
            if noise is not None:
                away = away / config.temperature - noise[:, :, level]
            found.append(away.argmin(-1))
            chosen.append(self.codes[level][found[-1]])
            residual = residual - chosen[-1]
        missing = config.num_levels - levels
        indices = torch.stack(found, -1)
        return torch.nn.functional.pad(indices, (0, missing), value=-1), chosen

    def _result(
        self,
        x: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "b n"],
        found: Int[Tensor, "b n q"],
        chosen: list[Float[Tensor, "b n d"]],
    ) -> Quantized:
        residual = x
        terms: list[Tensor] = []
        parts: list[Tensor] = []
        for code in chosen:
            terms.append(mean_over_valid((residual - code).square(), mask))
            parts.append(residual + (code - residual).detach())
            residual = residual - code
        total = torch.stack(chosen).sum(0)
        if self.config.straight_through == "per_level":
            values = torch.stack(parts).sum(0)
        else:
            values = x + (total - x).detach()
        indices = torch.where(mask[..., None], found, -1)
        return Quantized(values, indices, torch.stack(terms).mean(0))

    @torch.no_grad()
    def _begin(self, draw: Draw) -> None:
        """Apply what the last step collected, once."""
        last = int(self.new_step)
        if last == draw.step:
            return
        ready = last >= 0 and draw.step >= self.config.start_step
        if ready and bool(torch.isfinite(self.sample_lot).any()):
            self._update(draw)
        self.new_counts.zero_()
        self.new_sums.zero_()
        self.sample.zero_()
        self.sample_lot.fill_(torch.inf)
        self.new_step.fill_(draw.step)

    def _update(self, draw: Draw) -> None:
        residual = self.sample[torch.isfinite(self.sample_lot)]
        generator = draw.generator("replacements")
        first = not bool(self.started)
        for level in range(self.config.num_levels):
            fresh = replacements(residual, self.config.num_codes, generator)
            before = self.codes[level].clone()
            if first:
                self.codes[level], self.sums[level], before = fresh, fresh, fresh
                self.counts[level] = 1.0
            elif level < int(self.new_levels):
                self.codes[level], self.counts[level], self.sums[level] = updated_codes(
                    before,
                    self.counts[level],
                    self.sums[level],
                    self.new_counts[level],
                    self.new_sums[level],
                    fresh,
                    self.config.decay,
                    self.config.min_count,
                )
                dead = self.counts[level] < self.config.min_count
                self.replaced[level] = dead.float().mean()
            residual = residual - before[nearest(residual, before)]
        self.started.fill_(True)

    @torch.no_grad()
    def _collect(
        self,
        x: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "b n"],
        found: Int[Tensor, "b n q"],
        chosen: list[Float[Tensor, "b n d"]],
        draw: Draw,
    ) -> None:
        """Add this micro-batch's statistics, summed over ranks; a collective call."""
        counts, sums = torch.zeros_like(self.new_counts), torch.zeros_like(self.new_sums)
        residual = x
        for level, codes in enumerate(chosen):
            index = found[..., level][mask]
            counts[level].index_add_(0, index, counts.new_ones(len(index)))
            sums[level].index_add_(0, index, residual[mask].double())
            residual = residual - codes
        lot = clip_uniform(draw.noise_key, "quantizer_sample", (x.shape[1],)).to(x.device)
        lots, rows = _drawn(lot.double()[mask], x[mask], len(self.sample_lot))
        if dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
            lots, rows = _from_all(lots), _from_all(rows)
        self.new_counts += counts
        self.new_sums += sums
        self.new_levels.fill_(len(chosen))
        lots, rows = torch.cat((self.sample_lot, lots)), torch.cat((self.sample, rows))
        lots, rows = _drawn(lots, rows, len(self.sample_lot))
        self.sample_lot.copy_(lots)
        self.sample.copy_(rows)


def _drawn(
    lots: Float64[Tensor, "m"], rows: Float[Tensor, "m d"], count: int
) -> tuple[Float64[Tensor, "count"], Float[Tensor, "count d"]]:
    """The `count` rows of the least lots, in their order; infinite lots and zeros fill up."""
    order = lots.argsort()[:count]
    missing = count - len(order)
    lots = torch.nn.functional.pad(lots[order], (0, missing), value=torch.inf)
    return lots, torch.nn.functional.pad(rows[order], (0, 0, 0, missing))


def _from_all(values: Tensor) -> Tensor:
    """The ranks' values, one after the other."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)
