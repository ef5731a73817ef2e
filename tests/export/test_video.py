import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from motion.export.provenance import Provenance, read_provenance
from motion.export.video import Panel, compose, write_gif, write_mp4, write_webm

PROVENANCE = Provenance(
    system="comovi",
    export="exports/comovi/run",
    export_hash="ab12",
    prompt="a person's wave, „slowly“",
    seed=7,
    options={"steps": 20, "guidance": 5.0, "duration_s": 2.0},
    licences=("CC0-1.0",),
)


def panels(frames: int = 6) -> list[Panel]:
    """A bright square that moves to the right, as photo and as map."""
    video = np.full((frames, 32, 32, 3), 40, np.uint8)
    for t in range(frames):
        video[t, 8:24, 2 * t : 2 * t + 12] = (220, 120, 60)
    return [Panel(frames=video, label="RGB"), Panel(frames=video, label="map", sharp=True)]


def test_sharp_panels_keep_their_colors() -> None:
    photo, sharp = panels()
    frames = compose([sharp], height=96)
    colors = {tuple(color) for color in frames[0, 30:110, 10:90].reshape(-1, 3)}
    assert colors == {(40, 40, 40), (220, 120, 60)}
    blended = compose([photo], height=96)
    assert len(np.unique(blended[0, 30:110, 10:90].reshape(-1, 3), axis=0)) > 2


def test_panels_stand_side_by_side_with_even_sizes() -> None:
    single, double = compose(panels()[:1], height=99), compose(panels(), height=99)
    assert double.shape[2] > 1.9 * single.shape[2]
    assert double.shape[1] % 2 == double.shape[2] % 2 == 0


def test_mp4_plays_back_and_carries_its_origin(tmp_path: Path) -> None:
    file = write_mp4(tmp_path / "sub" / "clip.mp4", panels(), 16.0, provenance=PROVENANCE)
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 16)
        assert container.metadata["title"] == PROVENANCE.prompt
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    expected = compose(panels())
    assert np.abs(np.stack(decoded).astype(int) - expected).mean() < 4
    assert read_provenance(file) == PROVENANCE


def test_webm_plays_back_and_carries_its_origin(tmp_path: Path) -> None:
    file = write_webm(tmp_path / "sub" / "clip.webm", panels(), 16.0, provenance=PROVENANCE)
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert container.format.name == "matroska,webm"
        assert (stream.codec_context.name, stream.average_rate) == ("vp9", 16)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    expected = compose(panels())
    assert np.abs(np.stack(decoded).astype(int) - expected).mean() < 4
    assert read_provenance(file) == PROVENANCE


def test_gif_has_all_frames_and_carries_its_origin(tmp_path: Path) -> None:
    file = write_gif(tmp_path / "clip.gif", panels(), 16.0, provenance=PROVENANCE)
    with Image.open(file) as image:
        assert image.n_frames == 6
        assert image.info["duration"] == 60
        first = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(first - compose(panels(), height=192)[0]).mean() < 4
    assert read_provenance(file) == PROVENANCE


def test_panels_of_different_length_are_refused() -> None:
    short = Panel(frames=panels()[0].frames[:3], label="short")
    with pytest.raises(ValueError, match="short: 3"):
        compose([*panels(), short])
    with pytest.raises(ValueError, match="same number of frames"):
        compose([])


def test_command_can_be_pasted_into_a_shell() -> None:
    command = PROVENANCE.command()
    assert "--seed 7" in command
    assert "--duration-s 2.0" in command
    import shlex

    assert shlex.split(command)[2] == PROVENANCE.prompt


def test_files_without_origin_say_so(tmp_path: Path) -> None:
    bare = write_mp4(tmp_path / "bare.mp4", panels(2), 16.0)
    with pytest.raises(ValueError, match="carries no provenance"):
        read_provenance(bare)
    with pytest.raises(FileNotFoundError):
        read_provenance(tmp_path / "none.mp4")
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, motion_provenance=np.array(json.dumps({"made": "elsewhere"})))
    with pytest.raises(ValueError, match="not this library's"):
        read_provenance(foreign)
    (tmp_path / "a.wav").touch()
    with pytest.raises(ValueError, match=r"\.npz, \.mp4, \.webm, \.gif, \.png, \.glb, \.bvh"):
        read_provenance(tmp_path / "a.wav")
