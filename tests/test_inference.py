"""From an export to files and numbers: the path that users walk, on an untrained tiny model."""

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from motion import cli, models
from motion.data.encode import EncodeConfig, encode
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.evaluation import EvaluationConfig, evaluate, evaluate_export
from motion.export.amass import read_amass
from motion.export.provenance import read_provenance
from motion.exported import export_hash, newest_export
from motion.inference import Pipeline, write_result
from motion.models.system import System
from motion.report import committed_report, write_report
from motion.training.export import model_card
from motion.view.curves import curves_png

PROMPT = "a person waves the right hand"


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    ray_cluster: None,
    write_export: Callable[..., Path],
) -> Path:
    """An export of tiny CoMoVi with random weights, on a dataset of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    raw, encoded = folder / "raw", folder / "encoded"
    clip = ProceduralConfig(num_frames=9, height=96, width=96, num_looks=3)
    prepare(PrepareConfig(root=raw, num_train=12, num_validation=8, num_test=0, clip=clip))
    encode(EncodeConfig(raw_root=raw, root=encoded, fit_clips=8, measured_clips=4))
    return write_export(encoded, "untrained")


@pytest.fixture(scope="module")
def pipeline(exported: Path) -> Pipeline:
    return Pipeline.load(exported)


def test_start_frames_are_filmed_like_the_training_data(pipeline: Pipeline) -> None:
    clip = pipeline.start_config()
    assert (clip.num_looks, clip.num_frames, clip.height, clip.body) == (3, 9, 96, "free")


def test_sample_writes_what_a_person_and_a_tool_can_open(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (result,) = pipeline.sample([PROMPT], seed=3, steps=2)
    assert result.rgb.shape == result.motion_map.shape == (9, 96, 96, 3)
    files = {file.suffix: file for file in write_result(result, tmp_path / "wave")}
    assert set(files) == {".mp4", ".png", ".npz"}
    for file in files.values():
        provenance = read_provenance(file)
        assert (provenance.prompt, provenance.seed) == (PROMPT, 3)
        assert provenance.export_hash == pipeline.hash
        assert "--steps 2" in provenance.command()
    motion = read_amass(files[".npz"], pipeline.body)
    assert motion.num_frames == 9


def test_a_sample_does_not_depend_on_how_many_are_asked_for(pipeline: Pipeline) -> None:
    together = pipeline.sample([PROMPT, PROMPT], seed=5, steps=2)
    (alone,) = pipeline.sample([PROMPT], seed=6, steps=2)
    np.testing.assert_array_equal(together[1].rgb, alone.rgb)
    assert (together[0].rgb != together[1].rgb).any()


def test_duration_gives_the_nearest_length_that_the_autoencoder_holds(pipeline: Pipeline) -> None:
    assert pipeline.num_frames(None) == 9
    assert pipeline.num_frames(1.0) == 17
    with pytest.raises(ValueError, match="too short"):
        pipeline.num_frames(0.05)


def test_unknown_options_and_folders_are_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sampling options"):
        pipeline.sample([PROMPT], steps=0)
    with pytest.raises(ValueError, match="is no export"):
        Pipeline.load(tmp_path)
    with pytest.raises(ValueError, match=r"'comovy' is unknown; expected one of \['comovi'"):
        newest_export("comovy")


@pytest.mark.parametrize("kind", ["evaluator", "videomae"])
def test_what_is_only_trained_is_never_offered_for_sampling(
    kind: str, exported: Path, tmp_path: Path
) -> None:
    assert kind not in models.sampled()
    offered = re.escape(
        f"{kind!r} is trained but not sampled from; expected one of {models.sampled()}"
    )
    with pytest.raises(ValueError, match=offered):
        newest_export(kind)
    config = json.loads((exported / "config.json").read_text())
    config["system"] = {"kind": kind}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=offered):
        Pipeline.load(tmp_path)


def test_exactly_the_systems_that_are_offered_can_sample() -> None:
    for kind in set(models.SYSTEMS) - {"toy"}:  # tests/training adds one of its own
        module = models.SYSTEMS[kind].tiny().build()
        assert isinstance(module, System) == (kind in models.sampled()), kind


def test_damaged_exports_are_named(exported: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged .*export the model again"):
        Pipeline.load(copy)
    for text, message in (("{", "is no JSON"), ("{}", "names no system")):
        (copy / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            Pipeline.load(copy)


def test_the_command_in_a_file_makes_the_same_motion_again(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def motion(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        assert end.value.code == 0
        return capsys.readouterr().out

    options = ["--seed", "4", "--steps", "2", "--guidance", "1.5", "--duration-s", "1"]
    output = ["--checkpoint", str(exported), "-o", str(tmp_path / "it's mine.mp4")]
    motion("sample", PROMPT, "-n", "2", *options, *output)
    files = sorted(tmp_path.iterdir())
    before = {file: file.read_bytes() for file in files}
    second = tmp_path / "it's mine_01.npz"
    name, *words = shlex.split(json.loads(motion("info", str(second), "--json"))["command"])
    assert name == "motion"
    motion(*words)
    assert {file: file.read_bytes() for file in files} == before, "the originals are left alone"
    again = tmp_path / "it's mine_01_again.npz"
    with np.load(second) as first, np.load(again) as repeated:
        assert first.files == repeated.files
        for key in first.files:
            np.testing.assert_array_equal(first[key], repeated[key], err_msg=key)


def test_the_model_card_names_stage_command_and_origin(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert "Stage 2 of the system: the training `untrained`, from scratch." in card
    assert "\n    python rayjobs/train_comovi.py --stage2.steps 1\n" in card
    assert "CC0-1.0" in card
    config = json.loads((exported / "config.json").read_text())
    init = {"export": "exports/comovi-1", "weights": "ema", "allow_missing": []}
    config["training"]["config"]["init_from"] = init
    config["training"]["command"] = ""
    card = model_card("x", config, has_ema=False)
    assert "from the ema weights of `comovi-1`.\n\n## Data" in card
    del config["system"]["stage"]
    assert "The only stage: the training" in model_card("x", config, has_ema=False)


def test_newest_export_is_found_and_its_hash_covers_the_weights(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(exported.parents[1]))
    assert newest_export("comovi") == exported
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copy / name).write_bytes((exported / name).read_bytes())
    assert export_hash(copy) == export_hash(exported)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert export_hash(copy) != export_hash(exported)


def test_an_untrained_model_uses_no_text_and_is_worse_than_standing_still(
    pipeline: Pipeline,
) -> None:
    fast = dataclasses.replace(pipeline)
    found = evaluate(fast, EvaluationConfig(num_clips=8, batch_size=8, num_noises=1))
    assert {"flow_rgb", "flow_map_other_text", "part_accuracy_held", "joint_error_mm"} <= set(
        found.values
    )
    # The network's output starts at zero: no condition can change its loss.
    assert found.differences["flow_rgb_other_text_gain"].mean == pytest.approx(0, abs=1e-6)
    assert found.differences["part_accuracy_held_gain"].high < 0
    # Its poses start at the first one: equal to the baseline, not better.
    assert found.differences["joint_error_mm_held_gain"].mean == pytest.approx(0, abs=1e-2)


def test_clips_are_never_left_out_silently(exported: Path) -> None:
    with pytest.raises(ValueError, match="no multiple of batch_size"):
        evaluate_export(str(exported), num_clips=10, batch_size=4)
    with pytest.raises(ValueError, match="fills only"):
        evaluate_export(str(exported), num_clips=64, batch_size=8)


def test_report_names_what_was_measured(exported: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(num_clips=8, batch_size=8, num_noises=1, prompts=(PROMPT,))
    files = write_report(exported, tmp_path, config)
    text = next(file for file in files if file.name == "report.md").read_text()
    assert "| flow_map_other_frame |" in text
    assert "8 clips" in text
    assert "map_part_accuracy" in text
    assert committed_report(exported, tmp_path, config) == files, "it need not be made again"
    assert committed_report(exported, tmp_path, config.model_copy(update={"seed": 1})) is None
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"others")
    assert committed_report(copy, tmp_path, config) is None
    files[-1].unlink()
    assert committed_report(exported, tmp_path, config) is None
    assert committed_report(exported, tmp_path / "elsewhere", config) is None


def test_system_and_encoders_go_to_the_device_and_the_body_stays(exported: Path) -> None:
    moved = Pipeline.load(exported, device="meta")  # a device that every machine has
    for part in (moved.system, moved.text, *moved.autoencoders.values()):
        assert isinstance(part, nn.Module)
        tensors = [*part.parameters(), *part.buffers()]
        assert tensors
        assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.body.faces.device.type == "cpu"


def test_curves_are_drawn_and_nothing_is_refused(tmp_path: Path) -> None:
    assert curves_png(tmp_path / "a.png", {"loss": {"flow": [(1, 2.0), (2, 1.0)]}}).is_file()
    with pytest.raises(ValueError, match="no curve"):
        curves_png(tmp_path / "b.png", {"loss": {"flow": []}})
