"""Which of HumanML3D's 263 dimensions FID-U and FID-L are computed from (CrossDiff, 2023).

Both are `frechet_distance` on the embeddings of two further evaluators, whose movement encoders
see only these dimensions. CrossDiff normalizes the motions with the evaluator's statistics first.
"""

from typing import Final

from motion.representations.humanml import HumanML

LOWER_DIMS: Final[tuple[int, ...]] = tuple(HumanML().leg_features().tolist())
"""103 dimensions: root motion and height, the legs' positions, rotations and velocities."""

UPPER_DIMS: Final[tuple[int, ...]] = tuple(
    sorted(set(range(HumanML().slices["contacts"].start)) - set(LOWER_DIMS))
)
"""156 dimensions: the rest but for the foot contacts."""
