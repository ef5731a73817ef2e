"""GENMO's modes, losses, sampling and what comes after it."""

import dataclasses

import pytest
import torch
from genmo_batches import batch, config, rows, system, watched

from motion.body import load_body
from motion.models import SYSTEMS
from motion.models.genmo.config import Augmentation, SampleOptions
from motion.models.genmo.decoding import pelvis_in_camera, standardized_camera, tidy
from motion.models.genmo.loss import STATIC_JOINTS
from motion.models.genmo.network import Prediction
from motion.models.genmo.postprocess import hold_static_joints, static_path
from motion.models.genmo.streaming import StreamingEstimator
from motion.models.system import System
from motion.rotations import geodesic_rad, matrix_from_rotvec, rotation6d_from_matrix
from motion.sequence import Motion

TERMS = {"simple", "joints", "vertices", "reprojection", "camera", "path", "static"}

MODES = ("estimation", "generation")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_is_a_system() -> None:
    assert isinstance(system(), System)
    assert SYSTEMS["genmo"].model_validate(config().model_dump()) == config()


def test_forward_is_deterministic_and_names_its_terms() -> None:
    model, data = system(), batch()
    loss, logs = model(data)
    assert torch.equal(loss, model(data)[0])
    assert set(logs) == {
        f"{mode}_{term}" for mode in ("estimation", "generation") for term in TERMS
    }
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.parametrize("mode", ["estimation", "generation"])
def test_one_mode_alone_has_the_same_terms_of_it(mode: str) -> None:
    data = batch()
    both, alone = system()(data)[1], system(mode=mode)(data)[1]
    assert set(alone) == {f"{mode}_{term}" for term in TERMS}
    for name, value in alone.items():
        torch.testing.assert_close(value, both[name])


def test_two_micro_batches_equal_one_batch_with_ragged_lengths_and_missing_motion() -> None:
    has = torch.tensor([True, False])
    whole = watched(batch([24, 15], has_motion=has), [False, True])
    counts = {"clips": 2, "motion": 1, "path": 1}
    whole = dataclasses.replace(whole, counts=counts)
    model = system()
    loss = model(whole)[0]
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    parts = []
    for i in range(2):
        part = dataclasses.replace(rows(whole, slice(i, i + 1)), counts=counts, num_micro_batches=2)
        share = model(part)[0] / 2
        share.backward()
        parts.append(share.detach())
    torch.testing.assert_close(torch.stack(parts).sum(), loss.detach(), atol=1e-6, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-3)


def test_a_clip_s_loss_does_not_depend_on_its_neighbors() -> None:
    model, whole = system().eval(), watched(batch([24, 15, 9]))
    together = model.clip_losses(whole)
    alone = model.clip_losses(rows(whole, slice(1, 2)))
    for name, value in alone.items():
        torch.testing.assert_close(value, together[name][1:2], atol=1e-5, rtol=1e-4)


def test_clips_without_3d_train_both_modes_by_reprojection_alone() -> None:
    data = watched(batch(has_motion=torch.tensor([True, False])), [True, True])
    model = system().eval()
    losses = model.clip_losses(data)
    for name, value in losses.items():
        assert bool(value[1].isfinite()) == name.endswith("reprojection"), name
    only = dataclasses.replace(data, R_parent_child=None, translation=None, betas=None)
    loss, logs = model.train()(only)
    assert loss > 0
    assert set(logs) == {f"{m}_{term}" for m in MODES for term in TERMS}
    assert float(logs["generation_reprojection"]) > 0
    assert float(logs["generation_simple"]) == 0
    loss.backward()


@pytest.mark.parametrize(("two_d", "trained"), [("both", 2), ("estimation", 1), ("none", 0)])
def test_what_clips_without_3d_train_is_a_choice(two_d: str, trained: int) -> None:
    data = watched(batch(has_motion=torch.tensor([False, False])))
    losses = system(two_d=two_d).eval().clip_losses(data)
    assert sum(bool(value.isfinite().all()) for value in losses.values()) == trained


