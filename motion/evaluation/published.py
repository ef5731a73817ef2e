"""Figures that papers measured themselves, with their source, for the lower part of a table."""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from motion.evaluation.protocols import PROTOCOLS
from motion.evaluation.tables import Row
from motion.metrics.interval import Interval

FILE: Final = Path(__file__).with_name("published.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(_Frozen):
    """A paper."""

    id: str
    paper: str


class PublishedRow(_Frozen):
    """One line of a paper's table."""

    source: str
    """Id of the paper that measured it."""
    table: str
    """Number of its table."""
    line: str
    """What the line is called there."""
    name: str
    """What it is called here."""
    protocols: tuple[str, ...] = Field(min_length=1)
    """Protocols under which it is shown."""
    differs: str = ""
    """How it was not measured as the protocol says."""
    values: dict[str, float] = Field(min_length=1)
    """By column."""
    half: dict[str, float] = Field(default_factory=dict)
    """Half width of the 95 % interval, where it was published."""

    @model_validator(mode="after")
    def _known_columns(self) -> "PublishedRow":
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise ValueError(f"{self.name}: unknown protocol {name!r}")
            known = {column.name for column in PROTOCOLS[name].columns}
            unknown = (set(self.values) | set(self.half)) - known
            if unknown:
                raise ValueError(f"{self.name}: {name} has no column {sorted(unknown)}")
        if not set(self.half) <= set(self.values):
            raise ValueError(f"{self.name}: an interval without its value")
        return self


class Published(_Frozen):
    """The data file."""

    source: tuple[Source, ...]
    row: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _known_sources(self) -> "Published":
        unknown = {row.source for row in self.row} - {source.id for source in self.source}
        if unknown:
            raise ValueError(f"rows of unknown sources {sorted(unknown)}")
        return self


@lru_cache(maxsize=1)
def published() -> Published:
    """The data file, checked."""
    return Published.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))


def published_rows(protocol: str) -> list[Row]:
    """Rows of a protocol's table, marked as published, each with its source."""
    papers = {source.id: source.paper for source in published().source}
    return [
        Row(
            name=row.name,
            kind="published",
            values={name: _interval(row, name) for name in row.values},
            note="; ".join(
                part
                for part in (f"{papers[row.source]}, {row.table}, “{row.line}”", row.differs)
                if part
            ),
        )
        for row in published().row
        if protocol in row.protocols
    ]


def _interval(row: PublishedRow, name: str) -> Interval:
    value, half = row.values[name], row.half.get(name, float("nan"))
    return Interval(value, value - half, value + half, 0)
