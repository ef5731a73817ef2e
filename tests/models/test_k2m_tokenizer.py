"""K2M's first stage: input features, augmentation, adapters, and that it learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion.batch import Batch
from motion.body import load_body
from motion.data.derive import DeriveConfig
from motion.data.procedural import ProceduralConfig, generate_motion
from motion.data.project import ProjectConfig, seen_from
from motion.diffusion.noise import noise_key
from motion.models.k2m.config import AdapterConfig, AugmentConfig, TokenizerConfig
from motion.models.k2m.keypoints import Keypoints, augmented, cut, keypoints_of, random_window
from motion.models.k2m.tokenizer import TokenizerTraining
from motion.skeleton import COCO_17


def keypoints(lengths: tuple[int, ...] = (24, 16)) -> Keypoints:
    t = max(lengths)
    draw = torch.Generator().manual_seed(0)
    return Keypoints(
        xy=200 + 500 * torch.rand(len(lengths), t, 17, 2, generator=draw),
        confidence=0.1 + 0.9 * torch.rand(len(lengths), t, 17, generator=draw),
        size=torch.tensor([1920.0, 1080.0]).repeat(len(lengths), 1),
        mask=torch.arange(t) < torch.tensor(lengths)[:, None],
    )


def test_features_in_halves_of_the_longer_side() -> None:
    found = keypoints((8,))
    xy = found.xy.clone()
    xy[0, 0, 0], xy[0, 0, 1] = torch.tensor([1920.0, 1080.0]), torch.tensor([960.0, 540.0])
    trust = found.confidence.clone()
    trust[0, 0, 2] = 0.01
    features = replace(found, xy=xy, confidence=trust).features()
    torch.testing.assert_close(features[0, 0, 0, :2], torch.tensor([1.0, 0.5625]))
    torch.testing.assert_close(features[0, 0, 1, :2], torch.zeros(2))
    assert (features[0, 0, 2] == 0).all(), "an unseen keypoint is no input"
    torch.testing.assert_close(features[0, :, 17], torch.tensor([1.92, 1.08, 1.0]).expand(8, 3))


def test_mirroring_swaps_sides_and_is_its_own_inverse() -> None:
    config, keys = AugmentConfig(flip=1.0), torch.arange(2)
    found = keypoints()
    once = augmented(found, config, keys)
    left, right = COCO_17.index("left_wrist"), COCO_17.index("right_wrist")
    torch.testing.assert_close(once.xy[:, :, left, 0], 1920 - found.xy[:, :, right, 0])
    torch.testing.assert_close(once.xy[:, :, left, 1], found.xy[:, :, right, 1])
    torch.testing.assert_close(once.confidence[..., left], found.confidence[..., right])
    torch.testing.assert_close(augmented(once, config, keys).xy, found.xy)


def test_scale_and_shift_move_all_keypoints_of_a_clip_alike() -> None:
    found = keypoints()
    moved = augmented(found, AugmentConfig(scale=0.2, shift=0.1), torch.arange(2))
    before, after = found.xy - found.xy[:, :1, :1], moved.xy - moved.xy[:, :1, :1]
    factor = after[:, 1, 1] / before[:, 1, 1]
    torch.testing.assert_close(after, factor[:, None, None, :1] * before, rtol=1e-3, atol=1e-2)
    assert ((factor > 0.79) & (factor < 1.21)).all()
    assert not torch.allclose(factor[0], factor[1])
    same = augmented(found, AugmentConfig(), torch.arange(2))
    torch.testing.assert_close(same.xy, found.xy)


def test_windows_reach_the_end_of_a_clip_and_keep_short_ones() -> None:
    found = keypoints((40, 12))
    starts: set[float] = set()
    for key in range(120):
        window = random_window(found, 32, torch.tensor([key, key]))
        assert window.mask.sum(1).tolist() == [32, 12]
        torch.testing.assert_close(window.xy[1, :12], found.xy[1, :12])
        starts.add(window.xy[0, 0, 0, 0].item())
    assert starts == {value.item() for value in found.xy[0, :9, 0, 0]}


def test_cut_keeps_whole_tokens() -> None:
    found = cut(keypoints((24, 16)), torch.tensor([3, 0]), torch.tensor([21, 7]))
    assert found.mask.sum(1).tolist() == [20, 4]
    assert found.token_mask.sum(1).tolist() == [5, 1]
    torch.testing.assert_close(found.xy[0, 0], keypoints((24, 16)).xy[0, 3])


@pytest.mark.parametrize("out", ["project", "flatten", "head54", "mean"])
@pytest.mark.parametrize(("time", "skip"), [("sinusoidal", True), ("learned", False)])
def test_adapters_train(out: str, time: str, skip: bool) -> None:
    adapter = AdapterConfig(
        width=8, representation=4, heads=2, out=out, time=time, max_frames=32, skip=skip
    )
    config = TokenizerConfig.tiny().model_copy(update={"adapter": adapter, "width": 8})
    module = config.build()
    terms, _ = module.terms(keypoints())
    sum(term.sum() for term in terms.values()).backward()
    without = [name for name, p in module.named_parameters() if p.grad is None]
    assert without == []


def test_without_adapter_the_convolutions_see_54_numbers() -> None:
    adapter = AdapterConfig(kind="none")
    module = TokenizerConfig.tiny().model_copy(update={"adapter": adapter}).build()
    assert module.tokenizer.encoder.enter.in_channels == 54
    assert [n for n, _ in module.named_parameters() if "adapter" in n] == []


def test_a_shared_shape_is_projected_like_one_per_frame() -> None:
    torch.manual_seed(0)
    module = TokenizerConfig.tiny().build().eval()
    shared = module.terms(keypoints())[1]
    head = module.config.head.model_copy(update={"shared_betas": False})
    tokenizer = module.tokenizer
    smpl = tokenizer.smpl(tokenizer.quantize(keypoints()).values, keypoints().token_mask)
    tokenizer.config = module.config.model_copy(update={"head": head})
    found = tokenizer.projection(smpl, keypoints().size)
    torch.testing.assert_close(found.xy, shared.xy, rtol=1e-4, atol=0.05)


def test_sizes() -> None:
    tiny = sum(p.numel() for p in TokenizerConfig.tiny().build().parameters())
    assert tiny < 1_000_000
    with torch.device("meta"):
        adapter = AdapterConfig()
        from motion.networks.dstformer import DSTformer

        paper = DSTformer(adapter.network.model_copy(update={"head": True, "time": "learned"}))
    found = sum(p.numel() for p in paper.parameters()) / 1e6
    assert found == pytest.approx(8.84, abs=0.15)


def embedded(count: int, frames: int = 32) -> Batch:
    """Generated motions seen by a camera."""
    body, config = load_body("free"), ProceduralConfig(render=False, num_frames=frames, fps=20.0)
    where = DeriveConfig(source_root=Path("-"), root=Path("-"))
    camera = ProjectConfig(data=where, max_azimuth_deg=30.0)
    seen = []
    for seed in range(count):
        motion = generate_motion(seed, config).motion
        seen.append(seen_from(camera, body, motion, seed).exact)
    names = tuple(f"clip{seed}" for seed in range(count))
    return Batch(
        clip_ids=names,
        fps=torch.full((count,), 20.0),
        frame_mask=torch.ones(count, frames, dtype=torch.bool),
        keypoints=torch.stack([torch.from_numpy(xy).float() for xy in seen]),
        keypoints_confidence=torch.ones(count, frames, 17),
        keypoints_size=torch.tensor([1920.0, 1080.0]).repeat(count, 1),
        noise_key=torch.tensor([noise_key(0, 0, name) for name in names]),
    )


def overfitted(batch: Batch, config: TokenizerConfig, steps: int, rate: float) -> TokenizerTraining:
    torch.manual_seed(0)
    module = config.build()
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)
    for step in range(steps):
        loss, _ = module(replace(batch, step=step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return module.eval()


def test_a_few_steps_bring_the_projection_nearer() -> None:
    batch = embedded(2, 16)
    config = TokenizerConfig.tiny().model_copy(update={"window": 16})
    before, _ = config.build().eval().terms(keypoints_of(batch))
    after, found = overfitted(batch, config, 30, 1e-2).terms(keypoints_of(batch))
    assert after["rec"].mean() < 0.8 * before["rec"].mean()
    assert found.seen.all()


@pytest.mark.slow
def test_eight_clips_are_rebuilt_to_few_pixels() -> None:
    """Two pixels are the goal; docs/models/k2m.md says what more steps give."""
    batch = embedded(8)
    config = TokenizerConfig.tiny()
    quantizer = config.quantizer.model_copy(update={"start_step": 200, "level_dropout": 0.0})
    config = config.model_copy(update={"window": 32, "quantizer": quantizer})
    terms, found = overfitted(batch, config, 1500, 3e-3).terms(keypoints_of(batch))
    assert found.seen.all(), "every depth is positive"
    error = (found.xy - batch.keypoints).norm(dim=-1).mean()
    assert error.item() < 4.5, f"{error.item():.2f} px, L1 {terms['rec'].mean().item():.2f} px"
