"""Skeleton: a tree, mirror pairs, names."""

import pytest

from motion import skeleton


def test_parents_form_a_tree_in_order():
    assert skeleton.NUM_JOINTS == len(skeleton.SMPL_PARENTS) == len(set(skeleton.SMPL_JOINTS)) == 24
    assert skeleton.SMPL_PARENTS[0] == -1
    assert all(0 <= parent < j for j, parent in enumerate(skeleton.SMPL_PARENTS) if j)
    chain, index = [], skeleton.joint("left_hand")
    while index >= 0:
        chain.append(skeleton.SMPL_JOINTS[index])
        index = skeleton.SMPL_PARENTS[index]
    arm = ["left_hand", "left_wrist", "left_elbow", "left_shoulder", "left_collar"]
    assert chain == [*arm, "spine3", "spine2", "spine1", "pelvis"]


@pytest.mark.parametrize(
    "names", [skeleton.SMPL_JOINTS, skeleton.PART_NAMES, skeleton.COCO_17, skeleton.CONTACT_POINTS]
)
def test_mirroring_is_an_involution_that_swaps_sides(names: tuple[str, ...]):
    mirror = skeleton.mirror_permutation(names)
    assert [mirror[i] for i in mirror] == list(range(len(names)))
    for name, other in zip(names, mirror, strict=True):
        sided = name.startswith(("left", "right"))
        assert (names[other] != name) == sided
        assert {name[:4], names[other][:4]} <= {"left", "righ"} or not sided


def test_mirroring_commutes_with_the_tree():
    mirror = skeleton.mirror_permutation(skeleton.SMPL_JOINTS)
    for child, parent in enumerate(skeleton.SMPL_PARENTS[1:], start=1):
        assert skeleton.SMPL_PARENTS[mirror[child]] == mirror[parent]


def test_parts_and_keypoints():
    assert len(set(skeleton.PART_NAMES)) == 24
    assert len(set(skeleton.COCO_17)) == 17
    assert skeleton.PART_NAMES[11] == "head"
    assert skeleton.PART_NAMES[23] == "hips"


def test_an_unknown_joint_names_the_choices():
    with pytest.raises(ValueError, match=r"'tail'; expected one of pelvis"):
        skeleton.joint("tail")
