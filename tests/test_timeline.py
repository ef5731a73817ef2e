"""Timelines as text."""

import pytest
import torch

from motion.timeline import described, read_timeline


def test_parts_may_overlap_and_leave_gaps() -> None:
    parts = read_timeline("0-4: walks forward; 3.5-8: turns: then sits ; 10-12:waves")
    assert [(part.start_s, part.end_s) for part in parts] == [(0, 4), (3.5, 8), (10, 12)]
    assert parts[1].captions == ("turns: then sits",)


@pytest.mark.parametrize("text", ["walks", "4-0: walks", "0-4 walks", "", "0-4:", "a-b: walks"])
def test_refuses_other_forms(text: str) -> None:
    with pytest.raises(ValueError, match="timeline"):
        read_timeline(text)


class Letters:
    """An encoder of one token per text."""

    id, hash, dim, max_tokens = "letters", "0", 2, 1

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([[[len(text), 1.0]] for text in texts]), torch.ones(
            len(texts), 1
        ).bool()

    def save(self, folder: object) -> None:
        raise AssertionError(folder)


def test_each_part_is_a_prompt_with_its_window() -> None:
    parts = read_timeline("0-4: walks; 3.5-8: sits")
    batch = described(parts, Letters(), fps=10.0, num_frames=80, body_id="free-0")
    assert batch.text is not None
    assert batch.text.shape == (1, 2, 1, 2)
    assert batch.text_window_s is not None
    assert batch.text_window_s[0, 1].tolist() == [3.5, 8.0]
