"""Names and topology of the SMPL skeleton, its 24 surface parts and the COCO-17 keypoints.

Joint order and kinematic tree: Loper et al. 2015 (SMPL). Part order: the SMPL vertex
segmentation that CoMoVi's motion map uses (Zhao et al. 2026, section 3.2).
"""

from typing import Final

SMPL_JOINTS: Final[tuple[str, ...]] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck",
    "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip

SMPL_PARENTS: Final[tuple[int, ...]] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
)  # fmt: skip

NUM_JOINTS: Final[int] = len(SMPL_JOINTS)

PART_NAMES: Final[tuple[str, ...]] = (
    "rightHand", "rightUpLeg", "leftArm", "leftLeg", "leftToeBase", "leftFoot", "spine1", "spine2",
    "leftShoulder", "rightShoulder", "rightFoot", "head", "rightArm", "leftHandIndex1", "rightLeg",
    "rightHandIndex1", "leftForeArm", "rightForeArm", "neck", "rightToeBase", "spine", "leftUpLeg",
    "leftHand", "hips",
)  # fmt: skip

COCO_17: Final[tuple[str, ...]] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

CONTACT_POINTS: Final[tuple[str, ...]] = ("left_heel", "left_toe", "right_heel", "right_toe")


def mirror_permutation(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each name's mirror image: `left_x` <-> `right_x`, the midline onto itself."""
    swap = {"left": "right", "right": "left"}

    def mirrored(name: str) -> str:
        for side, other in swap.items():
            if name.startswith(side):
                return other + name[len(side) :]
        return name

    return tuple(names.index(mirrored(name)) for name in names)


def joint(name: str) -> int:
    """Index of an SMPL joint by name.

    Raises:
        ValueError: the name is none of `SMPL_JOINTS`.
    """
    if name not in SMPL_JOINTS:
        raise ValueError(f"unknown SMPL joint {name!r}; expected one of {', '.join(SMPL_JOINTS)}")
    return SMPL_JOINTS.index(name)
