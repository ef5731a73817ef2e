"""Whose folder is this? A place belongs to one config; another one is refused, field by field."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from motion.data.manifest import read_commit
from motion.data.storage import replacing


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> one level with dotted names; an empty dict has no fields."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(cast("Mapping[str, Any]", value), f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def require_same(
    before: Mapping[str, Any], now: Mapping[str, Any], *, place: Path, what: str, other: str
) -> None:
    """Refuse to mix two configs in one place.

    Args:
        before: config of what lies there.
        now: config of what is asked for; compared as JSON, as the first one was stored.
        place: the folder, for the message.
        what: what lies there: "a training", "a data set".
        other: what else the user may choose: "name", "root".

    Raises:
        ValueError: they differ; the message gives each field, both values and the remedy.
    """
    there, here = flatten(before), flatten(json.loads(json.dumps(now)))
    changed = [n for n in sorted({*there, *here}) if there.get(n) != here.get(n)]
    if changed:
        listed = "".join(f"\n  {n}: {there.get(n)!r} there, {here.get(n)!r} now" for n in changed)
        raise ValueError(
            f"{place} holds {what} of another config:{listed}\n"
            f"Choose another {other}, restore these fields, or delete that folder"
        )


def is_claimed(root: Path, config: Mapping[str, Any], *, file: str, what: str) -> bool:
    """Was the data set of this config begun or committed in a root? One of another is refused.

    Args:
        root: folder of the data set.
        config: what decides its contents.
        file: name of the file in the root that says what an unfinished one belongs to.
        what: what lies there, for the message: "a data set".

    Raises:
        ValueError: the root belongs to another config.
    """
    commit, begun = read_commit(root), root / file
    if commit is None and not begun.is_file():
        return False
    found = json.loads(begun.read_text()) if commit is None else commit["config"]
    require_same(found, config, place=root, what=what, other="root")
    return True


def claim(root: Path, config: Mapping[str, Any], *, file: str, what: str) -> None:
    """Tie a root to one config, so that a restart never mixes two; arguments of `is_claimed`."""
    if not is_claimed(root, config, file=file, what=what):
        with replacing(root / file, of_dataset=True) as temporary:
            temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
