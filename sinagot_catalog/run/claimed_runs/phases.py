"""Phases and results of a run, stored as columns: groups of rows in, results out, and rows that become blocked."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from functools import reduce
from itertools import groupby
from operator import itemgetter, or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.journal import FAILED, Group, Result
from sinagot_catalog.run.claimed_runs.row_waits import NO_WAITS, row_waits
from sinagot_catalog.schema import REPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sinagot_catalog.catalog import Catalog, UnitStep

_LUMP = 10_000
"""Number of results that stay objects before they are packed into a frame."""

_RESULT = {"row": pl.UInt32(), **{name: REPORT[name] for name in Result._fields[1:-1]}}
"""Types of the fields of a `Result` but `extras`, in their order."""


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
        self.extras += [path for result in results for path in result.extras]
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
    """Groups of rows that may run, and groups that wait until rows of other groups of the phase have ended.

    Iteration makes the groups one by one, as all groups would fill the memory. It yields the groups that may start
    now; after `ended`, it yields those that were released. One thread may iterate while another calls `ended`.

    Args:
        rows: The rows of the phase, sorted by `_group`: those of a group run one after the other.
        waits: Pairs of rows: `row` waits for the end of `awaited`.
        block: Returns those of some rows that wait for a failed row, as results; None: such rows run, too.

    Attributes:
        rows: The rows to run.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        waits: pl.DataFrame,
        block: Callable[[pl.DataFrame], list[Result]] | None,
    ) -> None:
        self.rows = rows
        self._waits, self._block = waits, block
        own = rows.select("row", "_group")
        pairs = (
            waits.join(own, on="row")
            .join(own.select(awaited="row"), on="awaited", how="semi")
            .select("awaited", "_group")
            .unique()
            .sort("awaited")
        )
        self._awaited, self._waiting = array("I", pairs["awaited"]), array("I", pairs["_group"])
        self._counts = dict(pairs.group_by("_group").len().iter_rows())
        self._first = _groups_of(rows.join(pairs, on="_group", how="anti", maintain_order="left"))
        self._released = deque[Group]()
        self._ended, self._hurt = set[int](), set[int]()
        self._total, self._n_taken, self._n_blocked = rows["_group"].n_unique(), 0, 0

    def __len__(self) -> int:
        return self._total - self._n_taken - self._n_blocked

    @property
    def is_waiting(self) -> bool:
        """Whether groups wait for rows that have not ended."""
        return bool(self._counts)

    def without(self, rows: Sequence[int]) -> Phase:
        """A copy of this phase without some rows."""
        return Phase(self.rows.filter(~pl.col("row").is_in(list(rows))), self._waits, self._block)

    def __iter__(self) -> Iterator[Group]:
        while group := self._released.popleft() if self._released else next(self._first, None):
            self._n_taken += 1
            yield group

    def ended(self, outcomes: Iterable[tuple[int, str]], on_blocked: Callable[[list[Result]], None]) -> None:
        """Note the outcomes of rows that have ended for good, and release the groups that waited for them.

        Args:
            outcomes: The rows, each with its outcome.
            on_blocked: Receives the rows of these groups that are blocked; they have ended, too.
        """
        while self._counts and (freed := [group for one in outcomes for group in self._freed(*one)]):
            blocked = self._release(freed)
            if blocked:
                on_blocked(blocked)
            outcomes = [(result.row, result.outcome) for result in blocked]

    def _freed(self, row: int, outcome: str) -> Iterator[int]:
        """The groups that wait for no other row than this one, which has ended."""
        start, end = bisect_left(self._awaited, row), bisect_right(self._awaited, row)
        if start == end or row in self._ended:
            return
        self._ended.add(row)
        for group in self._waiting[start:end]:
            if outcome in FAILED:
                self._hurt.add(group)
            self._counts[group] -= 1
            if not self._counts[group]:
                yield group

    def _release(self, groups: list[int]) -> list[Result]:
        rows = self.rows.filter(pl.col("_group").is_in(groups))
        blocked: list[Result] = []
        if self._block is not None and not self._hurt.isdisjoint(groups):
            blocked = self._block(rows.filter(pl.col("_group").is_in(list(self._hurt))))
            rows = rows.filter(~pl.col("row").is_in([result.row for result in blocked]))
        self._n_blocked += len(groups) - rows["_group"].n_unique()
        self._released.extend(_groups_of(rows))
        for group in groups:  # last: a thread that finds no group waits as long as `is_waiting`
            del self._counts[group]
        return blocked


