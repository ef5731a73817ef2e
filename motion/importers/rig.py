"""A captured skeleton in motion, as its file tells it, and which of its joints is which of SMPL's.

Every capture tool names its joints in its own way, and the same name means different joints:
`LeftShoulder` is the clavicle in MotionBuilder's convention and the shoulder in 3ds Max's. So a
whole convention is recognised at once, never a joint alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from jaxtyping import Float
from torch import Tensor

Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class SourceMotion:
    """A skeleton of j joints over t frames, in the axes and units of its file.

    In the rest pose (all channels zero) every joint's frame is the world's.
    """

    joints: tuple[str, ...]
    """Names; the end of a bone without a joint is "NAME_end"."""
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 for the root; parents come first."""
    rest: Float[Tensor, "j 3"]
    """Joint positions of the rest pose."""
    R_world_joint: Float[Tensor, "t j 3 3"]
    """Rotation of each joint from the rest pose, in the world."""
    positions: Float[Tensor, "t j 3"]
    """Joint positions in the world."""
    fps: float
    """Frames per second."""
    unit_m: float | None = None
    """Length of the file's unit in metres, where the file states it."""
    file: str = ""
    """Where it comes from, for messages."""


@dataclass(frozen=True)
class Roles:
    """Joints of a source skeleton by the SMPL joint that they stand for."""

    convention: str
    """Name of the convention that was recognised, or "given"."""
    joint: Mapping[str, int]
    """Source joint of each SMPL joint except spine and neck; toes, hands and collars only where
    the skeleton has them."""
    spine: tuple[int, ...]
    """Joints above the pelvis, up to the one that carries the arms."""
    neck: tuple[int, ...]
    """Joints between the last of the spine and the head; none in some skeletons."""


