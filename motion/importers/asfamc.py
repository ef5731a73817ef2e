"""Acclaim ASF/AMC: a skeleton file, and motion files with the degrees of freedom of each bone.

A bone's rotation is C M C^-1, with C its `axis` and M the product of its degrees of freedom; the
names are of bones, so a joint here is where its bone starts. Bones lie along their `direction` in
the rest pose.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from motion.importers.bvh import assemble
from motion.importers.numbers import finite_numbers
from motion.importers.rig import SourceMotion
from motion.rotations import matrix_from_euler

_INCH_M = 0.0254
CMU_FPS = 120.0
"""AMC files state no frame rate; CMU's are of 120 frames per second."""


@dataclass
class _Bone:
    name: str
    offset: Float64[np.ndarray, "3"]
    """From its start to its end, in the rest pose."""
    axis_rad: tuple[float, ...]
    axis_order: str
    dof: tuple[str, ...]


def read_asfamc(path: Path, *, asf: Path | None = None, fps: float = CMU_FPS) -> SourceMotion:
    """The motion of an AMC file on its skeleton, in the file's axes and units.

    Args:
        path: the .amc file.
        asf: its skeleton; by default `skeleton_of(path)`.
        fps: frames per second, which the format does not state.

    Raises:
        ValueError: no skeleton, or a damaged file; the message names the line or the bone.
    """
    skeleton = asf or skeleton_of(path)
    if not skeleton.is_file():
        raise ValueError(f"{path}: no skeleton {skeleton} beside it: put it there, or pass asf=...")
    bones, parents, degrees, unit_m = _read_asf(skeleton)
    motion = _frames(path, bones, degrees)
    root_order = bones["root"].dof
    joints, above = _tree(bones, parents)
    shape = (len(motion["root"]), len(joints), 3)
    local = torch.eye(3, dtype=torch.float64).expand(*shape, 3).clone()
    offsets = torch.zeros(len(joints), 3, dtype=torch.float64)
    for number, parent in enumerate(above):
        if parent >= 0:  # a joint stands where its parent's bone ends
            offsets[number] = torch.from_numpy(bones[joints[parent]].offset)
    for number, bone in enumerate(bones.values()):
        local[:, number] = _rotation(bone, torch.from_numpy(motion[bone.name]), root_order)
    shifts = offsets.expand(shape).clone()
    for column, key in enumerate(root_order):
        if key.startswith("t"):
            shifts[:, 0, "xyz".index(key[1])] = torch.from_numpy(motion["root"][:, column])
    return assemble(
        joints=joints,
        parents=above,
        offsets=offsets,
        local=local,
        shifts=shifts,
        fps=fps,
        file=str(path),
        unit_m=unit_m,
    )


def skeleton_of(path: Path) -> Path:
    """Where the skeleton of an .amc file is looked for: beside it, 02.asf for 02_03.amc."""
    return path.with_name(path.stem.split("_")[0] + ".asf")


def _tree(
    bones: dict[str, _Bone], parents: dict[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Joints, the bones' starts and then the ends of the last bones; and the parent of each."""
    names = list(bones)
    ends = [name for name in names if name not in set(parents.values())]
    index = {name: number for number, name in enumerate(names)}
    above = [index[parents[name]] if name in parents else -1 for name in names]
    return (*names, *(f"{name}_end" for name in ends)), (*above, *(index[name] for name in ends))


def _rotation(
    bone: _Bone, values: Float64[Tensor, "t n"], root_order: tuple[str, ...]
) -> Float64[Tensor, "t 3 3"]:
    dof = root_order if bone.name == "root" else bone.dof
    angles = torch.zeros(len(values), 3, dtype=torch.float64)
    for column, key in enumerate(dof):
        if key.startswith("r"):
            angles[:, "xyz".index(key[1])] = values[:, column]
    order = bone.axis_order[::-1]  # "XYZ" turns about x first, so x stands last in the product
    picked = angles[:, ["xyz".index(axis) for axis in order]]
    axis = torch.tensor([bone.axis_rad["xyz".index(axis)] for axis in order], dtype=torch.float64)
    C = matrix_from_euler(axis, order)
    return C @ matrix_from_euler(picked, order) @ C.mT


def _read_asf(path: Path) -> tuple[dict[str, _Bone], dict[str, str], bool, float | None]:
    sections: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text(errors="replace").splitlines():
        text = line.split("#")[0].strip()
        if text.startswith(":"):
            current = text.split()[0]
        elif text:
            sections.setdefault(current, []).append(text)
    missing = [name for name in (":root", ":bonedata", ":hierarchy") if name not in sections]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)} section: this is no whole ASF file")
    units = _fields(sections.get(":units", []))
    degrees = units.get("angle", "deg").startswith("deg")
    turn = math.pi / 180 if degrees else 1.0
    root = _fields(sections[":root"])
    bones = {"root": _bone(path, {"name": "root", "axis": f"0 0 0 {root.get('axis', 'XYZ')}"}, 1.0)}
    bones["root"].dof = tuple(root.get("order", "TX TY TZ RX RY RZ").lower().split())
    described: list[str] = []
    for line in sections[":bonedata"]:
        if line == "begin":
            described = []
        elif line == "end":
            bone = _bone(path, _fields(described), turn)
            bones[bone.name] = bone
        else:
            described.append(line)
    parents = _parents(path, sections[":hierarchy"], bones)
    # CMU writes lengths in inches times 0.45.
    (scale,) = finite_numbers([units.get("length", "0")], f"{path}: length of :units", count=1)
    return bones, parents, degrees, _INCH_M / scale if scale else None


