"""Keypoints from anchors equal those from skinned vertices."""

import torch

from motion.body import load_body
from motion.body.keypoint_map import KeypointMap
from motion.body.model import BodyModel
from motion.rotations import matrix_from_rotvec


def posed(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two clips of three frames, each frame with a shape of its own."""
    draw = torch.Generator().manual_seed(0)
    rotvec = torch.randn(2, 3, 24, 3, generator=draw, dtype=dtype)
    betas = torch.randn(2, 3, 10, generator=draw, dtype=dtype)
    return matrix_from_rotvec(rotvec), betas, torch.randn(2, 3, 3, generator=draw, dtype=dtype)


def test_equal_to_the_body_s_frame_by_frame(body: BodyModel) -> None:
    body = body.double()
    R, betas, place = posed(torch.float64)
    expected = body.keypoints(R[:, :, None], betas, place[:, :, None])[:, :, 0]
    torch.testing.assert_close(KeypointMap(body)(R, betas, place), expected)


def test_equal_on_the_free_body() -> None:
    body = load_body("free")
    R, betas, place = posed(torch.float32)
    expected = body.keypoints(R[:, :, None], betas, place[:, :, None])[:, :, 0]
    torch.testing.assert_close(KeypointMap(body)(R, betas, place), expected, rtol=0, atol=2e-6)


def test_gradients(body: BodyModel) -> None:
    keypoints = KeypointMap(body.double())
    R, betas, place = (part[:1, :1].requires_grad_() for part in posed(torch.float64))
    assert torch.autograd.gradcheck(lambda *parts: keypoints(*parts), (R, betas, place))
