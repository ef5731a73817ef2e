"""Weights of Wan and of the public CoMoVi: names, strict loading, round trips, memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from motion.models.comovi.config import CoMoViConfig
from motion.models.comovi.network import DualBranch
from motion.models.comovi.weights.files import find_files
from motion.models.comovi.weights.load import build_pretrained, open_pretrained, write_layout
from motion.models.comovi.weights.names import layout_of, name_in
from motion.training.convert import ConvertConfig, convert
from motion.weights import Spec, TensorFiles, compare, folded, write


def config(**changes: Any) -> CoMoViConfig:
    values: dict[str, Any] = {
        "latent_channels": 3, "text_dim": 10, "text_tokens": 6, "width": 24, "num_heads": 2,
        "num_layers": 4, "ffn_dim": 32, "time_freq_dim": 16, "pose_layers": 2, "pose_heads": 2,
        "pose_ffn_dim": 16, "pose_positions": 8, "supervised_layers": 1,
    }  # fmt: skip
    return CoMoViConfig(**(values | changes))


def wan(**changes: Any) -> WanTransformer3DModel:
    torch.manual_seed(3)
    values: dict[str, Any] = {
        "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12,
        "in_channels": 3, "out_channels": 3, "text_dim": 10, "freq_dim": 16, "ffn_dim": 32,
        "num_layers": 4, "rope_max_seq_len": 1024,
    }  # fmt: skip
    return WanTransformer3DModel(**(values | changes)).eval()


def dual(**changes: Any) -> DualBranch:
    """A network all of whose weights differ."""
    torch.manual_seed(5)
    network = DualBranch(config(**changes))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A diffusers pipeline's folder, its transformer in several shards."""
    wan().save_pretrained(tmp_path / "wan" / "transformer", max_shard_size="20KB")
    assert len(list((tmp_path / "wan" / "transformer").glob("*.safetensors"))) > 1
    return tmp_path / "wan"


def public_file(path: Path, network: DualBranch) -> Path:
    """A public dual-branch file of a network, named by hand from the code's own modules."""
    state = {
        name_in("comovi", name, network.config): value.detach().contiguous()
        for name, value in network.state_dict().items()
    }
    save_file({str(name): value for name, value in state.items()}, path)
    return path