def test_generation_is_noised_from_the_estimate_where_there_is_no_truth() -> None:
    model = system().eval()
    data = batch(has_motion=torch.tensor([True, True]), has_path=torch.tensor([True, False]))
    data = watched(data)
    view = model.view(data, "use")
    target = model.statistics.normalize(view.truth.features)
    guide = model._pass(torch.zeros_like(target), view.conditions, data)
    clean = model._clean(target, guide, view.truth)
    slices = model.representation.slices
    for name, where in slices.items():
        world = name in ("root_gravity", "velocity")
        expected = guide.x0 if world else target
        torch.testing.assert_close(clean[1, :, where], expected[1, :, where])
        torch.testing.assert_close(clean[0, :, where], target[0, :, where])
    assert not clean.requires_grad


def test_a_pose_of_a_camera_alone_is_supervised_as_the_camera_sees_it() -> None:
    """Its pose and its root in the camera count, the world does not."""
    has = torch.tensor([True, False])
    data = watched(batch(has_motion=torch.tensor([True, True]), has_path=has))
    model = system().eval()
    losses = model.clip_losses(data)
    assert losses["estimation_simple"].isfinite().all()
    assert losses["estimation_path"].isfinite().tolist() == [True, False]
    truth = model.view(data, "use").truth
    root = model.representation.slices["root_camera"]
    assert data.R_parent_child is not None
    given = rotation6d_from_matrix(data.R_parent_child[1, :, 0])
    torch.testing.assert_close(truth.features[1, :, root], given)


def test_perfect_predictions_cost_nothing() -> None:
    model, data = system().eval(), watched(batch([24, 24]))
    view = model.view(data, "use")
    target = model.statistics.normalize(view.truth.features)
    camera = standardized_camera(view.truth.pelvis, view.observed)
    static = (view.truth.static.float() * 2 - 1) * 50
    made = Prediction(target, camera, static)
    seen = view.conditions
    for name, (value, _) in model._scored("m", made, seen, view, target, data, None).items():
        torch.testing.assert_close(value, torch.zeros(2), atol=1e-5, rtol=0, msg=name)


def test_the_camera_head_and_its_inverse() -> None:
    data = watched(batch())
    view = system().eval().view(data, "use")
    camera = standardized_camera(view.truth.pelvis, view.observed)
    torch.testing.assert_close(
        pelvis_in_camera(camera, view.observed), view.truth.pelvis, atol=1e-4, rtol=1e-4
    )


def test_shape_is_one_per_clip_and_padding_is_held() -> None:
    features, mask = torch.randn(1, 6, 151), torch.tensor([[True] * 4 + [False] * 2])
    out = tidy(features, mask, slice(126, 136))
    torch.testing.assert_close(out[0, 5, 126:136], features[0, :4, 126:136].mean(0))
    torch.testing.assert_close(out[0, 5, :126], features[0, 3, :126])
    torch.testing.assert_close(out[0, :4, 136:], features[0, :4, 136:])


def test_estimation_does_not_depend_on_chance_and_generation_does() -> None:
    model, data = system().eval(), watched(batch([24, 15]))
    options = SampleOptions(conditions=("keypoints", "camera"))
    one, two = (model.sample(data, options, generator=generator(s)).motion for s in (0, 1))
    assert one is not None
    assert two is not None
    torch.testing.assert_close(one.R_parent_child, two.R_parent_child)
    told = SampleOptions(steps=2)
    one, two = (model.sample(data, told, generator=generator(s)).motion for s in (0, 1))
    assert one is not None
    assert two is not None
    assert (one.R_parent_child - two.R_parent_child).abs().max() > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_a_sample_is_the_same_alone_and_in_a_padded_batch(steps: int) -> None:
    model, whole = system().eval(), watched(batch([40, 40], 40))
    short = dataclasses.replace(whole, frame_mask=torch.arange(40) < torch.tensor([[40], [23]]))
    options = SampleOptions(
        mode="generation", steps=steps, static_joints=True, inverse_kinematics=True
    )
    both = model.sample(short, options, generator=generator()).motion
    alone = model.sample(rows(short, slice(0, 1)), options, generator=generator()).motion
    assert both is not None
    assert alone is not None
    torch.testing.assert_close(both[0:1].R_parent_child, alone.R_parent_child, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        both[0:1].require_translation(), alone.require_translation(), atol=1e-4, rtol=0
    )
    cut = rows(short, slice(1, 2), 23)
    estimating = SampleOptions(mode="estimation", static_joints=True, inverse_kinematics=True)
    padded = model.sample(short, estimating, generator=generator()).motion
    lone = model.sample(cut, estimating, generator=generator()).motion
    assert padded is not None
    assert lone is not None
    torch.testing.assert_close(
        padded[1:2].R_parent_child[:, :23], lone.R_parent_child, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        padded[1:2].require_translation()[:, :23], lone.require_translation(), atol=1e-4, rtol=0
    )


