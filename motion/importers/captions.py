"""What is done in a clip, in words, and what its licence allows: from an index beside the files.

`index.csv` has one row per file (columns file, licence, text; paths relative to it); CMU's own list
(`text/cmu_descriptions.csv`: clip, subject_description, description) fills in where a row has no
text. Nothing is made up: a clip that neither tells about has no caption.
"""

import csv
import functools
import re
from pathlib import Path
from typing import Final, NamedTuple

INDEX: Final = "index.csv"
DESCRIPTIONS: Final = "text/cmu_descriptions.csv"
FLAGGED: Final = "flagged"
"""Files below a folder of this name restrict their use."""
UNSTATED: Final = "unstated"
"""Licence of a file that no index lists."""

_TAKE: Final = re.compile(r"(?<!\d)(\d{2,3}_\d{2})(?!\d)")
_NON_COMMERCIAL: Final = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
_SUBJECTS: Final = ("a person", "someone", "the person", "somebody", "a human")
_VERBS: Final = {
    "walk": "walks", "run": "runs", "jump": "jumps", "climb": "climbs", "sit": "sits",
    "drink": "drinks", "unscrew": "unscrews", "wash": "washes", "punch": "punches",
    "stand": "stands", "kick": "kicks", "throw": "throws", "dance": "dances",
}  # fmt: skip
_ADVERBS: Final = {"slow": "slowly", "brisk": "briskly", "fast": "fast", "forward": "forward"}


class Told(NamedTuple):
    """What is known about a file beside its motion."""

    clip: str
    """The take, the same for every rig that it was converted to: "cmu_02_03"; else the path."""
    text: str
    """A description, or empty."""
    licence: str
    flagged: bool
    """The licence restricts use (non-commercial ...)."""


def tell(path: Path, folder: Path) -> Told:
    """What the index above a file says about it.

    Args:
        path: the file.
        folder: where the import began; the index is looked for there and above.

    Raises:
        ValueError: the index has no `file` column.
    """
    base = next((p for p in (folder, *folder.parents) if (p / INDEX).is_file()), None)
    row: dict[str, str] = {}
    if base is not None:
        row = _read(base / INDEX, "file").get(path.relative_to(base).as_posix(), {})
    above = path.relative_to(folder).parts[:-1] or (folder.name,)
    take = _TAKE.search(path.stem)
    is_cmu = row.get("clip_id", "").startswith("cmu_") or any(
        "cmu" in name.lower() for name in (folder.name, *above)
    )
    clip = f"cmu_{take[1]}" if is_cmu and take else "_".join((*above, path.stem))
    text = row.get("text", "")
    if not text and is_cmu and take and base is not None and (base / DESCRIPTIONS).is_file():
        told = _read(base / DESCRIPTIONS, "clip").get(take[1], {})
        text = told.get("description", "") or told.get("subject_description", "")
    # The place or the licence says so even where the flag does not.
    stated = f"{row.get('flag', '')} {row.get('licence', '')}"
    flagged = FLAGGED in path.absolute().parts or bool(_NON_COMMERCIAL.search(stated))
    return Told(clip, text.strip(), row.get("licence", "") or UNSTATED, flagged)


def _read(path: Path, key: str) -> dict[str, dict[str, str]]:
    return _rows(path, key, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _rows(path: Path, key: str, changed_ns: int) -> dict[str, dict[str, str]]:
    """Rows of a table by one column; `changed_ns` keeps a changed file from being remembered."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if key not in (reader.fieldnames or ()):
            raise ValueError(f"{path} has no column {key!r}; it has {reader.fieldnames}")
        return {row[key]: {k: v or "" for k, v in row.items() if k} for row in reader}


def wordings(text: str, count: int) -> list[str]:
    """Captions of a description: whole sentences where its grammar is known, else a label.

    Raises:
        ValueError: an empty description.
    """
    if not text.strip():
        raise ValueError("a clip without a description has no caption: add its text to the index")
    plain = re.sub(r"\s*/\s*", " or ", text.strip().lower())
    plain = re.sub(r"\s+-\s+", ": ", plain)
    plain = re.sub(r"\bself\b", "themselves", plain)
    sentence = _sentence(plain)
    forms = [f"{subject} {sentence}" for subject in _SUBJECTS] if sentence else []
    forms += [f"{subject} performs: {plain}" for subject in _SUBJECTS]
    forms += [f"{plain}, motion capture"]
    return (forms * (1 + count // len(forms)))[:count]


def _sentence(plain: str) -> str:
    """The third person of a short description: "slow walk" is "walks slowly"."""
    for subject in _SUBJECTS:
        if plain.startswith(f"{subject} "):  # a sentence already
            return plain.removeprefix(f"{subject} ")
    words = plain.split()
    if words[0] in _VERBS and ":" not in plain:
        clauses = [clause.split() for clause in plain.split(", ")]
        turned = [" ".join([_VERBS.get(c[0], ""), *c[1:]]) for c in clauses if c[0] in _VERBS]
        return ", ".join(turned) if len(turned) == len(clauses) and " or " not in plain else ""
    if len(words) == 2 and words[0] in _ADVERBS and words[1] in _VERBS:
        return f"{_VERBS[words[1]]} {_ADVERBS[words[0]]}"
    return ""
