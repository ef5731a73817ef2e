"""BVH: SMPL's skeleton with Euler angles, as Blender, Maya, MotionBuilder and Unreal read it.

- World: y up, +z forward, +x to the person's left; lengths in **metres**.
- Rest pose: SMPL's T-pose with the motion's betas, its pelvis at the origin. A root without an
  OFFSET means the same to readers that add it to the position channels and to those that do not.
- Rotation order: **YZX** at every joint, R = R_y R_z R_x, in degrees. Euler angles lock where the
  middle one is a right angle, and z is the axis about which pelvis, hips, knees and elbows turn
  least. Angles go on past half turns instead of jumping.

The format has no place for comments: frame rate aside, all of this and the provenance stand in
the sidecar.
"""

import io
import math
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from motion.body.model import BodyModel
from motion.export.bones import BONES, CHILDREN, Bones, bones_of
from motion.export.provenance import Provenance
from motion.export.sidecar import motion_facts, write_sidecar
from motion.rotations import euler_from_matrix
from motion.sequence import Motion
from motion.skeleton import SMPL_PARENTS

AXES: Final = "yzx"
_DECIMALS: Final = 6
"""A micrometre, and 2e-8 rad."""


def write_bvh(
    path: Path, motion: Motion, body: BodyModel, provenance: Provenance | None = None
) -> list[Path]:
    """Write one world-frame motion and its sidecar; both files.

    Raises:
        ValueError: a batch of motions, one in the camera's frame, or one of another body.
    """
    bones = bones_of(motion, body)
    order = _depth_first(0)
    angles = torch.rad2deg(continuous(euler_from_matrix(bones.R_parent_child, AXES)))
    table = torch.cat([bones.pelvis, angles[:, order].flatten(1)], 1).numpy()
    text = io.StringIO()
    text.write("HIERARCHY\n" + "\n".join(_joint_lines(bones, 0, 0)) + "\n")
    text.write(f"MOTION\nFrames: {len(table)}\nFrame Time: {1 / motion.fps:.9f}\n")
    # Adding zero makes -0.0 of rounding a plain 0.0.
    np.savetxt(text, np.round(table, _DECIMALS) + 0.0, fmt=f"%.{_DECIMALS}f")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="ascii")
    facts = motion_facts(motion) | {
        "rotation_order": "YZX: R = Ry Rz Rx, degrees, in the order of the CHANNELS",
        "joints": [BONES[joint] for joint in order],
    }
    return [path, write_sidecar(path, facts, provenance)]


def continuous(angles: Float64[Tensor, "t j 3"]) -> Float64[Tensor, "t j 3"]:
    """The same rotations by the angles (radians) nearest those of the frame before.

    (a, b, c) and (a + pi, pi - b, c + pi) are one rotation, and whole turns are none.
    """
    values = angles.numpy()
    other = np.stack([values[..., 0] + math.pi, math.pi - values[..., 1], values[..., 2] + math.pi])
    both = np.stack([values, np.moveaxis(other, 0, -1)])
    followed = values.copy()
    for frame in range(1, len(values)):
        before = followed[frame - 1]
        ahead = both[:, frame] - before
        ahead -= 2 * math.pi * np.round(ahead / (2 * math.pi))
        nearer = (np.abs(ahead[1]).sum(-1) < np.abs(ahead[0]).sum(-1))[:, None]
        followed[frame] = before + np.where(nearer, ahead[1], ahead[0])
    return torch.from_numpy(followed)


def _depth_first(joint: int) -> list[int]:
    """A joint and all below it in the order in which the file names them."""
    return [joint, *(below for child in CHILDREN[joint] for below in _depth_first(child))]


def _joint_lines(bones: Bones, joint: int, depth: int) -> list[str]:
    indent, inner = "\t" * depth, "\t" * (depth + 1)
    root = SMPL_PARENTS[joint] < 0
    offset = torch.zeros(3) if root else bones.offsets[joint]
    turns = " ".join(f"{axis.upper()}rotation" for axis in AXES)
    channels = f"6 Xposition Yposition Zposition {turns}" if root else f"3 {turns}"
    lines = [
        f"{indent}{'ROOT' if root else 'JOINT'} {BONES[joint]}",
        f"{indent}{{",
        f"{inner}OFFSET {_numbers(offset)}",
        f"{inner}CHANNELS {channels}",
    ]
    for child in CHILDREN[joint]:
        lines += _joint_lines(bones, child, depth + 1)
    if joint in bones.tips:
        tip = _numbers(bones.tips[joint])
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {tip}", f"{inner}}}"]
    return [*lines, f"{indent}}}"]


def _numbers(values: Tensor) -> str:
    return " ".join(f"{round(value, _DECIMALS) + 0.0:.{_DECIMALS}f}" for value in values.tolist())