REQUIRED: Final = (
    "pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "head",
)  # fmt: skip
MEASURED: Final = (
    "neck", "head", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""Joints whose position error is measured."""
OPTIONAL: Final = (
    "left_foot", "right_foot", "left_collar", "right_collar", "left_hand", "right_hand",
)  # fmt: skip


def _sides(names: Mapping[str, str], left: str, right: str) -> dict[str, tuple[str, ...]]:
    """Both sides of a table whose names carry their side as {}; alternatives by |."""
    table: dict[str, tuple[str, ...]] = {}
    for role, alternatives in names.items():
        for side, word in (("left", left), ("right", right)):
            table[f"{side}_{role}"] = tuple(n.format(word) for n in alternatives.split("|"))
    return table


_HUMANIK = {
    "hip": "{}UpLeg",
    "knee": "{}Leg",
    "ankle": "{}Foot",
    "foot": "{}ToeBase|{}Toe|{}Foot_end",
    "collar": "{}Shoulder",
    "shoulder": "{}Arm",
    "elbow": "{}ForeArm",
    # CMU's next joint, the finger base, bends the wrist by an implausible 30 degrees in a walk;
    # its Daz conversion dropped it, and so do we in every rig: the hand continues the forearm.
    "wrist": "{}Hand",
    "hand": "{}HandIndex1|{}HandMiddle1|{}HandEnd|{}Hand_End|{}Hand_end",
}

CONVENTIONS: Final[Mapping[str, Names]] = MappingProxyType(
    {
        "MotionBuilder": {
            "pelvis": ("Hips",),
            "head": ("Head",),
            **_sides(_HUMANIK, "Left", "Right"),
        },
        "3ds Max": {
            "pelvis": ("Hips",),
            "head": ("Head",),
            **_sides(
                {
                    "hip": "{}Hip",
                    "knee": "{}Knee",
                    "ankle": "{}Ankle",
                    "foot": "{}Toe|{}Ankle_end",
                    "collar": "{}Collar",
                    "shoulder": "{}Shoulder",
                    "elbow": "{}Elbow",
                    "wrist": "{}Wrist",
                    "hand": "{}Wrist_end",
                },
                "Left",
                "Right",
            ),
        },
        "Daz": {
            "pelvis": ("hip",),
            "head": ("head",),
            **_sides(
                {
                    "hip": "{}Thigh",
                    "knee": "{}Shin",
                    "ankle": "{}Foot",
                    "foot": "{}Toe|{}Foot_end",
                    "collar": "{}Collar",
                    "shoulder": "{}Shldr",
                    "elbow": "{}ForeArm",
                    "wrist": "{}Hand",
                    "hand": "{}Mid1|{}Hand_end",
                },
                "l",
                "r",
            ),
        },
        "Acclaim": {
            "pelvis": ("root",),
            "head": ("head",),
            **_sides(
                {
                    "hip": "{}femur",
                    "knee": "{}tibia",
                    "ankle": "{}foot",
                    "foot": "{}toes",
                    "collar": "{}clavicle",
                    "shoulder": "{}humerus",
                    "elbow": "{}radius",
                    # The bone "wrist" is the lower forearm, which only twists; see above.
                    "wrist": "{}wrist",
                    "hand": "{}fingers",
                },
                "l",
                "r",
            ),
        },
        "SMPL": {
            "pelvis": ("Pelvis",),
            "head": ("Head",),
            **_sides(
                {
                    "hip": "{}_Hip",
                    "knee": "{}_Knee",
                    "ankle": "{}_Ankle",
                    "foot": "{}_Foot",
                    "collar": "{}_Collar",
                    "shoulder": "{}_Shoulder",
                    "elbow": "{}_Elbow",
                    "wrist": "{}_Wrist",
                    "hand": "{}_Hand",
                },
                "L",
                "R",
            ),
        },
    }
)
"""SMPL joint -> names, the first that exists counts. 3ds Max's is also that of many other tools."""

POSTURES: Final[Mapping[str, Mapping[str, tuple[float, float, float]]]] = MappingProxyType(
    {
        "Daz": {
            "neck": (-16.0, 0.0, 0.0),
            "head": (16.0, 0.0, 0.0),
            **{f"left_{name}": (0.0, 0.0, -1.0) for name in ("hip", "knee", "ankle")},
            **{f"right_{name}": (0.0, 0.0, 1.0) for name in ("hip", "knee", "ankle")},
            **{f"left_{name}": (0.0, 0.0, -8.0) for name in ("shoulder", "elbow", "wrist")},
            **{f"right_{name}": (0.0, 0.0, 8.0) for name in ("shoulder", "elbow", "wrist")},
        }
    }
)
"""Rest poses whose bones do not lie along the limbs: the posture that they stand for.

Rotation vectors in degrees, from standing straight with the arms out sideways. Daz figures draw
their joints inside a mesh, with the forearm 17 degrees bent. CMU's Daz files were made from the
MotionBuilder ones by matching their inserted first frames, and this is the posture of those."""

_CMU_HANDS: Final = {"left_hand": "LFingers", "right_hand": "RFingers"}
"""CMU in 3ds Max's convention has joints beyond the wrist."""
_PREFIX: Final = re.compile(r"^(?:Character\d*_|mixamorig\d*:|f_avg_|m_avg_|[\w-]+:)")


def find_roles(source: SourceMotion, names: Mapping[str, str] | None = None) -> Roles:
    """Which joint of a skeleton is which of SMPL's.

    Args:
        source: the skeleton.
        names: SMPL joint -> joint of the file, for a skeleton of no known convention.

    Raises:
        ValueError: no convention fits and `names` does not say; the message lists what is missing.
    """
    plain = {_PREFIX.sub("", name): index for index, name in reversed([*enumerate(source.joints)])}
    if names is not None:
        return _from_names(source, names)
    found = {name: _match(plain, table) for name, table in CONVENTIONS.items()}
    convention = min(found, key=lambda name: _missing(found[name]))
    roles = found[convention]
    missing = [role for role in REQUIRED if role not in roles]
    if missing:
        expected = {role: "/".join(CONVENTIONS[convention][role]) for role in missing}
        raise ValueError(
            f"{source.file}: the joint names fit none of {', '.join(CONVENTIONS)}; nearest is "
            f"{convention}, which lacks "
            + ", ".join(f"{role} ({name})" for role, name in expected.items())
            + f". The file has {', '.join(source.joints)}: pass names={{'{missing[0]}': ...}} with "
            "the joint of the file for every SMPL joint"
        )
    if convention == "3ds Max":
        roles |= {role: plain[name] for role, name in _CMU_HANDS.items() if name in plain}
    return _with_chains(source, convention, roles)


def _match(plain: Mapping[str, int], table: Names) -> dict[str, int]:
    found: dict[str, int] = {}
    for role, alternatives in table.items():
        for name in alternatives:
            if name in plain:
                found[role] = plain[name]
                break
    return found


def _missing(roles: Mapping[str, int]) -> int:
    return sum(role not in roles for role in REQUIRED)


def _from_names(source: SourceMotion, names: Mapping[str, str]) -> Roles:
    known = {*REQUIRED, *OPTIONAL}
    unknown = sorted(set(names) - known)
    absent = [role for role in REQUIRED if role not in names]
    wrong = sorted(name for name in names.values() if name not in source.joints)
    if unknown or absent or wrong:
        raise ValueError(
            f"{source.file}: names must map every one of {', '.join(REQUIRED)} to a joint of the "
            f"file; unknown keys {unknown}, missing {absent}, not in the file {wrong}"
        )
    roles = {role: source.joints.index(name) for role, name in names.items()}
    return _with_chains(source, "given", roles)


def _with_chains(source: SourceMotion, convention: str, roles: dict[str, int]) -> Roles:
    arms = roles.get("left_collar", roles["left_shoulder"])
    top = source.parents[arms]
    spine = _path(source, roles["pelvis"], top)
    neck = _path(source, top, source.parents[roles["head"]])
    if convention == "Daz":  # "abdomen" is the middle of CMU's three, which is nearest the lowest
        spine = (spine[0], *spine)
    return Roles(convention, MappingProxyType(roles), spine, neck)


def _path(source: SourceMotion, above: int, joint: int) -> tuple[int, ...]:
    """Joints from below `above` down to `joint`, both in the file's tree."""
    path: list[int] = []
    while joint not in (above, -1):
        path.append(joint)
        joint = source.parents[joint]
    if joint != above:
        raise ValueError(
            f"{source.file}: {source.joints[path[0]]} does not descend from "
            f"{source.joints[above]}; pass names=... with the joints of one body"
        )
    return tuple(reversed(path))
