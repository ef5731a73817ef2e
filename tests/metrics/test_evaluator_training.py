"""The evaluators' losses, features and statistics; and that they learn."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.batch import Batch
from motion.body import load_body
from motion.data.procedural import MotionClip, ProceduralConfig, generate_motion
from motion.data.statistics import fit_statistics
from motion.models.evaluator.features import FeatureConfig, at_rate, keypoint_features
from motion.models.evaluator.loss import info_nce, margin_terms, roll_shift, similar
from motion.models.evaluator.system import EvaluatorConfig, EvaluatorTraining
from motion.models.evaluator.t2m import T2MConfig
from motion.models.evaluator.tmr import Latent
from motion.representations.humanml import HumanML
from motion.sequence import Motion

CLIP = ProceduralConfig(render=False, num_frames=21)


@pytest.fixture(scope="module")
def clips() -> list[MotionClip]:
    return [generate_motion(seed, CLIP) for seed in range(6)]


def _batch(clips: list[MotionClip], width: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(0)
    motions = [clip.motion for clip in clips]
    size, frames = len(clips), CLIP.num_frames
    mask = torch.ones(size, frames, dtype=torch.bool)
    mask[1, 15:] = False
    return Batch(
        clip_ids=tuple(str(clip.seed) for clip in clips),
        fps=torch.full((size,), CLIP.fps),
        frame_mask=mask,
        R_parent_child=torch.stack([motion.R_parent_child for motion in motions]),
        translation=torch.stack([motion.require_translation() for motion in motions]),
        betas=torch.stack([motion.betas for motion in motions]),
        body_id=motions[0].body_id,
        has_motion=torch.ones(size, dtype=torch.bool),
        text=torch.randn(size, 1, 5, width, generator=generator),
        text_mask=torch.ones(size, 1, 5, dtype=torch.bool),
        has_text=torch.ones(size, dtype=torch.bool),
        noise_key=torch.arange(size),
    )


def _config(network: str, batch: Batch) -> EvaluatorConfig:
    features = FeatureConfig()
    features = features.fitted(fit_statistics([tuple(features.of_batch(batch))]))
    if network == "tmr":
        return EvaluatorConfig.tiny(16).model_copy(update={"features": features})
    small = T2MConfig(
        movement_hidden=16, movement_dim=16, motion_hidden=16, word_dim=16, pos_dim=0,
        text_hidden=16, embedding_dim=8, dropout=0.0, reference_frames=0,
    )  # fmt: skip
    return EvaluatorConfig(network=small, features=features)


@pytest.mark.parametrize("network", ["tmr", "t2m"])
def test_training_reaches_every_parameter_and_learns(clips: list[MotionClip], network: str) -> None:
    batch = _batch(clips)
    torch.manual_seed(0)
    module = EvaluatorTraining(_config(network, batch))
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    losses: list[float] = []
    for step in range(12):
        loss, logs = module(batch.stamp(step=step, steps=12, seed=0))
        torch.testing.assert_close(torch.stack(list(logs.values())).sum(), loss.detach())
        optimizer.zero_grad()
        loss.backward()
        missing = [n for n, p in module.named_parameters() if p.grad is None]
        assert missing == []
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("network", ["tmr", "t2m"])
def test_clips_without_motion_or_words_teach_nothing(clips: list[MotionClip], network: str) -> None:
    """Neither they nor what stands in their rows change a loss; a lone pair has no strangers."""
    batch = _batch(clips)
    assert batch.text is not None
    assert batch.text_mask is not None
    assert batch.translation is not None
    torch.manual_seed(0)
    module = EvaluatorTraining(_config(network, batch)).eval()
    counts = {"motion": 4}

    def lacking(missing: list[int], fill: float) -> Batch:
        """The first of the missing clips lacks motion, the second a caption, others words."""
        motion, text = torch.ones(6).bool(), torch.ones(6).bool()
        words, path = batch.text_mask.clone(), batch.translation.clone()
        tokens = batch.text.clone()
        motion[missing[:1]], text[missing[1:2]] = False, False
        words[missing[2:]] = False
        path[missing[:1]], tokens[missing[1:]] = fill, fill
        return dataclasses.replace(
            batch, has_motion=motion, has_text=text, text_mask=words, translation=path,
            text=tokens, counts=counts,
        )  # fmt: skip

    one, logs = module(lacking([2, 3], 0.0))
    other, _ = module(lacking([2, 3], float("nan")))
    assert torch.equal(one, other)
    kept = torch.tensor([0, 1, 4, 5])
    rows = {
        field.name: value[kept]
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    ids = tuple(batch.clip_ids[i] for i in kept)
    alone, _ = module(dataclasses.replace(batch, clip_ids=ids, counts=counts, **rows))
    torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)
    loss, logs = module(lacking([0, 1, 2, 3, 4], float("nan")))
    loss.backward()
    gradients = [p.grad for p in module.parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in gradients)
    assert float(logs["strangers" if network == "t2m" else "contrast"]) == 0
    assert module(lacking([0, 1, 2, 3, 4, 5], 0.0))[0].item() == 0


def test_an_evaluator_without_its_columns_says_so(clips: list[MotionClip]) -> None:
    batch = _batch(clips)
    with pytest.raises(ValueError, match="no statistics"):
        EvaluatorConfig.tiny(16).build()(batch)
    blind = Batch(clip_ids=("a",), fps=torch.ones(1), frame_mask=torch.ones(1, 4).bool(),
                  noise_key=torch.zeros(1, dtype=torch.long))  # fmt: skip
    with pytest.raises(ValueError, match="captions"):
        EvaluatorConfig.tiny(16).build()(blind)
    with pytest.raises(ValueError, match="smpl_rotvec"):
        FeatureConfig().of_batch(blind)
    with pytest.raises(ValueError, match="keypoints"):
        FeatureConfig(source="keypoints").of_batch(blind)


def test_features_are_those_of_the_motion_at_20_fps(clips: list[MotionClip]) -> None:
    batch = _batch(clips)
    found = FeatureConfig().of_batch(batch)
    # 21 frames of 16 fps last 1.25 s: 26 frames of 20 fps, 25 rows.
    assert found.values.shape == (6, 25, 263)
    assert found.mask.sum(1).tolist() == [25, 17, 25, 25, 25, 25]
    assert not found.values[1, 17:].any()
    motion = clips[0].motion
    whole = Motion(
        R_parent_child=motion.R_parent_child[None],
        translation=motion.require_translation()[None],
        betas=motion.betas[None],
        body_id=motion.body_id,
        fps=motion.fps,
    )
    direct = FeatureConfig().of_motion(whole, load_body("free"))
    torch.testing.assert_close(direct.values[0], found.values[0], rtol=1e-4, atol=1e-5)


def test_every_fourth_frame_of_another_rate_is_a_frame_of_the_clip() -> None:
    points = torch.randn(2, 9, 3, 3, dtype=torch.float64)
    found, counts = at_rate(points, torch.tensor([9, 6]), torch.tensor([16.0, 16.0]), 20.0)
    assert counts.tolist() == [11, 7]
    torch.testing.assert_close(found[:, ::5][0], points[0, ::4])
    torch.testing.assert_close(found[0, 1], 0.2 * points[0, 0] + 0.8 * points[0, 1])
    same, counts = at_rate(points, torch.tensor([9, 6]), torch.tensor([20.0, 20.0]), 20.0)
    assert torch.equal(same[0], points[0])
    with pytest.raises(ValueError, match="shorter than 2 frames"):
        at_rate(points, torch.tensor([9, 1]), torch.tensor([16.0, 16.0]), 20.0)


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.3, 4), right=st.floats(-500, 500), down=st.floats(-500, 500))
def test_keypoint_features_do_not_depend_on_place_and_size(
    scale: float, right: float, down: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    points = 200 * torch.randn(2, 12, 17, 2, generator=generator, dtype=torch.float64)
    trust = torch.rand(2, 12, 17, generator=generator, dtype=torch.float64)
    mask = torch.arange(12) < torch.tensor([12, 9])[:, None]
    fps = torch.full((2,), 20.0)
    one = keypoint_features(points, trust, mask, fps, 20.0)
    moved = scale * points + torch.tensor([right, down])
    two = keypoint_features(moved, trust, mask, fps, 20.0)
    assert one.values.shape == (2, 12, 55)
    assert torch.equal(one.mask, mask)
    torch.testing.assert_close(one.values, two.values, rtol=1e-6, atol=1e-6)
    assert not one.values[1, 9:].any()


def test_statistics_of_humanml_share_a_deviation_per_group(clips: list[MotionClip]) -> None:
    found = _config("tmr", _batch(clips)).features.statistics
    assert found is not None
    std = torch.tensor(found.std)
    for group in HumanML().slices.values():
        assert len(set(std[group].tolist())) == 1


def test_margin_loss_pulls_partners_and_pushes_strangers() -> None:
    text = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    both = torch.tensor([True, True])
    terms = margin_terms(text, text, both, margin=10.0, shift=1)
    assert terms["partners"].tolist() == [0, 0]
    torch.testing.assert_close(terms["strangers"], torch.tensor([25.0, 25.0]))  # (10 - 5)^2
    with pytest.raises(ValueError, match="no strangers"):
        margin_terms(text, text, both, margin=10.0, shift=2)
    assert {roll_shift(0, step, 4) for step in range(60)} == {1, 2, 3}
    assert roll_shift(5, 7, 32) == roll_shift(5, 7, 32)


def test_contrast_is_that_of_the_softmax_and_leaves_similar_texts_out() -> None:
    eye = torch.eye(3)
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    expected = math.log(math.exp(10) + 2) - 10
    found = info_nce(eye, eye, nothing, temperature=0.1)
    torch.testing.assert_close(found, torch.full((3,), expected), rtol=1e-4, atol=1e-7)
    # The same motion for two texts: a contradiction, unless the texts are similar.
    twins = eye[[0, 0, 2]]
    assert info_nce(twins, twins, nothing, temperature=0.1)[0] > 0.6
    tokens = torch.cat([twins[:, None], torch.full((3, 1, 3), 9.0)], 1)
    mask = torch.tensor([[True, False]] * 3)
    alike = similar(tokens, mask, 0.9)
    assert alike.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert info_nce(twins, twins, alike, temperature=0.1)[0] < 0.01


def test_divergence_is_the_closed_form() -> None:
    one = Latent(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, -1.0]]))
    two = Latent(torch.tensor([[-0.5, 0.3]]), torch.tensor([[0.0, 0.4]]))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(one.mean, (0.5 * one.log_variance).exp()),
        normal(two.mean, (0.5 * two.log_variance).exp()),
    ).mean(-1)
    torch.testing.assert_close(one.divergence(two), expected)
    torch.testing.assert_close(one.divergence(one), torch.zeros(1))
