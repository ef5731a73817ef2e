"""Bytes of tensors that are alive while code runs, and their peak: on real and on fake tensors."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Counts what operators allocate inside this context, until it is freed.

    Views and results in place allocate nothing. An operator's own workspace is not seen. On the
    tensors of a FakeTensorMode, which have shapes but no storage, it gives what a step of any size
    would take, without taking it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes that were allocated inside and live."""
        self.peak = 0
        """The most that `now` has been."""
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {_storage(x)._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and _storage(value)._cdata not in given:
                self._allocated(_storage(value))
        return out

    def _allocated(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()
