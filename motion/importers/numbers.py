"""Numbers in the text of a motion file."""

import math
from collections.abc import Sequence


def finite_numbers(words: Sequence[str], what: str, *, count: int | None = None) -> list[float]:
    """The words as numbers.

    Args:
        words: of a line of the file.
        what: they are, with the file and the place, for the message.
        count: how many there must be, where the caller does not check that itself.

    Raises:
        ValueError: a word is no number, a number is not finite, or there is another count.
    """
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{what} holds {error}: repair or export the file again") from error
    if count not in (None, len(values)) or not all(math.isfinite(value) for value in values):
        raise ValueError(
            f"{what} is {' '.join(words)!r}; expected {'' if count is None else f'{count} '}finite "
            "numbers: cut the frame out or fill it in the capture tool, or export the file again"
        )
    return values
