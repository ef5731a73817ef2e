"""BVH (Biovision hierarchy): a skeleton with Euler channels per frame.

The root's OFFSET is where it stands in the rest pose and its position channels are absolute: adding
both, as some readers do, lets bodies float. Position channels of other joints likewise replace
their OFFSET. Angles are degrees and multiply in the order of the CHANNELS line.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from motion.importers.numbers import finite_numbers
from motion.importers.rig import SourceMotion
from motion.rotations import matrix_from_euler

_CHANNELS = frozenset(f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation"))
MAX_FPS = 1000.0


@dataclass
class _Node:
    name: str
    parent: int
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: list[str] = field(default_factory=list[str])
    first: int = 0
    """Column of the first channel."""


def read_bvh(path: Path) -> SourceMotion:
    """The skeleton and motion of a BVH file, in its own axes and units.

    Raises:
        ValueError: the file is damaged; the message names the line or the joint, and the remedy.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    split = next((n for n, line in enumerate(lines) if line.strip() == "MOTION"), None)
    if split is None or not any(line.strip() == "HIERARCHY" for line in lines[:split]):
        raise ValueError(
            f"{path}: no HIERARCHY and MOTION sections: this is no BVH file, or it was cut off; "
            "export it again"
        )
    nodes = _hierarchy(path, lines[:split])
    num_frames, fps = _timing(path, lines, split)
    width = sum(len(node.channels) for node in nodes)
    values = _values(path, lines, split + 3, num_frames, width, nodes)
    return _solve(path, nodes, values, fps)


def _hierarchy(path: Path, lines: list[str]) -> list[_Node]:
    nodes: list[_Node] = []
    open_nodes: list[int] = []
    pending: int | None = None
    columns = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] == "HIERARCHY":
            continue
        where = f"{path}, line {number}"
        match words[0]:
            case "ROOT" | "JOINT" | "End":
                parent = open_nodes[-1] if open_nodes else -1
                is_end = words[0] == "End"
                name = f"{nodes[parent].name}_end" if is_end else "_".join(words[1:])
                nodes.append(_Node(name, parent))
                pending = len(nodes) - 1
            case "{":
                if pending is None:
                    raise ValueError(f"{where}: '{{' without a joint: repair or export again")
                open_nodes.append(pending)
            case "}":
                if not open_nodes:
                    raise ValueError(f"{where}: '}}' closes no joint: repair or export again")
                open_nodes.pop()
            case "OFFSET" | "CHANNELS" if open_nodes:
                columns += _describe(nodes[open_nodes[-1]], words, columns, where)
            case _:
                raise ValueError(
                    f"{where}: {line.strip()!r} is none of ROOT, JOINT, End Site, OFFSET, "
                    "CHANNELS or a brace inside a joint: repair or export again"
                )
    if open_nodes or not nodes:
        raise ValueError(f"{path}: the HIERARCHY is not closed: the file was cut off")
    return nodes


def _describe(node: _Node, words: list[str], columns: int, where: str) -> int:
    """Take in a joint's OFFSET or CHANNELS; the number of columns that it adds to `columns`."""
    if words[0] == "OFFSET":
        x, y, z = finite_numbers(words[1:], f"{where}: OFFSET of {node.name}", count=3)
        node.offset = (x, y, z)
        return 0
    node.channels, node.first = _channels(words[1:], f"{where}: joint {node.name}"), columns
    return len(node.channels)


def _channels(words: list[str], where: str) -> list[str]:
    channels = words[1:]
    if not words or not words[0].isdigit() or int(words[0]) != len(channels):
        raise ValueError(
            f"{where} announces {words[0] if words else 'no'} channels but lists {len(channels)} "
            f"({' '.join(channels)}): a channel is missing; export the file again"
        )
    wrong = sorted(set(channels) - _CHANNELS)
    rotations = [name for name in channels if name.endswith("rotation")]
    positions = [name for name in channels if name.endswith("position")]
    if wrong or len(set(rotations)) != 3 or len(set(positions)) not in (0, 3):
        raise ValueError(
            f"{where} has channels {' '.join(channels)}; expected the three rotations, alone or "
            "with the three positions: a channel is missing or misspelled; export the file again"
        )
    return channels


