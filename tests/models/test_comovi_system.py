"""CoMoVi's losses, conditions and sampling."""

import dataclasses
from typing import Any

import pytest
import torch
from comovi_models import config, system
from torch import Tensor

from motion.batch import Batch
from motion.body import load_body
from motion.diffusion.noise import noise_key
from motion.models import SYSTEMS
from motion.models.comovi.config import CoMoViConfig, LossWeights, SampleOptions
from motion.models.comovi.loss import flow_loss, pose_target, supervised_layers, valid_latents
from motion.models.system import System
from motion.rotations import geodesic_rad, matrix_from_rotvec

FRAMES = 9


def batch(size: int = 2, **changes: Any) -> Batch:
    torch.manual_seed(1)
    T = torch.eye(4).repeat(size, FRAMES, 1, 1)
    T[:, :, :3, :3] = matrix_from_rotvec(torch.tensor([3.0, 0.3, 0.1]))
    values: dict[str, Any] = {
        "clip_ids": tuple(f"clip{i}" for i in range(size)),
        "fps": torch.full((size,), 16.0),
        "frame_mask": torch.ones(size, FRAMES, dtype=torch.bool),
        "R_parent_child": matrix_from_rotvec(0.5 * torch.randn(size, FRAMES, 24, 3)),
        "betas": torch.randn(size, 10) * 0.1,
        "T_camera_world": T,
        "text": torch.randn(size, 2, 4, 10),
        "text_mask": torch.ones(size, 2, 4, dtype=torch.bool),
        "latent_rgb": torch.randn(size, 3, 3, 4, 4),
        "latent_map": torch.randn(size, 3, 3, 4, 4),
        "noise_key": torch.tensor([noise_key(0, 0, f"clip{i}") for i in range(size)]),
    }
    return Batch(**(values | changes))


def rows(whole: Batch, index: slice) -> Batch:
    values = {
        item.name: value[index] if isinstance(value, Tensor) else value
        for item in dataclasses.fields(whole)
        if (value := getattr(whole, item.name)) is not None
    }
    return Batch(**(values | {"clip_ids": whole.clip_ids[index]}))


def test_is_a_system() -> None:
    assert isinstance(system(), System)
    assert SYSTEMS["comovi"].model_validate(config().model_dump()) == config()


def test_forward_is_deterministic_and_names_its_terms() -> None:
    model, data = system(), batch()
    loss, logs = model(data)
    again, _ = model(data)
    assert torch.equal(loss, again)
    assert set(logs) == {"flow_rgb", "flow_map", "rotation", "vertices", "joints"}
    torch.testing.assert_close(loss, torch.stack(list(logs.values())).sum())
    assert not any(value.requires_grad for value in logs.values())


def test_two_micro_batches_equal_one_batch_with_ragged_lengths() -> None:
    mask = torch.ones(2, FRAMES, dtype=torch.bool)
    mask[1, 5:] = False
    has = torch.tensor([True, False])
    whole = batch(frame_mask=mask, has_rgb=has, has_text=has)
    counts = {"clips": 2, "rgb": 1, "map": 2, "motion": 2}
    model = system()
    model(dataclasses.replace(whole, counts=counts))[0].backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    loss = model(dataclasses.replace(whole, counts=counts))[0]
    model.zero_grad()
    parts = []
    for i in range(2):
        part = rows(whole, slice(i, i + 1))
        # The shorter text of a lone clip must not change what is attended to.
        part = dataclasses.replace(part, counts=counts, num_micro_batches=2)
        share = model(part)[0] / 2
        share.backward()
        parts.append(share.detach())
    torch.testing.assert_close(torch.stack(parts).sum(), loss, atol=1e-6, rtol=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)


def test_a_clip_does_not_depend_on_its_neighbours_or_on_text_padding() -> None:
    model, whole = system().eval(), batch()
    alone = rows(whole, slice(0, 1))
    padded = dataclasses.replace(
        alone,
        text=torch.cat((alone.text, torch.full((1, 2, 1, 10), 9.0)), dim=2),
        text_mask=torch.cat((alone.text_mask, torch.zeros(1, 2, 1, dtype=torch.bool)), dim=2),
    )
    expected = model.clip_losses(whole)
    for other in (alone, padded):
        for name, value in model.clip_losses(other).items():
            torch.testing.assert_close(value, expected[name][:1], atol=1e-6, rtol=1e-5)


