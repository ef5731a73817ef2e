"""Rigs made for the tests: one movement, on skeletons of different names, axes, units and rests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

# joint: (parent, offset of a person who stands straight with the arms out sideways, in metres)
STANDING = {
    "Hips": ("", (0, 0, 0)),
    "LeftUpLeg": ("Hips", (0.1, -0.02, 0)),
    "LeftLeg": ("LeftUpLeg", (0, -0.4, 0)),
    "LeftFoot": ("LeftLeg", (0, -0.4, 0)),
    "LeftToeBase": ("LeftFoot", (0, -0.04, 0.14)),
    "RightUpLeg": ("Hips", (-0.1, -0.02, 0)),
    "RightLeg": ("RightUpLeg", (0, -0.4, 0)),
    "RightFoot": ("RightLeg", (0, -0.4, 0)),
    "RightToeBase": ("RightFoot", (0, -0.04, 0.14)),
    "Spine": ("Hips", (0, 0.1, 0)),
    "Spine1": ("Spine", (0, 0.15, 0)),
    "Neck": ("Spine1", (0, 0.2, 0)),
    "Head": ("Neck", (0, 0.1, 0.02)),
    "LeftShoulder": ("Spine1", (0.03, 0.15, 0)),
    "LeftArm": ("LeftShoulder", (0.13, 0, 0)),
    "LeftForeArm": ("LeftArm", (0.27, 0, 0)),
    "LeftHand": ("LeftForeArm", (0.25, 0, 0)),
    "LeftHandIndex1": ("LeftHand", (0.09, 0, 0)),
    "RightShoulder": ("Spine1", (-0.03, 0.15, 0)),
    "RightArm": ("RightShoulder", (-0.13, 0, 0)),
    "RightForeArm": ("RightArm", (-0.27, 0, 0)),
    "RightHand": ("RightForeArm", (-0.25, 0, 0)),
    "RightHandIndex1": ("RightHand", (-0.09, 0, 0)),
}
TO_MAX = {
    "UpLeg": "Hip", "ForeArm": "Elbow", "Leg": "Knee", "Foot": "Ankle", "ToeBase": "Toe",
    "Shoulder": "Collar", "Arm": "Shoulder", "HandIndex1": "Fingers", "Hand": "Wrist",
}  # fmt: skip


@dataclass
class Rig:
    """How a movement is written down."""

    unit_m: float = 1.0
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    """From y up, +x left to the file's axes."""
    rest: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """World rotation of a joint's bones in the rest pose, from the standing pose."""
    rename: Callable[[str], str] = lambda name: name
    fps: float = 60.0
    inserted: bool = False
    """Begin with the rest pose."""


def max_name(name: str) -> str:
    for side in ("Left", "Right"):
        plain = name.removeprefix(side)
        if plain != name and plain in TO_MAX:
            return side + TO_MAX[plain]
    return {"Spine": "Chest", "Spine1": "Chest2"}.get(name, name)


def movement(num_frames: int, fps: float, amount: float = 1.0) -> dict[str, np.ndarray]:
    """World rotation of every joint from the standing pose (t, 3, 3): arms, legs, torso move."""
    time = np.arange(num_frames) / fps
    world: dict[str, np.ndarray] = {}
    for number, (name, (parent, _)) in enumerate(STANDING.items()):
        phase = time[:, None] * 2 + number * np.array([0.7, 1.3, 0.4])
        local = Rotation.from_rotvec(amount * 0.35 * np.sin(phase)).as_matrix()
        still = name.endswith(("ToeBase", "Index1", "Shoulder")) or name == "Spine1"
        if still:
            local = np.tile(np.eye(3), (num_frames, 1, 1))
        world[name] = world[parent] @ local if parent else local
    return world


def bvh_text(rig: Rig, num_frames: int = 40) -> str:
    """The movement on a rig, as the text of a BVH file."""
    world = movement(num_frames, rig.fps)
    forward = np.linspace(0, 1, num_frames)
    root = np.stack([forward * 0, forward * 0 + 0.9, forward], -1)
    if rig.inserted:
        still = np.tile(np.eye(3), (1, 1, 1))
        world = {
            name: np.concatenate([still @ rig.rest.get(name, np.eye(3)), rotation])
            for name, rotation in world.items()
        }
        root = np.concatenate([root[:1], root])
    rows = [root @ rig.turn.T / rig.unit_m]
    local_of: dict[str, np.ndarray] = {}
    for name, (parent, _) in STANDING.items():
        own = rig.turn @ world[name] @ rig.rest.get(name, np.eye(3)).T @ rig.turn.T
        local_of[name] = own
        local = local_of[parent].transpose(0, 2, 1) @ own if parent else own
        rows.append(Rotation.from_matrix(local).as_euler("ZYX", degrees=True))
    values = np.concatenate(rows, -1)
    lines = ["HIERARCHY", *_joints(rig, "Hips"), "MOTION", f"Frames: {len(values)}"]
    lines += [f"Frame Time: {1 / rig.fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in values]
    return "\n".join(lines) + "\n"


def _joints(rig: Rig, name: str) -> list[str]:
    parent, offset = STANDING[name]
    rotated = rig.rest.get(parent, np.eye(3)) @ np.array(offset, float)
    x, y, z = rig.turn @ rotated / rig.unit_m
    channels = "Zrotation Yrotation Xrotation"
    channels = f"6 Xposition Yposition Zposition {channels}" if not parent else f"3 {channels}"
    lines = [f"{'JOINT' if parent else 'ROOT'} {rig.rename(name)}", "{"]
    lines += [f"OFFSET {x:.7f} {y:.7f} {z:.7f}", f"CHANNELS {channels}"]
    children = [child for child, (above, _) in STANDING.items() if above == name]
    for child in children:
        lines += _joints(rig, child)
    if not children:
        lines += ["End Site", "{", "OFFSET 0 0 0.01", "}"]
    return [*lines, "}"]


def _rest(kind: str) -> dict[str, np.ndarray]:
    """Rest pose: "straight", or "down" with the arms hanging and the legs 20 degrees apart."""
    if kind == "straight":
        return {}
    turns = {
        "Left": {"arm": ("z", -90), "leg": ("z", 20)},
        "Right": {"arm": ("z", 90), "leg": ("z", -20)},
    }
    limbs = {"arm": ("Arm", "ForeArm", "Hand", "HandIndex1"),
             "leg": ("UpLeg", "Leg", "Foot", "ToeBase")}  # fmt: skip
    return {
        side + name: Rotation.from_euler(*turns[side][limb], degrees=True).as_matrix()
        for side in turns
        for limb, names in limbs.items()
        for name in names
    }


@pytest.fixture
def bvh(tmp_path: Path) -> Callable[..., Path]:
    """Writes the movement on a rig and returns the file."""

    def write(
        name: str = "clip.bvh",
        *,
        rest: str = "straight",
        z_up: bool = False,
        names: str = "",
        num_frames: int = 40,
        **changes: float,
    ) -> Path:
        turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) if z_up else np.eye(3)
        rename = {"": str, "max": max_name, "odd": lambda joint: f"x{joint[::-1]}"}[names]
        rig = Rig(rest=_rest(rest), turn=turn, rename=rename, **changes)
        path = tmp_path / name
        path.write_text(bvh_text(rig, num_frames))
        return path

    return write