def _fields(lines: list[str]) -> dict[str, str]:
    """First word of each line -> the others."""
    return {words[0]: " ".join(words[1:]) for words in map(str.split, lines)}


def _bone(path: Path, fields: dict[str, str], turn: float) -> _Bone:
    name = fields.get("name", "?")
    where = f"{path}: bone {name}"
    axis = fields.get("axis", "0 0 0 XYZ").split()
    direction = finite_numbers(fields.get("direction", "0 0 0").split(), f"{where}: direction")
    if len(axis) != 4 or sorted(axis[3].lower()) != ["x", "y", "z"] or len(direction) != 3:
        raise ValueError(
            f"{where} has axis {fields.get('axis')!r} and direction {fields.get('direction')!r}; "
            "expected three numbers, and for the axis an order: export the skeleton again"
        )
    (length,) = finite_numbers([fields.get("length", "0")], f"{where}: length", count=1)
    return _Bone(
        name,
        np.array(direction) * length,
        tuple(turn * value for value in finite_numbers(axis[:3], f"{where}: axis")),
        axis[3].lower(),
        tuple(fields.get("dof", "").lower().split()),
    )


def _parents(path: Path, lines: list[str], bones: dict[str, _Bone]) -> dict[str, str]:
    parents: dict[str, str] = {}
    for line in lines:
        parent, *children = line.split()
        if parent in ("begin", "end"):
            continue
        unknown = [name for name in (parent, *children) if name not in bones]
        if unknown:
            raise ValueError(f"{path}: hierarchy names {unknown}, which :bonedata does not define")
        parents |= dict.fromkeys(children, parent)
    orphans = [name for name in bones if name != "root" and name not in parents]
    if orphans:
        raise ValueError(f"{path}: bones {orphans} have no parent in :hierarchy: complete it")
    return parents


def _frames(
    path: Path, bones: dict[str, _Bone], degrees: bool
) -> dict[str, Float64[np.ndarray, "t n"]]:
    """Values of every bone, angles in radians; `degrees` where the file itself does not say."""
    rows: dict[str, list[list[float]]] = {name: [] for name in bones}
    expected = 0
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if not words or words[0][0] in "#:":
            header = words[0].upper() if words else ""
            degrees = header == ":DEGREES" if header in (":DEGREES", ":RADIANS") else degrees
            continue
        where = f"{path}, line {number}"
        if len(words) == 1 and words[0].isdigit():
            expected += 1
            continue
        name = words[0]
        if name not in bones:
            raise ValueError(f"{where}: bone {name!r} is not in the skeleton: give its own .asf")
        values = finite_numbers(words[1:], f"{where}: bone {name}")
        if len(values) != len(bones[name].dof):
            raise ValueError(
                f"{where}: {len(values)} values for bone {name}, which has "
                f"{len(bones[name].dof)} degrees of freedom ({' '.join(bones[name].dof)}): "
                "a channel is missing, or the .asf is another subject's"
            )
        rows[name].append(values)
    for name, values in rows.items():
        if bones[name].dof and (len(values) != expected or expected == 0):
            raise ValueError(
                f"{path}: bone {name} has {len(values)} of {expected} frames: the file was cut off"
            )
    motion = {
        name: np.array(values, np.float64) if values else np.zeros((expected, 0))
        for name, values in rows.items()
    }
    for name, values in motion.items() if degrees else ():
        turning = [key.startswith("r") for key in bones[name].dof]
        values[:, turning] = np.radians(values[:, turning])
    return motion
