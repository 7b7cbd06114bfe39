"""What goes into a run and what comes out of it, as columns: groups of rows by phases, and results."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.schema import OUTCOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog._spec import Group, Result

__all__ = ["Phase", "Results", "phases_of"]

_LUMP = 10_000
"""So many results are kept as they come, before a frame is made of them."""

_RESULT = {
    "row": pl.UInt32(),
    "outcome": OUTCOME,
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "error_type": pl.String(),
    "message": pl.String(),
}
"""The first fields of a `Result`, in their order."""


class Results:
    """What became of rows, as it comes in: as objects they would take three times the room.

    Attributes:
        extras: What was published beside the outputs.
    """

    def __init__(self) -> None:
        self.extras: list[str] = []
        self._new: list[Result] = []
        self._lumps: list[pl.DataFrame] = []

    def add(self, results: list[Result]) -> None:
        """Take up some more."""
        self.extras += [path for one in results for path in one.extras]
        self._new += results
        if len(self._new) >= _LUMP:
            self._lumps.append(self._frame_of_new())
            self._new = []

    def frame(self) -> pl.DataFrame:
        """A row for each: of one that was tried again, the last word."""
        return pl.concat([*self._lumps, self._frame_of_new()]).unique("row", keep="last", maintain_order=True)

    def _frame_of_new(self) -> pl.DataFrame:
        columns = dict(zip(_RESULT, zip(*self._new, strict=True), strict=False))
        return pl.DataFrame(columns, schema=_RESULT, strict=False)


class Phase:
    """Groups that may run at the same time; each is made when its turn comes, for as objects they fill the memory.

    Args:
        rows: The rows of the phase, those of a group one after the other.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows.drop("_phase")
        self._groups = rows.select("_rec", "_component").unique().height

    def __len__(self) -> int:
        return self._groups

    def __iter__(self) -> Iterator[Group]:
        for _, group in groupby(self._rows.iter_rows(), itemgetter(0, 1)):
            yield [(row, cell, record) for *_, row, cell, record in group]


def phases_of(todo: pl.DataFrame) -> list[Phase]:
    """Cut the rows of a run into phases of groups: a group's rows run one after the other."""
    columns = todo.select("_phase", "_rec", "_component", "row", "_cell", "record_id")
    ordered = columns.sort("_phase", "_rec", "_component", maintain_order=True)
    return [Phase(rows) for rows in ordered.partition_by("_phase", maintain_order=True) if rows.height]
