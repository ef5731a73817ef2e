"""Music as features per frame: the 35 numbers that dance models are conditioned on.

Envelope 1, MFCC 20, chroma 12, onset peak 1, beat 1: the "baseline" features of EDGE (Tseng et al.
2023) and of AIST++'s reference code. They are computed by librosa (extra `audio`) with a hop of one
frame, so that row i belongs to video frame i.
"""

import importlib.util
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

SOUND_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
SAMPLE_RATE: Final = 15_360
"""Least samples per second: 512 per frame at 30 fps, as the reference has it. The sound is
resampled to a whole multiple of 64 samples per frame, as the chroma analysis wants."""
MUSIC_DIM: Final = 35
SLICES: Final = {
    "envelope": slice(0, 1),
    "mfcc": slice(1, 21),
    "chroma": slice(21, 33),
    "onset": slice(33, 34),
    "beat": slice(34, 35),
}


def read_music(path: Path | str, fps: float) -> Float[np.ndarray, "t 35"]:
    """Features of a sound file at a frame rate.

    Raises:
        RuntimeError: librosa is not installed.
        ValueError: the file cannot be read, or is shorter than two frames.
    """
    librosa = _librosa()
    rate = round(fps * samples_per_frame(fps))
    try:
        sound, _ = librosa.load(Path(path), sr=rate, mono=True)
    except Exception as error:  # librosa raises whatever its backends do
        raise ValueError(
            f"{path} cannot be read as sound ({type(error).__name__}: {error}): convert it to wav"
        ) from error
    return music_features(sound, fps)


def music_features(sound: Float[np.ndarray, "n"], fps: float) -> Float[np.ndarray, "t 35"]:
    """Features of a mono sound of `samples_per_frame(fps)` samples per frame.

    Raises:
        ValueError: it is shorter than two frames.
    """
    librosa = _librosa()
    hop = samples_per_frame(fps)
    rate = round(fps * hop)
    num_frames = len(sound) // hop
    if num_frames < 2:
        raise ValueError(
            f"the sound has {len(sound)} samples, less than two frames of {hop}: give a longer one"
        )
    sound = np.asarray(sound, dtype=np.float32)
    envelope = librosa.onset.onset_strength(y=sound, sr=rate, hop_length=hop)
    mfcc = librosa.feature.mfcc(y=sound, sr=rate, hop_length=hop, n_mfcc=20)
    chroma = librosa.feature.chroma_cens(y=sound, sr=rate, hop_length=hop, n_chroma=12)
    onsets = librosa.onset.onset_detect(onset_envelope=envelope, sr=rate, hop_length=hop)
    _, beats = librosa.beat.beat_track(onset_envelope=envelope, sr=rate, hop_length=hop)
    parts = [envelope[None], mfcc, chroma, _marks(onsets, num_frames), _marks(beats, num_frames)]
    return np.concatenate([_cut(part, num_frames) for part in parts]).T.astype(np.float32)


def samples_per_frame(fps: float) -> int:
    """Hop of the analysis."""
    return 64 * math.ceil(SAMPLE_RATE / fps / 64)


def music_beats(features: Float[np.ndarray, "t 35"]) -> Any:
    """Frames (t,) with a beat of the music, as booleans."""
    return features[:, SLICES["beat"]][:, 0] > 0.5


def _marks(frames: Any, num_frames: int) -> Float[np.ndarray, "1 t"]:
    marks = np.zeros((1, num_frames), dtype=np.float32)
    marks[0, np.asarray(frames, dtype=int)[np.asarray(frames, dtype=int) < num_frames]] = 1.0
    return marks


def _cut(part: Any, num_frames: int) -> Float[np.ndarray, "c t"]:
    """To the number of frames; analysis windows at the end may add one."""
    held = np.pad(part, [(0, 0), (0, max(0, num_frames - part.shape[1]))], mode="edge")
    return held[:, :num_frames]


def _librosa() -> Any:
    if importlib.util.find_spec("librosa") is None:
        raise RuntimeError(
            "music features need librosa, which is not installed: pip install 'motion[audio]'"
        )
    import librosa

    return librosa
