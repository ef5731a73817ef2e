import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from motion import cli
from motion.export.provenance import Provenance
from motion.export.video import Panel, write_mp4
from motion.offload import OffloadConfig

PROVENANCE = Provenance(system="comovi", export="x", export_hash="ab12", prompt="wave", seed=7)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the library behind the command line and records what it is asked for."""
    seen = SimpleNamespace(options=[], export=None, device=None, offload=None)

    class Pipeline:
        @staticmethod
        def load(export: Path, *, device: str, offload: OffloadConfig) -> "Pipeline":
            seen.export, seen.device, seen.offload = export, device, offload
            return Pipeline()

        def sample(self, prompts: list[str], **options: object) -> list[str]:
            seen.options.append(options)
            return prompts

    def write_result(result: str, stem: Path, *, suffix: str = "") -> list[Path]:
        seen.suffix = suffix
        stem.parent.mkdir(parents=True, exist_ok=True)
        file = stem.with_name(stem.name + ".mp4")
        file.write_text(result)
        return [file]

    module = SimpleNamespace(Pipeline=Pipeline, write_result=write_result)
    monkeypatch.setitem(sys.modules, "motion.inference", module)
    finding = SimpleNamespace(newest_export=lambda system: Path(f"newest-{system}"))
    monkeypatch.setitem(sys.modules, "motion.exported", finding)
    return seen


def test_sample_writes_one_file_and_leaves_the_defaults_to_the_system(
    pipeline: SimpleNamespace, tmp_path: Path
) -> None:
    assert run("sample", "a person waves", "-o", str(tmp_path / "wave.mp4")) == 0
    assert (tmp_path / "wave.mp4").read_text() == "a person waves"
    assert pipeline.export == Path("newest-comovi")
    assert pipeline.options == [{"seed": 0}]


def test_sample_numbers_several_files_and_passes_options_on(
    pipeline: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "a", "b", "-n", "2", "--seed", "5", "--steps", "8", "--guidance", "3.5"]
    words += ["--duration-s", "1.5", "--checkpoint", "c", "-o", str(tmp_path / "x"), "--json"]
    assert run(*words) == 0
    asked = {"steps": 8, "guidance": 3.5, "duration_s": 1.5}
    assert pipeline.options == [{"seed": seed, **asked} for seed in (5, 6, 7, 8)]
    printed = json.loads(capsys.readouterr().out)
    names = [Path(sample["files"][0]).name for sample in printed["samples"]]
    assert names == ["x_00.mp4", "x_01.mp4", "x_02.mp4", "x_03.mp4"]
    assert [sample["prompt"] for sample in printed["samples"]] == ["a", "a", "b", "b"]


def test_sample_says_at_once_what_it_does_and_then_of_which_export(
    pipeline: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sample", "a", "b", "-o", str(tmp_path / "x"), "--json") == 0
    assert capsys.readouterr().err.splitlines() == [
        "motion: loading the library ...",
        "motion: loading the export newest-comovi ...",
        'motion: sample 1 of 2, "a" ...',
        'motion: sample 2 of 2, "b" ...',
    ]


def test_sample_speaks_before_it_imports_anything_heavy() -> None:
    code = """
import sys
from motion import cli

class Refused:
    def find_spec(self, name, *_):
        if name == "torch":
            print("torch is imported", file=sys.stderr)
            raise SystemExit(7)

