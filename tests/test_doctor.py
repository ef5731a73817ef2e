"""`motion doctor`: each trouble with its remedy, and one line that says whether all is well."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from motion import cli, doctor
from motion.doctor import Check


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code


def check(name: str, level: doctor.Level) -> Check:
    return Check(name=name, level=level, found="x", remedy="y")


@pytest.mark.parametrize(
    ("levels", "verdict", "code"),
    [
        ({"a": "ok", "b": "ok"}, "ready", 0),
        ({"a": "ok", "b": "warn"}, "ready (worth a look: b)", 0),
        ({"a": "fail", "b": "ok"}, "1 thing to mend: a", 1),
        ({"a": "fail", "b": "warn", "c": "fail"}, "2 things to mend: a, c (worth a look: b)", 1),
    ],
)
def test_the_last_line_is_the_verdict(
    levels: dict[str, doctor.Level],
    verdict: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = [check(name, level) for name, level in levels.items()]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert run("doctor") == code
    assert capsys.readouterr().out.splitlines()[-1] == verdict


def test_a_package_that_is_required_and_missing_must_be_mended() -> None:
    asked = ["numpy>=2", "ray[data,train]>=2", "no-such-package>=1", "no-extra ; extra == 'dev'"]
    found = doctor.requirements(asked)
    assert (found.level, found.found) == ("fail", "not installed: no-such-package")
    assert found.remedy
    assert doctor.requirements(asked[:2]).found == "all 2 that are required"
    assert doctor.packages()[-1].level == "ok", "those of this project are installed"


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