def test_names_of_the_original_are_those_of_its_published_files() -> None:
    expected = {
        "embedders.text_embedder.linear_1.weight": "text_embedding.0.weight",
        "embedders.time_embedder.linear_2.bias": "time_embedding.2.bias",
        "embedders.time_proj.weight": "time_projection.1.weight",
        "rgb.patch_embedding.bias": "patch_embedding.bias",
        "rgb.blocks.3.attn1.to_q.weight": "blocks.3.self_attn.q.weight",
        "rgb.blocks.3.attn2.to_out.0.bias": "blocks.3.cross_attn.o.bias",
        "rgb.blocks.3.attn2.norm_k.weight": "blocks.3.cross_attn.norm_k.weight",
        "rgb.blocks.0.norm2.weight": "blocks.0.norm3.weight",
        "rgb.blocks.0.ffn.net.0.proj.weight": "blocks.0.ffn.0.weight",
        "rgb.blocks.0.ffn.net.2.bias": "blocks.0.ffn.2.bias",
        "rgb.blocks.1.scale_shift_table": "blocks.1.modulation",
        "rgb.head.proj_out.weight": "head.head.weight",
        "rgb.head.scale_shift_table": "head.modulation",
        "fusion.2.weight": None,
    }
    assert {name: name_in("wan", name, config()) for name in expected} == expected
    public = {
        "motion.blocks.2.norm2.bias": "motion_blocks.2.norm3.bias",
        "motion.head.scale_shift_table": "motion_head.modulation",
        "rgb.patch_embedding.weight": "rgb_patch_embedding.weight",
        "bridges.to_rgb.1.weight": "zero_linear_blocks.1.weight",
        "fusion.2.bias": "smpl_fusion_layers.2.bias",
        "smpl.positions.table": "smpl_pe",
        "smpl.pose_out.bias": "smpl_proj_out.bias",
        "smpl.decoders.1.ca.to_out.0.weight": "smpl_decoders.1.ca.o.weight",
        "smpl.decoders.0.sa.norm_q.weight": "smpl_decoders.0.sa.norm_q.weight",
        "smpl.decoders.0.ffn.net.2.weight": "smpl_decoders.0.ffn.2.weight",
        "embedders.time_proj.bias": "time_projection.1.bias",
    }
    assert {name: name_in("comovi", name, config()) for name in public} == public
    both = config(interaction="dual", interleave=2)
    assert name_in("comovi", "bridges.to_motion.1.weight", both) == "zero_linear_blocks.2.weight"
    assert name_in("comovi", "bridges.to_rgb.1.weight", both) == "zero_linear_blocks.3.weight"
    with pytest.raises(ValueError, match="has no public layout"):
        name_in("comovi", "bridges.to_rgb.1.weight", config(interaction="dual"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interleave": 2},
        {"interaction": "dual", "interleave": 2},
        {"interaction": "single_v2m"},
    ],
)
def test_no_two_parameters_share_a_public_name(changes: dict[str, Any]) -> None:
    chosen = config(**changes)
    with torch.device("meta"):
        names = list(DualBranch(chosen).state_dict())
    for layout in ("comovi", "motion"):
        assert len({name_in(layout, name, chosen) for name in names}) == len(names)
        assert layout_of(str(name_in(layout, name, chosen)) for name in names) == layout


def test_original_and_diffusers_files_give_the_same_network(pipeline: Path, tmp_path: Path) -> None:
    first = open_pretrained(pipeline, config())
    assert (first.layout, first.fresh) == ("diffusers", ("bridges", "fusion", "smpl"))
    (tmp_path / "original").mkdir()
    write_layout(tmp_path / "original" / "part.safetensors", "wan", first)
    second = open_pretrained(tmp_path / "original", config())
    assert second.layout == "wan"
    one, two = build_pretrained(first).state_dict(), build_pretrained(second).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    pickled = tmp_path / "wan.pth"
    torch.save(load_file(tmp_path / "original" / "part.safetensors"), pickled)
    three = build_pretrained(open_pretrained(pickled, config())).state_dict()
    assert all(torch.equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["diffusers", "wan"])
def test_a_wan_model_returns_bit_for_bit(tmp_path: Path, layout: Any, dtype: Any) -> None:
    wan().to(dtype).save_pretrained(tmp_path / "in")
    source = load_file(tmp_path / "in" / "diffusion_pytorch_model.safetensors")
    export = converted(tmp_path / "in", tmp_path / "export", system=config())
    for branch in ("rgb", "motion"):
        out = converted(export, tmp_path / f"out-{branch}", layout=layout, branch=branch)
        assert json.loads((out / "config.json").read_text())["num_layers"] == 4
        if layout == "wan":
            again = converted(out, tmp_path / f"again-{branch}", system=config())
            out = converted(again, tmp_path / f"back-{branch}", layout="diffusers")
        found = load_file(out / "diffusion_pytorch_model.safetensors")
        assert found.keys() == source.keys()
        for name, value in source.items():
            assert found[name].dtype == value.dtype == dtype
            assert torch.equal(found[name], value), name
        loaded = WanTransformer3DModel.from_pretrained(out).state_dict()
        assert torch.equal(loaded["proj_out.weight"].to(dtype), source["proj_out.weight"])


def converted(source: Path, output: Path, **changes: Any) -> Path:
    return convert(ConvertConfig(source=str(source), output=output, **changes))[0]


