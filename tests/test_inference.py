"""From an export to files and numbers: the path that users walk, on an untrained tiny model."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from motion.data.encode import EncodeConfig, encode
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.evaluation import EvaluationConfig, evaluate, evaluate_export
from motion.export.amass import read_amass
from motion.export.provenance import read_provenance
from motion.inference import Pipeline, export_hash, newest_export, write_result
from motion.models.comovi.config import CoMoViConfig
from motion.report import committed_report, write_report
from motion.training import dataset, export
from motion.training.config import DataConfig, OptimizerConfig, TrainConfig
from motion.view.curves import curves_png

PROMPT = "a person waves the right hand"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """An export of tiny CoMoVi with random weights, on a dataset of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    raw, encoded = folder / "raw", folder / "encoded"
    clip = ProceduralConfig(num_frames=9, height=96, width=96, num_looks=3)
    prepare(PrepareConfig(root=raw, num_train=12, num_validation=8, num_test=0, clip=clip))
    encode(EncodeConfig(raw_root=raw, root=encoded, fit_clips=8, measured_clips=4))
    config = TrainConfig(
        name="untrained",
        system=CoMoViConfig.tiny(),
        data=DataConfig(root=encoded),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        steps=1,
        micro_batch=4,
        storage=folder,
    )
    torch.manual_seed(0)
    description = export.describe(
        config,
        step=1,
        identity=config.identity(),
        identity_hash="none",
        data=dataset.facts(config),
        run_id="",
    )
    state = config.build_system().state_dict()
    return export.write(config.export_dir, description, [state], data_root=encoded, git="none")


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
    with pytest.raises(ValueError, match="unknown system 'comovy'"):
        newest_export("comovy")


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
