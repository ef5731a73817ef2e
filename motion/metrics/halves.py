"""Which of HumanML3D's 263 dimensions FID-U and FID-L are computed from (CrossDiff, 2023).

Both are `frechet_distance` on the embeddings of two further evaluators, whose movement encoders
see only these dimensions. CrossDiff normalizes the motions with the evaluator's statistics first.
"""

from typing import Final

LOWER_JOINTS: Final[tuple[int, ...]] = (1, 2, 4, 5, 7, 8, 10, 11)
"""Both legs; the root belongs to them as well."""

_ROOT, _POSITIONS, _ROTATIONS, _VELOCITIES, _CONTACTS = 0, 4, 67, 193, 259
"""First dimension of each part of the layout (Guo et al. 2022): root motion, 21 positions, 21 6D
rotations, 22 velocities, 4 contacts."""


def _blocks(start: int, width: int, places: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(start + width * place + axis for place in places for axis in range(width))


def _lower() -> tuple[int, ...]:
    without_root = tuple(j - 1 for j in LOWER_JOINTS)
    return (
        *range(_ROOT, _POSITIONS),
        *_blocks(_POSITIONS, 3, without_root),
        *_blocks(_ROTATIONS, 6, without_root),
        *_blocks(_VELOCITIES, 3, (0, *LOWER_JOINTS)),
    )


LOWER_DIMS: Final[tuple[int, ...]] = _lower()
"""103 dimensions: root motion and height, the legs' positions, rotations and velocities."""

UPPER_DIMS: Final[tuple[int, ...]] = tuple(sorted(set(range(_CONTACTS)) - set(LOWER_DIMS)))
"""156 dimensions: the rest but for the foot contacts."""
