"""Phases and results of a run, stored as columns: groups of rows in, results out, and rows that become blocked."""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from operator import itemgetter, or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.journal import FAILED, Result
from sinagot_catalog.schema import OUTCOME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinagot_catalog.catalog import Catalog, UnitStep
    from sinagot_catalog.journal import Group

__all__ = ["Blocking", "Phase", "Results", "phases_of"]

_LUMP = 10_000
"""Number of results that stay objects before they are packed into a frame."""

_RESULT = {
    "row": pl.UInt32(),
    "outcome": OUTCOME,
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "error_type": pl.String(),
    "message": pl.String(),
}
"""Types of the first fields of a `Result`, in their order."""


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
    """Collects the results of rows in frames: as objects they would take three times the memory.

    Attributes:
        extras: Paths that rows published in addition to the declared outputs.
    """

    def __init__(self) -> None:
        self.extras: list[str] = []
        self._new: list[Result] = []
        self._lumps: list[pl.DataFrame] = []

    def add(self, results: list[Result]) -> None:
        """Add results."""
        self.extras += [path for one in results for path in one.extras]
        self._new += results
        if len(self._new) >= _LUMP:
            self._lumps.append(self._frame_of_new())
            self._new = []

    def frame(self) -> pl.DataFrame:
        """A row per result; of a row with several results, the last."""
        return pl.concat([*self._lumps, self._frame_of_new()]).unique("row", keep="last", maintain_order=True)

    def _frame_of_new(self) -> pl.DataFrame:
        columns = dict(zip(_RESULT, zip(*self._new, strict=True), strict=False))
        return pl.DataFrame(columns, schema=_RESULT, strict=False)


class Phase:
    """Groups that may run at the same time; iteration makes them one by one, as all groups would fill the memory.

    Args:
        rows: The rows of the phase, with the rows of a group together.

    Attributes:
        rows: The rows to run.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self._rows = rows.drop("_phase")
        self.rows = self._rows
        self._groups = rows.select("_rec", "_component").unique().height

    def __len__(self) -> int:
        return self.rows.select("_rec", "_component").unique().height

    def without(self, rows: Sequence[int]) -> Phase:
        """A copy of this phase without some rows."""
        left = self._rows.filter(~pl.col("row").is_in(list(rows)))
        return Phase(left.with_columns(_phase=pl.lit(0)))

    def __iter__(self) -> Iterator[Group]:
        for _, group in groupby(self.rows.iter_rows(), itemgetter(0, 1)):
            yield [(row, cell, record) for *_, row, cell, record in group]


class Blocking:
    """Finds the rows of a later phase that wait for a file that a row of an earlier phase failed to make.

    Args:
        catalog: The catalog that the run was planned with.
        rows: All rows of the run: `row, record_id, _cell, _position`.
    """

    def __init__(self, catalog: Catalog, rows: pl.DataFrame) -> None:
        self._catalog = catalog
        codes = catalog.row_ids.to_frame().with_row_index("_rec")
        columns = rows.select("row", "record_id", "_cell", "_position")
        self._rows = columns.join(codes, on="record_id", how="inner", maintain_order="left")

    def blocked(self, phase: Phase, results: pl.DataFrame) -> list[Result]:
        """The rows of a phase that are blocked, as results.

        Args:
            phase: The next phase.
            results: The results so far: `row`, `outcome`.
        """
        failed = results.filter(pl.col("outcome").is_in(list(FAILED)))
        if failed.is_empty():
            return []
        lost = self._rows.join(failed.select("row"), on="row", how="semi")
        here = self._rows.join(phase.rows.select("row"), on="row", how="semi").sort("_position")
        found: list[Result] = []
        for (cell,), part in here.partition_by("_cell", as_dict=True, maintain_order=True).items():
            waits = self._waits(self._catalog.layout.cells[int(str(cell))], lost)
            if not waits:
                continue
            blocked = part.with_columns(
                pl.coalesce(
                    pl.when(pl.lit(mask.gather(part["_rec"]))).then(step) for step, mask in waits
                ).alias("_for")
            ).drop_nulls("_for")
            lost = pl.concat([lost, blocked.select(lost.columns)])
            message = "waits for {}, which failed"
            found += [
                Result(row, "blocked", message=message.format(step))
                for row, step in blocked.select("row", "_for").iter_rows()
            ]
        return found

    def _waits(self, cell: UnitStep, lost: pl.DataFrame) -> list[tuple[pl.Expr, pl.Series]]:
        """The steps that failed to make an input of a step, each with the rows that wait for it."""
        catalog, out = self._catalog, list[tuple[pl.Expr, pl.Series]]()
        nobody = pl.Series([False]).new_from_index(0, catalog.n_rows)
        for port in cell.required:
            if len(port) != 1:
                continue
            place = port[0].place
            for maker in catalog.makers.get(place, []):
                codes = lost.filter(pl.col("_cell") == maker)["_rec"]
                if maker != cell.index and len(codes):
                    records = nobody.clone().scatter(codes, True)
                    outputs = catalog.layout.cells[maker].places("output")
                    met = reduce(or_, [catalog.met(place, made, records) for made in outputs])
                    step = catalog.layout.cells[maker].step
                    if cell.by is None or catalog.layout.is_per_group(cell, port):
                        out.append((pl.lit(step), met))
                    elif not cell.is_partial:
                        out.append(self._of_members(cell, step, met, nobody))
        return out

    def _of_members(
        self, cell: UnitStep, step: str, lost: pl.Series, nobody: pl.Series
    ) -> tuple[pl.Expr, pl.Series]:
        """The step and the first member that failed of each group, and the groups with such a member."""
        members = self._catalog.group_steps.members(cell)
        hit = members.filter(lost.gather(members["_member"])).unique(
            "_rec", keep="first", maintain_order=True
        )
        ids = self._catalog.row_ids
        names = pl.format(f"{step} of {{}}", pl.lit(ids.gather(hit["_member"])))
        known = hit.select("_rec", names.alias("_for"))
        name = pl.col("_rec").replace_strict(
            known["_rec"], known["_for"], default=None, return_dtype=pl.String
        )
        return name, nobody.clone().scatter(hit["_rec"], True)


def phases_of(todo: pl.DataFrame) -> list[Phase]:
    """Divide the rows of a run into phases of groups; the rows of a group run one after the other."""
    columns = todo.select("_phase", "_rec", "_component", "_position", "row", "_cell", "record_id")
    ordered = columns.sort("_phase", "_rec", "_component", maintain_order=True)
    return [Phase(rows) for rows in ordered.partition_by("_phase", maintain_order=True) if rows.height]
