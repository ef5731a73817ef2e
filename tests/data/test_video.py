"""Clips as mp4 bytes."""

from pathlib import Path

import numpy as np
import pytest

from motion.data import video
from motion.data.video import decode_mp4, encode_mp4


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(9, 64, 48, 3), (1, 32, 32, 3), (5, 33, 47, 3)])
def test_lossless_is_exact_in_both_readers(shape: tuple[int, ...]) -> None:
    frames = _noise(shape)
    data = encode_mp4(frames, 16.0, lossless=True)
    np.testing.assert_array_equal(decode_mp4(data), frames)
    np.testing.assert_array_equal(video._decode_pyav(data), frames)


def test_lossy_is_close_and_small() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    frames = np.broadcast_to(ramp[None, :, None, None], (9, 64, 64, 3)).copy()
    frames[:, 20:40, 20:40] = [200, 40, 40]
    data = encode_mp4(frames, 16.0, lossless=False)
    error = decode_mp4(data).astype(float) - frames
    assert 10 * np.log10(255**2 / (error**2).mean()) > 35
    assert len(data) < frames.size / 10


@pytest.mark.parametrize("fps", [16.0, 30.0, 30000 / 1001, 23.976])
def test_frame_rate_is_kept(fps: float, tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    path.write_bytes(encode_mp4(_noise((4, 32, 32, 3)), fps, lossless=True))
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-4)
    assert decode_mp4(path).shape == (4, 32, 32, 3)


@pytest.mark.parametrize("lossless", [False, True])
def test_bytes_are_reproducible(lossless: bool) -> None:
    smooth = np.linspace(0, 255, 9 * 32 * 32 * 3).reshape(9, 32, 32, 3).astype(np.uint8)
    for frames in (_noise((9, 32, 32, 3)), smooth):
        assert len({encode_mp4(frames, 16.0, lossless=lossless) for _ in range(40)}) == 1


def test_refusals() -> None:
    with pytest.raises(ValueError, match="even sides, got 33x32"):
        encode_mp4(_noise((2, 33, 32, 3)), 16.0, lossless=False)
    with pytest.raises(ValueError, match="0 frames"):
        encode_mp4(_noise((0, 32, 32, 3)), 16.0, lossless=True)
    with pytest.raises(ValueError, match="no readable video"):
        decode_mp4(b"not a video")


def test_real_video_decodes(real_data: Path) -> None:
    path = sorted((real_data / "video").rglob("*.mp4"))[0]
    frames = decode_mp4(path)
    assert frames.ndim == 4
    assert frames.std() > 1
