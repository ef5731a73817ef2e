"""Every format from one function, and from the command line."""

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from motion import cli, results
from motion.body import BodyModel
from motion.camera import intrinsics, look_at
from motion.export.amass import read_amass, write_amass
from motion.export.formats import FORMATS
from motion.export.opening import open_motion
from motion.export.provenance import Provenance, find_provenance, read_provenance
from motion.results import Result, export, write_result
from motion.sequence import Motion
from motion.view.render_motion import Camera

SIDECARS = {".bvh", ".npy", ".csv"}
GLB_LIST = struct.pack("<4sIII4s", b"glTF", 2, 22, 2, b"JSON") + b"[]"
"""Whole, but no document."""


@pytest.fixture(scope="module")
def result(body: BodyModel, turning: Motion, origin: Provenance) -> Result:
    """A small one: its pictures are drawn once for all formats."""
    eye, middle, up = torch.eye(3)[2] * 6, torch.tensor([0.0, 1.0, 0.0]), torch.eye(3)[1]
    camera = Camera(
        T_camera_world=look_at(eye, middle, up),
        intrinsics=intrinsics(40.0, 32, 32),
        height=32,
        width=32,
    )
    return Result(
        prompt=origin.prompt,
        fps=16.0,
        rgb=np.full((13, 32, 32, 3), 90, np.uint8),
        motion_map=None,
        motion=turning,
        camera=camera,
        body=body,
        provenance=origin,
    )


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_one_table_of_formats() -> None:
    assert set(results._WRITERS) == set(FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_carries_its_origin(
    suffix: str, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    files = export(result, tmp_path / f"clip{suffix.upper()}")
    assert files[0] == tmp_path / f"clip{suffix.upper()}"
    assert len(files) == (2 if suffix in SIDECARS else 1)
    assert all(file.stat().st_size > 100 for file in files)
    assert read_provenance(files[0]) == result.provenance
    assert run("info", str(files[0]), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["prompt"], printed["seed"]) == (result.prompt, 3)
    assert (printed["export_hash"], printed["config"]["sampling"]) == ("ab12", {"steps": 4})


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_takes_a_motion_of_unknown_origin(
    suffix: str, tmp_path: Path, turning: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "render_motion", small_pictures)
    (file, *_) = export(turning, tmp_path / f"clip{suffix}")
    assert find_provenance(file) is None


def small_pictures(body: BodyModel, motion: Motion, *, camera: object) -> np.ndarray:
    assert camera is None, "without a video the whole path is shown"
    return np.zeros((motion.num_frames, 16, 16, 3), np.uint8)


def test_unknown_formats_are_answered_with_the_known_ones(tmp_path: Path, turning: Motion) -> None:
    with pytest.raises(ValueError, match=r"no format '\.fbx', only \.npz \(AMASS.*\.png \(strip"):
        export(turning, tmp_path / "clip.fbx")
    with pytest.raises(ValueError, match="no format without a suffix"):
        export(turning, tmp_path / "clip")


def test_what_a_sample_lacks_is_said(tmp_path: Path, result: Result, body: BodyModel) -> None:
    video = dataclasses.replace(result, motion=None)
    for suffix in (".npz", ".bvh", ".glb", ".npy"):
        with pytest.raises(ValueError, match="a video without a motion"):
            export(video, tmp_path / f"clip{suffix}")
    with pytest.raises(ValueError, match="its own body"):
        export(result, tmp_path / "clip.glb", body=body)
    assert not any(tmp_path.iterdir())


def test_a_result_is_three_files_and_the_one_that_was_asked_for(
    tmp_path: Path, result: Result
) -> None:
    names = {file.name for file in write_result(result, tmp_path / "a" / "v1.2")}
    assert names == {"v1.2.npz", "v1.2.mp4", "v1.2.png"}
    more = {file.name for file in write_result(result, tmp_path / "b" / "x", suffix=".bvh")}
    assert more == {"x.npz", "x.mp4", "x.png", "x.bvh", "x.bvh.json"}
    video = dataclasses.replace(result, motion=None)
    assert len(write_result(video, tmp_path / "c" / "x", suffix=".png")) == 2


def test_a_motion_alone_shows_its_path_on_the_strip(
    tmp_path: Path, turning: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "render_motion", small_pictures)
    export(turning, tmp_path / "alone.png")
    export(dataclasses.replace(turning, translation=None), tmp_path / "still.png")
    widths = [Image.open(tmp_path / f"{name}.png").width for name in ("alone", "still")]
    assert widths[0] > widths[1] + 150


@pytest.fixture
def clip(tmp_path: Path, result: Result) -> Path:
    assert result.motion is not None
    return write_amass(
        tmp_path / "clip.npz", result.motion, result.body, result.provenance, camera=result.camera
    )


def test_what_a_sample_wrote_opens_whole(clip: Path, result: Result) -> None:
    opened = open_motion(clip, result.body)
    assert opened.motion is not None
    assert opened.camera is not None
    assert (opened.prompt, opened.provenance) == (result.prompt, result.provenance)
    assert (opened.camera.height, opened.camera.width) == (32, 32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_verb_writes_every_format(
    suffix: str, clip: Path, origin: Provenance, capsys: pytest.CaptureFixture[str]
) -> None:
    output = clip.with_name(f"other{suffix}")
    assert run("export", str(clip), str(output), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["files"][0] == str(output)
    assert read_provenance(output) == origin


def test_a_captured_motion_is_exported_too(
    tmp_path: Path, clip: Path, body: BodyModel, turning: Motion
) -> None:
    """BVH in, AMASS out: by way of the importer, onto the free body."""
    walk, back = tmp_path / "walk.bvh", tmp_path / "back.npz"
    assert run("export", str(clip), str(walk)) == 0
    assert run("export", str(walk), str(back)) == 0
    assert find_provenance(back) is None
    assert read_amass(back, body).num_frames == turning.num_frames


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("clip.npz", "clip.fbx"), "there is no format '.fbx', only .npz (AMASS's keys), .bvh"),
        (("none.npz", "clip.bvh"), "none.npz: no such file"),
        (("clip.npz", "clip.npz"), "would replace the file that it is made of"),
        (("cut.npz", "clip.bvh"), "cut.npz is damaged or no .npz file"),
        (("clip.npz", "a.bvh", "--body", "none.pkl"), "none.pkl"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...],
    message: str,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("cut.npz").write_bytes(clip.read_bytes()[:500])
    assert run("export", *words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert len(said.err.splitlines()) <= 2
    assert not list(clip.parent.glob("*.bvh*"))


def test_betas_of_another_body_are_refused(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(clip) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "smpl.npz", **{**arrays, "body_id": np.array("smpl-0000")})
    assert run("export", str(tmp_path / "smpl.npz"), str(tmp_path / "a.glb")) == 1
    assert "belong to body 'smpl-0000'" in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"glTF", b"glTF" + bytes(16), b"words" * 9, GLB_LIST])
def test_a_damaged_glb_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.glb (is damaged or no|carries no)"):
        read_provenance(tmp_path / "a.glb")


def test_a_damaged_sidecar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text("HIERARCHY")
    (tmp_path / "a.bvh.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.bvh\.json is damaged or no \.json"):
        read_provenance(tmp_path / "a.bvh")