def test_a_sample_s_own_motion_is_never_read_without_keyframes() -> None:
    model, data = system().eval(), watched(batch())
    assert data.R_parent_child is not None
    other = dataclasses.replace(
        data, R_parent_child=data.R_parent_child.flip(1), translation=None, betas=None
    )
    for options in (SampleOptions(mode="estimation"), SampleOptions(steps=2)):
        one, two = (model.sample(d, options, generator=generator()).motion for d in (data, other))
        assert one is not None
        assert two is not None
        torch.testing.assert_close(one.R_parent_child, two.R_parent_child)


def test_keyframes_are_kept() -> None:
    model, data = system().eval(), watched(batch([24, 24]))
    made = model.sample(data, SampleOptions(steps=3, keyframes=2), generator=generator()).motion
    assert made is not None
    assert data.R_parent_child is not None
    for frame in (0, 23):
        error = geodesic_rad(
            made.R_parent_child[:, frame, 1:22], data.R_parent_child[:, frame, 1:22]
        )
        assert error.max() < 1e-3
    middle = geodesic_rad(made.R_parent_child[:, 12, 1:22], data.R_parent_child[:, 12, 1:22])
    assert middle.max() > 0.05


def test_guidance_acts_where_a_guided_condition_is_given_only() -> None:
    model, data = system().eval(), watched(batch())

    def made(**options: object) -> torch.Tensor:
        chosen = SampleOptions.model_validate({"mode": "generation", "steps": 2, **options})
        motion = model.sample(data, chosen, generator=generator()).motion
        assert motion is not None
        return motion.R_parent_child

    assert not torch.allclose(made(guidance=1.0), made(guidance=3.0))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.network.register_forward_hook(count)
    made(guidance=3.0, conditions=["keypoints", "camera"])
    assert calls == 2, "one call per step: both sides would see the same"


def test_an_estimate_stands_where_its_camera_sees_it() -> None:
    """The camera head places the whole path; a turned and moved world moves the motion with it."""
    model, data = system().eval(), watched(batch([24, 24]))
    options = SampleOptions(mode="estimation")
    here = model.sample(data, options, generator=generator()).motion
    assert here is not None
    assert data.T_camera_world is not None
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([1.0, 0.0, -2.0])
    moved = dataclasses.replace(data, T_camera_world=data.T_camera_world @ torch.linalg.inv(shift))
    there = model.sample(moved, options, generator=generator()).motion
    assert there is not None
    offset = there.require_translation() - here.require_translation()
    torch.testing.assert_close(offset, shift[:3, 3].expand_as(offset), atol=1e-4, rtol=0)


def test_a_generated_person_stands_on_the_floor() -> None:
    model, data = system().eval(), batch([24, 24])
    motion = model.sample(data, SampleOptions(steps=2), generator=generator()).motion
    assert motion is not None
    body = load_body("free")
    feet = body.vertices(
        motion.R_parent_child, motion.betas, motion.translation, index=body.contact_vertices
    )
    torch.testing.assert_close(feet[..., 1].flatten(1).amin(1), torch.zeros(2), atol=1e-5, rtol=0)


def still_motion(frames: int = 30) -> Motion:
    """A body at rest whose root slides sideways."""
    path = torch.zeros(1, frames, 3)
    path[0, :, 0] = torch.linspace(0, 0.3, frames)
    return Motion(
        R_parent_child=torch.eye(3).expand(1, frames, 24, 3, 3).clone(),
        translation=path,
        betas=torch.zeros(1, 10),
        body_id=load_body("free").body_id,
        fps=20.0,
    )


