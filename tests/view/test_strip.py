from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motion.export.provenance import Provenance, read_provenance
from motion.view.strip import strip_png

FPS = 16.0


def ramp(frames: int = 17) -> np.ndarray:
    """Frames whose brightness says which frame they are."""
    return np.repeat(np.arange(frames, dtype=np.uint8) * 12, 16 * 16 * 3).reshape(-1, 16, 16, 3)


def grays(file: Path) -> set[int]:
    """Gray levels that fill at least one picture's worth of the file."""
    image = np.asarray(Image.open(file).convert("RGB")).astype(int)
    gray = image[(image[..., 0] == image[..., 1]) & (image[..., 1] == image[..., 2])][:, 0]
    levels, counts = np.unique(gray, return_counts=True)
    return {int(level) for level, count in zip(levels, counts, strict=True) if count > 5000}


def test_shows_evenly_spread_moments_first_and_last_included(tmp_path: Path) -> None:
    file = strip_png(tmp_path / "strip.png", {"RGB": ramp()}, FPS, num_poses=5)
    assert grays(file) - {255} == {0, 4 * 12, 8 * 12, 12 * 12, 16 * 12}


def test_each_row_adds_its_height_and_the_path_its_width(tmp_path: Path) -> None:
    def size(**options: object) -> tuple[int, int]:
        rows = {"RGB": ramp(), "motion map": ramp()}
        if options.pop("single", False):
            rows.pop("motion map")
        return Image.open(strip_png(tmp_path / "s.png", rows, FPS, **options)).size  # type: ignore[arg-type]

    single, double = size(single=True), size()
    assert double[1] > 1.5 * single[1]
    assert double[0] == single[0]
    path = np.stack([np.linspace(0, 2, 17), np.ones(17), np.zeros(17)], 1)
    assert size(trajectory=path)[0] > double[0] + 150


def test_carries_its_origin(tmp_path: Path) -> None:
    origin = Provenance(system="comovi", export="x", export_hash="ab", prompt="wave", seed=1)
    file = strip_png(tmp_path / "strip.png", {"RGB": ramp()}, FPS, title="wave", provenance=origin)
    assert read_provenance(file) == origin


def test_a_short_clip_shows_every_frame_once(tmp_path: Path) -> None:
    file = strip_png(tmp_path / "strip.png", {"RGB": ramp(3)}, FPS, num_poses=8)
    assert grays(file) - {255} == {0, 12, 24}


def test_rows_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'RGB': 17, 'SMPL': 9"):
        strip_png(tmp_path / "strip.png", {"RGB": ramp(), "SMPL": ramp(9)}, FPS)
    with pytest.raises(ValueError, match="trajectory of 4"):
        strip_png(tmp_path / "strip.png", {"RGB": ramp()}, FPS, trajectory=np.zeros((4, 3)))
    with pytest.raises(ValueError, match="needs rows"):
        strip_png(tmp_path / "strip.png", {}, FPS)
