"""Clips as mp4 bytes: H.264 for looking, lossless RGB H.264 for the motion map.

The motion map is a code, not a picture: chroma subsampling or a color conversion would change
part ids and normals. `libx264rgb` at qp 0 stores the RGB planes exactly, and decord and PyAV both
return them bit for bit.
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import decord
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

RGB_CRF: Final = 18
"""Constant rate factor of the lossy codec; 18 is the usual "visually lossless"."""


def encode_mp4(frames: UInt8[np.ndarray, "t h w 3"], fps: float, *, lossless: bool) -> bytes:
    """An mp4 file of RGB frames.

    Args:
        frames: RGB, at least one frame.
        fps: frames per second; 30000/1001 and its like are kept exactly.
        lossless: exact round trip through `decode_mp4`, for the motion map; else H.264 4:2:0.

    Raises:
        ValueError: no frame, or odd sides where 4:2:0 needs even ones.
    """
    num_frames, height, width, _ = frames.shape
    if num_frames == 0:
        raise ValueError("cannot encode a video of 0 frames; give at least one")
    if not lossless and (height % 2 or width % 2):
        raise ValueError(f"H.264 4:2:0 needs even sides, got {height}x{width}: pad or crop first")
    codec, pixel_format = ("libx264rgb", "rgb24") if lossless else ("libx264", "yuv420p")
    # Macroblock-tree rate control reads memory that x264 leaves unset on very small frames.
    lossy = {"crf": str(RGB_CRF), "x264-params": "mbtree=0"}
    quality = {"qp": "0"} if lossless else lossy
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        # One thread: bytes must not depend on the machine, and Ray already fills the cores.
        options = {**quality, "preset": "veryfast", "threads": "1"}
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(data: bytes | Path | str) -> UInt8[np.ndarray, "t h w 3"]:
    """RGB frames of an mp4 file or its bytes: decord, and PyAV where decord cannot read it.

    Raises:
        ValueError: neither reader finds a video.
    """
    try:
        source = io.BytesIO(data) if isinstance(data, bytes) else str(data)
        reader = decord.VideoReader(source, num_threads=1)
        return reader.get_batch(range(len(reader))).asnumpy()
    except (decord.DECORDError, RuntimeError):
        return _decode_pyav(data)


def _decode_pyav(data: bytes | Path | str) -> UInt8[np.ndarray, "t h w 3"]:
    try:
        frames = list(_iterate_pyav(data))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{_name(data)} is no readable video: {error}") from error
    if not frames:
        raise ValueError(f"{_name(data)} holds no frame")
    return np.stack(frames)


def _iterate_pyav(data: bytes | Path | str) -> Iterator[np.ndarray]:
    source = io.BytesIO(data) if isinstance(data, bytes) else str(data)
    with av.open(source, "r") as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _name(data: bytes | Path | str) -> str:
    return f"mp4 of {len(data)} bytes" if isinstance(data, bytes) else str(data)


def to_video(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 3 t h w"]:
    """Frames as a video in [-1, 1]."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1
    return video.permute(3, 0, 1, 2)[None]


def to_frames(video: Float[Tensor, "3 t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """A video in [-1, 1] as frames; values outside are clipped."""
    levels = ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).cpu().numpy()
