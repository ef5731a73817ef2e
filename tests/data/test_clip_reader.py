"""Frames at times, proved on videos whose frames carry their own number."""

import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from motion.data import clip_reader
from motion.data.clip_reader import VideoIndex, index_video, read_clip
from motion.data.video import encode_mp4

NUM_FRAMES = 70
CLOCK = Fraction(1, 90000)
CONSTANT = [3000 * i for i in range(NUM_FRAMES)]
VARIABLE = list(np.cumsum([0, *np.random.default_rng(0).choice([1500, 3003, 45000], 69)]))
LATE = [stamp + 90000 for stamp in VARIABLE]
X265 = {"x265-params": "log-level=none:bframes=3:keyint=25"}

KINDS = {
    "h264-b-frames.mp4": ("libx264", "yuv420p", {"bf": "3", "g": "250"}),
    "h264-open-gop.mp4": (
        "libx264",
        "yuv420p",
        {"bf": "3", "g": "20", "x264-params": "open-gop=1"},
    ),
    "h264.mkv": ("libx264", "yuv420p", {"bf": "3", "g": "25"}),
    "h264.ts": ("libx264", "yuv420p", {"bf": "3", "g": "25"}),
    "h264-10bit.mp4": ("libx264", "yuv420p10le", {"g": "25"}),
    "hevc.mp4": ("libx265", "yuv420p", X265),
    "vp8.webm": ("libvpx", "yuv420p", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    "av1.mp4": ("libsvtav1", "yuv420p", {"preset": "12", "g": "25"}),
    "ffv1.mkv": ("ffv1", "yuv444p", {}),
    "mjpeg.mkv": ("mjpeg", "yuvj420p", {}),
}
BY_DECORD = {
    name for name in KINDS if name.startswith(("h264-b", "h264-o", "h264.m", "hevc", "vp"))
}


def numbered(number: int, height: int = 64, width: int = 112) -> np.ndarray:
    """A frame with its number in black and white blocks, least digit on the left."""
    frame = np.full((height, width, 3), 110, np.uint8)
    for digit in range(7):
        frame[8:24, 8 + 14 * digit : 20 + 14 * digit] = 255 * (number >> digit & 1)
    frame[32:56, 8:50], frame[32:56, 50:100] = [200, 40, 40], [40, 60, 190]
    return frame


def number_of(frame: np.ndarray) -> int:
    digits = [frame[12:20, 11 + 14 * d : 17 + 14 * d].mean() > 128 for d in range(7)]
    return sum(int(bit) << digit for digit, bit in enumerate(digits))


def write(
    path: Path,
    stamps: Sequence[int] = CONSTANT,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    size: tuple[int, int] = (64, 112),
    clock: Fraction = CLOCK,
    container_options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = stream.time_base = clock
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            frame.pts, frame.time_base = int(stamp), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def all_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_by_pyav(path: Path, numbers: Sequence[int]) -> np.ndarray:
    return clip_reader._read_pyav(path, np.array(numbers), index_video(path))


@pytest.mark.parametrize("stamps", [CONSTANT, VARIABLE, LATE], ids=["constant", "variable", "late"])
@pytest.mark.parametrize("name", KINDS)
def test_frames_are_exact_in_every_codec(name: str, stamps: list[int], tmp_path: Path) -> None:
    codec, pixels, options = KINDS[name]
    path = write(tmp_path / name, stamps, codec, pixels, options)
    times = (np.array(stamps) - stamps[0]) / 90000
    gaps = np.append(np.diff(times), 1 / 30)
    rng = np.random.default_rng(1)
    wanted = rng.integers(0, NUM_FRAMES, 20)
    read = read_clip(path, times[wanted] + rng.uniform(0, 0.9, 20) * gaps[wanted])
    assert [number_of(frame) for frame in read] == wanted.tolist()
    in_order = all_frames(path)
    np.testing.assert_array_equal(read, np.stack([in_order[i] for i in wanted]))
    few = np.unique(wanted)[::3]
    np.testing.assert_array_equal(read_by_pyav(path, few), np.stack([in_order[i] for i in few]))
    assert index_video(path).decord_is_exact == (name in BY_DECORD)


def test_decord_is_not_trusted_where_it_takes_wrong_frames(tmp_path: Path) -> None:
    clock = Fraction(1, 30)
    path = write(tmp_path / "a.mp4", range(70), "mpeg4", "yuv420p", {"bf": "2"}, clock=clock)
    read = read_clip(path, np.array([3, 40, 69]) / 30)
    assert [number_of(frame) for frame in read] == [3, 40, 69]


@pytest.mark.parametrize("name", ["h264.mkv", "av1.mp4"])
def test_exact_frame_times_survive_the_rounding_of_the_file(name: str, tmp_path: Path) -> None:
    codec, pixels, options = KINDS[name]
    path = write(tmp_path / name, CONSTANT, codec, pixels, options)
    read = read_clip(path, np.arange(NUM_FRAMES) / 30)  # Matroska: frame 2 is stamped 67 ms
    assert [number_of(frame) for frame in read] == list(range(NUM_FRAMES))


def test_any_order_repeats_and_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", CONSTANT[:30])
    assert index_video(path).duration_s == pytest.approx(1.0)
    read = read_clip(path, [1.0, 0.5, 0.5, 0.0, 0.999])
    assert [number_of(frame) for frame in read] == [29, 15, 15, 0, 29]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied_alike_by_both_readers(turn: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", CONSTANT[:9])
    stored = all_frames(path)[4]
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 44
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    values = np.array([a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data[:matrix] + values + data[matrix + 36 :])
    upright = np.rot90(stored, -turn // 90)  # the matrix turns clockwise
    np.testing.assert_array_equal(read_clip(path, [4 / 30])[0], upright)
    np.testing.assert_array_equal(read_by_pyav(path, [4])[0], upright)


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libvpx-vp9", "yuv420p"), ("libx264", "yuv444p"), ("ffv1", "yuv420p")]
)
def test_odd_sides(codec: str, pixels: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", CONSTANT[:9], codec, pixels, size=(65, 113))
    read = read_clip(path, [0.0, 0.2])
    assert read.shape == (2, 65, 113, 3)
    np.testing.assert_array_equal(read[1], all_frames(path)[6])


def test_what_we_write_comes_back(tmp_path: Path) -> None:
    frames = np.stack([numbered(i) for i in range(9)])
    path = tmp_path / "a.mp4"
    path.write_bytes(encode_mp4(frames, 16.0, lossless=True))
    np.testing.assert_array_equal(read_clip(path, np.arange(9) / 16), frames)


def test_a_long_file_costs_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late frames of 30 s: from their key frame on, and one picture in memory besides the clip."""
    stamps = [3000 * i for i in range(900)]
    path = write(tmp_path / "a.mp4", stamps, options={"g": "25", "preset": "ultrafast"})
    index = index_video(path)
    decoded = 0
    pts = clip_reader._pts

    def count(frame: av.VideoFrame) -> int:
        nonlocal decoded
        decoded += 1
        return pts(frame)

    monkeypatch.setattr(clip_reader, "_pts", count)
    tracemalloc.start()
    read = clip_reader._read_pyav(path, np.array([10, 880, 881, 890]), index)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [number_of(frame) for frame in read] == [i % 128 for i in (10, 880, 881, 890)]
    assert decoded < 2 * (25 + 25)
    assert peak < read.nbytes + 3 * read[0].nbytes + 100_000


def test_decord_failing_falls_back_to_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import decord

    def broken(*_: object, **__: object) -> None:
        raise decord.DECORDError("broken")

    path = write(tmp_path / "a.mp4", CONSTANT[:9])
    monkeypatch.setattr(decord, "VideoReader", broken)
    assert number_of(read_clip(path, [0.1])[0]) == 3


def test_the_index_follows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", CONSTANT[:9])
    assert len(index_video(path).pts) == 9
    write(path, CONSTANT[:20])
    assert len(index_video(path).pts) == 20


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 1500
    for place in np.random.default_rng(0).integers(start, len(data), 80):
        data[place] ^= 0x5A
    path.write_bytes(bytes(data))


def _text(path: Path) -> None:
    path.write_text("not a video\n" * 99)


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("damage", "fast_start", "message"),
    [
        (Path.unlink, False, "is no file: give the path"),
        (_text, False, "is no readable video"),
        (lambda path: path.write_bytes(b""), False, "is no readable video"),
        (_cut, False, "is no readable video"),
        (_cut, True, "damaged: its header announces 70 frames"),
        (_flip, True, "is no readable video"),
        (_sound, False, "no video stream"),
    ],
    ids=["missing", "text", "empty", "cut head", "cut tail", "flipped bits", "sound"],
)
def test_unreadable_files(
    damage: Callable[[Path], None], fast_start: bool, message: str, tmp_path: Path
) -> None:
    flags = {"movflags": "faststart"} if fast_start else {}
    path = write(tmp_path / "a.mp4", container_options=flags)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_clip(path, np.arange(0, 2.3, 0.1))
    assert str(path) in str(caught.value)


def test_a_stream_without_time_stamps_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h264", CONSTANT[:9])
    with pytest.raises(ValueError, match=r"a\.h264 has frames without time stamp: write it again"):
        read_clip(path, [0.0])


def test_times_outside_of_the_video(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", CONSTANT[:30])
    for time in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=r"outside of the video, which lasts from 0 to 1.000 s"
        ):
            read_clip(path, [0.5, time])
    for times in ([], np.array([[0.5]])):
        with pytest.raises(ValueError, match="give one or more times"):
            read_clip(path, times)


def test_index_without_a_file() -> None:
    index = VideoIndex(np.array([10, 20, 50]), np.array([[10, 8]]), 0.01, 60, False)
    assert index.times_s.tolist() == pytest.approx([0, 0.1, 0.4])
    assert index.frames_at(np.array([0, 0.0985, 0.0995, 0.39, 0.5])).tolist() == [0, 0, 1, 1, 2]


def test_real_videos(real_data: Path) -> None:
    """Both readers give the frames of a decoding from the start, in every file of the set."""
    paths = [p for p in sorted((real_data / "video").iterdir()) if p.stat().st_size < 2e6]
    assert len(paths) > 10
    for path in paths:
        index = index_video(path)
        wanted = np.unique(np.linspace(0, min(len(index.pts) - 1, 59), 5).round().astype(int))
        frames: dict[int, np.ndarray] = {}
        with av.open(str(path)) as container:
            for number, frame in zip(range(60), container.decode(video=0), strict=False):
                if number in wanted:
                    frames[number] = frame.to_ndarray(format="rgb24")
        truth = np.stack(list(frames.values()))
        np.testing.assert_array_equal(read_clip(path, index.times_s[wanted]), truth, path.name)
        np.testing.assert_array_equal(read_by_pyav(path, wanted.tolist()), truth, path.name)
