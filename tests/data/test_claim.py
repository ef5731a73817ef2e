import json
from pathlib import Path

import pytest

from motion.data.claim import claim, flatten, is_claimed, require_same


def test_flat_names_have_dots_and_empty_dicts_no_fields() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [2]}) == {"a.b.c": 1, "e": [2]}


def test_only_the_fields_that_differ_are_listed_with_both_values() -> None:
    before = {"clip": {"fps": 16.0, "size": [1, 2]}, "old": 1, "none": {}}
    require_same(before, {**before, "clip": {"fps": 16, "size": (1, 2)}}, **_WHERE)
    with pytest.raises(ValueError, match="another config") as caught:
        require_same(before, {"clip": {"fps": 8, "size": [1, 2]}, "new": None}, **_WHERE)
    assert str(caught.value) == (
        "/data holds a data set of another config:\n"
        "  clip.fps: 16.0 there, 8 now\n"
        "  old: 1 there, None now\n"
        "Choose another root, restore these fields, or delete that folder"
    )


_WHERE = {"place": Path("/data"), "what": "a data set", "other": "root"}


def test_a_root_belongs_to_the_config_that_began_or_committed_it(tmp_path: Path) -> None:
    where = {"file": "prepare.json", "what": "a data set"}
    root = tmp_path / "data"
    assert not is_claimed(root, {"clips": 1}, **where)
    assert not root.exists(), "asking claims nothing"
    claim(root, {"clips": 1, "size": (2, 3)}, **where)
    begun = root / "prepare.json"
    assert begun.read_text() == '{\n  "clips": 1,\n  "size": [\n    2,\n    3\n  ]\n}\n'
    before = begun.stat().st_mtime_ns
    claim(root, {"clips": 1, "size": (2, 3)}, **where)
    assert begun.stat().st_mtime_ns == before, "a claim is written once"
    for call in (claim, is_claimed):
        with pytest.raises(ValueError, match=r"a data set of another config:\n  clips: 1 there, 2"):
            call(root, {"clips": 2, "size": (2, 3)}, **where)
    (root / "dataset.json").write_text(json.dumps({"config": {"clips": 7}}))
    begun.unlink()
    assert is_claimed(root, {"clips": 7}, **where), "what is committed needs no file beside it"
    with pytest.raises(ValueError, match=r"clips: 7 there, 1 now\nChoose another root"):
        claim(root, {"clips": 1}, **where)
    assert not begun.exists()
