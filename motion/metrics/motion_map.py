"""Agreement of decoded 2D motion maps."""

import numpy as np
from jaxtyping import Int


def part_accuracy(predicted: Int[np.ndarray, "t h w"], truth: Int[np.ndarray, "t h w"]) -> float:
    """Share of pixels with the right part, among those that either map calls the person.

    Parts are 0..23 and -1 is background. Pixels that both maps call background do not count: they
    would hide the person, who covers a tenth of the image. Two empty maps agree (1.0).
    """
    person = (predicted >= 0) | (truth >= 0)
    if not person.any():
        return 1.0
    return float((predicted == truth)[person].mean())
