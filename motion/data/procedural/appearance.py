"""How a person and a room look: clothes by body part, wall and floor with a soft shadow."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from motion.skeleton import PART_NAMES

Color = tuple[float, float, float]

SKIN: Final[tuple[Color, ...]] = (
    (0.98, 0.84, 0.74), (0.93, 0.76, 0.62), (0.80, 0.60, 0.45), (0.62, 0.43, 0.30),
    (0.45, 0.30, 0.21), (0.33, 0.22, 0.16),
)  # fmt: skip
HAIR: Final[tuple[Color, ...]] = (
    (0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.45, 0.28, 0.15), (0.75, 0.60, 0.35),
    (0.55, 0.22, 0.12), (0.60, 0.60, 0.60),
)  # fmt: skip
CLOTHES: Final[tuple[Color, ...]] = (
    (0.85, 0.20, 0.20), (0.20, 0.40, 0.80), (0.20, 0.60, 0.35), (0.95, 0.80, 0.25),
    (0.95, 0.95, 0.95), (0.20, 0.20, 0.24), (0.55, 0.30, 0.65), (0.95, 0.55, 0.20),
    (0.40, 0.70, 0.85), (0.85, 0.50, 0.62), (0.45, 0.45, 0.48), (0.50, 0.36, 0.25),
)  # fmt: skip
WALLS: Final[tuple[Color, ...]] = (
    (0.80, 0.82, 0.86), (0.86, 0.80, 0.70), (0.62, 0.72, 0.72), (0.75, 0.66, 0.66),
    (0.55, 0.58, 0.66), (0.90, 0.90, 0.88), (0.68, 0.74, 0.60),
)  # fmt: skip
FLOORS: Final[tuple[Color, ...]] = (
    (0.56, 0.43, 0.31), (0.45, 0.46, 0.48), (0.70, 0.62, 0.50), (0.36, 0.42, 0.40),
    (0.62, 0.60, 0.60), (0.40, 0.32, 0.30),
)  # fmt: skip
FLOOR_PATTERNS: Final = ("plain", "boards", "tiles")


@dataclass(frozen=True)
class Appearance:
    """Colors in [0, 1]; drawn from palettes, so that clips share a small world."""

    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    long_sleeves: bool
    long_trousers: bool
    wall: Color
    floor: Color
    floor_pattern: str
    wall_slope: float
    """Brightness gained from the bottom to the top of the wall."""
    light: float
    """Azimuth of the brighter side of the wall, in radians."""


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """One person in one room; shirt and trousers always differ."""
    shirt, trousers = rng.permutation(len(CLOTHES))[:2]
    return Appearance(
        skin=_near(rng, SKIN[int(rng.integers(len(SKIN)))]),
        hair=_near(rng, HAIR[int(rng.integers(len(HAIR)))]),
        shirt=_near(rng, CLOTHES[int(shirt)]),
        trousers=_near(rng, CLOTHES[int(trousers)]),
        shoes=_near(rng, CLOTHES[int(rng.integers(len(CLOTHES)))]),
        long_sleeves=bool(rng.random() < 0.4),
        long_trousers=bool(rng.random() < 0.7),
        wall=_near(rng, WALLS[int(rng.integers(len(WALLS)))]),
        floor=_near(rng, FLOORS[int(rng.integers(len(FLOORS)))]),
        floor_pattern=FLOOR_PATTERNS[int(rng.integers(len(FLOOR_PATTERNS)))],
        wall_slope=float(rng.uniform(-0.1, 0.15)),
        light=float(rng.uniform(-1.0, 1.0)),
    )


def _near(rng: np.random.Generator, color: Color) -> Color:
    r, g, b = np.clip(np.array(color) + rng.normal(scale=0.03, size=3), 0.0, 1.0)
    return float(r), float(g), float(b)


def vertex_colors(
    look: Appearance,
    part_of_vertex: Int[np.ndarray, "v"],
    rest_vertices: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 3"]:
    """Color of each vertex: clothes by part, hair on the upper and back share of the head."""
    part_color = np.tile(np.array(look.skin, np.float32), (len(PART_NAMES), 1))
    for color, names in (
        (look.shirt, ("spine", "spine1", "spine2", "leftShoulder", "rightShoulder")),
        (look.shirt, ("leftArm", "rightArm")),
        (look.shirt, ("leftForeArm", "rightForeArm") if look.long_sleeves else ()),
        (look.trousers, ("hips", "leftUpLeg", "rightUpLeg")),
        (look.trousers, ("leftLeg", "rightLeg") if look.long_trousers else ()),
        (look.shoes, ("leftFoot", "rightFoot", "leftToeBase", "rightToeBase")),
    ):
        for name in names:
            part_color[PART_NAMES.index(name)] = color
    colors = part_color[part_of_vertex]
    head = part_of_vertex == PART_NAMES.index("head")
    low, high = rest_vertices[head].min(0), rest_vertices[head].max(0)
    height, depth = ((rest_vertices - low) / (high - low))[:, [1, 2]].T
    colors[head & (height + 0.55 * (0.6 - depth) > 0.72) & (height > 0.3)] = look.hair
    return colors


def render_room(
    look: Appearance,
    intrinsics: Float[np.ndarray, "3 3"],
    T_camera_world: Float[np.ndarray, "4 4"],
    person_xz: Float[np.ndarray, "t 2"],
    height: int,
    width: int,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Wall and floor seen by a static camera, with a soft shadow that follows the person.

    The wall stands 2 m behind the origin, square to the view.
    """
    rotation, eye = T_camera_world[:3, :3], -T_camera_world[:3, :3].T @ T_camera_world[:3, 3]
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([column, row, np.ones_like(row)], -1)
    rays = pixels @ np.linalg.inv(intrinsics).T @ rotation
    view = rotation[2] * [1.0, 0.0, 1.0]
    view /= np.linalg.norm(view)
    to_wall = (2.0 - eye @ view) / (rays @ view)
    to_floor = np.where(rays[..., 1] < -1e-6, -eye[1] / np.minimum(rays[..., 1], -1e-6), np.inf)
    on_floor = to_floor < to_wall
    points = eye + np.where(on_floor, to_floor, to_wall)[..., None] * rays
    side = points @ np.array([view[2], 0.0, -view[0]])
    wall = (
        np.array(look.wall)
        + (look.wall_slope * points[..., 1] / 2.5 + 0.03 * look.light * side)[..., None]
    )
    floor = np.array(look.floor) * _floor_pattern(look, points)[..., None]
    room = np.where(on_floor[..., None], floor, wall)
    shade = 1 - 0.35 * np.exp(-((points[..., 1] / 0.12) ** 2)) * ~on_floor
    distance = np.linalg.norm(points[None, ..., [0, 2]] - person_xz[:, None, None], axis=-1)
    shadow = 1 - 0.45 * np.exp(-((distance / 0.33) ** 2)) * on_floor
    return (np.clip(room * shade[..., None] * shadow[..., None], 0, 1) * 255).astype(np.uint8)


def _floor_pattern(
    look: Appearance, points: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w"]:
    """Brightness of boards or tiles, soft enough not to alias."""
    x, z = points[..., 0], points[..., 2]
    if look.floor_pattern == "boards":
        return 1 + 0.07 * np.sin(2 * np.pi * x / 0.5)
    if look.floor_pattern == "tiles":
        return 1 + 0.07 * np.sin(2 * np.pi * x / 0.8) * np.sin(2 * np.pi * z / 0.8)
    return np.ones_like(x)
