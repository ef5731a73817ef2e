"""K2M's second stage: masking, decoding, text conditions, lengths, samples."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.batch import Batch
from motion.body import load_body
from motion.body.model import motion_joints
from motion.models.k2m.config import K2MConfig, SampleOptions
from motion.models.k2m.decoding import decode_base, decode_residuals, drawn, generators
from motion.models.k2m.keypoints import keypoints_of
from motion.models.k2m.masking import corrupted, num_masked, residual_level
from motion.models.k2m.smpl_head import Smpl
from motion.models.k2m.system import K2M
from motion.models.k2m.tokens import Crop, cropped, made, phases, random_crop, whole
from motion.models.k2m.world import on_the_floor, upright
from motion.models.system import System
from motion.sequence import Motion

CODES, LEVELS = 64, 4


def system() -> K2M:
    torch.manual_seed(0)
    return K2MConfig.tiny(text_dim=8).build().eval()


def clips(lengths: tuple[int, ...] = (40, 33, 21), *, tokens: bool = False) -> Batch:
    b, t = len(lengths), max(lengths)
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(0, CODES, (b, 4, t // 4, LEVELS), generator=draw)
    length = torch.tensor(lengths)
    last = (length[:, None] - torch.arange(4)) // 4
    codes[torch.arange(t // 4) >= last[..., None]] = -1
    return Batch(
        clip_ids=tuple(f"clip{i}" for i in range(b)),
        fps=torch.full((b,), 20.0),
        frame_mask=torch.arange(t) < length[:, None],
        keypoints=400 + 300 * torch.rand(b, t, 17, 2, generator=draw),
        keypoints_confidence=torch.ones(b, t, 17),
        keypoints_size=torch.tensor([1920.0, 1080.0]).expand(b, 2).clone(),
        has_keypoints=torch.ones(b, dtype=torch.bool),
        tokens=codes if tokens else None,
        has_tokens=torch.ones(b, dtype=torch.bool) if tokens else None,
        text=torch.randn(b, 1, 5, 8, generator=draw),
        text_mask=torch.ones(b, 1, 5, dtype=torch.bool),
        has_text=torch.ones(b, dtype=torch.bool),
        noise_key=torch.arange(10, 10 + b),
    )


def part(batch: Batch, rows: slice, frames: int | None = None) -> Batch:
    """Some clips, cut to fewer frames of padding."""
    kept = {
        name: value[rows] if isinstance(value, torch.Tensor) else value
        for name, value in vars(batch).items()
    }
    for name in ("frame_mask", "keypoints", "keypoints_confidence"):
        kept[name] = kept[name][:, :frames]
    return replace(batch, **{**kept, "clip_ids": batch.clip_ids[rows]})


def test_counts_of_the_schedule() -> None:
    times = torch.linspace(0, 1, 10)
    found = num_masked(torch.full((10,), 49), times)
    assert found.tolist() == [49, 48, 46, 42, 38, 31, 24, 17, 9, 1]
    assert num_masked(torch.tensor([0, 1]), torch.ones(2)).tolist() == [0, 1]


def test_masked_share_and_kinds_of_corruption() -> None:
    keys, n = torch.arange(600), 49
    ids = torch.full((600, n), 7)
    valid = torch.arange(n) < torch.tensor([49, 20, 5]).repeat(200)[:, None]
    seen, chosen = corrupted(ids, valid, keys, num_codes=512)
    assert not (chosen & ~valid).any()
    assert (chosen.sum(1) >= 1).all(), "every clip has a target"
    share = (chosen.sum(1) / valid.sum(1))[valid.sum(1) == 49].mean()
    assert share.item() == pytest.approx(0.637, abs=0.05)
    kinds = seen[chosen]
    assert (kinds == 512).float().mean().item() == pytest.approx(0.791, abs=0.02)
    assert (kinds == 7).float().mean().item() == pytest.approx(0.108, abs=0.02)
    assert (seen[~chosen] == 7).all()


def test_corruption_belongs_to_the_clip() -> None:
    ids, valid = torch.full((3, 9), 7), torch.ones(3, 9, dtype=torch.bool)
    keys = torch.tensor([5, 6, 7])
    valid[1, 7:] = False
    both = corrupted(ids, valid, keys, num_codes=16)
    alone = corrupted(ids[1:2, :7], valid[1:2, :7], keys[1:2], num_codes=16)
    assert torch.equal(both[0][1:2, :7], alone[0]), "nor on the batch's padding"
    assert torch.equal(both[1][1:2, :7], alone[1])


def test_counting_padding_can_leave_a_clip_without_target() -> None:
    ids, valid = torch.zeros(200, 40, dtype=torch.long), torch.arange(40).expand(200, 40) < 1
    _, chosen = corrupted(ids, valid, torch.arange(200), num_codes=4, count_padding=True)
    assert (chosen.sum(1) == 0).any()


def test_shares_of_the_residual_levels() -> None:
    level = residual_level(torch.linspace(0, 1, 20_001), 6)
    share = level.bincount(minlength=6)[1:] / 20_001
    expected = torch.tensor([0.32, 0.25, 0.18, 0.16, 0.08])
    torch.testing.assert_close(share, expected, atol=0.02, rtol=0)


def test_draws_are_among_the_likeliest_and_follow_their_chances() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0]).log_softmax(0).expand(1, 20_000, 4)
    (draw,) = generators(1, torch.Generator().manual_seed(0))
    found = drawn(logits, [draw], keep=0.5, temperature=1.0)
    share = found.flatten().bincount(minlength=4) / 20_000
    expected = torch.tensor([3.0, 2.0]).softmax(0)
    torch.testing.assert_close(share[:2], expected, atol=0.02, rtol=0)
    assert (share[2:] == 0).all()


def decode(known: torch.Tensor, valid: torch.Tensor, steps: int, seed: int = 0) -> torch.Tensor:
    weights = torch.randn(valid.shape[1], 16, generator=torch.Generator().manual_seed(9))
    return decode_base(
        lambda ids: weights.expand(len(ids), -1, -1) + 0.1 * ids[..., None],
        known,
        valid,
        generators(len(valid), torch.Generator().manual_seed(seed)),
        steps=steps,
        mask_id=16,
        keep=1.0,
        temperature=1.0,
    )


@given(st.integers(1, 12), st.integers(0, 2**12 - 1), st.integers(1, 12))
def test_decoding_keeps_known_codes_and_fills_the_others(
    steps: int, pattern: int, length: int
) -> None:
    valid = (torch.arange(12) < length)[None]
    fixed = torch.tensor([[bool(pattern >> place & 1) for place in range(12)]]) & valid
    known = torch.where(fixed, torch.arange(12) % 16, -1)
    found = decode(known, valid, steps)
    assert torch.equal(found[fixed], known[fixed])
    assert ((found >= 0) == valid).all()
    assert (found < 16).all(), "no mask is left"


def test_a_clip_is_decoded_alone_as_among_others() -> None:
    valid = torch.ones(3, 12, dtype=torch.bool)
    known = torch.full((3, 12), -1)
    many = decode(known, valid, 4)
    assert torch.equal(decode(known[:1], valid[:1], 4), many[:1])
    assert len(many.unique(dim=0)) == 3


def test_residuals_of_known_tokens_stay_and_padding_is_null() -> None:
    known = torch.full((1, 5, 3), -1)
    known[0, 1] = torch.tensor([4, 5, 6])
    base = torch.tensor([[1, 4, 2, 3, -1]])
    found = decode_residuals(
        lambda ids, level: torch.zeros(1, 5, 8) + level,
        base,
        known,
        generators(1, torch.Generator().manual_seed(0)),
        keep=1.0,
        temperature=1.0,
    )
    assert found[0, 1].tolist() == [4, 5, 6]
    assert (found[0, 4] == -1).all()
    assert torch.equal(found[..., 0], base)


def test_tokens_do_not_depend_on_padding() -> None:
    model, batch = system(), clips()
    together = model.tokenizer.encode(keypoints_of(batch))
    for row, frames in enumerate((40, 33, 21)):
        alone = model.tokenizer.encode(keypoints_of(part(batch, slice(row, row + 1), frames)))
        assert torch.equal(alone[0], together[row, : frames // 4])
        assert (together[row, frames // 4 :] == -1).all()


def test_decoded_frames_do_not_depend_on_padding() -> None:
    model = system()
    ids = model.tokenizer.encode(keypoints_of(clips()))
    whole_batch = model.tokenizer.decode(ids)
    alone = model.tokenizer.decode(ids[2:, :5])
    torch.testing.assert_close(alone.translation[0], whole_batch.translation[2, :20])
    torch.testing.assert_close(alone.R_parent_child[0], whole_batch.R_parent_child[2, :20])


def test_phases_are_the_tokens_of_later_starts() -> None:
    model, batch = system(), clips((30,))
    keypoints = keypoints_of(batch)
    found = phases(model.tokenizer, replace_mask(keypoints, batch))
    assert [part.shape[1] for part in found] == [7, 7, 7, 6]
    frames = batch.frame_mask.sum(1)
    for phase in range(4):
        crop = Crop(torch.tensor([phase]), (frames - phase) // 4)
        assert torch.equal(found[phase], made(model.tokenizer, batch, crop).ids)


def replace_mask(keypoints, batch: Batch):  # type: ignore[no-untyped-def]
    """All frames, also those that whole tokens do not cover."""
    return replace(
        keypoints, xy=batch.keypoints, confidence=batch.keypoints_confidence, mask=batch.frame_mask
    )


@given(st.integers(0, 1000))
def test_crops_lie_within_the_clip_and_its_tokens(key: int) -> None:
    batch = replace(clips(tokens=True), noise_key=torch.tensor([key, key + 1, key + 2]))
    crop = random_crop(batch, 0.5)
    assert (crop.start + 4 * crop.tokens <= batch.frame_mask.sum(1)).all()
    assert batch.tokens is not None
    found = cropped(batch.tokens, crop)
    assert torch.equal(found.valid.sum(1), crop.tokens), "every token of the crop is real"


def test_losses_of_stored_and_of_fresh_tokens_agree() -> None:
    """With whole clips of no spare frame there is one crop, and both see the same tokens."""
    model, batch = system(), clips((32, 32))
    model.config = model.config.model_copy(update={"shorten": 0.0})
    stored = torch.stack(phases(model.tokenizer, keypoints_of(batch))[:1], 1)
    fresh = model.clip_losses(batch)
    kept = model.clip_losses(replace(batch, tokens=stored, has_tokens=batch.has_text))
    torch.testing.assert_close(kept, fresh)


def test_tokenizer_stays_frozen() -> None:
    model = system().train()
    assert not model.tokenizer.training
    loss, _ = model(clips(tokens=True))
    loss.backward()
    assert all(p.grad is None for p in model.tokenizer.parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert sum(p.numel() for p in trained) < 1_000_000


def test_dropped_captions_are_not_seen() -> None:
    model, batch = system(), clips(tokens=True)
    assert batch.text is not None
    other = replace(batch, text=batch.text.flip(0))
    none = replace(batch, has_text=torch.zeros(3, dtype=torch.bool))
    told, changed = model.clip_losses(batch)["masked"], model.clip_losses(other)["masked"]
    assert not torch.allclose(told, changed)
    silent = model.clip_losses(none)["masked"]
    torch.testing.assert_close(
        silent, model.clip_losses(replace(other, has_text=none.has_text))["masked"]
    )


def test_samples_are_world_motions_on_the_floor() -> None:
    model, batch = system(), clips((40, 32))
    assert isinstance(model, System)
    draw = torch.Generator().manual_seed(0)
    motion = model.sample(batch, SampleOptions(steps=3), generator=draw).motion
    assert motion is not None
    assert motion.frame == "world"
    assert motion.R_parent_child.shape == (2, 40, 24, 3, 3)
    joints = motion_joints(load_body("free"), motion)
    torch.testing.assert_close(joints[:, 0, 0, [0, 2]], torch.zeros(2, 2), atol=1e-5, rtol=0)
    assert torch.equal(
        motion.R_parent_child[1, 32:], motion.R_parent_child[1, 31:32].expand(8, -1, -1, -1)
    )


def test_a_sample_is_the_same_however_many_are_asked_for() -> None:
    model, batch = system(), clips((40, 40))
    both = model.sample_tokens(
        batch, SampleOptions(steps=3), generator=torch.Generator().manual_seed(0)
    )
    alone = model.sample_tokens(
        part(batch, slice(0, 1)), SampleOptions(steps=3),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(both.ids[:1], alone.ids)


@pytest.mark.parametrize("stored", [True, False])
def test_in_betweening_keeps_the_rest_of_the_clip(stored: bool) -> None:
    model, batch = system(), clips((40, 33), tokens=stored)
    given_tokens = whole(model.tokenizer, batch).ids
    options = SampleOptions(steps=4, regenerate_s=((0.5, 1.0),))  # tokens 2.5 to 5 at 20 fps
    draw = torch.Generator().manual_seed(0)
    made_anew = model.sample_tokens(batch, options, generator=draw).ids
    kept = torch.tensor([0, 1, 5, 6, 7])
    assert torch.equal(made_anew[:, kept], given_tokens[:, kept])
    assert not torch.equal(made_anew, given_tokens)
    assert torch.equal(made_anew[..., 0] >= 0, given_tokens[..., 0] >= 0)


def test_guidance_of_one_ignores_the_weak_side() -> None:
    model, batch = system(), clips((40,))
    calls: list[bool] = []
    inner = model.masked.forward

    def counted(ids, valid, text, keep):  # type: ignore[no-untyped-def]
        calls.append(bool(keep.all()))
        return inner(ids, valid, text, keep)

    model.masked.forward = counted  # type: ignore[method-assign]  # counts calls
    for weight, expected in ((1.0, [True] * 2), (4.0, [False, True] * 2)):
        calls.clear()
        model.sample_tokens(
            batch, SampleOptions(steps=2, guidance=weight), generator=torch.Generator()
        )
        assert calls == expected


def test_length_predictor_learns_a_rule() -> None:
    model = system().train()
    text = torch.zeros(3, 1, 2, 8)
    text[0, ..., 0] = text[1, ..., 1] = text[2, ..., 2] = 3.0
    batch = replace(clips(), text=text, text_mask=torch.ones(3, 1, 2, dtype=torch.bool))
    target = torch.tensor([10, 8, 5])
    optimizer = torch.optim.Adam(model.length.parameters(), lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model.length(model.text_of(batch)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    frames = model.predict_frames(batch, generator=torch.Generator().manual_seed(0))
    assert frames.tolist() == [40, 32, 20]
    options = SampleOptions(steps=2, predict_length=True)
    found = model.sample(batch, options, generator=torch.Generator().manual_seed(0)).motion
    assert found is not None
    assert found.R_parent_child.shape[:2] == (3, 40), "not the batch's frames"
    held = found.R_parent_child[2, 19:]
    assert torch.equal(held, held[:1].expand_as(held))


def test_shared_weights_are_one_tensor_per_level() -> None:
    model = system().residual
    for level in (1, 2):
        assert model.outputs[level - 1].weight is model.embeddings[level].weight
    assert model.outputs[2].weight is not model.embeddings[0].weight
    apart = K2MConfig.tiny().model_copy(update={"share_weights": False}).build().residual
    assert sum(p.numel() for p in apart.parameters()) > sum(p.numel() for p in model.parameters())


def test_camera_motion_turns_upright() -> None:
    body = load_body("free")
    root = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])  # upright in a y-down camera
    R = torch.eye(3).repeat(1, 2, 24, 1, 1)
    R[:, :, 0] = root
    seen = Motion(
        R_parent_child=R, translation=torch.tensor([0.5, 0.2, 9.0]).repeat(1, 2, 1),
        betas=torch.zeros(1, 10), body_id=body.body_id, fps=20.0, frame="camera",
    )  # fmt: skip
    before = motion_joints(body, seen)
    world = upright(seen, body)
    after = motion_joints(body, world)
    torch.testing.assert_close(after, before * torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(world.R_parent_child[:, :, 0], torch.eye(3).repeat(1, 2, 1, 1))
    placed = on_the_floor(world, body)
    feet = body.vertices(
        placed.R_parent_child, placed.betas, placed.translation, index=body.contact_vertices
    )
    assert feet[..., 1].min().item() == pytest.approx(0.0, abs=1e-5)


def test_paper_sizes() -> None:
    with torch.device("meta"):
        model = K2MConfig().build()
    masked = sum(p.numel() for p in model.masked.parameters()) / 1e6
    residual = sum(p.numel() for p in model.residual.parameters()) / 1e6
    assert masked == pytest.approx(9.29, abs=0.5)
    assert residual == pytest.approx(10.60, abs=0.7)


def test_smpl_has_the_paper_s_85_numbers() -> None:
    found = system().tokenizer.decode(torch.zeros(1, 4, LEVELS, dtype=torch.long))
    assert isinstance(found, Smpl)
    assert found.numbers().shape == (1, 16, 85)
