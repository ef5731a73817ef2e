from pathlib import Path

import pytest

from motion.data.claim import flatten, require_same


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
