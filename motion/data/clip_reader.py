"""Frames of a video file at given times, exact to the frame: decord where it is, PyAV elsewhere.

The frame at time t is the one a player shows: the last whose time stamp is at most t, counted from
the first frame's. Time stamps come from the packets (no decoding), so variable frame rates cost
nothing. decord reads what it was measured to read exactly (`_DECORD_*`); in other files it takes
wrong frames (MPEG-4 with B-frames, transport streams), wrong colors (10 bit, odd sides) or does not
open them (AV1). There, and where decord fails, PyAV seeks to a key frame and decodes forward.
"""

import functools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import av
import decord
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Float, Int, UInt8

_DECORD_CONTAINERS: Final = ("mp4", "matroska")
_DECORD_CODECS: Final = ("h264", "hevc", "vp8", "vp9")
_DECORD_FORMATS: Final = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gbrp")
_SUBSAMPLED: Final = ("yuv420p", "yuvj420p", "yuv422p")
_NO_RECOVERED_FRAME: Final = 1e-6
"""Share of frames that decord may replace by their neighbors before it gives up: none."""
_ROUNDING_S: Final = (1e-6, 1e-3)
"""Least and most that a frame is taken early: one tick of the file's clock, since Matroska rounds
time stamps to milliseconds and 2 / 30 s would else show the frame before."""

decord.logging.set_level(decord.logging.QUIET)  # where it fails, PyAV reads or names the reason


class VideoIndex(NamedTuple):
    """What the packets of a video say, without decoding it; n frames in the order they are shown.

    Time stamps are integers in units of `tick_s`.
    """

    pts: Int[np.ndarray, "n"]
    keys: Int[np.ndarray, "k 2"]
    """(pts, dts) of the key frames, in the order of their pts."""
    tick_s: float
    """Seconds per tick of the file's clock."""
    end: int
    """End of the last frame, in ticks."""
    decord_is_exact: bool
    """Whether the file is of a kind that decord reads to the frame and to the bit."""

    @property
    def times_s(self) -> Float[np.ndarray, "n"]:
        """When each frame appears, in seconds after the first one."""
        return (self.pts - self.pts[0]) * self.tick_s

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the end of the last one."""
        return float((self.end - self.pts[0]) * self.tick_s)

    def frames_at(self, times_s: Float[np.ndarray, "t"]) -> Int[np.ndarray, "t"]:
        """Index of the frame shown at each time.

        Raises:
            ValueError: a time is not finite or outside of the video.
        """
        rounding = float(np.clip(self.tick_s, *_ROUNDING_S))
        inside = (times_s >= -rounding) & (times_s <= self.duration_s + rounding)  # False for NaN
        if not inside.all():
            raise ValueError(
                f"time {times_s[~inside][0]} s is outside of the video, which lasts from 0 to "
                f"{self.duration_s:.3f} s: ask for times within it"
            )
        return np.maximum(np.searchsorted(self.times_s, times_s + rounding, side="right") - 1, 0)


def read_clip(
    path: Path | str, times_s: Sequence[float] | np.ndarray
) -> UInt8[np.ndarray, "t h w 3"]:
    """RGB frames of a video at given times, upright (rotation metadata is applied).

    Only frames from the key frame before a wanted one are decoded, and only the wanted ones are
    held, so a clip from a long file costs the clip.

    Args:
        path: a video file of any container and codec that FFmpeg reads.
        times_s: seconds after the first frame, in any order; the video's end gives its last frame.

    Raises:
        ValueError: no file, no video in it, a damaged file, or a time outside of it.
    """
    index = index_video(path)
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or not times.size:
        raise ValueError(f"times_s has shape {times.shape}; give one or more times in seconds")
    try:
        wanted, place = np.unique(index.frames_at(times), return_inverse=True)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    frames = _read_decord(path, wanted, index) if index.decord_is_exact else None
    if frames is None:
        frames = _read_pyav(path, wanted, index)
    return frames if np.array_equal(place, np.arange(len(frames))) else frames[place]


def index_video(path: Path | str) -> VideoIndex:
    """Time stamps and key frames of a video file; remembered until the file changes.

    Raises:
        ValueError: no file, no video in it, or a damaged file.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path} is no file: give the path of an existing video")
    stat = file.stat()
    return _index(str(file), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=32)
def _index(path: str, _changed_ns: int, _size: int) -> VideoIndex:
    with _open(path) as (container, stream):
        packets = [_stamp(packet, path) for packet in container.demux(stream) if packet.size]
        if len(packets) < stream.frames or any(packet.damaged for packet in packets):
            raise ValueError(
                f"{path} is damaged: its header announces {stream.frames} frames, "
                f"{len(packets)} can be read; fetch or write the file again"
            )
        shown = sorted(packet for packet in packets if not packet.hidden)
        if not shown or stream.time_base is None:
            raise ValueError(f"{path} holds a video stream of 0 frames; expected at least one")
        pts = np.array([packet.pts for packet in shown], dtype=np.int64)
        usual = int(np.median(np.diff(pts))) if len(pts) > 1 else 0
        rate = stream.average_rate or 25
        last = shown[-1].duration or usual or round(1 / float(rate * stream.time_base))
        keys = [(packet.pts, packet.dts) for packet in shown if packet.key]
        return VideoIndex(
            pts=pts,
            keys=np.array(keys or [(shown[0].pts, shown[0].dts)], dtype=np.int64),
            tick_s=float(stream.time_base),
            end=int(pts[-1]) + last,
            decord_is_exact=len(shown) == len(packets) and _decord_is_exact(container, stream),
        )


