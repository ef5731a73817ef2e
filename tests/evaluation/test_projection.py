"""K2M's evaluation: closed forms of its numbers."""

import math
from pathlib import Path

import pytest
import torch

from motion.batch import Batch
from motion.body import load_body
from motion.evaluation.projection import code_use, load_k2m, rebuilt
from motion.models.k2m.config import TokenizerConfig
from motion.models.k2m.keypoints import Keypoints
from motion.models.k2m.smpl_head import Projection, Smpl
from motion.models.k2m.tokenizer import Tokenizer
from motion.rotations import matrix_from_rotvec


def test_use_of_codes() -> None:
    codes = torch.tensor([[0, 1], [1, 1], [2, 1], [3, 1]])
    found = code_use(codes, 8)
    assert found["perplexity_base"] == pytest.approx(4.0)
    assert found["perplexity"] == pytest.approx(2.5)
    assert found["unused_codes"] == pytest.approx((4 + 7) / 16)
    with_null = code_use(torch.tensor([[5, -1], [5, -1]]), 8)
    assert math.isfinite(with_null["perplexity"])


def test_an_export_of_another_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"system": {"kind": "k2m_tokenizer"}}')
    with pytest.raises(ValueError, match=r"holds 'k2m_tokenizer'; expected 'k2m': .*train_k2m\.py"):
        load_k2m(tmp_path)


def scene() -> tuple[Smpl, Keypoints, Batch]:
    """A true motion and its own parameters as a reconstruction, turned and shifted."""
    draw = torch.Generator().manual_seed(0)
    rotvec = 0.3 * torch.randn(1, 8, 24, 3, generator=draw)
    R = matrix_from_rotvec(rotvec)
    betas = torch.randn(1, 10, generator=draw)
    turned = R.clone()
    turned[:, :, 0] = matrix_from_rotvec(torch.tensor([0.0, 2.0, 0.0])) @ R[:, :, 0]
    smpl = Smpl(rotvec, turned, betas[:, None].expand(1, 8, 10), torch.zeros(1, 8, 3))
    mask = torch.arange(8)[None] < 6
    truth = Keypoints(
        xy=500 + 100 * torch.randn(1, 8, 17, 2, generator=draw),
        confidence=torch.ones(1, 8, 17),
        size=torch.tensor([[1920.0, 1080.0]]),
        mask=mask,
    )
    moved = Batch(
        clip_ids=("a",),
        fps=torch.tensor([20.0]),
        frame_mask=mask,
        R_parent_child=R,
        betas=betas,
        noise_key=torch.tensor([1]),
    )
    return smpl, truth, moved


def test_a_perfect_body_in_another_direction_has_no_error() -> None:
    smpl, truth, moved = scene()
    tokenizer = Tokenizer(TokenizerConfig.tiny())
    depth = torch.ones(1, 8, 17)
    depth[0, 0, 0] = -1.0
    rest = load_body("free").rest_joints(torch.zeros(10))[:22]
    found = rebuilt(tokenizer, smpl, Projection(truth.xy + 3.0, depth), truth, moved, rest)
    kept = truth.mask[0]
    torch.testing.assert_close(found.error_px[0][kept], torch.full((6,), 3 * math.sqrt(2)))
    assert (found.pck[0][kept] == 1).all()
    torch.testing.assert_close(found.pa_mpjpe_mm[0][kept], torch.zeros(6), atol=0.05, rtol=0)
    assert (found.mean_pose_mm[0][kept] > 10).all()
    torch.testing.assert_close(found.behind[0, 0], torch.tensor(1 / 17))
    for part in found:
        assert torch.isnan(part[0][~kept]).all(), "padding counts nowhere"
