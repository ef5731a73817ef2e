"""Acclaim's two files."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from motion.importers.asfamc import read_asfamc

ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 4
    axis 0 0 90 XYZ
    dof rx rz
    limits (-10 10)
           (-10 10)
  end
  begin
    id 2
    name shin
    direction 0 -1 0
    length 3
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
thigh 0 0
2
root 1 2 3 0 90 0
thigh 90 0
"""


@pytest.fixture
def pair(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(asf: str = ASF, amc: str = AMC) -> Path:
        (tmp_path / "01.asf").write_text(asf)
        path = tmp_path / "01_02.amc"
        path.write_text(amc)
        return path

    return write


def test_bones_turn_about_their_own_axes(pair: Callable[..., Path]) -> None:
    source = read_asfamc(pair())
    assert source.joints == ("root", "thigh", "shin", "shin_end")
    assert source.fps == 120
    assert source.unit_m == pytest.approx(0.0254 / 0.45)
    expected = torch.tensor([[1.0, 2, 3], [1, 2, 3], [1, -2, 3], [1, -5, 3]]).double()
    torch.testing.assert_close(source.positions[0], expected)
    # The bone's x axis is the world's y: 90 degrees about it do not move a bone along y. The root
    # then turns it about y, too.
    torch.testing.assert_close(source.positions[1], expected)
    turned = torch.tensor([[-1.0, 0, 0], [0, 1, 0], [0, 0, -1]]).double()
    torch.testing.assert_close(source.R_world_joint[1, 1], turned, atol=1e-12, rtol=0)


def test_frame_rate_is_the_caller_s(pair: Callable[..., Path]) -> None:
    assert read_asfamc(pair(), fps=60.0).fps == 60


def test_the_motion_s_own_unit_of_angles_counts(pair: Callable[..., Path]) -> None:
    turned = read_asfamc(pair()).R_world_joint
    amc = AMC.replace(":DEGREES", ":RADIANS").replace("90", str(math.pi / 2))
    torch.testing.assert_close(read_asfamc(pair(ASF, amc)).R_world_joint, turned)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("thigh 90 0\n", "thigh 90\n", r"line 8: 1 values for bone thigh, .*2 degrees.*rx rz"),
        ("thigh 90 0\n", "thigh nan 0\n", r"line 8: bone thigh is 'nan 0'; expected finite"),
        ("thigh 90 0\n", "knee 90 0\n", r"line 8: bone 'knee' is not in the skeleton"),
        ("thigh 90 0\n", "", r"bone thigh has 1 of 2 frames: the file was cut off"),
    ],
)
def test_damaged_motion(pair: Callable[..., Path], old: str, new: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_asfamc(pair(ASF, AMC.replace(old, new)))


def test_damaged_skeleton(pair: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no :hierarchy section"):
        read_asfamc(pair(ASF.split(":hierarchy")[0], AMC))
    with pytest.raises(ValueError, match=r"01.asf: bone thigh: length holds .*'4cm': repair"):
        read_asfamc(pair(ASF.replace("length 4", "length 4cm"), AMC))
    with pytest.raises(ValueError, match=r"bone thigh has axis '0 0 90' .*export the skeleton"):
        read_asfamc(pair(ASF.replace("0 0 90 XYZ", "0 0 90"), AMC))
    with pytest.raises(ValueError, match=r"bones \['shin'\] have no parent"):
        read_asfamc(pair(ASF.replace("    thigh shin\n", ""), AMC))


def test_a_motion_without_its_skeleton(pair: Callable[..., Path]) -> None:
    path = pair()
    path.with_name("01.asf").unlink()
    with pytest.raises(ValueError, match=r"no skeleton .*01.asf beside it"):
        read_asfamc(path)