def test_conditions_are_paired_under_equal_noise() -> None:
    model, data = system().eval(), batch()
    base = model.clip_losses(data, use="validation")["flow_rgb"]
    assert torch.equal(base, model.clip_losses(data, use="validation")["flow_rgb"])
    assert not torch.equal(base, model.clip_losses(data, use="other")["flow_rgb"])
    null = model.clip_losses(dataclasses.replace(data, text=None), use="validation")["flow_rgb"]
    absent = dataclasses.replace(data, has_text=torch.tensor([True, False]))
    mixed = model.clip_losses(absent, use="validation")["flow_rgb"]
    torch.testing.assert_close(mixed, torch.stack((base[0], null[1])), atol=1e-6, rtol=1e-5)
    assert (base - null).abs().min() > 1e-5


def test_text_dropout_in_training_only_and_by_noise_key() -> None:
    model, data = system(text_dropout=0.5), batch(8)
    null = model._text(dataclasses.replace(data, text=None), "train")
    dropped = (model._text(data, "train") == null).flatten(1).all(1)
    assert 0 < int(dropped.sum()) < 8
    assert torch.equal(dropped, (model._text(data, "train") == null).flatten(1).all(1))
    assert not (model.eval()._text(data, "train") == null).flatten(1).all(1).any()


def test_every_caption_is_drawn() -> None:
    model, data = system(text_dropout=0.0), batch(8)
    text = model._text(data, "train")[:, :4]
    first = (text == data.text[:, 0]).flatten(1).all(1)
    second = (text == data.text[:, 1]).flatten(1).all(1)
    assert (first ^ second).all()
    assert first.any()
    assert second.any()


def test_flow_target_is_noise_minus_data() -> None:
    """A network that outputs eps - x0 has no loss; the opposite sign has."""
    model, data = (
        system(weights=LossWeights(rotation=0, vertices=0, joints=0), trainable=("rgb", "motion")),
        batch(),
    )
    seen: dict[str, Tensor] = {}

    def spy(module: Any, args: tuple[Tensor, ...], out: Any) -> Any:
        x_rgb, _, time, _ = args
        x0 = data.latent_rgb
        s = time[:, None, None, None, None]
        eps = (x_rgb - (1 - s) * x0) / s
        seen["first"], seen["time"] = x_rgb[:, :, 0], time
        sign = seen.get("sign", torch.tensor(1.0))
        return out._replace(rgb=sign * (eps - x0))

    model.network.register_forward_hook(spy)
    assert model.clip_losses(data)["flow_rgb"].max() < 1e-6
    assert torch.equal(seen["first"], data.latent_rgb[:, :, 0])  # clean
    assert ((seen["time"] > 0) & (seen["time"] <= 1)).all()
    seen["sign"] = torch.tensor(-1.0)
    assert model.clip_losses(data)["flow_rgb"].min() > 1


def test_flow_loss_leaves_out_first_frame_padding_and_outliers() -> None:
    predicted = torch.zeros(2, 3, 3, 4, 4, requires_grad=True)
    target = torch.ones(2, 3, 3, 4, 4)
    target[0, 0, 1, 0, 0] = 60.0
    valid = torch.tensor([[True, True], [True, False]])
    loss = flow_loss(predicted, target, valid, 50.0)
    torch.testing.assert_close(loss, torch.tensor([1 - 1 / 96, 1.0]))
    loss.sum().backward()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad[:, :, 0], torch.zeros(2, 3, 4, 4))
    assert torch.equal(predicted.grad[1, :, 2], torch.zeros(3, 4, 4))
    assert predicted.grad[0, 0, 1, 0, 0] == 0
    assert (predicted.grad[0, :, 2] != 0).all()


def test_clip_length_must_fit_the_latents() -> None:
    assert valid_latents(batch(), 3, 4).shape == (2, 2)
    with pytest.raises(ValueError, match="expected 13 frames"):
        valid_latents(batch(), 4, 4)


def test_layers_come_from_seed_and_step_and_include_the_last() -> None:
    drawn = [supervised_layers(0, step, 30, 4) for step in range(50)]
    assert drawn == [supervised_layers(0, step, 30, 4) for step in range(50)]
    assert all(len(set(layers)) == 4 and layers[-1] == 29 for layers in drawn)
    assert all(list(layers) == sorted(layers) for layers in drawn)
    assert len(set(drawn)) > 40
    assert {layer for layers in drawn for layer in layers} > set(range(20))
    assert drawn != [supervised_layers(1, step, 30, 4) for step in range(50)]
    assert supervised_layers(0, 7, 1, 1) == (0,)


def test_the_same_modules_run_whatever_the_clips_carry() -> None:
    """Under ZeRO-3 a module that runs on one rank alone hangs the others."""
    model = system()

    def executed(data: Batch) -> list[str]:
        names = {module: name for name, module in model.named_modules()}
        calls: list[str] = []
        hooks = [m.register_forward_hook(lambda m, *_: calls.append(names[m])) for m in names]
        model(data)[0].backward()
        for hook in hooks:
            hook.remove()
        return calls

    full = executed(batch())
    bare = batch(R_parent_child=None, betas=None, T_camera_world=None, text=None, latent_rgb=None)
    assert executed(bare) == full
    gradients = [n for n, p in model.named_parameters() if p.grad is None]
    assert gradients == []


