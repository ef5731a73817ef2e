import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from motion import cli, doctor
from motion.export.provenance import Provenance
from motion.export.video import Panel, write_mp4

PROVENANCE = Provenance(system="comovi", export="x", export_hash="ab12", prompt="wave", seed=7)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the library behind the command line and records what it is asked for."""
    seen = SimpleNamespace(options={}, export=None)

    class Pipeline:
        @staticmethod
        def load(export: Path) -> "Pipeline":
            seen.export = export
            return Pipeline()

        def sample(self, prompts: list[str], **options: object) -> list[str]:
            seen.options = options
            return prompts

    def write_result(result: str, stem: Path, *, gif: bool = False) -> list[Path]:
        stem.parent.mkdir(parents=True, exist_ok=True)
        file = stem.with_name(stem.name + ".mp4")
        file.write_text(result)
        return [file]

    module = SimpleNamespace(
        Pipeline=Pipeline, write_result=write_result, newest_export=lambda s: Path(f"newest-{s}")
    )
    monkeypatch.setitem(sys.modules, "motion.inference", module)
    return seen


def test_sample_writes_one_file_and_leaves_the_defaults_to_the_system(
    pipeline: SimpleNamespace, tmp_path: Path
) -> None:
    assert run("sample", "a person waves", "-o", str(tmp_path / "wave.mp4")) == 0
    assert (tmp_path / "wave.mp4").read_text() == "a person waves"
    assert pipeline.export == Path("newest-comovi")
    assert pipeline.options == {"seed": 0}


def test_sample_numbers_several_files_and_passes_options_on(
    pipeline: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "a", "b", "-n", "2", "--seed", "5", "--steps", "8", "--guidance", "3.5"]
    words += ["--duration-s", "1.5", "--checkpoint", "c", "-o", str(tmp_path / "x"), "--json"]
    assert run(*words) == 0
    assert pipeline.options == {"seed": 5, "steps": 8, "guidance": 3.5, "duration_s": 1.5}
    printed = json.loads(capsys.readouterr().out)
    names = [Path(sample["files"][0]).name for sample in printed["samples"]]
    assert names == ["x_00.mp4", "x_01.mp4", "x_02.mp4", "x_03.mp4"]
    assert [sample["prompt"] for sample in printed["samples"]] == ["a", "a", "b", "b"]


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", " "], "no prompt given"),
        (["sample", "none.txt"], "no such file of prompts: none.txt"),
        (["sample", "a", "-n", "0"], "expected at least 1"),
        (["sample", "a", "-o", "a.glb"], r"a.glb: a sample is written as .mp4"),
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
    assert "--seed" in printed.out + printed.err


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
    assert printed.pop("command").startswith("motion sample wave --system comovi")
    assert Provenance.model_validate(printed) == PROVENANCE


def test_doctor_names_each_trouble_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("MOTION_OUTPUTS", str(blocker / "outputs"))
    assert run("doctor", "--json") == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["outputs"]["level"] == "fail"
    assert "MOTION_OUTPUTS" in checks["outputs"]["remedy"]
    assert checks["python"]["level"] == "ok"
    for check in checks.values():
        assert check["level"] == "ok" or check["remedy"], f"no remedy for {check['name']}"


def test_doctor_sees_a_port_in_use() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        number = server.getsockname()[1]
        assert doctor.port(number, "test").level == "warn"
    assert doctor.port(number, "test").level == "ok"


def test_doctor_warns_of_a_container_without_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = SimpleNamespace(free=64 << 20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    check = doctor.shared_memory(tmp_path)
    assert check.level == "warn"
    assert "--shm-size" in check.remedy