def _timing(path: Path, lines: list[str], split: int) -> tuple[int, float]:
    head = [line.split(":") for line in lines[split + 1 : split + 3]]
    if [part[0].strip() for part in head] != ["Frames", "Frame Time"]:
        raise ValueError(
            f"{path}, line {split + 2}: expected 'Frames: N' and 'Frame Time: SECONDS' below MOTION"
        )
    (frames,) = finite_numbers(head[0][1].split(), f"{path}, line {split + 2}: Frames", count=1)
    where = f"{path}, line {split + 3}: Frame Time"
    (step_s,) = finite_numbers(head[1][1].split(), where, count=1)
    if frames < 1 or not 1 / MAX_FPS <= step_s <= 1:
        raise ValueError(
            f"{path}, line {split + 3}: {frames:g} frames of {step_s:g} s; expected at least one "
            f"frame, of {1 / MAX_FPS:g} to 1 s (Frame Time is seconds per frame): correct the line"
        )
    # Files round the frame time: .0083333 means 120 frames per second.
    fps = 1 / step_s
    return int(frames), float(round(fps)) if abs(fps - round(fps)) < 3e-4 * fps else fps


def _values(
    path: Path, lines: list[str], first: int, num_frames: int, width: int, nodes: list[_Node]
) -> Float64[np.ndarray, "t width"]:
    rows = [(n, line.split()) for n, line in enumerate(lines[first:], first + 1) if line.strip()]
    for number, words in rows:
        if len(words) != width:
            raise ValueError(
                f"{path}, line {number}: {len(words)} values, but the joints have {width} "
                "channels: a channel is missing in the hierarchy or the line was cut off; "
                "export the file again"
            )
    if len(rows) != num_frames:
        raise ValueError(
            f"{path}, line {first - 1}: announces {num_frames} frames, but {len(rows)} lines of "
            f"values follow: the file was cut off, or set Frames to {len(rows)}"
        )
    try:
        values = np.array([words for _, words in rows], dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a value is no number ({error}): export the file again") from None
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        before = [node for node in nodes if node.channels and node.first <= column]
        node = max(before, key=lambda node: node.first)
        raise ValueError(
            f"{path}, line {rows[row][0]}: {node.channels[column - node.first]} of joint "
            f"{node.name} is {rows[row][1][column]}: cut the {len(set(bad[:, 0]))} broken frames "
            "out or fill them in the capture tool"
        )
    return values


def _solve(path: Path, nodes: list[_Node], values: np.ndarray, fps: float) -> SourceMotion:
    table = torch.from_numpy(values)
    num_frames = len(table)
    local = torch.eye(3, dtype=torch.float64).expand(num_frames, len(nodes), 3, 3).clone()
    offsets = torch.tensor([node.offset for node in nodes], dtype=torch.float64)
    shifts = offsets.expand(num_frames, len(nodes), 3).clone()
    for index, node in enumerate(nodes):
        columns = table[:, node.first : node.first + len(node.channels)]
        turning = [i for i, name in enumerate(node.channels) if name.endswith("rotation")]
        if turning:
            order = "".join(node.channels[i][0].lower() for i in turning)
            local[:, index] = matrix_from_euler(torch.deg2rad(columns[:, turning]), order)
        for i, name in enumerate(node.channels):
            if name.endswith("position"):
                shifts[:, index, "XYZ".index(name[0])] = columns[:, i]
    return assemble(
        joints=tuple(node.name for node in nodes),
        parents=tuple(node.parent for node in nodes),
        offsets=offsets,
        local=local,
        shifts=shifts,
        fps=fps,
        file=str(path),
    )


def assemble(
    *,
    joints: tuple[str, ...],
    parents: tuple[int, ...],
    offsets: Float64[Tensor, "j 3"],
    local: Float64[Tensor, "t j 3 3"],
    shifts: Float64[Tensor, "t j 3"],
    fps: float,
    file: str,
    unit_m: float | None = None,
) -> SourceMotion:
    """Forward kinematics of local rotations and of offsets that may change over time."""
    turned, placed = local.clone(), shifts.clone()
    rest = offsets.clone()
    for index, parent in enumerate(parents):
        if parent >= 0:
            turned[:, index] = turned[:, parent] @ local[:, index]
            placed[:, index] = (
                placed[:, parent] + (turned[:, parent] @ shifts[:, index, :, None])[..., 0]
            )
            rest[index] = rest[parent] + offsets[index]
    return SourceMotion(
        joints=joints,
        parents=parents,
        rest=rest,
        R_world_joint=turned,
        positions=placed,
        fps=fps,
        unit_m=unit_m,
        file=file,
    )
