"""Pictures of any shape in sizes that a model can make."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.camera import intrinsics, project
from motion.conditioning.canvas import canvas_for, nearest_size

WAN = {"area": 704 * 1280, "cell": 32}


def test_sizes_of_the_training_data_are_kept() -> None:
    assert nearest_size(704, 1280, **WAN) == (704, 1280)
    assert nearest_size(1280, 704, **WAN) == (1280, 704)
    assert nearest_size(300, 300, area=128 * 128, cell=16) == (128, 128)


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_every_size_fits_the_model_and_the_memory(height: int, width: int) -> None:
    rows, columns = nearest_size(height, width, **WAN)
    assert rows % 32 == columns % 32 == 0
    assert 0.8 * WAN["area"] <= rows * columns <= WAN["area"]
    if 1 / 3 < width / height < 3:
        assert abs(np.log(columns / rows / (width / height))) < 0.06


@pytest.mark.parametrize("fill", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(90, 200), (200, 90), (64, 64), (77, 131)])
def test_nothing_is_stretched_and_the_camera_follows(fill: str, shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    center = (shape[0] // 2, shape[1] // 2)
    picture[center[0] - 6 : center[0] + 6, center[1] - 6 : center[1] + 6] = 255  # a square
    canvas = canvas_for(shape, area=128 * 128, cell=16, fill=fill)  # type: ignore[arg-type]  # the parameter's values
    frame = canvas.place(picture)
    assert frame.shape == (canvas.height, canvas.width, 3)
    rows, columns = np.nonzero(frame[..., 0] > 127)
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(tall - 12 * canvas.scale) <= 1.5
    assert abs(wide - tall) <= 1
    # A point that the picture's camera sees at the square's middle is there in the frame.
    K = intrinsics(100.0, shape[1], shape[0])
    middle = torch.tensor([[center[1], center[0]]]).float()
    point = torch.linalg.inv(K) @ torch.tensor([*middle[0].tolist(), 1.0])
    seen = project(point[None] * 2, canvas.intrinsics(K))[0]
    torch.testing.assert_close(seen, canvas.to_frame(middle)[0], atol=1e-3, rtol=0)
    assert abs(float(seen[0]) - (columns.mean() + 0.5)) < 1
    assert abs(float(seen[1]) - (rows.mean() + 0.5)) < 1


def test_padding_comes_off_again() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 200, 3), np.uint8)
    canvas = canvas_for((60, 200), area=128 * 128, cell=16, fill="pad")
    frame = canvas.place(picture)
    video = np.stack([frame] * 3)
    back = canvas.restore(video)
    assert back.shape[1] % 2 == back.shape[2] % 2 == 0
    assert abs(np.log(back.shape[2] / back.shape[1] / (200 / 60))) < 0.05
    cropped = canvas_for((60, 200), area=128 * 128, cell=16, fill="crop")
    assert cropped.restore(np.stack([cropped.place(picture)])).shape[1:3] == (
        cropped.height,
        cropped.width,
    )
    K = intrinsics(100.0, 200, 60)
    inner = canvas.restored_intrinsics(canvas.intrinsics(K))
    assert float(inner[1, 2]) == pytest.approx(back.shape[1] / 2, abs=1)


def test_refusals() -> None:
    canvas = canvas_for((60, 200), area=128 * 128, cell=16)
    with pytest.raises(ValueError, match="canvas is for 60 x 200"):
        canvas.place(np.zeros((61, 200, 3), np.uint8))
    with pytest.raises(ValueError, match="no size of about 100 pixels"):
        nearest_size(10, 10, area=100, cell=16)
    with pytest.raises(ValueError, match="at least one pixel"):
        canvas_for((0, 5), area=100, cell=10)
