"""Weights in files: read by name, compared before anything is loaded, written one by one.

No function here holds more than one tensor besides the module that is filled, so a model can be
converted on a machine that could not build it.
"""

import hashlib
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

PICKLES: Final = (".pth", ".pt", ".bin")
"""Read through torch.load(weights_only=True), which runs no code of the file."""

_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_TYPES: Final = {name: dtype for dtype, name in _NAMES.items()}
_LISTED: Final = 12
"""Lines of a report per kind of difference."""


class Spec(NamedTuple):
    """What a tensor is, without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorFiles:
    """The tensors of some files by name. Opening reads headers alone; values come from the disk
    each time they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        """
        Args:
            files: .safetensors, or .pth, .pt and .bin of one flat dict of tensors.

        Raises:
            ValueError: a file is of another kind or damaged, or a name occurs in two files.
        """
        self.files = tuple(files)
        self._place: dict[str, Path] = {}
        self.specs: dict[str, Spec] = {}
        self._open: dict[Path, Any] = {}
        for file in self.files:
            for name, spec in self._opened(file).items():
                if name in self._place:
                    raise ValueError(
                        f"{name} lies in {self._place[name].name} and in {file.name}: give the "
                        "folder of one model"
                    )
                self._place[name], self.specs[name] = file, spec

    def _opened(self, file: Path) -> dict[str, Spec]:
        if file.suffix in PICKLES:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            if not isinstance(state, dict) or not all(
                isinstance(value, Tensor) for value in cast(dict[str, Any], state).values()
            ):
                raise ValueError(
                    f"{file} is no flat dict of tensors: save the model's state_dict alone"
                )
            tensors = cast(dict[str, Tensor], state)
            self._open[file] = tensors
            return {name: Spec(tuple(t.shape), t.dtype) for name, t in tensors.items()}
        if file.suffix != ".safetensors":
            raise ValueError(f"{file} is no .safetensors, {', '.join(PICKLES)} file")
        try:
            handle: Any = safe_open(file, framework="pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file} cannot be read ({error}): fetch or write it again") from error
        self._open[file] = handle
        slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
        return {
            name: Spec(tuple(part.get_shape()), _TYPES[part.get_dtype()])
            for name, part in slices.items()
        }

    def read(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor on the CPU, in the file's type; it may be a view of the file."""
        opened = self._open[self._place[name]]
        return opened[name] if isinstance(opened, dict) else opened.get_tensor(name)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: spec.shape for name, spec in self.specs.items()}


@dataclass(frozen=True)
class Difference:
    """How the tensors that were found differ from those that are wanted; false where they do
    not."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other: tuple[str, ...]
    """Of another shape, with both shapes."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.other)

    def report(self, remedy: str = "") -> str:
        """Some lines for a person; numbers in names are folded, so blocks take one line each.

        Args:
            remedy: how missing names can be permitted.
        """
        hint = f" ({remedy})" if remedy else ""
        return (
            listing("missing" + hint, folded(self.missing))
            + listing("unexpected", folded(self.unexpected))
            + listing("of another shape", list(self.other))
        )


def compare(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> Difference:
    """Names and shapes of both; nothing is read."""
    return Difference(
        missing=tuple(sorted(wanted.keys() - found.keys())),
        unexpected=tuple(sorted(found.keys() - wanted.keys())),
        other=tuple(
            f"{name}: {found[name]} there, {wanted[name]} in the system"
            for name in sorted(found.keys() & wanted.keys())
            if found[name] != wanted[name]
        ),
    )


def folded(names: Iterable[str]) -> list[str]:
    """Names that differ only in their numbers as one line, `blocks.*.weight (30)`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(name)
    return [
        members[0] if len(members) == 1 else f"{pattern} ({len(members)})"
        for pattern, members in groups.items()
    ]


def listing(title: str, lines: Sequence[str]) -> str:
    """A titled list of a report, cut where it is long; empty where there is nothing to list."""
    if not lines:
        return ""
    counts = [re.search(r" \((\d+)\)$", line) for line in lines]
    total = sum(1 if count is None else int(count[1]) for count in counts)
    left = len(lines) - _LISTED
    more = f"\n    ... and {left} more" if left > 0 else ""
    return f"\n  {total} {title}:" + "".join(f"\n    {x}" for x in lines[:_LISTED]) + more


def fill(
    module: nn.Module,
    read: Callable[[str], Tensor],
    names: Iterable[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Give parameters of a module on the meta device their values, one at a time, on `device`.

    Args:
        module: built under accelerate's `init_empty_weights`.
        read: the value of a name; a view of a file is copied.
        names: which parameters.
        device: where they come to lie.
        dtype: their type; as read where None.
    """
    # Imported here: it takes seconds, and most of what reads weights does not need it.
    from accelerate.utils import set_module_tensor_to_device

    for name in names:
        value = read(name)
        value = value.to(device, dtype or value.dtype, copy=True)
        set_module_tensor_to_device(
            module, name, device, value=value, dtype=value.dtype, clear_cache=False
        )


def write(
    file: Path,
    specs: Mapping[str, Spec],
    read: Callable[[str], Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write a .safetensors file tensor by tensor, whole or not at all; returns its SHA-256.

    Args:
        file: the target.
        specs: names, shapes and types.
        read: the values; each is asked for once, cast to its type and dropped.
        metadata: texts for the header.

    Raises:
        ValueError: a value has another shape than announced.
    """
    # Wide types first, so that every tensor is aligned, as the format's own writer has it.
    names = sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name in names:
        shape, dtype = specs[name]
        begin, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        place = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        header[name] = place
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    staging = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    digest = hashlib.sha256()
    try:
        with staging.open("wb") as target:
            for piece in (len(text).to_bytes(8, "little"), text):
                digest.update(piece)
                target.write(piece)
            for name in names:
                piece = _bytes(name, read(name), specs[name])
                digest.update(piece)
                target.write(piece)
                del piece  # before the next one is read
        os.replace(staging, file)
    finally:
        staging.unlink(missing_ok=True)
    return digest.hexdigest()


def _bytes(name: str, value: Tensor, spec: Spec) -> memoryview:
    if tuple(value.shape) != spec.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, {spec.shape} was announced")
    flat = value.detach().to("cpu", spec.dtype).contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def summary(names: Iterable[str], depth: int = 2) -> str:
    """How many tensors of each part: the first `depth` words of their names."""
    counts = Counter(".".join(name.split(".")[:depth]) for name in names)
    return ", ".join(f"{part} {count}" for part, count in sorted(counts.items()))
