"""What goes into a run and what comes out of it, as columns: groups of rows by phases, and results."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog._patterns._columns import id_columns, paths_of
from sinagot_catalog.schema import OUTCOME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog._layout import Layout
    from sinagot_catalog._spec import Group, Result

__all__ = ["Phase", "Results", "phases_of", "waiting_for"]

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


_PATHS = {
    "_cell": pl.UInt16(),
    "record_id": pl.String(),
    "step": pl.String(),
    "place": pl.UInt16(),
    "path": pl.String(),
}
_NO_PATHS = pl.DataFrame(schema=_PATHS)
_NO_ROWS = pl.DataFrame(schema={"row": pl.UInt32(), "step": pl.String()})


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

    Attributes:
        rows: Those that are left to run.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows.drop("_phase")

    def leave_out(self, rows: pl.Series) -> None:
        """Leave out rows by their numbers."""
        self.rows = self.rows.filter(~pl.col("row").is_in(rows.implode()))

    def __len__(self) -> int:
        return self.rows.select("_rec", "_component").unique().height

    def __iter__(self) -> Iterator[Group]:
        for _, group in groupby(self.rows.iter_rows(), itemgetter(0, 1)):
            yield [(row, cell, record) for *_, row, cell, record in group]


def waiting_for(layout: Layout, failed: pl.DataFrame, phase: Phase) -> pl.DataFrame:
    """The rows of a phase that read what a row that failed before the phase was to write.

    Args:
        layout: The steps and their paths.
        failed: Columns `_cell, record_id` of the rows that failed.
        phase: The phase.

    Returns:
        Columns `row` and `step`: the number of the row, and the step that failed.
    """
    lost = pl.concat([_NO_PATHS, *_paths(layout, failed, "output")])
    found = [_NO_ROWS]
    for cell in phase.rows.sort("_position")["_cell"].unique(maintain_order=True):
        part = phase.rows.filter(pl.col("_cell") == cell)
        reads = pl.concat([_NO_PATHS, *_paths(layout, part, "input")])
        waits = reads.join(lost.rename({"step": "maker"}), on=["place", "path"])
        rows = part.join(waits, on=["_cell", "record_id"]).unique("row", maintain_order=True)
        found.append(rows.select("row", pl.col("maker").alias("step")))
        lost = pl.concat([lost, *_paths(layout, rows, "output")])
    return pl.concat(found)


def _paths(layout: Layout, rows: pl.DataFrame, role: str) -> Iterator[pl.DataFrame]:
    """The paths of some rows that have a role, those of one place after the other."""
    for (cell,), part in rows.partition_by("_cell", as_dict=True).items():
        one = layout.cells[int(str(cell))]
        values = id_columns(part["record_id"], layout.ids)
        for place in one.places(role):
            yield part.select("_cell", "record_id", pl.lit(one.step).alias("step")).with_columns(
                pl.lit(place, dtype=pl.UInt16).alias("place"),
                values.select(paths_of(layout.places[place].template).alias("path"))["path"],
            )


def phases_of(todo: pl.DataFrame) -> list[Phase]:
    """Cut the rows of a run into phases of groups: a group's rows run one after the other."""
    columns = todo.select("_phase", "_rec", "_component", "_position", "row", "_cell", "record_id")
    ordered = columns.sort("_phase", "_rec", "_component", maintain_order=True)
    return [Phase(rows) for rows in ordered.partition_by("_phase", maintain_order=True) if rows.height]