@pytest.mark.parametrize(
    "changes", [{}, {"interleave": 2}, {"interaction": "dual", "interleave": 2}]
)
def test_a_public_file_returns_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    network = dual(**changes)
    file = public_file(tmp_path / "comovi.safetensors", network)
    pretrained = open_pretrained(file, network.config)
    assert (pretrained.layout, pretrained.fresh) == ("comovi", ())
    built = build_pretrained(pretrained).state_dict()
    assert all(torch.equal(built[name], value) for name, value in network.state_dict().items())
    write_layout(tmp_path / "again.safetensors", "comovi", pretrained)
    one, two = load_file(file), load_file(tmp_path / "again.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_public_file_without_smpl_needs_it_named_fresh(tmp_path: Path) -> None:
    network = dual()
    file = public_file(tmp_path / "comovi.safetensors", network)
    state = load_file(file)
    bare = {name: value for name, value in state.items() if not name.startswith("smpl")}
    save_file(bare, file)
    with pytest.raises(
        ValueError, match=r"(?s)missing \(fresh=.*smpl_decoders\.\*\.ca\.k\.bias \(2\)"
    ):
        open_pretrained(file, config())
    built = build_pretrained(open_pretrained(file, config(), fresh=("fusion", "smpl")))
    assert torch.equal(built.bridges["to_rgb"][0].weight, network.bridges["to_rgb"][0].weight)
    assert not built.fusion[0].weight.any()
    assert built.smpl.decoders[0].sa.to_q.weight.any()
    # parts that are there but not wanted may stay in the file
    save_file(state, file)
    again = build_pretrained(open_pretrained(file, config(), fresh=("smpl",)))
    assert not torch.equal(again.smpl.pose_in.weight, network.smpl.pose_in.weight)
    with pytest.raises(ValueError, match=r"only .* can be initialized afresh"):
        open_pretrained(file, config(), fresh=("rgb",))


def test_decoders_that_the_public_loader_zeroed_are_named(tmp_path: Path) -> None:
    network = dual()
    sound = open_pretrained(public_file(tmp_path / "a.safetensors", network), config())
    assert not sound.is_dead
    for module in network.smpl.decoders.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    dead = open_pretrained(public_file(tmp_path / "b.safetensors", network), config())
    assert dead.is_dead
    assert "never learn" in dead.report()


def test_every_difference_is_listed(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"(?s)of another shape.*blocks\.0\.ffn\.net\.0\.proj"
    ) as e:
        open_pretrained(pipeline, config(ffn_dim=48))
    assert "(32, 24) there, (48, 24) in the system" in str(e.value)
    with pytest.raises(
        ValueError, match=r"(?s)unexpected.*blocks\.\*\.attn1\.norm_k\.weight \(2\)"
    ):
        open_pretrained(pipeline, config(num_layers=2))
    state = {k: v for k, v in wan().state_dict().items() if k != "blocks.3.attn1.to_q.weight"}
    save_file(state, tmp_path / "lacking.safetensors")
    with pytest.raises(ValueError, match=r"1 missing:\s+blocks.3.attn1.to_q.weight"):
        open_pretrained(tmp_path / "lacking.safetensors", config())
    with pytest.raises(ValueError, match="are not preconditioned"):
        open_pretrained(pipeline, config(preconditioned=True))
    save_file({"a.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no transformer of Wan or CoMoVi"):
        open_pretrained(tmp_path / "other.safetensors", config())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no hub id"):
        find_files("/nowhere/at/all")
    with pytest.raises(ValueError, match=r"no \*\.safetensors"):
        find_files(tmp_path / "empty")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"patch_embedding.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        TensorFiles([tmp_path / "evil.pth"])
    assert not (tmp_path / "written").exists()
    torch.save({"state": {"a": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(ValueError, match="no flat dict"):
        TensorFiles([tmp_path / "nested.pth"])


def test_a_missing_shard_is_named(pipeline: Path) -> None:
    shard = sorted((pipeline / "transformer").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ValueError, match=shard.name):
        find_files(pipeline)


def test_a_hub_id_is_read_from_the_cache(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        assert not any(pattern.startswith(("*", "vae", "text")) for pattern in allow_patterns)
        return str(pipeline)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert open_pretrained("Some-Org/Wan2.2-TI2V-5B-Diffusers", config(), revision="abc").origin
    assert asked == [("Some-Org/Wan2.2-TI2V-5B-Diffusers", "abc")]


def test_tensors_are_written_as_the_format_has_it(tmp_path: Path) -> None:
    state = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).to(torch.bfloat16),
        "c": torch.arange(3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "mask": torch.tensor([True, False, True]),
    }
    specs = {name: Spec(tuple(value.shape), value.dtype) for name, value in state.items()}
    digests = {write(tmp_path / f"{x}.safetensors", specs, state.__getitem__) for x in "xy"}
    assert len(digests) == 1
    back = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(back[name], value) for name, value in state.items())
    with pytest.raises(ValueError, match="was announced"):
        write(tmp_path / "z.safetensors", {"a": Spec((2,), torch.float32)}, state.__getitem__)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.safetensors", "y.safetensors"]
    files = TensorFiles([tmp_path / "x.safetensors"])
    assert files.specs == specs
    with pytest.raises(ValueError, match=r"lies in x\.safetensors and in y\.safetensors"):
        TensorFiles([tmp_path / "x.safetensors", tmp_path / "y.safetensors"])


def test_differences_fold_numbers() -> None:
    names = [f"blocks.{i}.attn1.to_q.weight" for i in range(30)] + ["norm2.weight"]
    assert folded(names) == ["blocks.*.attn1.to_q.weight (30)", "norm2.weight"]
    difference = compare({"a": (1,), "b": (2,)}, {"b": (3,), "c": (1,)})
    assert (difference.missing, difference.unexpected) == (("c",), ("a",))
    assert difference.other == ("b: (2,) there, (3,) in the system",)
    assert not compare({"a": (1,)}, {"a": (1,)})


def test_a_converted_export_starts_a_training(pipeline: Path, tmp_path: Path) -> None:
    from motion.training.config import InitConfig
    from motion.training.export import check_initial

    export, report = convert(
        ConvertConfig(source=str(pipeline), output=tmp_path / "export", system=config())
    )
    assert "initialized afresh: bridges, fusion, smpl" in report
    with torch.device("meta"):
        state = config().build().state_dict()
    assert check_initial(InitConfig(export=export), state) == export / "model.safetensors"
    with pytest.raises(ValueError, match="exists already"):
        convert(ConvertConfig(source=str(pipeline), output=export, system=config()))


def test_an_export_that_names_encoders_can_be_loaded_for_sampling(tmp_path: Path) -> None:
    """A whole tiny pipeline: text encoder, tokenizer, autoencoder, transformer."""
    import transformers as hf
    from diffusers import AutoencoderKLWan
    from tokenizers import Tokenizer, models

    from motion.inference import Pipeline

    folder = tmp_path / "pipeline"
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(
        folder / "tokenizer"
    )
    settings = hf.UMT5Config(vocab_size=8, d_model=10, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    hf.UMT5EncoderModel(settings).save_pretrained(folder / "text_encoder")
    AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12,
        patch_size=2, latents_mean=[0.0] * 3, latents_std=[1.0] * 3, scale_factor_spatial=16,
    ).save_pretrained(folder / "vae")  # fmt: skip
    wan().save_pretrained(folder / "transformer")
    export = converted(folder, tmp_path / "export", system=config(), encoders=str(folder))
    loaded = Pipeline.load(export)
    assert (loaded.fps, loaded.num_frames(None), loaded.map_mode) == (16.0, 81, "lit")
    assert loaded.autoencoders["map"].channels == 3
    source = wan().state_dict()["proj_out.weight"]
    assert torch.equal(loaded.system.network.motion.head.proj_out.weight, source)