def _groups_of(rows: pl.DataFrame) -> Iterator[Group]:
    """The groups of some rows, one by one."""
    columns = rows.select("_group", "row", "_cell", "record_id")
    for _, group in groupby(columns.iter_rows(), itemgetter(0)):
        yield [(row, cell, record) for _, row, cell, record in group]


class Blocking:
    """Finds the rows of a later phase that wait for a file that a row of an earlier phase failed to make.

    Args:
        catalog: The catalog that the run was planned with.
        rows: All rows of the run: `row, record_id, _cell, _position`.
        members: For each group step the members that its groups run over: `_rec` (the group), `_member`.
    """

    def __init__(self, catalog: Catalog, rows: pl.DataFrame, members: Mapping[int, pl.DataFrame]) -> None:
        self._catalog, self._members = catalog, members
        codes = catalog.row_ids.to_frame().with_row_index("_rec")
        columns = rows.select("row", "record_id", "_cell", "_position")
        self._rows = columns.join(codes, on="record_id", how="inner", maintain_order="left")

    def blocked(self, rows: pl.DataFrame, results: pl.DataFrame) -> list[Result]:
        """The results of the given rows that are blocked.

        Args:
            rows: Rows that did not run yet: `row`.
            results: The results so far: `row`, `outcome`.
        """
        failed = results.filter(pl.col("outcome").is_in(list(FAILED)))
        if failed.is_empty():
            return []
        lost = self._rows.join(failed.select("row"), on="row", how="semi")
        here = self._rows.join(rows.select("row"), on="row", how="semi").sort("_position")
        new_results: list[Result] = []
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
            new_results += [
                Result(row, "blocked", message=message.format(step))
                for row, step in blocked.select("row", "_for").iter_rows()
            ]
        return new_results

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
                    if catalog.layout.is_own(cell, port):
                        out.append((pl.lit(step), met))
                    elif not cell.is_partial:
                        out.append(self._of_members(cell, step, met, nobody))
        return out

    def _of_members(
        self, cell: UnitStep, step: str, lost: pl.Series, nobody: pl.Series
    ) -> tuple[pl.Expr, pl.Series]:
        """The step and the first member that failed of each group, and the groups with such a member."""
        members = self._members[cell.index]
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


def phases_of(
    todo: pl.DataFrame, catalog: Catalog, block: Callable[[pl.DataFrame], list[Result]] | None
) -> list[Phase]:
    """Divide the rows of a run into phases of groups; the rows of a group run one after the other.

    Args:
        todo: The rows of the run.
        catalog: The catalog that the run was planned with.
        block: See `Phase`.
    """
    stages, waits = todo["_phase"].alias("_stage"), NO_WAITS
    if any(catalog.layout.cells[cell].by is not None for cell in todo["_cell"].unique()):
        stages, waits = row_waits(todo, catalog)
    keys = ("_stage", "_phase", "_rec", "_component")
    ordered = (
        todo.with_columns(stages.alias("_stage"))
        .select(*keys, "row", "_cell", "record_id")
        .sort(keys, maintain_order=True)
        .with_columns(pl.struct(keys).rle_id().alias("_group"))
    )
    parts = ordered.partition_by("_stage", maintain_order=True)
    columns = ("_group", "row", "_cell", "record_id")
    return [Phase(rows.select(columns), waits, block) for rows in parts if rows.height]