def test_a_static_foot_holds_the_path() -> None:
    motion, body = still_motion(), load_body("free")
    mask = torch.ones(1, 30, dtype=torch.bool)
    logits = torch.full((1, 30, 6), -5.0)
    logits[..., 1] = 5.0
    held = static_path(motion, logits, mask, body).require_translation()
    assert (held[..., 0] - held[:, :1, 0]).abs().max() < 1e-3
    free = static_path(motion, torch.full((1, 30, 6), -5.0), mask, body).require_translation()
    assert (free[0, -1, 0] - free[0, 0, 0]) > 0.2


def test_inverse_kinematics_holds_a_static_ankle() -> None:
    motion, body = still_motion(), load_body("free")
    bent = motion.R_parent_child.clone()
    bent[:, :, 1] = matrix_from_rotvec(torch.tensor([-0.5, 0.0, 0.0]))
    bent[:, :, 4] = matrix_from_rotvec(torch.tensor([1.0, 0.0, 0.0]))
    motion = dataclasses.replace(motion, R_parent_child=bent)
    mask, logits = torch.ones(1, 30, dtype=torch.bool), torch.full((1, 30, 6), -20.0)
    ankle = STATIC_JOINTS[0]
    logits[..., 0] = 20.0
    before = body.joints(motion.R_parent_child, motion.betas, motion.translation)[0, :, ankle]
    made = hold_static_joints(motion, logits, mask, body)
    after = body.joints(made.R_parent_child, made.betas, made.translation)[0, :, ankle]
    assert (before - before[0]).norm(dim=-1)[9] > 0.08
    assert (after - after[0]).norm(dim=-1)[:10].max() < 0.3 * (before - before[0]).norm(dim=-1)[9]
    torch.testing.assert_close(made.R_parent_child[:, :, 2], motion.R_parent_child[:, :, 2])


def test_streaming_equals_one_pass_for_the_first_frames_and_never_looks_back() -> None:
    model, data = system().eval(), watched(batch([12], 12))
    assert data.keypoints is not None
    assert data.keypoints_intrinsics is not None
    stream = StreamingEstimator(
        model, fps=20.0, image_size=(1000, 1000), intrinsics=data.keypoints_intrinsics[0]
    )
    frames = [stream.push(points, torch.ones(17)) for points in data.keypoints[0]]
    cut = rows(data, slice(0, 1), 1)
    once = model.sample(
        cut, SampleOptions(conditions=("keypoints", "camera")), generator=generator()
    ).motion
    assert once is not None
    torch.testing.assert_close(
        frames[0].R_parent_child[:, 1:], once.R_parent_child[0, :, 1:], atol=1e-4, rtol=0
    )
    path = torch.cat([frame.require_translation() for frame in frames])
    assert path.isfinite().all()
    assert (path[0] == 0).all()
    whole = model.sample(
        rows(data, slice(0, 1)),
        SampleOptions(conditions=("keypoints", "camera")),
        generator=generator(),
    ).motion
    assert whole is not None
    last = geodesic_rad(frames[-1].R_parent_child[0], whole.R_parent_child[0, -1])
    assert last[1:].max() < 1e-2, "the newest frame has seen all of the clip"


def test_it_learns_one_clip() -> None:
    torch.manual_seed(0)
    plain = Augmentation(
        synthetic_camera=0, keypoint_noise=0, hide_joint=0, hide_legs=0, hide_spans=0,
        drop_frame=0, drop_told=0, drop_observed=0,
    )  # fmt: skip
    model, data = system(augmentation=plain), watched(batch([24, 24]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = float(model(data)[0].detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(data)[0]
        loss.backward()
        optimizer.step()
    assert float(model(data)[0].detach()) < 0.5 * first


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="statistics"):
        system(statistics=None)(batch())
    data = batch()
    with pytest.raises(ValueError, match="neither motion nor"):
        system()(dataclasses.replace(data, R_parent_child=None, has_motion=None))
    bare = dataclasses.replace(data, R_parent_child=None)
    with pytest.raises(ValueError, match="keyframes"):
        system().eval().sample(bare, SampleOptions(keyframes=2), generator=generator())
    with pytest.raises(ValueError, match="body"):
        system()(dataclasses.replace(data, body_id="smpl-1"))
