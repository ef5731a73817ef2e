"""Dance features one frame, one joint and one relation at a time: oracle and baseline.

Written in the style of the published code (fairmotion, AIST++), so that the benchmark compares
with what users of those run, and the tests with something that shares no code with the library.
"""

from typing import Any

import numpy as np

ARM, SHOULDERS, HIPS = 0.256838, 0.390848, 0.119247
# fmt: off
NAMES = [
    "root", "lhip", "rhip", "belly", "lknee", "rknee", "spine", "lankle", "rankle", "chest",
    "ltoes", "rtoes", "neck", "lcollar", "rcollar", "head", "lshoulder", "rshoulder", "lelbow",
    "relbow", "lwrist", "rwrist", "lhand", "rhand",
]
# fmt: on


def mean_velocity(clip: np.ndarray, i: int, joint: int, dt: float) -> np.ndarray:
    total, count = np.zeros(3), 0
    for k in range(i - 2, i + 3):
        if k - 1 >= 0 and k < len(clip):
            total += clip[k][joint] - clip[k - 1][joint]
            count += 1
    return total / (count * dt)


def mean_acceleration(clip: np.ndarray, i: int, joint: int, dt: float, faulty: bool) -> np.ndarray:
    total, count = np.zeros(3), 0
    for k in range(i - 2, i + 3):
        if k - 1 >= 0 and k + 1 < len(clip):
            after = (clip[k + 1][joint] - clip[k][joint]) / dt
            before = (clip[k][joint] - clip[k - 1][joint]) / dt
            if faulty:
                before = clip[k][joint] - clip[k - 1][joint] / dt
            total += (after - before) / dt
            count += 1
    return total / count


def kinetic(clip: np.ndarray, *, faulty: bool, dt: float = 1 / 60) -> np.ndarray:
    features: list[float] = []
    for joint in range(clip.shape[1]):
        horizontal = vertical = effort = 0.0
        for i in range(1, len(clip)):
            horizontal += np.linalg.norm(mean_velocity(clip, i, joint, dt)[[0, 2]]) ** 2
            vertical += np.linalg.norm(mean_velocity(clip, i, joint, dt)[[1]]) ** 2
            effort += np.linalg.norm(mean_acceleration(clip, i, joint, dt, faulty))
        features += [value / (len(clip) - 1.0) for value in (horizontal, vertical, effort)]
    return np.array(features)


class Frame:
    """Relations of one frame."""

    def __init__(self, clip: np.ndarray, t: int) -> None:
        self.clip, self.t = clip, t

    def at(self, name: str, back: int = 0) -> np.ndarray:
        fixed = {"zero": [0, 0, 0], "y": [0, 1, 0], "-y": [0, -1, 0]}
        if name in fixed:
            return np.array(fixed[name])
        if name == "ymin":
            return np.array([0, min([y for (_, y, _) in self.clip[self.t]]), 0])
        return np.array(self.clip[self.t - back][NAMES.index(name)])

    def step(self, name: str) -> np.ndarray:
        return self.at(name) - self.at(name, 1)

    def along(self, vector: np.ndarray, direction: np.ndarray) -> float:
        return np.dot(vector, direction) / np.linalg.norm(direction)

    def normal(self, a: str, b: str, c: str) -> np.ndarray:
        return np.cross(self.at(c) - self.at(a), self.at(b) - self.at(a))

    def nmove(self, a: str, b: str, c: str, p: str, bound: float) -> bool:
        velocity = (self.step(p) - self.step(a)) * 120
        return self.along(velocity, self.normal(a, b, c)) > bound

    def move(self, a: str, b: str, p: str, bound: float) -> bool:
        velocity = (self.step(p) - self.step(a)) * 120
        return self.along(velocity, self.at(b) - self.at(a)) > bound

    def plane(self, a: str, b: str, c: str, p: str, bound: float) -> bool:
        return self.along(self.at(p) - self.at(a), self.normal(a, b, c)) > bound

    def nplane(self, n1: str, n2: str, a: str, p: str, bound: float) -> bool:
        return self.along(self.at(p) - self.at(a), self.at(n2) - self.at(n1)) > bound

    def angle(self, j1: str, j2: str, k1: str, k2: str, low: float, high: float) -> bool:
        j, k = self.at(j2) - self.at(j1), self.at(k2) - self.at(k1)
        angle = np.degrees(np.arccos(np.dot(j, k) / (np.linalg.norm(j) * np.linalg.norm(k))))
        return bool(low < angle < high)

    def fast(self, name: str, bound: float) -> bool:
        return float(np.linalg.norm(self.step(name)) * 120) > bound

    def relations(self) -> list[Any]:
        return [
            self.nmove("neck", "rhip", "lhip", "rwrist", 1.8 * ARM),
            self.nmove("neck", "lhip", "rhip", "lwrist", 1.8 * ARM),
            self.nplane("chest", "neck", "neck", "rwrist", 0.2 * ARM),
            self.nplane("chest", "neck", "neck", "lwrist", 0.2 * ARM),
            self.move("belly", "chest", "chest", 1.8 * ARM),
            self.move("belly", "chest", "chest", 1.8 * ARM),
            self.angle("relbow", "rshoulder", "relbow", "rwrist", 0, 110),
            self.angle("lelbow", "lshoulder", "lelbow", "lwrist", 0, 110),
            self.nplane("lshoulder", "rshoulder", "lwrist", "rwrist", 2.5 * SHOULDERS),
            self.move("lwrist", "rwrist", "rwrist", 1.4 * ARM),
            self.move("rwrist", "root", "lwrist", 1.4 * ARM),
            self.move("lwrist", "root", "rwrist", 1.4 * ARM),
            self.fast("rwrist", 2.5 * ARM),
            self.fast("lwrist", 2.5 * ARM),
            self.plane("root", "lhip", "ltoes", "rankle", 0.38 * ARM),
            self.plane("root", "rhip", "rtoes", "lankle", 0.38 * ARM),
            self.nplane("zero", "y", "ymin", "rankle", 1.2 * ARM),
            self.nplane("zero", "y", "ymin", "lankle", 1.2 * ARM),
            self.nplane("lhip", "rhip", "lankle", "rankle", 2.1 * HIPS),
            self.angle("rknee", "rhip", "rknee", "rankle", 0, 110),
            self.angle("lknee", "lhip", "lknee", "lankle", 0, 110),
            self.fast("rankle", 2.5 * ARM),
            self.fast("lankle", 2.5 * ARM),
            self.angle("neck", "root", "rshoulder", "relbow", 25, 180),
            self.angle("neck", "root", "lshoulder", "lelbow", 25, 180),
            self.angle("neck", "root", "rhip", "rknee", 50, 180),
            self.angle("neck", "root", "lhip", "lknee", 50, 180),
            self.plane("rankle", "neck", "lankle", "root", 0.5 * ARM),
            self.angle("neck", "root", "zero", "y", 70, 110),
            self.nplane("zero", "-y", "ymin", "rwrist", -1.2 * ARM),
            self.nplane("zero", "-y", "ymin", "lwrist", -1.2 * ARM),
            self.fast("root", 2.3 * ARM),
        ]


def geometric(clip: np.ndarray) -> np.ndarray:
    frames = [Frame(clip, t).relations() for t in range(1, len(clip))]
    return np.array(frames, dtype=np.float64).mean(axis=0)
