"""Reading BVH: kinematics, and one clear error for each kind of damage."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from motion.importers.bvh import read_bvh

TWO = """HIERARCHY
ROOT hip
{
  OFFSET 5 6 7
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT knee
  {
    OFFSET 0 2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: .0083333
1 2 3 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "two.bvh"
    path.write_text(text)
    return path


def test_positions_replace_the_offset_and_angles_multiply_in_file_order(tmp_path: Path) -> None:
    source = read_bvh(_write(tmp_path, TWO))
    assert source.joints == ("hip", "knee", "knee_end")
    assert source.fps == 120.0
    expected = [[1.0, 2, 3], [1, 4, 3], [1, 5, 3]]
    torch.testing.assert_close(source.positions[0], torch.tensor(expected).double())
    # 90 degrees about z lays the thigh along -x; 90 about the thigh's own x turns the shin to +z.
    expected = [[1.0, 2, 3], [-1, 2, 3], [-1, 2, 4]]
    torch.testing.assert_close(source.positions[1], torch.tensor(expected).double())


def test_channels_below_the_children_are_the_joint_s_own(tmp_path: Path) -> None:
    lines = TWO.splitlines()
    root = [lines.pop(3), lines.pop(3)]
    lines[12:12] = root  # behind the knee, before the root's closing brace
    values = "0 0 0 1 2 3 0 0 0", "0 90 0 1 2 3 90 0 0"
    source = read_bvh(_write(tmp_path, "\n".join([*lines[:-2], *values])))
    torch.testing.assert_close(source.positions[1, 2], torch.tensor([-1.0, 2, 4]).double())


def test_a_frame_rate_that_is_not_whole_is_kept(tmp_path: Path) -> None:
    source = read_bvh(_write(tmp_path, TWO.replace(".0083333", "0.008342")))
    assert source.fps == pytest.approx(119.88, abs=0.01)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 3 Zrotation Xrotation",
         r"line 9: joint knee announces 3 channels but lists 2 .*export"),
        ("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 2 Zrotation Xrotation",
         r"line 9: joint knee has channels Zrotation Xrotation; .*missing"),
        ("1 2 3 90 0 0 0 90 0", "1 2 3 90 0 0 0 90", r"line 20: 8 values, but .* 9 channels"),
        ("Frames: 2", "Frames: 3", r"announces 3 frames, but 2 lines .*set Frames to 2"),
        ("90 0 0 0 90 0", "90 0 0 0 nan 0", r"line 20: Xrotation of joint knee is nan: .*cut"),
        ("90 0 0 0 90 0", "90 0 0 0 x 0", r"a value is no number"),
        ("OFFSET 0 2 0", "OFFSET 0 nan 0", r"line 8: OFFSET of knee .*3 finite numbers"),
        (".0083333", "120", r"line 18: 2 frames of 120 s; .*seconds per frame"),
        (".0083333", "0", r"line 18: 2 frames of 0 s"),
        ("HIERARCHY", "", r"no HIERARCHY and MOTION"),
        ("  JOINT knee", "  LIMB knee", r"line 6: 'LIMB knee' is none of"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in TWO
    with pytest.raises(ValueError, match=expected):
        read_bvh(_write(tmp_path, TWO.replace(old, new)))


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no HIERARCHY and MOTION sections: .*export it again"):
        read_bvh(_write(tmp_path, TWO[:200]))


def test_every_joint_is_read(bvh: Callable[..., Path]) -> None:
    source = read_bvh(bvh())
    assert len(source.joints) == 23 + 5  # and the ends of toes, head and fingers
    assert source.parents[0] == -1
    turned = source.R_world_joint
    eye = torch.eye(3).double().expand_as(turned)
    torch.testing.assert_close(turned @ turned.mT, eye, atol=1e-9, rtol=0)
