"""How the source of a dataset is spelled on the command line."""

from typing import Final

from tyro.constructors import PrimitiveConstructorSpec

from motion.importers import SUFFIXES

_KINDS: Final = frozenset({"amass", "asf", "smpl", *(suffix[1:] for suffix in SUFFIXES)})


def spelled(*sources: str) -> PrimitiveConstructorSpec[str]:
    """Annotates a field that takes one of these words.

    Any other is refused; a kind of file of captured motion is answered with the spelling that was
    meant.
    """

    def read(words: list[str]) -> str:
        (word,) = words
        if word in sources:
            return word
        if word.lower() in _KINDS:
            raise ValueError(
                f"{word!r} is a kind of file: captured motion of every kind is --source mocap "
                "--mocap.folder DIR, and --root is where the dataset goes"
            )
        raise ValueError(f"{word!r} is no source; expected {' or '.join(sources)}")

    return PrimitiveConstructorSpec[str](
        nargs=1,
        metavar="{" + ",".join(sources) + "}",
        instance_from_str=read,
        is_instance=lambda value: value in sources,
        str_from_instance=lambda value: [value],
    )
