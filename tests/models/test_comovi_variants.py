"""The paper's ablations are different networks, and each of them trains."""

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from test_comovi_system import FRAMES, batch, config, system

from motion.body import load_body
from motion.models.comovi.config import CoMoViConfig, LossWeights, SampleOptions, parts_of

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "full copy": {"interaction": "single_m2v"},
    "fused into motion": {"interaction": "fused"},
    "channel concat": {"interaction": "concat", "trainable": parts_of("concat")},
    "interleaved copy": {"interaction": "single_m2v", "interleave": 3, "supervised_layers": 1},
    "without motion": {
        "stage": 1,
        "trainable": ("embedders", "rgb"),
        "weights": LossWeights(flow_map=0, rotation=0, vertices=0, joints=0),
    },
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_trainable_weight_of_a_variant_learns(name: str) -> None:
    model, data = system(**ARCHITECTURES[name]), batch()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        loss, _ = model(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = {part for part in model.config.trainable}
    for part, module in model.network.parts.items():
        moved = [
            not torch.equal(p, before[f"network.{part}.{n}"]) for n, p in module.named_parameters()
        ]
        assert all(moved) if part in trained else not any(moved), part
    again, _ = model(data)
    assert again < loss


def test_the_variants_are_different_networks() -> None:
    data = batch()
    losses: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name in ("full copy", "fused into motion", "channel concat", "interleaved copy"):
        model = system(**ARCHITECTURES[name])
        losses[name] = float(model.clip_losses(data)["flow_map"][0].detach())
        sizes[name] = sum(p.numel() for p in model.parameters())
    assert len(set(losses.values())) == 4
    assert sizes["full copy"] == sizes["fused into motion"]
    assert sizes["channel concat"] < sizes["interleaved copy"] < sizes["full copy"]


def test_fused_features_reach_the_map_and_motion_alone_does_not() -> None:
    """The RGB stream changes the map's velocity only where fused features go into it."""
    torch.manual_seed(2)
    x = torch.randn(2, 1, 3, 3, 4, 4)
    rest = (torch.tensor([0.5]), torch.randn(1, 6, 10))
    for name, reaches in (
        ("full copy", False),
        ("fused into motion", True),
        ("channel concat", True),
    ):
        network = system(**ARCHITECTURES[name]).network
        with torch.no_grad():
            one, other = network(x[0], x[1], *rest).map, network(x[0] + 1, x[1], *rest).map
        assert torch.allclose(one, other) is not reaches, name


def test_concat_samples_and_checkpoints_like_the_others() -> None:
    model = system(**ARCHITECTURES["channel concat"])
    sample = model.sample(
        batch(), SampleOptions(steps=2, guidance=1.0), generator=torch.Generator().manual_seed(0)
    )
    assert sample.motion is not None
    assert sample.latent_map is not None
    assert sample.motion.num_frames == FRAMES
    other = model.config.build()
    other.load_state_dict(model.state_dict(), strict=True)
    assert set(model.network.parts) == set(parts_of("concat"))


def rooted(**changes: Any) -> CoMoViConfig:
    return config(predict_root=True, weights=LossWeights(translation=1.0, shape=1.0), **changes)


def placed_batch() -> Any:
    body = load_body("free")
    torch.manual_seed(5)
    path = torch.randn(2, 1, 3) + 0.2 * torch.randn(2, FRAMES, 3).cumsum(1)
    return batch(translation=path, body_id=body.body_id)


def test_the_root_head_starts_at_the_first_place_and_gives_a_world_motion() -> None:
    model, data = rooted().build().eval(), placed_batch()
    options = SampleOptions(steps=1, guidance=1.0)
    sample = model.sample(data, options, generator=torch.Generator().manual_seed(0))
    assert sample.motion is not None
    motion, body = sample.motion, load_body("free")
    assert motion.frame == "world"
    pelvis = body.joints(motion.R_parent_child, motion.betas, motion.translation)[:, :, 0]
    true = data.translation[:, :1] + body.rest_joints(data.betas)[:, None, 0]
    torch.testing.assert_close(pelvis, true.expand_as(pelvis), atol=1e-4, rtol=0)
    assert not motion.betas.any(), "an untrained head knows the mean shape alone"


def test_the_root_head_learns_path_and_shape() -> None:
    torch.manual_seed(0)
    model, data = rooted(shift=0.2).build(), placed_batch()
    optimizer = torch.optim.AdamW(model.network.smpl.parameters(), lr=1e-2)
    losses: list[dict[str, float]] = []
    for _ in range(30):
        loss, logs = model(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append({name: float(value) for name, value in logs.items()})
    assert set(losses[0]) == {
        "flow_rgb", "flow_map", "rotation", "vertices", "joints", "translation", "shape",
    }  # fmt: skip
    for name in ("translation", "shape"):
        assert losses[-1][name] < 0.5 * losses[0][name], name


def test_old_exports_stay_what_they_were() -> None:
    """New fields are not in the identity of a training that does not use them."""
    dumped = CoMoViConfig.tiny().model_dump(mode="json")
    assert not {"predict_root", "lora"} & set(dumped)
    assert set(dumped["weights"]) == {"flow_rgb", "flow_map", "rotation", "vertices", "joints"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interaction": "concat"}, "'concat' has no motion and bridges and fusion"),
        (
            {"interaction": "concat", "trainable": parts_of("concat"), "interleave": 3,
             "supervised_layers": 1},
            "set interleave to 1",
        ),
        ({"weights": LossWeights(shape=1.0)}, "set it, or set both"),
        ({"predict_root": True}, "a head that no loss trains"),
    ],
)  # fmt: skip
def test_variants_that_cannot_train_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_a_root_needs_a_path() -> None:
    with pytest.raises(ValueError, match="predict_root needs smpl_translation"):
        rooted().build()(batch())