sys.meta_path.insert(0, Refused())
cli.main(["sample", "a person waves"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 7, ended.stderr
    assert ended.stderr.splitlines() == ["motion: loading the library ...", "torch is imported"]


def test_prompts_come_from_files_and_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("walk\n\n run \n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("jump\n"))
    texts = cli.read_prompts([str(tmp_path / "prompts.txt"), "-", "sit"])
    assert texts == ["walk", "run", "jump", "sit"]


def test_default_stem_is_made_of_the_prompt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOTION_OUTPUTS", str(tmp_path))
    (stem,) = cli.output_stems(None, ["A person waves!"])
    assert stem == tmp_path / "samples" / "a_person_waves"
    assert cli.output_stems(Path("v1.2"), ["x"]) == [Path("v1.2")]
    assert cli.output_stems(Path("a/wave.GLB"), ["x"]) == [Path("a/wave")]


@pytest.mark.parametrize(
    ("name", "suffix"), [("w.bvh", ".bvh"), ("w.GLB", ".glb"), ("w", ""), ("v1.2", "")]
)
def test_the_output_s_suffix_asks_for_a_format(
    name: str, suffix: str, pipeline: SimpleNamespace, tmp_path: Path
) -> None:
    assert run("sample", "a", "-o", str(tmp_path / name)) == 0
    assert pipeline.suffix == suffix


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", " "], "no prompt given"),
        (["sample", "none.txt"], "no such file of prompts: none.txt"),
        (["sample", "a", "-n", "0"], "expected at least 1"),
        (
            ["sample", "a", "-o", "a.fbx"],
            "a.fbx: there is no format '.fbx', only .npz (AMASS's keys)",
        ),
        (["info", "none.mp4"], "no such file: none.mp4"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    pipeline: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_a_typo_is_answered_with_the_option_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("sample", "a", "--sede", "3") != 0
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert "--seed" in said
    assert "motion sample --help" in said
    assert "evaluate" not in said, "the options of another verb are no answer"


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("sampel", "`motion sample`?"),
        ("evalaute", "`motion evaluate`?"),
        ("xyz", "`motion --help`"),
    ],
)
def test_a_mistyped_verb_is_answered_with_the_one_that_was_meant(
    verb: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "a") == cli.USAGE_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"no verb '{verb}', only doctor, sample, export, info, evaluate" in printed.err
    assert answer in printed.err


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_says_what_happens_without_an_option(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "None" not in said
    if verb == "sample":
        assert "(default: the newest local export)" in said
        assert "(default: the export's own number)" in said
    if verb == "evaluate":
        assert "(default: the first export's dataset)" in said


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    with pytest.raises(FileNotFoundError):
        cli.main(["info", "none.mp4"])


def test_info_prints_the_origin_and_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = Panel(frames=np.zeros((2, 16, 16, 3), np.uint8), label="RGB")
    file = write_mp4(tmp_path / "a.mp4", [panel], 16.0, provenance=PROVENANCE)
    assert run("info", str(file), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    command = printed.pop("command")
    again = tmp_path / "a_again.mp4"
    assert command == (
        f"motion sample wave --system comovi --checkpoint x --seed 7 --output {again}"
    )
    assert Provenance.model_validate(printed) == PROVENANCE
    assert run("info", str(file)) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"again        {command}"
    assert "options      none given" in said.out
    assert "the export is no longer there" in said.err


@pytest.mark.parametrize("suffix", [".npz", ".mp4", ".webm", ".gif", ".png", ".glb"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", b"words"])
def test_a_damaged_file_is_named(
    suffix: str, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    assert run("info", str(file)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"motion: {file} is damaged or no {suffix} file: ")
    assert said.count("\n") == 1


def test_device_and_offloading_reach_the_pipeline(
    pipeline: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sample", "wave", "-o", str(tmp_path / "a"), "--device", "cpu")
    assert run(*words, "--offload", "split", "--device-memory-gb", "2.5") == 0
    assert pipeline.device == "cpu"
    assert pipeline.offload == OffloadConfig(mode="split", device_memory_gb=2.5)
    assert run("sample", "wave", "-o", str(tmp_path / "a"), "--device", "tpu") == 1
    assert "device 'tpu' is not here" in capsys.readouterr().err


def test_image_pose_and_refinement_reach_the_pipeline(
    pipeline: SimpleNamespace, tmp_path: Path
) -> None:
    words = ("sample", "wave", "-o", str(tmp_path / "a"), "--image", "a.png", "--pose", "a.npz")
    assert run(*words, "--fill", "pad", "--refine") == 0
    (given,) = pipeline.options
    assert given["conditions"].given() == {
        "image": str(Path("a.png").absolute()),
        "pose": str(Path("a.npz").absolute()),
        "fill": "pad",
    }
    assert given["completion"].refine
    assert run("sample", "wave", "-o", str(tmp_path / "a"), "--image", "a.png") == 1
    assert len(pipeline.options) == 1, "an image without a pose is refused before sampling"
