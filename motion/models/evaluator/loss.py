"""What evaluators are trained with: terms per clip of a batch of pairs.

Both contrast a clip with the others of its *micro-batch*: a term depends on how many clips a rank
sees at once, unlike every other loss of this library.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, smooth_l1_loss

from motion.diffusion.noise import clip_normal
from motion.losses import mean_over_valid
from motion.models.evaluator.t2m import T2MNetwork
from motion.models.evaluator.tmr import Latent, TMRNetwork

Terms = dict[str, Float[Tensor, "b"]]


def margin_terms(
    text: Float[Tensor, "b e"],
    motion: Float[Tensor, "b e"],
    paired: Bool[Tensor, "b"],
    *,
    margin: float,
    shift: int,
) -> Terms:
    """Squared distance of partners, squared shortfall of the margin of strangers (Guo et al. 2022).

    Strangers are the paired clips rolled by `shift`, which the reference draws from 0 on: at 0 it
    pushes partners apart. A clip without a stranger has zero there, one that is not paired in both.

    Raises:
        ValueError: a batch of one clip, or a shift that makes partners of a clip and itself.
    """
    rows = paired.nonzero()[:, 0]
    if len(text) < 2 or (len(rows) > 1 and shift % len(rows) == 0):
        raise ValueError(
            f"a batch of {len(text)} clips, {len(rows)} of them with motion and text, rolled by "
            f"{shift} holds no strangers: give 2 clips or more"
        )
    near = (text - motion).square().sum(-1)
    own = torch.arange(len(text), device=text.device)
    stranger = own.index_copy(0, rows, rows.roll(shift))
    # The root has no derivative at zero, where text and a stranger's motion coincide.
    far = (text - motion[stranger]).square().sum(-1).clamp(min=1e-12).sqrt()
    short = (margin - far).clamp(min=0).square()
    return {
        "partners": torch.where(paired, near, 0),
        "strangers": torch.where(stranger == own, 0, short),
    }


def roll_shift(seed: int, step: int, size: int) -> int:
    """A shift in 1 to size - 1, from the run's seed and the step."""
    generator = torch.Generator().manual_seed((seed << 32) + step)
    return int(torch.randint(1, max(size, 2), (), generator=generator))


def t2m_terms(
    network: T2MNetwork,
    features: Float[Tensor, "b t d"],
    mask: Bool[Tensor, "b t"],
    tokens: Float[Tensor, "b n w"],
    token_mask: Bool[Tensor, "b n"],
    paired: Bool[Tensor, "b"],
    *,
    shift: int,
) -> Terms:
    """Terms of the text-to-motion evaluator's second stage, all networks learning together.

    The first stage of the reference (the movement encoder as an autoencoder of windows) may be
    skipped, as its author says.
    """
    motion = network.embed_motion(features, mask)
    text = network.embed_text(tokens, token_mask)
    return margin_terms(text, motion, paired, margin=network.config.margin, shift=shift)


def tmr_terms(
    network: TMRNetwork,
    features: Float[Tensor, "b t d"],
    mask: Bool[Tensor, "b t"],
    tokens: Float[Tensor, "b n w"],
    token_mask: Bool[Tensor, "b n"],
    paired: Bool[Tensor, "b"],
    *,
    noise_key: Int[Tensor, "b"],
) -> Terms:
    """Weighted terms of TMR: reconstruction from either latent, divergences, latents, contrast.

    A clip that is not paired is nobody's negative; its own terms mean nothing.
    """
    config = network.config
    frames, frame_mask = network.patches(features, mask)
    motion = network.motion_encoder(frames, frame_mask)
    text = network.text_encoder(tokens, token_mask)
    rebuilt = features.new_zeros(len(features))
    for name, latent in (("motion", motion), ("text", text)):
        noise = clip_normal(noise_key, f"{name}_latent", latent.mean.shape[1:]).to(features)
        found = network.motion_decoder(latent.sample(noise), frame_mask)
        error = smooth_l1_loss(found, frames, reduction="none")
        rebuilt = rebuilt + mean_over_valid(error, frame_mask)
    normal = Latent(torch.zeros_like(motion.mean), torch.zeros_like(motion.mean))
    pairs = ((motion, text), (text, motion), (motion, normal), (text, normal))
    kl = torch.stack([one.divergence(other) for one, other in pairs]).sum(0)
    gap = smooth_l1_loss(motion.mean, text.mean, reduction="none").mean(-1)
    strangers = paired[:, None] & paired
    excluded = similar(tokens, token_mask, config.similar_text) | ~strangers
    contrast = info_nce(motion.mean, text.mean, excluded, temperature=config.temperature)
    return {
        "reconstruction": rebuilt,
        "kl": config.kl_weight * kl,
        "latent": config.latent_weight * gap,
        "contrast": config.contrastive_weight * contrast,
    }


def info_nce(
    motion: Float[Tensor, "b e"],
    text: Float[Tensor, "b e"],
    excluded: Bool[Tensor, "b b"],
    *,
    temperature: float,
) -> Float[Tensor, "b"]:
    """Cross-entropy of picking the partner by cosine, mean of both directions, per clip.

    Args:
        motion: means of the motions' latents.
        text: means of the texts' latents, row by row.
        excluded: pairs that are no negatives; the diagonal does not matter.
        temperature: of the cosines.
    """
    scores = normalize(motion, dim=-1) @ normalize(text, dim=-1).mT / temperature
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(excluded & ~own, -torch.inf)
    target = torch.arange(len(scores), device=scores.device)
    by_motion = cross_entropy(scores, target, reduction="none")
    return (by_motion + cross_entropy(scores.mT, target, reduction="none")) / 2


def similar(
    tokens: Float[Tensor, "b n w"], mask: Bool[Tensor, "b n"], threshold: float
) -> Bool[Tensor, "b b"]:
    """Pairs of texts whose mean tokens have at least this cosine."""
    kept = torch.where(mask[..., None], tokens, 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    unit = normalize(kept, dim=-1)
    return unit @ unit.mT >= threshold