def test_absent_modalities_have_no_weight() -> None:
    model = system().eval()
    lone = batch(has_motion=torch.tensor([True, False]), has_map=torch.tensor([False, True]))
    losses = model.clip_losses(lone)
    assert losses["rotation"].isnan().tolist() == [False, True]
    assert losses["flow_map"].isnan().tolist() == [True, False]
    assert not losses["flow_rgb"].isnan().any()
    broken = dataclasses.replace(lone, latent_map=lone.latent_map.clone())
    broken.latent_map[0] = torch.nan
    assert model(broken)[0].isfinite()
    _, logs = model(batch(R_parent_child=None))
    assert logs["rotation"] == 0
    with pytest.raises(ValueError, match="neither latent_rgb nor latent_map"):
        model(batch(latent_rgb=None, latent_map=None))


def test_root_rotation_is_seen_from_the_camera() -> None:
    data = batch()
    world, camera = (pose_target(data, in_camera=flag) for flag in (False, True))
    assert torch.equal(world.rotation6d[..., 6:], camera.rotation6d[..., 6:])
    expected = data.T_camera_world[0, 2, :3, :3] @ data.R_parent_child[0, 2, 0]
    torch.testing.assert_close(camera.rotation6d[0, 2, :6], expected[:2].flatten())
    lone = pose_target(batch(T_camera_world=None), in_camera=True)
    assert not lone.present.any()


def test_pose_losses_vanish_at_the_truth_and_ignore_the_world_frame() -> None:
    model = system(weights=LossWeights(flow_rgb=0, flow_map=0), trainable=("fusion", "smpl"))
    data = batch()
    true = pose_target(data, in_camera=True).rotation6d[:, 1:]
    model.network.register_forward_hook(
        lambda *a: a[-1]._replace(poses=tuple(true for _ in a[-1].poses))
    )
    loss, logs = model(data)
    assert loss < 1e-10
    assert set(logs) == {"rotation", "vertices", "joints"}


def test_betas_of_another_body_are_refused() -> None:
    with pytest.raises(ValueError, match="betas never cross body models"):
        system()(batch(body_id="smpl-12345678"))
    system()(batch(body_id=load_body("free").body_id))


@pytest.mark.parametrize("stage", [1, 2])
def test_wan_preset_trains_what_the_paper_trains(stage) -> None:
    with torch.device("meta"):
        model = CoMoViConfig.wan5b(stage).build()
    trained = {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == ({"motion"} if stage == 1 else {"motion", "bridges", "fusion", "smpl"})


def test_frozen_rgb_branch_gets_no_gradient_but_passes_it_on() -> None:
    model = system(trainable=("motion", "bridges", "fusion", "smpl"))
    model(batch())[0].backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("network.rgb", "network.embedders"))
        assert (parameter.grad is None) == frozen, name
    bridge = model.network.bridges["to_rgb"][0]
    assert bridge.weight.grad.abs().max() > 0  # only the frozen blocks lead there


def test_predictor_and_fusion_learn_from_their_initial_state() -> None:
    """Zeros on the way out delay gradients by a step or two, and block none for ever."""
    torch.manual_seed(0)
    model = config(trainable=("motion", "bridges", "fusion", "smpl"), text_dropout=0.0).build()
    parts = {n: p for n, p in model.named_parameters() if n.startswith(("network.sm", "network.f"))}
    optimizer = torch.optim.AdamW(list(parts.values()), 1e-2)
    reached: set[str] = set()
    for step in range(4):
        model.zero_grad()
        model(dataclasses.replace(batch(), step=step))[0].backward()
        optimizer.step()
        reached |= {n for n, p in parts.items() if p.grad is not None and bool(p.grad.any())}
    assert reached == set(parts)
    model.eval()
    data = batch()
    other = dataclasses.replace(data, latent_rgb=data.latent_rgb.flip(0))
    names = ("rotation", "vertices", "joints")
    one, two = (model.clip_losses(x, use="test") for x in (data, other))
    assert any((one[name] - two[name]).abs().max() > 1e-6 for name in names)


def test_paper_stage_one_trains_the_motion_branch_alone() -> None:
    weights = LossWeights(flow_rgb=0, rotation=0, vertices=0, joints=0)
    model = system(stage=1, trainable=("motion",), weights=weights)
    loss, logs = model(batch())
    loss.backward()
    assert set(logs) == {"flow_map"}
    got = {n for n, p in model.named_parameters() if p.grad is not None}
    assert got == {n for n, _ in model.named_parameters() if n.startswith("network.motion")}


