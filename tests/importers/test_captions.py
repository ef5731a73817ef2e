"""What the index beside the files tells."""

from pathlib import Path

import pytest

from motion.importers.captions import UNSTATED, tell, wordings


def _data(tmp_path: Path) -> Path:
    (tmp_path / "index.csv").write_text(
        "file,licence,flag,text,clip_id\n"
        "mocap/cmu_a/02_03.bvh,free,,run/jog,cmu_02_03\n"
        "mocap/cmu_b/x_02_03.amc,free,,,\n"
        "flagged/bow.bvh,CC BY-NC 4.0,NON-COMMERCIAL,bow,\n"
    )
    (tmp_path / "text").mkdir()
    (tmp_path / "text/cmu_descriptions.csv").write_text(
        "clip,subject,subject_description,description\n02_03,02,various,run\n"
    )
    return tmp_path


def test_licence_text_and_take(tmp_path: Path) -> None:
    root = _data(tmp_path)
    told = tell(root / "mocap/cmu_a/02_03.bvh", root / "mocap/cmu_a")
    assert told == ("cmu_02_03", "run/jog", "free", False)
    # Another rig of the take, without a text of its own: CMU's list tells.
    told = tell(root / "mocap/cmu_b/x_02_03.amc", root / "mocap")
    assert told == ("cmu_02_03", "run", "free", False)
    told = tell(root / "mocap/own/unknown.bvh", root / "mocap")
    assert told == ("own_unknown", "", UNSTATED, False)


def test_a_number_in_a_name_is_no_take_of_the_library(tmp_path: Path) -> None:
    root = _data(tmp_path)
    assert tell(root / "CMU/02/02_03_poses.npz", root) == ("cmu_02_03", "run", UNSTATED, False)
    assert tell(root / "own/dance_02_03.bvh", root).text == ""


def test_files_of_the_same_name_are_different_takes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/3/walk.npz", "b/3/walk.npz")]
    assert [tell(path, tmp_path).clip for path in paths] == ["a_3_walk", "b_3_walk"]


def test_flagged_files_are_marked_by_their_place_or_licence(tmp_path: Path) -> None:
    root = _data(tmp_path)
    told = tell(root / "flagged/bow.bvh", root)
    assert (told.licence, told.flagged) == ("CC BY-NC 4.0", True)
    assert tell(root / "flagged/other.bvh", root).flagged
    stated = {"a": "CC BY-NC-SA 4.0", "b": "for non-commercial use", "c": "CC BY 4.0"}
    rows = [f"{name}.bvh,{licence}" for name, licence in stated.items()]
    own = root / "own"
    own.mkdir()
    (own / "index.csv").write_text("\n".join(["file,licence", *rows]))
    assert [tell(own / f"{name}.bvh", own).flagged for name in stated] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("walk", "a person walks"),
        ("slow walk", "a person walks slowly"),
        ("unscrew bottlecap, drink soda", "a person unscrews bottlecap, drinks soda"),
        ("wash self", "a person washes themselves"),
        ("run/jog", "a person performs: run or jog"),
        ("dance - small jetes, pirouette", "a person performs: dance: small jetes, pirouette"),
        ("swordplay", "a person performs: swordplay"),
        ("A person walks like a zombie", "a person walks like a zombie"),
    ],
)
def test_wordings_say_what_the_description_says(text: str, first: str) -> None:
    found = wordings(text, 4)
    assert len(found) == 4
    assert found[0] == first
    assert len(set(found)) == 4


def test_no_description_no_caption() -> None:
    with pytest.raises(ValueError, match="has no caption: add its text"):
        wordings("  ", 4)
