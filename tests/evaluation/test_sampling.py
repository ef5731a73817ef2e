"""Samples from actors: how clips are grouped, and what a user reads when an actor dies."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from motion.data.plan import ClipRef
from motion.evaluation.clips import Clips
from motion.evaluation.sampling import _run


def clips(*buckets: int, batch_size: int) -> Clips:
    """Clips of shapes that are told apart by their bucket alone."""
    refs = [
        ClipRef(
            clip_id=f"{index:02d}",
            file="",
            row_group=0,
            row=0,
            bucket=str(bucket),
            source="made",
            present=(),
        )
        for index, bucket in enumerate(buckets)
    ]
    return Clips(Path("unread"), tuple(refs), batch_size, seed=0)


def sizes(chunks: list[tuple[ClipRef, ...]]) -> list[int]:
    return [len(chunk) for chunk in chunks]


def test_a_clip_alone_joins_its_neighbors_where_conditions_are_swapped() -> None:
    seven = clips(*[0] * 7, *[1] * 2, 2, batch_size=3)
    assert sizes(seven.chunks()) == [3, 3, 1, 2, 1], "samples keep their files"
    assert sizes(seven.pairable()) == [3, 4, 2, 1], "but for a shape of one clip"
    assert [ref for chunk in seven.pairable() for ref in chunk] == list(seven.refs)
    assert sizes(clips(0, 0, 0, 0, batch_size=2).pairable()) == [2, 2]


def dying(error: Exception) -> Any:
    def map_unordered(*_: object) -> Any:
        raise error

    return SimpleNamespace(map_unordered=map_unordered)


def task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("run", "the remote traceback", cause)


@pytest.mark.parametrize(
    "error",
    [
        ActorDiedError(),
        OutOfMemoryError("the node ran low"),
        task_error(torch.OutOfMemoryError("CUDA out of memory")),
        task_error(MemoryError("Unable to allocate 9 GiB")),
    ],
)
def test_want_of_memory_names_batch_size_and_the_remedy(error: RayError) -> None:
    with pytest.raises(RuntimeError, match=r"of mine with batch_size 16 .* lower batch_size"):
        _run(dying(error), [((), 0)], "mine", 16)


def test_other_errors_of_an_actor_are_its_own() -> None:
    with pytest.raises(ValueError, match=r"^no camera$"):
        _run(dying(task_error(ValueError("no camera"))), [((), 0)], "mine", 16)
    started = ActorDiedError(task_error(ValueError("no such encoder")))
    with pytest.raises(RuntimeError, match="of mine do not start") as found:
        _run(dying(started), [((), 0)], "mine", 16)
    assert "batch_size" not in str(found.value)
