"""Lines about a phase that is under way."""

import pytest

from motion.data import console


def test_watched_rows_pass_in_order_with_a_line_each_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 15))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    assert list(console.watched("abcde", 5, "preparing")) == list("abcde")
    assert capsys.readouterr().out.splitlines() == [
        "preparing 2/5  eta 00:45",
        "preparing 4/5  eta 00:15",
    ]
