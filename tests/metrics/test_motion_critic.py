from pathlib import Path

import pytest
import torch

from motion.metrics.motion_critic import MotionCritic, MotionCriticConfig, critic_input
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion


def tiny() -> MotionCritic:
    torch.manual_seed(0)
    return MotionCritic(MotionCriticConfig.tiny()).eval()


def motion(t: int = 61, fps: float = 20.0, b: int = 2) -> Motion:
    time = torch.arange(t) / fps
    pose = torch.zeros(b, t, 24, 3)
    pose[..., 5, 0] = time
    path = torch.stack((1 + 0.5 * time, 0.9 + 0 * time, 2 * time), -1).expand(b, t, 3)
    return Motion(
        R_parent_child=matrix_from_rotvec(pose), translation=path, betas=torch.zeros(b, 10),
        body_id="free", fps=fps,
    )  # fmt: skip


def test_parameters_are_those_of_the_published_checkpoint() -> None:
    state = MotionCritic().state_dict()
    assert state["mlp.fc1.weight"].shape == (1024, 12_800)
    assert state["mlp.fc2.weight"].shape == (1, 1024)
    assert state["dstran.temp_embed"].shape == (1, 243, 1, 256)
    assert state["dstran.pos_embed"].shape == (1, 25, 256)
    assert state["dstran.blocks_ts.2.attn_t.qkv.bias"].shape == (768,)
    assert state["dstran.blocks_st.0.mlp_s.fc1.weight"].shape == (1024, 256)
    assert state["dstran.pre_logits.fc.weight"].shape == (512, 256)
    assert state["dstran.ts_attn.1.weight"].shape == (2, 512)
    block = sum(name.startswith("dstran.blocks_st.0.") for name in state)
    assert block == 4 * 2 + 2 * 4 + 2 * 4  # norms, attentions, MLPs


def reference_block(block: torch.nn.Module, x: torch.Tensor, order: str) -> torch.Tensor:
    """A block with its attention written out, on (b, t, j, c)."""

    def attend(part: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        c = tokens.shape[-1]
        q, k, v = (y.unflatten(-1, (part.heads, -1)) for y in part.qkv(tokens).split(c, -1))
        weight = torch.einsum("...nhc,...mhc->...hnm", q, k) * (c // part.heads) ** -0.5
        mixed = torch.einsum("...hnm,...mhc->...nhc", weight.softmax(-1), v)
        return part.proj(mixed.flatten(-2))

    for axis in order:
        if axis == "s":
            x = x + attend(block.attn_s, block.norm1_s(x))
            x = x + block.mlp_s(block.norm2_s(x))
        else:
            x = x + attend(block.attn_t, block.norm1_t(x).transpose(1, 2)).transpose(1, 2)
            x = x + block.mlp_t(block.norm2_t(x))
    return x


def test_forward_equals_the_network_written_out() -> None:
    critic = tiny()
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    clips = torch.randn(3, 7, 25, 3)
    net = critic.dstran
    x = net.joints_embed(clips) + net.pos_embed[:, None] + net.temp_embed[:, :7]
    for st, ts, fuse in zip(net.blocks_st, net.blocks_ts, net.ts_attn, strict=True):
        a, b = reference_block(st, x, "st"), reference_block(ts, x, "ts")
        alpha = fuse(torch.cat((a, b), -1)).softmax(-1)
        x = a * alpha[..., :1] + b * alpha[..., 1:]
    x = torch.tanh(net.pre_logits.fc(net.norm(x))).mean(1).flatten(1)
    expected = critic.mlp.fc2(torch.nn.functional.gelu(critic.mlp.fc1(x)))[:, 0]
    torch.testing.assert_close(critic(clips), expected)


def test_scores_do_not_depend_on_the_batch() -> None:
    critic, clips = tiny(), torch.randn(4, 60, 25, 3)
    order = torch.tensor([3, 1, 0, 2])
    with torch.no_grad():
        scores = critic(clips)
        torch.testing.assert_close(critic(clips[order]), scores[order])
        torch.testing.assert_close(critic(clips[1:2]), scores[1:2])
    assert float(scores.std()) > 0
    with pytest.raises(ValueError, match="243"):
        critic(torch.zeros(1, 244, 25, 3))


@pytest.mark.parametrize("wrapped", [True, False])
def test_loads_published_and_bare_checkpoints(tmp_path: Path, wrapped: bool) -> None:
    critic = tiny()
    state = {f"module.{name}" if wrapped else name: v for name, v in critic.state_dict().items()}
    path = tmp_path / "motioncritic_pre.pth"
    torch.save({"model_state_dict": state, "epoch": 3} if wrapped else state, path)
    loaded = MotionCritic.load(path, MotionCriticConfig.tiny())
    clips = torch.randn(2, 10, 25, 3)
    torch.testing.assert_close(loaded(clips), critic(clips))
    assert not loaded.training
    with pytest.raises(ValueError, match="does not fit"):
        MotionCritic.load(path)


def test_a_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"model_state_dict": Path("x")}, path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        MotionCritic.load(path)


def test_input_is_cut_resampled_and_moved_to_the_origin() -> None:
    clips = critic_input(motion())
    assert clips.shape == (2, 60, 25, 3)
    torch.testing.assert_close(clips[:, :, 5, 0], (torch.arange(60) / 20).expand(2, 60))
    torch.testing.assert_close(clips[:, 0, 24], torch.zeros(2, 3))
    torch.testing.assert_close(critic_input(motion(200, 60.0)), clips, atol=1e-4, rtol=0)
    torch.testing.assert_close(critic_input(motion(120, 30.0)), clips, atol=1e-4, rtol=0)
    short = critic_input(motion(21))
    torch.testing.assert_close(short, clips[:, :21])
    kept = critic_input(motion(), from_origin=False)
    torch.testing.assert_close(kept[:, 0, 24], torch.tensor([1.0, 0.9, 0.0]).expand(2, 3))
    with pytest.raises(ValueError, match="longer clips"):
        critic_input(motion(2, 60.0))


def test_input_of_a_camera_motion_is_turned_upright() -> None:
    world = motion()
    turn = torch.tensor([1.0, -1.0, -1.0])
    pose = world.R_parent_child.clone()
    pose[..., 0, :, :] = turn[:, None] * pose[..., 0, :, :]
    camera = Motion(
        R_parent_child=pose, translation=turn * world.require_translation(), betas=world.betas,
        body_id="free", fps=20.0, frame="camera",
    )  # fmt: skip
    torch.testing.assert_close(critic_input(camera), critic_input(world))
    raw = critic_input(camera, upright=False)
    assert float((raw - critic_input(world)).abs().max()) > 1
