"""K2M's second stage and its sampling: text to tokens to SMPL."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from motion.batch import Batch
from motion.diffusion.guidance import guided
from motion.diffusion.noise import clip_uniform
from motion.losses import global_mean, mean_over_valid
from motion.models.k2m.config import STRIDE, K2MConfig, SampleOptions
from motion.models.k2m.decoding import (
    BaseScores,
    LevelScores,
    decode_base,
    decode_residuals,
    generators,
)
from motion.models.k2m.masking import corrupted, residual_level
from motion.models.k2m.smpl_head import Smpl
from motion.models.k2m.tokenizer import Tokenizer
from motion.models.k2m.tokens import Tokens, cropped, made, random_crop, whole
from motion.models.k2m.transformers import (
    LengthPredictor,
    MaskedTransformer,
    ResidualTransformer,
    Text,
    pooled,
)
from motion.models.k2m.world import on_the_floor, upright
from motion.models.system import Logs, Sample
from motion.sequence import Motion

Terms = dict[str, Float[Tensor, "b"]]


class K2M(nn.Module):
    """The frozen tokenizer, and what learns its tokens: masked transformer, residual transformer
    and length predictor.

    The three share no weights and see the same batch, so one training does what the paper does in
    three, but for the clipping of gradients.
    """

    def __init__(self, config: K2MConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.tokenizer).requires_grad_(False).eval()
        quantizer = config.tokenizer.quantizer
        self.masked = MaskedTransformer(config.masked, quantizer.num_codes, config.text_dim)
        self.residual = ResidualTransformer(
            config.residual,
            quantizer.num_codes,
            quantizer.num_levels,
            config.text_dim,
            share_weights=config.share_weights,
        )
        self.length = LengthPredictor(config.text_dim, config.max_tokens, config.length_dropout)

    def train(self, mode: bool = True) -> "K2M":
        """The tokenizer stays frozen: its codes must not follow this training."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Cross-entropies of masked base codes, of one residual level and of the length.

        Raises:
            ValueError: the batch lacks text, or both tokens and keypoints.
        """
        terms = self.clip_losses(batch)
        name, present = "tokens", batch.has_tokens
        if batch.tokens is None:
            name, present = "keypoints", batch.has_keypoints
        means = {key: global_mean(value, batch, name, present) for key, value in terms.items()}
        loss = means["masked"] + means["residual"] + means["length"]
        return loss, {key: value.detach() for key, value in means.items()}

    def clip_losses(self, batch: Batch) -> Terms:
        """Each term of each clip, with the shares of codes that the likeliest guess meets."""
        crop = random_crop(batch, self.config.shorten)
        if batch.tokens is not None:
            tokens = cropped(batch.tokens, crop)
        else:
            tokens = made(self.tokenizer, batch, crop)
        text = self.text_of(batch)
        terms = self._masked_terms(tokens, text, batch) | self._residual_terms(tokens, text, batch)
        count = tokens.valid.sum(1).clamp(max=self.config.max_tokens)
        return terms | {"length": cross_entropy(self.length(text), count, reduction="none")}

    def _masked_terms(self, tokens: Tokens, text: Text, batch: Batch) -> Terms:
        config = self.config
        seen, chosen = corrupted(
            tokens.ids[..., 0].clamp(min=0),
            tokens.valid,
            batch.noise_key,
            num_codes=self.masked.mask_id,
            count_padding=config.count_padding,
        )
        keep = self._told(batch, "masked", config.masked.text_dropout)
        logits = self.masked(seen, tokens.valid, text, keep)
        truth = tokens.ids[..., 0].clamp(min=0)
        return _scored("masked", logits, truth, chosen)

    def _residual_terms(self, tokens: Tokens, text: Text, batch: Batch) -> Terms:
        uniform = clip_uniform(batch.noise_key, "residual/level").to(tokens.ids.device)
        level = residual_level(uniform, self.residual.num_levels)
        keep = self._told(batch, "residual", self.config.residual.text_dropout)
        logits = self.residual(tokens.ids, tokens.valid, text, keep, level)
        clip = torch.arange(len(level), device=level.device)
        truth = tokens.ids[clip, :, level]
        return _scored("residual", logits, truth.clamp(min=0), tokens.valid & (truth >= 0))

    def _told(self, batch: Batch, part: str, dropout: float) -> Bool[Tensor, "b"]:
        """Clips whose caption the part sees."""
        keep = torch.ones(batch.size, dtype=torch.bool)
        if self.training:
            keep = clip_uniform(batch.noise_key, f"{part}/text_dropout") >= dropout
        keep = keep.to(batch.frame_mask.device)
        return keep if batch.has_text is None else keep & batch.has_text

    def text_of(self, batch: Batch) -> Text:
        """The first caption of each clip.

        Raises:
            ValueError: the batch has no text, or tokens of another width.
        """
        if batch.text is None or batch.text_mask is None:
            raise ValueError(
                "K2M needs captions: encode the data set, with text_embedding and text_mask in "
                "data.columns"
            )
        if batch.text.shape[-1] != self.config.text_dim:
            raise ValueError(
                f"text tokens are {batch.text.shape[-1]} wide, text_dim is {self.config.text_dim}: "
                "set text_dim to the text encoder's"
            )
        text = batch.text[:, 0].float(), batch.text_mask[:, 0]
        if not self.config.text_tokens:
            return pooled(text)
        return text[0][:, : self.config.text_tokens], text[1][:, : self.config.text_tokens]

    @torch.no_grad()
    def sample(self, batch: Batch, options: SampleOptions, *, generator: torch.Generator) -> Sample:
        """Motions in the world, on the floor, for the batch's captions and lengths.

        Read from the batch: the first caption and `frame_mask`, instead of which `predict_length`
        takes lengths that the captions suggest; with `regenerate_s` also its
        tokens or keypoints, of which the spans are made anew. Frames beyond the last whole token
        repeat it. Shape, as all else, comes from the tokens: one per clip, its mean over the frames
        where the tokenizer has one per frame.
        """
        if options.predict_length:
            batch = self._with_length(batch, self.predict_frames(batch, generator=generator))
        tokens = self.sample_tokens(batch, options, generator=generator)
        smpl = self.tokenizer.decode(tokens.ids)
        return Sample(motion=self._motion(smpl, tokens, batch))

    @torch.no_grad()
    def sample_tokens(
        self, batch: Batch, options: SampleOptions, *, generator: torch.Generator
    ) -> Tokens:
        """Tokens of all levels for the batch's captions and lengths; see `sample`.

        Raises:
            ValueError: a clip is shorter than a token.
        """
        length = batch.frame_mask.sum(1) // STRIDE
        if int(length.min()) < 1:
            raise ValueError(
                f"a clip is shorter than {STRIDE} frames, a token: ask for longer ones"
            )
        place = torch.arange(int(length.max()), device=length.device)
        valid = place < length[:, None]
        known = self._known(batch, valid, options)
        text = self.text_of(batch)
        told = torch.ones(batch.size, dtype=torch.bool, device=length.device)
        told = told if batch.has_text is None else batch.has_text
        draws = generators(batch.size, generator)
        how = {"keep": options.keep, "temperature": options.temperature}
        base = decode_base(
            self._base_scores(valid, text, told, options.guidance),
            known[..., 0],
            valid,
            draws,
            steps=options.steps,
            mask_id=self.masked.mask_id,
            **how,
        )
        levels = self._level_scores(valid, text, told, options.residual_guidance)
        return Tokens(decode_residuals(levels, base, known, draws, **how))

    def _base_scores(self, valid: Tensor, text: Text, told: Tensor, guidance: float) -> BaseScores:
        def scores(keep: Tensor) -> BaseScores:
            return lambda ids: self.masked(ids, valid, text, keep)

        return guided(scores(told), scores(torch.zeros_like(told)), guidance)

    def _level_scores(
        self, valid: Tensor, text: Text, told: Tensor, guidance: float
    ) -> LevelScores:
        def scores(keep: Tensor) -> LevelScores:
            def of(ids: Tensor, level: int) -> Tensor:
                chosen = torch.full((len(ids),), level, device=ids.device)
                return self.residual(ids, valid, text, keep, chosen)

            return of

        return guided(scores(told), scores(torch.zeros_like(told)), guidance)

    def _known(
        self, batch: Batch, valid: Bool[Tensor, "b n"], options: SampleOptions
    ) -> Int[Tensor, "b n q"]:
        """Tokens that stay; -1 where they are made anew."""
        levels = self.residual.num_levels
        if not options.regenerate_s:
            return torch.full((*valid.shape, levels), -1, device=valid.device)
        given = whole(self.tokenizer, batch).ids
        middle = (torch.arange(valid.shape[1], device=valid.device) + 0.5) * STRIDE
        time_s = middle / batch.fps[:, None]
        anew = torch.zeros_like(valid)
        for start, end in options.regenerate_s:
            anew |= (time_s >= start) & (time_s < end)
        return torch.where((anew | ~valid)[..., None], -1, given)

    @torch.no_grad()
    def predict_frames(self, batch: Batch, *, generator: torch.Generator) -> Int[Tensor, "b"]:
        """Lengths in frames, drawn from the length predictor; at least one token."""
        chance = self.length(self.text_of(batch)).softmax(-1)[:, 1:]
        drawn = torch.multinomial(chance.cpu(), 1, generator=generator)[:, 0] + 1
        return (STRIDE * drawn).to(chance.device)

    def _with_length(self, batch: Batch, frames: Int[Tensor, "b"]) -> Batch:
        """The captions alone, with other lengths."""
        mask = torch.arange(int(frames.max()), device=frames.device) < frames[:, None]
        return Batch(
            clip_ids=batch.clip_ids,
            fps=batch.fps,
            frame_mask=mask,
            text=batch.text,
            text_mask=batch.text_mask,
            has_text=batch.has_text,
            noise_key=batch.noise_key,
        )

    def _motion(self, smpl: Smpl, tokens: Tokens, batch: Batch) -> Motion:
        """World motion: y up, the first pelvis above the origin, the lowest foot on the floor."""
        body = self.tokenizer.body.on(tokens.ids.device)
        frames = tokens.valid.repeat_interleave(STRIDE, 1)
        weight = frames[..., None].to(smpl.betas)
        motion = Motion(
            R_parent_child=smpl.R_parent_child,
            translation=smpl.translation,
            betas=(weight * smpl.betas).sum(1) / weight.sum(1),
            body_id=body.body_id,
            fps=float(batch.fps[0]),
            frame="camera",
        )
        length = frames.sum(1)
        index = torch.arange(batch.frame_mask.shape[1], device=frames.device)
        index = torch.minimum(index, length[:, None] - 1)
        clip = torch.arange(len(length), device=frames.device)[:, None]
        path = motion.require_translation()[clip, index]
        motion = replace(
            motion, R_parent_child=motion.R_parent_child[clip, index], translation=path
        )
        return on_the_floor(upright(motion, body), body)


def _scored(
    name: str,
    logits: Float[Tensor, "b n k"],
    truth: Int[Tensor, "b n"],
    counted: Bool[Tensor, "b n"],
) -> Terms:
    """Cross-entropy and accuracy over the positions that count."""
    error = cross_entropy(logits.mT, truth, reduction="none")
    hit = (logits.argmax(-1) == truth).float()
    return {
        name: mean_over_valid(error, counted),
        f"{name}_accuracy": mean_over_valid(hit, counted),
    }