class _Stamp(NamedTuple):
    """A packet without its data."""

    pts: int
    dts: int
    duration: int
    key: bool
    hidden: bool
    damaged: bool


def _stamp(packet: "av.Packet[VideoStream]", path: str) -> _Stamp:
    pts = packet.dts if packet.pts is None else packet.pts
    if pts is None:
        raise ValueError(f"{path} has frames without time stamp: write it again as mp4")
    dts = pts if packet.dts is None else packet.dts
    flags = (packet.is_keyframe, packet.is_discard, packet.is_corrupt)
    return _Stamp(pts, dts, packet.duration or 0, *flags)


def _decord_is_exact(container: InputContainer, stream: VideoStream) -> bool:
    context = stream.codec_context
    odd = context.width % 2 or context.height % 2
    return (
        any(name in container.format.name.split(",") for name in _DECORD_CONTAINERS)
        and context.name in _DECORD_CODECS
        and context.pix_fmt in _DECORD_FORMATS
        and not (odd and context.pix_fmt in _SUBSAMPLED)
    )


@contextmanager
def _open(path: Path | str) -> Generator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream; FFmpeg's errors become one ValueError."""
    try:
        with av.open(str(path), "r") as container:
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic  # the cover of a song
            ]
            if not streams:
                raise ValueError(f"{path} has no video stream: give a file with pictures")
            streams[0].thread_count = 1  # Ray already fills the cores
            yield container, streams[0]
    except av.FFmpegError as error:
        raise ValueError(
            f"{path} is no readable video ({error.strerror}): it may be cut short or of another "
            "kind; fetch or write it again"
        ) from error


def _read_decord(
    path: Path | str, wanted: Int[np.ndarray, "n"], index: VideoIndex
) -> UInt8[np.ndarray, "n h w 3"] | None:
    """Frames by their index, ascending; None where decord fails or counts other frames."""
    try:
        reader = decord.VideoReader(
            str(path),
            num_threads=1,
            fault_tol=_NO_RECOVERED_FRAME,  # type: ignore[reportArgumentType]  # a share is allowed
        )
        if len(reader) != len(index.pts):
            return None
        return reader.get_batch(wanted).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError):
        return None


def _read_pyav(
    path: Path | str, wanted: Int[np.ndarray, "n"], index: VideoIndex
) -> UInt8[np.ndarray, "n h w 3"]:
    """Frames by their index, ascending: seek where a key frame lies between, else decode on."""
    frames: np.ndarray | None = None
    with _open(path) as (container, stream):
        shown: Iterator[av.VideoFrame] = iter(())
        frame, following = None, None
        for place, pts in enumerate(index.pts[wanted]):
            key = index.keys[max(int(np.searchsorted(index.keys[:, 0], pts, side="right")) - 1, 0)]
            if frame is None or key[0] > _pts(frame):
                frame, shown = _seek(container, stream, key, int(pts), int(index.pts[0]))
                following = next(shown, None)
            while following is not None and _pts(following) <= pts:
                frame, following = following, next(shown, None)
            picture = _upright(frame)
            if frames is None:
                frames = np.empty((len(wanted), *picture.shape), np.uint8)
            if picture.shape != frames.shape[1:]:
                raise ValueError(
                    f"{path} changes its size from {frames.shape[1:3]} to {picture.shape[:2]} "
                    "(height, width) on the way: cut it where it does"
                )
            frames[place] = picture
    assert frames is not None
    return frames


def _seek(
    container: InputContainer, stream: VideoStream, key: Int[np.ndarray, "2"], pts: int, start: int
) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]]:
    """The first frame decoded at or before `pts`, and those after it.

    Demuxers search by pts or by dts, and land behind a frame whose time lies between the two: the
    later place is tried first because it saves decoding.
    """
    for target in (int(key[0]), int(key[1])):
        container.seek(target, stream=stream, backward=True)
        shown = container.decode(stream)
        frame = next(shown, None)
        if frame is not None and frame.key_frame and _pts(frame) <= pts:
            return frame, shown
    container.seek(min(start, 0), stream=stream, backward=True)
    shown = container.decode(stream)
    frame = next(shown, None)
    if frame is None:
        raise ValueError(f"{container.name} has no frame that decodes; fetch or write it again")
    return frame, shown


def _pts(frame: av.VideoFrame) -> int:
    stamp = frame.dts if frame.pts is None else frame.pts
    if stamp is None:
        raise ValueError("the video has frames without time stamp: write it again as mp4")
    return stamp


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """RGB, turned as the file's display matrix says (counter-clockwise degrees)."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
