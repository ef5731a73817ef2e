"""Reads the pickles that body models are published as, without running what is in them.

A pickle may name any function and call it. This reader knows arrays and nothing else: every other
global is refused. chumpy and scipy.sparse objects are read as plain arrays by stand-ins, so that
neither library's version matters and chumpy need not be installed.
"""

import pickle
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import scipy.sparse


class _RefusedError(ValueError):
    """The pickle is whole, but holds what is not read; the message is for the user."""


class _ChumpyArray:
    """Stands in for chumpy.ch.Ch: its pickled state holds the array under "x"."""

    value: np.ndarray

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "x" not in state:
            raise _RefusedError(
                "the model file holds a chumpy expression instead of a chumpy array; "
                "convert it to .npz with plain arrays"
            )
        self.value = np.asarray(state["x"])


class _SparseMatrix:
    """Stands in for scipy.sparse.csc_matrix and csr_matrix, of whatever version wrote it."""

    value: np.ndarray
    layout: type[Any] = scipy.sparse.csc_matrix

    def __setstate__(self, state: dict[str, Any]) -> None:
        parts = (state["data"], state["indices"], state["indptr"])
        self.value = cast(np.ndarray, self.layout(parts, shape=state["_shape"]).toarray())


class _RowSparseMatrix(_SparseMatrix):
    layout = scipy.sparse.csr_matrix


_ARRAY_GLOBALS = {
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.multiarray", "scalar"),
        (f"{core}.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
} | {
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("builtins", "object"),
    ("__builtin__", "object"),
    ("_codecs", "encode"),
}

_STAND_INS: dict[tuple[str, str], type[Any]] = {("chumpy.ch", "Ch"): _ChumpyArray}
for _module in ("csc", "_csc"):
    _STAND_INS[(f"scipy.sparse.{_module}", "csc_matrix")] = _SparseMatrix
for _module in ("csr", "_csr"):
    _STAND_INS[(f"scipy.sparse.{_module}", "csr_matrix")] = _RowSparseMatrix


_DAMAGE: Final = (
    pickle.UnpicklingError, EOFError, LookupError, AttributeError, TypeError, ValueError,
    OverflowError, MemoryError, AssertionError,
)  # fmt: skip
"""What the instructions of a pickle with wrong bytes raise, at the reader or in numpy: an unset
name, an attribute of a number, a length beyond the file."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[(module, name)]
        if (module, name) in _ARRAY_GLOBALS:
            return super().find_class(module, name)
        raise _RefusedError(
            f"refused to read the pickle: it asks for {module}.{name}, but a body model needs "
            "only numpy, scipy.sparse and chumpy arrays; get the file from its publisher, or "
            "convert it to .npz with plain arrays"
        )


def read_arrays(path: Path) -> dict[str, Any]:
    """The pickled dictionary with its arrays as plain numpy arrays.

    Raises:
        ValueError: the file is no pickle of a dictionary, damaged, or asks for anything but arrays.
    """
    with path.open("rb") as file:
        try:
            content = _ArrayUnpickler(file, encoding="latin1").load()
            if isinstance(content, dict):
                pairs = cast(dict[Any, Any], content).items()
                return {str(key): _plain(value) for key, value in pairs}
        except _RefusedError:
            raise
        except _DAMAGE as error:
            raise ValueError(
                f"{path} is no readable pickle ({type(error).__name__}: {error}): download it again"
            ) from error
    raise ValueError(
        f"{path} holds a {type(content).__name__}, expected a dictionary of arrays: "
        "it is not an SMPL model file"
    )


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, (_ChumpyArray, _SparseMatrix)) else value
