"""Parts of a run: divides its records over machines; no two parts share a row, and together they have all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

import polars as pl

from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sinagot_catalog.catalog import Layout

LAST = "last"
"""The name of the rows that belong to no part."""

_NUMBERED = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Part:
    """One part of several, or the rows that belong to no part.

    Attributes:
        number: From 1 to `count`; None for the rows that belong to no part.
        count: The number of parts.

    Example:
        >>> str(part_of((3, 8))), str(part_of("last")), part_of(None)
        ('3/8', 'last', None)
    """

    number: int | None
    count: int = 1

    def __str__(self) -> str:
        return LAST if self.number is None else f"{self.number}/{self.count}"

    @property
    def is_last(self) -> bool:
        """Whether it has the rows that belong to no part."""
        return self.number is None

    def records(self, ids: pl.Series) -> pl.DataFrame:
        """Return the ids that belong to this part, as a frame with the column `record_id`.

        The part of an id depends on the id alone, so that all machines agree.
        """
        return pl.DataFrame({"record_id": ids}).filter(part_numbers(ids, self.count) == self.number)


def part_numbers(ids: pl.Series, count: int) -> pl.Series:
    """Return the part of each record.

    Args:
        ids: Ids of records.
        count: The number of parts.

    Example:
        >>> part_numbers(pl.Series(["R1", "R2"]), 8).to_list()
        [4, 2]
    """
    # Polars has no CRC; it is computed once per record
    return pl.Series([crc32(record_id.encode()) % count + 1 for record_id in ids], dtype=pl.UInt32)


def part_of(value: str | Sequence[int] | None) -> Part | None:
    """Read a part: `"3/8"`, `(3, 8)`, or `"last"` for the rows that belong to no part.

    Raises:
        SelectionError: It is no part.
    """
    if value is None:
        return None
    if value == LAST:
        return Part(None)
    text = value if isinstance(value, str) else "/".join(map(str, value)) if _is_pair(value) else ""
    match = _NUMBERED.fullmatch(text)
    if match is None:
        near = did_you_mean(value, [LAST]) if isinstance(value, str) else ""
        raise SelectionError(f"part: {value!r} is not a part such as 3/8, or {LAST}{near}")
    number, count = map(int, match.groups())
    if not 1 <= number <= count:
        raise SelectionError(
            f"part: {text} does not exist",
            f"The parts are 1/{count} to {count}/{count}." if count else "There is at least one part: 1/1.",
        )
    return Part(number, count)


def _is_pair(value: object) -> bool:
    return isinstance(value, (tuple, list)) and all(type(number) is int for number in value)


def steps_of_no_part(
    layout: Layout,
    makers: Mapping[int, Sequence[int]],
    order: Iterable[int],
    shared: Collection[tuple[int, int]],
) -> frozenset[int]:
    """Return the unit steps whose rows belong to no part.

    They run over groups, read outputs of other records, or write files that records share; or they read outputs
    of such steps.

    Args:
        layout: The layout of the workspace.
        makers: For each bound pattern, the unit steps that write it.
        order: The unit steps, each after those that it reads.
        shared: Pairs of a unit step and one that reads its outputs of other records.
    """
    readers = {reader for _, reader in shared}
    unit_steps: set[int] = set()
    for index in order:
        cell = layout.cells[index]
        reads = {maker for place in cell.places("input") for maker in makers.get(place, ())} - {index}
        writes_shared = any(place not in layout.telling for place in cell.places("output"))
        if cell.by is not None or index in readers or writes_shared or reads & unit_steps:
            unit_steps.add(index)
    return frozenset(unit_steps)