def test_both_stages_have_the_same_parameters_and_no_body() -> None:
    one, two = (CoMoViConfig.tiny(stage).build() for stage in (1, 2))
    assert set(one.state_dict()) == set(two.state_dict())
    system_ = system()
    before = set(system_.state_dict())
    system_(batch())
    assert set(system_.state_dict()) == before == {n for n, _ in system_.named_parameters()}
    assert list(system_._parameters) == []  # ZeRO-3 gathers in submodules only


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "heads of even width"),
        ({"pose_heads": 5}, "pose_heads 5"),
        ({"interleave": 2}, "no multiple of interleave"),
        ({"patch": (2, 1, 1)}, "first entry must be 1"),
        ({"supervised_layers": 4}, "only 3 motion blocks"),
        ({"stage": 1}, "stage 1 runs the branches apart"),
        ({"weights": LossWeights(flow_rgb=0)}, "flow_rgb is 0"),
        ({"interaction": "none"}, "has no bridges"),
    ],
)
def test_contradictory_configs_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def conditions(**changes: Any) -> Batch:
    """Only what sampling may see: the first latent frame, and the first pose held still."""
    data = batch(**changes)
    return dataclasses.replace(
        data,
        latent_rgb=data.latent_rgb[:, :, :1],
        latent_map=data.latent_map[:, :, :1],
        R_parent_child=data.R_parent_child[:, :1].repeat(1, FRAMES, 1, 1, 1),
    )


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_sample_keeps_its_conditions(solver) -> None:
    model, data = system().eval(), conditions()
    options = SampleOptions(steps=3, guidance=2.0, solver=solver)
    out = model.sample(data, options, generator=torch.Generator().manual_seed(0))
    again = model.sample(data, options, generator=torch.Generator().manual_seed(0))
    assert out.latent_rgb.shape == (2, 3, 3, 4, 4)
    assert torch.equal(out.latent_rgb[:, :, :1], data.latent_rgb)
    assert torch.equal(out.latent_map[:, :, :1], data.latent_map)
    assert torch.equal(out.latent_map, again.latent_map)
    assert out.motion.R_parent_child.shape == (2, FRAMES, 24, 3, 3)
    torch.testing.assert_close(out.motion.R_parent_child[:, 0], data.R_parent_child[:, 0])
    assert (out.motion.frame, out.motion.fps, out.motion.translation) == ("world", 16.0, None)
    R = out.motion.R_parent_child
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-5, rtol=0)


def test_sample_depends_on_text_and_seed_but_not_on_the_neighbours() -> None:
    model, data = system().eval(), conditions()
    options = SampleOptions(steps=2, guidance=3.0)

    def latent(data: Batch, seed: int = 0) -> Tensor:
        out = model.sample(data, options, generator=torch.Generator().manual_seed(seed))
        assert out.latent_map is not None
        return out.latent_map

    base = latent(data)
    assert not torch.allclose(base, latent(data, seed=1))
    assert not torch.allclose(base, latent(dataclasses.replace(data, text=data.text.flip(0))))
    torch.testing.assert_close(latent(rows(data, slice(0, 1))), base[:1], atol=1e-5, rtol=1e-4)


def test_untrained_predictor_holds_the_first_pose_in_the_world_frame() -> None:
    model, data = config().build().eval(), conditions()
    out = model.sample(data, SampleOptions(steps=1), generator=torch.Generator().manual_seed(0))
    assert geodesic_rad(out.motion.R_parent_child, data.R_parent_child).max() < 2e-3


def test_sampling_names_missing_conditions() -> None:
    model, data = system().eval(), conditions()
    options, generator = SampleOptions(steps=1), torch.Generator()
    for field, message in (
        ("latent_map", "latent_map"),
        ("betas", "betas"),
        ("T_camera_world", "pose_frame='world'"),
    ):
        lacking = dataclasses.replace(data, **{field: None})
        with pytest.raises(ValueError, match=message):
            model.sample(lacking, options, generator=generator)
    mixed = dataclasses.replace(data, fps=torch.tensor([16.0, 20.0]))
    with pytest.raises(ValueError, match="different rates"):
        model.sample(mixed, options, generator=generator)
    world = system(pose_frame="world").eval()
    lacking = dataclasses.replace(data, T_camera_world=None)
    assert world.sample(lacking, options, generator=generator).motion.frame == "world"


def test_stage_one_samples_video_without_motion() -> None:
    weights = LossWeights(flow_rgb=0, rotation=0, vertices=0, joints=0)
    model = system(stage=1, trainable=("motion",), weights=weights).eval()
    out = model.sample(conditions(), SampleOptions(steps=1), generator=torch.Generator())
    assert out.motion is None
    assert out.latent_rgb is not None
