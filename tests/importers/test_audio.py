"""Music features: 35 per frame, beats where they were played."""

import wave
from pathlib import Path

import numpy as np
import pytest

from motion.importers.audio import (
    SLICES,
    music_beats,
    music_features,
    read_music,
    samples_per_frame,
)

pytest.importorskip("librosa", reason="the extra `audio` is not installed")

BEAT_S = 0.5


def clicks(fps: float, duration_s: float = 8.0) -> np.ndarray:
    """A click of 20 ms every half second, at the analysis's own rate."""
    rate = round(fps * samples_per_frame(fps))
    sound = np.zeros(round(rate * duration_s), np.float32)
    burst = np.sin(2 * np.pi * 880 * np.arange(round(0.02 * rate)) / rate).astype(np.float32)
    for start in np.arange(0.25, duration_s - 0.1, BEAT_S):
        at = round(start * rate)
        sound[at : at + len(burst)] = burst
    return sound


def test_analysis_has_a_whole_number_of_samples_per_frame() -> None:
    assert samples_per_frame(30.0) == 512
    assert [samples_per_frame(fps) * fps for fps in (16.0, 20.0)] == [15360, 15360]


def test_features_have_one_row_per_frame_and_beats_half_a_second_apart() -> None:
    fps = 20.0
    features = music_features(clicks(fps), fps)
    assert features.shape == (160, 35)
    assert np.isfinite(features).all()
    assert [part.stop - part.start for part in SLICES.values()] == [1, 20, 12, 1, 1]
    beats = np.flatnonzero(music_beats(features))
    assert len(beats) > 8
    assert np.median(np.diff(beats)) == pytest.approx(BEAT_S * fps, abs=1)


@pytest.mark.filterwarnings("ignore:PySoundFile failed", "ignore:librosa.core.audio")
def test_a_file_is_resampled_to_the_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    sound = clicks(30.0, 3.0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(15360)
        file.writeframes((sound * 30000).astype("<i2").tobytes())
    assert len(read_music(path, 30.0)) == 90
    assert abs(len(read_music(path, 16.0)) - 48) <= 1
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="cannot be read"):
        read_music(tmp_path / "broken.wav", 30.0)


def test_refuses_what_is_shorter_than_two_frames() -> None:
    with pytest.raises(ValueError, match="two frames"):
        music_features(np.zeros(600, np.float32), 30.0)
