"""Evaluators: published checkpoints load, embeddings depend on the clip alone, hashes name them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from motion.data.statistics import Statistics
from motion.encoders import WordVectors, WordVectorsConfig
from motion.metrics.evaluator import Evaluator, load_evaluator, load_published
from motion.models import SYSTEMS
from motion.models.evaluator.features import FeatureConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.evaluator.t2m import T2MConfig, T2MNetwork

CAPTIONS = (("a person walks forward", "someone walks"), ("a person jumps", "a jump"))
SMALL_T2M = T2MConfig(
    movement_hidden=12, movement_dim=10, motion_hidden=14, word_dim=16, pos_dim=0, text_hidden=9,
    embedding_dim=8,
)  # fmt: skip


def _text() -> WordVectors:
    return WordVectors.fit(CAPTIONS, WordVectorsConfig(dim=16))


def _config(network: str, part: str = "all") -> EvaluatorConfig:
    features = FeatureConfig.model_validate({"part": part})
    fitted = features.fitted(Statistics(torch.linspace(-1, 1, 263), torch.linspace(0.5, 2, 263)))
    if network == "tmr":
        return EvaluatorConfig.tiny(16).model_copy(update={"features": fitted})
    reference = {"t2m": 0, "t2m padded": 196}[network]
    chosen = SMALL_T2M.model_copy(update={"reference_frames": reference})
    return EvaluatorConfig(network=chosen, features=fitted)


def _export(folder: Path, config: EvaluatorConfig) -> Path:
    torch.manual_seed(0)
    folder.mkdir()
    save_file(config.build().state_dict(), folder / "model.safetensors")
    description = {"system": config.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(description))
    _text().save(folder / "encoders" / "text")
    return folder


@pytest.fixture(params=["tmr", "t2m", "t2m padded"])
def evaluator(request: pytest.FixtureRequest, tmp_path: Path) -> Evaluator:
    return load_evaluator(_export(tmp_path / "export", _config(request.param)))


def _clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(5, 40, 263, generator=generator)
    lengths = torch.tensor([40, 24, 33, 12, 7])
    return features, torch.arange(40) < lengths[:, None]


def test_embedding_is_that_of_the_clip_alone(evaluator: Evaluator) -> None:
    features, mask = _clips()
    together = evaluator.embed_motion(features, mask)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(
        evaluator.embed_motion(features[order], mask[order]), together[order]
    )
    for row in range(len(features)):
        alone = features[row : row + 1, : int(mask[row].sum())]
        found = evaluator.embed_motion(alone, torch.ones(alone.shape[:2], dtype=torch.bool))
        torch.testing.assert_close(found[0], together[row], rtol=1e-4, atol=1e-5)


def test_padding_may_hold_anything(evaluator: Evaluator) -> None:
    features, mask = _clips()
    spoiled = torch.where(mask[..., None], features, torch.nan)
    torch.testing.assert_close(
        evaluator.embed_motion(spoiled, mask), evaluator.embed_motion(features, mask)
    )


def test_contacts_are_not_seen_and_everything_else_is(evaluator: Evaluator) -> None:
    features, mask = _clips()
    before = evaluator.embed_motion(features, mask)
    other = features.clone()
    other[..., 259:] += 1
    torch.testing.assert_close(evaluator.embed_motion(other, mask), before)
    for column in (0, 3, 66, 192, 258):
        other = features.clone()
        other[..., column] += 3
        assert not torch.allclose(evaluator.embed_motion(other, mask), before, atol=1e-5)


def test_texts_embed_alike_in_any_batch(evaluator: Evaluator) -> None:
    texts = ["someone walks", "a person jumps over a long line of small boxes", ""]
    together = evaluator.embed_text(*evaluator.encode_text(texts))
    assert together.shape == (3, evaluator.dim)
    for row, text in enumerate(texts):
        found = evaluator.embed_text(*evaluator.encode_text([text]))
        torch.testing.assert_close(found[0], together[row], rtol=1e-4, atol=1e-5)


def test_halves_see_their_half(tmp_path: Path) -> None:
    features, mask = _clips()
    arm, leg = 4 + 3 * 19, 4 + 3 * 3  # positions of left wrist and left knee
    for part, seen, unseen in (("upper", arm, leg), ("lower", leg, arm)):
        evaluator = load_evaluator(_export(tmp_path / part, _config("t2m", part)))
        before = evaluator.embed_motion(features, mask)
        moved = features.clone()
        moved[..., unseen] += 5
        torch.testing.assert_close(evaluator.embed_motion(moved, mask), before)
        moved[..., seen] += 5
        assert not torch.allclose(evaluator.embed_motion(moved, mask), before, atol=1e-4)


def test_hash_names_weights_statistics_and_text_encoder(tmp_path: Path) -> None:
    config = _config("t2m")
    one = load_evaluator(_export(tmp_path / "one", config))
    same = load_evaluator(_export(tmp_path / "same", config))
    assert (one.hash, one.statistics_hash) == (same.hash, same.statistics_hash)
    found = config.features.statistics
    assert found is not None
    shifted = found.model_copy(update={"mean": (found.mean[0] + 1, *found.mean[1:])})
    features = config.features.model_copy(update={"statistics": shifted})
    other = load_evaluator(
        _export(tmp_path / "other", config.model_copy(update={"features": features}))
    )
    assert other.statistics_hash != one.statistics_hash
    assert other.hash != one.hash
    state = one.module.state_dict()
    state["network.motion_encoder.hidden"] += 1e-3
    save_file(state, tmp_path / "same" / "model.safetensors")
    changed = load_evaluator(tmp_path / "same")
    assert changed.hash != one.hash
    assert changed.statistics_hash == one.statistics_hash


def test_wrong_inputs_are_named(evaluator: Evaluator, tmp_path: Path) -> None:
    features, mask = _clips()
    with pytest.raises(ValueError, match="262 numbers per frame"):
        evaluator.embed_motion(features[..., :262], mask)
    with pytest.raises(ValueError, match="tokens have 3 numbers"):
        evaluator.embed_text(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(
        ValueError, match=r"neither config\.json nor finest\.tar.*train_evaluator\.py"
    ):
        load_evaluator(tmp_path)
    (tmp_path / "config.json").write_text('{"system": {"kind": "comovi"}}')
    with pytest.raises(ValueError, match=r"export of 'comovi'.*train_evaluator\.py"):
        load_evaluator(tmp_path)


def test_without_statistics_nothing_is_computed(tmp_path: Path) -> None:
    config = EvaluatorConfig.tiny(16)
    with pytest.raises(ValueError, match="no statistics"):
        load_evaluator(_export(tmp_path / "export", config))
    with pytest.raises(ValueError, match="263"):
        FeatureConfig.model_validate({"statistics": {"mean": [0.0], "std": [1.0]}})


def test_every_system_kind_reads_its_own_config() -> None:
    config = _config("tmr")
    assert SYSTEMS["evaluator"].model_validate(config.model_dump(mode="json")) == config


def test_published_sizes() -> None:
    network = T2MNetwork(T2MConfig(), num_features=259)
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in network.named_children()}
    assert {name: round(size / 1e6, 2) for name, size in sizes.items()} == {
        "movement_encoder": 1.84,
        "motion_encoder": 15.75,
        "text_encoder": 4.10,
    }


def _published(folder: Path, *, optimizer: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    """A checkpoint of the published layout, from its documented names and shapes."""
    shapes = {
        "movement_encoder": {
            "main.0.weight": (512, 259, 4), "main.0.bias": (512,),
            "main.3.weight": (512, 512, 4), "main.3.bias": (512,),
            "out_net.weight": (512, 512), "out_net.bias": (512,),
        },
        "motion_encoder": _recurrent(512, 1024),
        "text_encoder": _recurrent(300, 512)
        | {"pos_emb.weight": (300, 15), "pos_emb.bias": (300,)},
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    states = {
        name: {k: 0.05 * torch.randn(v, generator=generator) for k, v in parts.items()}
        for name, parts in shapes.items()
    }
    folder.mkdir(parents=True)
    extra = {"epoch": 299, "iter": 1, "opt_text_encoder": {"state": {}, "param_groups": []}}
    torch.save({**states, **(extra if optimizer else {})}, folder / "finest.tar")
    np.save(folder / "mean.npy", np.linspace(-1, 1, 263))
    np.save(folder / "std.npy", np.linspace(0.5, 2, 263))
    return states


def _recurrent(inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    gru = {
        f"gru.{kind}_l0{way}": shape
        for way in ("", "_reverse")
        for kind, shape in {
            "weight_ih": (3 * hidden, hidden), "weight_hh": (3 * hidden, hidden),
            "bias_ih": (3 * hidden,), "bias_hh": (3 * hidden,),
        }.items()
    }  # fmt: skip
    output = {
        "output_net.0.weight": (hidden, 2 * hidden), "output_net.0.bias": (hidden,),
        "output_net.1.weight": (hidden,), "output_net.1.bias": (hidden,),
        "output_net.3.weight": (512, hidden), "output_net.3.bias": (512,),
    }  # fmt: skip
    inner = {"input_emb.weight": (hidden, inputs), "input_emb.bias": (hidden,)}
    return gru | output | inner | {"hidden": (2, 1, hidden)}


@pytest.mark.parametrize("optimizer", [True, False])
def test_published_checkpoints_load(tmp_path: Path, *, optimizer: bool) -> None:
    states = _published(tmp_path / "t2m", optimizer=optimizer)
    evaluator = load_evaluator(tmp_path / "t2m")
    weight = evaluator.module.state_dict()["network.text_encoder.pos_emb.weight"]
    assert torch.equal(weight, states["text_encoder"]["pos_emb.weight"])
    assert evaluator.features.compat
    features, mask = _clips()
    assert evaluator.embed_motion(features, mask).shape == (5, 512)
    tokens = torch.randn(2, 6, 315)
    assert evaluator.embed_text(tokens, torch.ones(2, 6, dtype=torch.bool)).shape == (2, 512)
    with pytest.raises(ValueError, match="vocabulary of GloVe"):
        evaluator.encode_text(["a person walks"])


def test_published_motion_embedding_is_the_reference_s(tmp_path: Path) -> None:
    """The published arithmetic written out: sorted by length, padded to 196 frames, packed."""
    states = _published(tmp_path / "t2m")
    evaluator = load_evaluator(tmp_path / "t2m")
    features, mask = _clips()
    statistics = evaluator.features.statistics
    assert statistics is not None
    lengths = mask.sum(1) // 4 * 4
    order = lengths.argsort(descending=True)
    frames = (features - torch.tensor(statistics.mean)) / torch.tensor(statistics.std)
    padded = torch.zeros(5, 196, 259)
    for row, length in enumerate(lengths.tolist()):
        padded[row, :length] = frames[row, :length, :-4]
    movement, motion = states["movement_encoder"], states["motion_encoder"]
    hidden = padded[order].mT
    for layer in ("main.0", "main.3"):
        hidden = torch.nn.functional.conv1d(
            hidden, movement[f"{layer}.weight"], movement[f"{layer}.bias"], stride=2, padding=1
        )
        hidden = torch.nn.functional.leaky_relu(hidden, 0.2)
    tokens = hidden.mT @ movement["out_net.weight"].T + movement["out_net.bias"]
    gru = torch.nn.GRU(1024, 1024, batch_first=True, bidirectional=True)
    gru.load_state_dict({k[4:]: v for k, v in motion.items() if k.startswith("gru.")})
    inputs = tokens @ motion["input_emb.weight"].T + motion["input_emb.bias"]
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths[order] // 4, batch_first=True)
    with torch.no_grad():
        _, last = gru(packed, motion["hidden"].repeat(1, 5, 1))
        joined = torch.cat([last[0], last[1]], -1)
        inner = joined @ motion["output_net.0.weight"].T + motion["output_net.0.bias"]
        inner = torch.nn.functional.layer_norm(
            inner, (1024,), motion["output_net.1.weight"], motion["output_net.1.bias"]
        )
        inner = torch.nn.functional.leaky_relu(inner, 0.2)
        expected = inner @ motion["output_net.3.weight"].T + motion["output_net.3.bias"]
    found = evaluator.embed_motion(features, mask)[order]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_damaged_published_folders_are_named(tmp_path: Path) -> None:
    _published(tmp_path / "t2m")
    (tmp_path / "t2m" / "std.npy").unlink()
    with pytest.raises(ValueError, match=r"std\.npy is missing"):
        load_evaluator(tmp_path / "t2m")
    torch.save({"movement_encoder": {}}, tmp_path / "half.tar")
    np.save(tmp_path / "m.npy", np.zeros(263))
    with pytest.raises(ValueError, match="lacks the networks"):
        load_published(tmp_path / "half.tar", mean=tmp_path / "m.npy", std=tmp_path / "m.npy")
