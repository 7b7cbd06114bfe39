"""The resolver: applies a query to the tables of one catalog, joined through hidden keys. Pure.

Predicates are applied one after the other, like the filters of a Polars frame. Rows that are shown as another table
lead to the rows that are linked to at least one of them: a semi-join.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog.expressions import conjuncts, is_by_row
from sinagot_catalog.catalog.queries.literals import check_literals
from sinagot_catalog.catalog.queries.query import fitting, named_in
from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.schema import RECORDS, TABLES
from sinagot_catalog.status import LONG_NAMES, StepStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.queries.query import Query
    from sinagot_catalog.catalog.stored_tables.file_columns import FileColumns
    from sinagot_catalog.catalog.structure.layout import Layout
    from sinagot_catalog.catalog.tables import Catalog

_LIKE_SQL = re.compile(r"[\s=<>'()]")
"""A name with such a character is probably a whole filter in SQL."""


class Resolver:
    """Answers queries from one catalog.

    Args:
        catalog: The catalog.
        stats: Reads size, time and etag of paths.
    """

    def __init__(self, catalog: Catalog, stats: Stats) -> None:
        self.catalog = catalog
        self.stats = stats
        self.layout: Layout = catalog.layout

    @property
    def record_schema(self) -> dict[str, Any]:
        """The columns of `records` in this workspace."""
        own = {name: dtype for name, dtype in self.catalog.described.schema.items() if name not in RECORDS}
        return {"record_id": RECORDS["record_id"], **own, **RECORDS}

    def schema(self, table: str) -> dict[str, Any]:
        """The columns that a table can have."""
        return self.record_schema if table == "records" else TABLES[table]

    def known(self, table: str) -> dict[str, Any]:
        """The columns that a filter may name for the rows of a table: its own, and those of `records`.

        Columns from files have no fields here: nothing is read.
        """
        files = dict.fromkeys(self.from_files(table), pl.Struct({}))
        return {**files, **self.record_schema, **self.schema(table)}

    def from_files(self, table: str) -> list[str]:
        """The columns from files that a filter may name for the rows of a table."""
        return list(dict.fromkeys(self._files.names(table) + self._files.names("records")))

    @property
    def _files(self) -> FileColumns:
        return self.catalog.file_columns

    def columns(self, query: Query) -> list[str]:
        """The columns that a query shows if the user names none."""
        named = dict.fromkeys(name for predicate in query.predicates for name in predicate.meta.root_names())
        files = [name for name in named if self._table_of_files(query.table, name) == query.table]
        files = files if query.table in ("records", "units") else []
        return query.shown(self.schema(query.table)) + files

    def described(self, query: Query, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Return names and dtypes of the columns of a query.

        Args:
            query: The query.
            columns: Columns of its table and of `records`; by default those that it shows.

        Raises:
            SelectionError: When there is no such column; names similar ones.
        """
        dtypes = self.known(query.table)
        names = self.columns(query) if columns is None else columns
        files = {name: table for name in names if (table := self._table_of_files(query.table, name))}
        for name in names:
            if name not in dtypes and name not in files:
                raise self._no_column(query.table, name)
        return {
            name: self._files.dtype(files[name], name, self.stats) if name in files else dtypes[name]
            for name in names
        }

    def has(self, table: str, name: str) -> bool:
        """Whether a filter may use a name for the rows of a table."""
        return name in self.known(table) or self._table_of_files(table, name) is not None

    def _table_of_files(self, table: str, name: str) -> str | None:
        """Return the table of a column from files or its field: this one or `records`; None for other columns."""
        found = next((owner for owner in (table, "records") if self._files.find(owner, name)), None)
        is_own = found is not None and (name in self.record_schema or name in self.schema(table))
        return None if is_own else found

    # --- results -----------------------------------------------------------------------------------------

    def fetch(
        self,
        query: Query,
        columns: Sequence[str] | None = None,
        *,
        limit: int | None = None,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Return the rows of a query, or the first of them, with the shown columns or the given ones.

        Args:
            query: The query.
            columns: The columns.
            limit: At most so many rows.
            where: A predicate of Polars' own optimizer: it needs no check.
        """
        names = self.columns(query) if columns is None else list(columns)
        used = [] if where is None else list(dict.fromkeys(where.meta.root_names()))
        if query.table == "steps" and query.is_whole and columns is None:
            rows = self.catalog.whole_steps
        else:
            rows = self.rows(query, [*names, *used])
        if where is not None:
            rows = self._fits(query.table, rows, where, used)
        rows = rows if limit is None else rows.head(limit)
        # an index by names is cheaper than a select of as many expressions
        return self._attach(query.table, rows, names)[names]

    def rows(self, query: Query, names: Iterable[str] | None = None, *, shown: bool = True) -> pl.DataFrame:
        """Return the rows of a query with core columns and hidden keys.

        Args:
            query: The query.
            names: The only columns that are needed: if the table holds all of them, the rows have no others.
            shown: Whether the user gets these rows; otherwise they only lead to another table.
        """
        frame = self._scoped(query, shown=shown)
        if query.before is not None:
            frame = self._linked(query.table, frame, query.before.table, self.rows(query.before, shown=False))
        if query.rows is not None:
            frame = frame.join(query.rows, on=query.rows.columns, how="semi", nulls_equal=True)
        checked = [(predicate, self.check(query.table, predicate)) for predicate in query.predicates]
        if names is not None:
            used = dict.fromkeys([*names, *(name for _, known in checked for name in known)])
            frame = frame[list(used)] if used.keys() <= set(frame.columns) else frame
        for predicate, known in checked:
            frame = self._fits(query.table, frame, predicate, known)
        return frame

    def count(self, query: Query) -> int:
        """Return how many rows a query has."""
        is_every_record = query.table == "records" and query.is_whole
        return len(self.catalog.ids) if is_every_record else self.rows(query).height

    def _scoped(self, query: Query, *, shown: bool) -> pl.DataFrame:
        """Return a table's core rows within the scope."""
        frame = self._core(query.table)
        if query.record is not None:
            frame = frame.filter(pl.col("record_id") == query.record)
        if query.task is None and query.modality is None:
            return frame
        if query.table == "files":
            return frame.join(self._matched(self._places(self.units(query))), on=["root", "row"], how="semi")
        if query.table != "records":
            scope = (("task", query.task), ("modality", query.modality))
            return frame.filter(pl.col(name) == value for name, value in scope if value is not None)
        if query.before is not None and query.before.table != "records":
            return frame  # the query names its records: it has their rows with or without files
        if not shown and not query.predicates:
            return frame  # the steps and units of a scope also belong to records without a file there
        seen = self._matched(self._places(self.units(query)))["_rec"].unique()
        return frame.filter(pl.col("_rec").is_in(seen.implode()))

    def _linked(self, table: str, frame: pl.DataFrame, other: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table that are linked to a row of another table, or are a row of the same one."""
        if table == "files":
            return self._files_of(frame, other, rows)
        if other == "files":
            return self._of_files(table, frame, rows)
        if self.layout.bys and table != other:
            if other == "steps":
                rows = self.catalog.group_steps.with_members(rows)
            elif table == "steps":
                rows = self.catalog.group_steps.with_groups(rows)
        keys = [key for key in ("_rec", "_unit", "_cell") if key in frame.columns and key in rows.columns]
        return frame.join(rows, on=keys, how="semi")

    def _core(self, table: str) -> pl.DataFrame:
        frame: pl.DataFrame = getattr(self.catalog, "held_steps" if table == "steps" else table)
        return frame

    def units(self, query: Query) -> list[int]:
        """Return the units of a query's scope."""
        return [unit.index for unit in self.layout.units_in(query.task, query.modality)]

    # --- files and links ---------------------------------------------------------------------------------

    def _places(self, units: Iterable[int]) -> list[int]:
        chosen = [self.layout.units[unit] for unit in units]
        links = [link for unit in chosen for cell in unit.cells for link in self.layout.cells[cell].links]
        return sorted({link.place for link in links} | {place for unit in chosen for place in unit.data})

    def _matched(self, places: Sequence[int]) -> pl.DataFrame:
        return self.catalog.coded.filter(pl.col("place").is_in(list(places)))

    def _uses(self, key: str, matched: pl.DataFrame) -> pl.DataFrame:
        """Return which units, or unit steps, use files: columns `root`, `row`, `_rec` and the key.

        Args:
            key: `_unit` or `_cell`.
            matched: Rows of the catalog's `matched`.
        """
        layout = self.layout
        links = [(link.place, cell) for cell in layout.cells for link in cell.links]
        if key == "_cell":
            users = {(place, cell.index) for place, cell in links}
        else:  # what a group makes belongs to no unit
            users = {
                (place, cell.unit) for place, cell in links if cell.by is None or place in layout.telling
            }
            users |= {(place, unit.index) for unit in layout.units for place in unit.data}
        schema = {"place": pl.UInt16, key: pl.UInt16}
        uses = matched.join(pl.DataFrame(sorted(users), schema=schema, orient="row"), on="place")
        return self.catalog.group_steps.in_groups(uses) if key == "_cell" and layout.bys else uses

    def _files_of(self, files: pl.DataFrame, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the files that rows of another table are linked to."""
        if table == "records":
            return files.filter(pl.col("record_id").is_in(rows["record_id"].implode()))
        key = "_unit" if table == "units" else "_cell"
        uses = self._uses(key, self.catalog.matched).join(rows, on=["_rec", key], how="semi")
        return files.join(uses, on=["root", "row"], how="semi")

    def _of_files(self, table: str, rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table that are linked to the files."""
        if table == "records":
            return rows.filter(pl.col("record_id").is_in(files["record_id"].drop_nulls().implode()))
        key = "_unit" if table == "units" else "_cell"
        matched = self.catalog.matched.join(files, on=["root", "row"], how="semi")
        return rows.join(self._uses(key, matched), on=["_rec", key], how="semi")

    # --- predicates --------------------------------------------------------------------------------------

    def _fits(self, table: str, frame: pl.DataFrame, predicate: pl.Expr, names: list[str]) -> pl.DataFrame:
        """Return the rows that fit a predicate, of which the names are known.

        What needs columns that are not there yet is decided last, of the rows that are left.
        """
        present = set(frame.columns)
        if present.issuperset(names):
            # in one pass; a part that cannot be applied to rows that others leave out is applied after them
            with suppress(SelectionError, pl.exceptions.StructFieldNotFoundError):
                return fitting(frame, predicate, names)
        parts = conjuncts(predicate) if is_by_row(predicate) else [predicate]
        for part in sorted(parts, key=lambda part_: not present.issuperset(part_.meta.root_names())):
            used = names if part.meta.has_multiple_outputs() else list(dict.fromkeys(part.meta.root_names()))
            wide = self._attach(table, frame, used, part)
            try:
                fits = fitting(wide, part, used)
            except pl.exceptions.StructFieldNotFoundError as error:
                raise self.no_field(table, used, error) from error
            frame = fits if wide is frame else fits.select(frame.columns)
        return frame

    def no_field(self, table: str, names: Iterable[str], error: pl.exceptions.PolarsError) -> SelectionError:
        """Return the error for a field that no struct column of an expression has."""
        column = next((name for name in names if self._table_of_files(table, name)), None)
        field = str(error).partition("\n")[0]
        if column is None:
            return SelectionError(f"there is no field {field!r}")
        return self._files.no_field(column, field, self.stats)

    def check(self, table: str, predicate: pl.Expr) -> list[str]:
        """Return the columns that a predicate names; refuse unknown columns and impossible values.

        Raises:
            SelectionError: When it names no known column, or a value that the column can never have.
        """
        names = named_in(table, predicate, self.schema(table))
        if predicate.meta.has_multiple_outputs():  # a selector shows its names only in its text
            names += [name for name in self.from_files(table) if f"'{name}'" in str(predicate)]
        dtypes = self.known(table)
        if (unknown := next((name for name in names if not self.has(table, name)), None)) is not None:
            raise self._no_column(table, unknown)
        # the columns of the table itself were checked when the user gave the predicate
        keys = {"task", "modality", "step", "next_step"} & TABLES[table].keys()
        choices = self._names() if not keys.isdisjoint(names) else {}
        others = {name: dtypes[name] for name in names if name in dtypes and name not in TABLES[table]}
        if choices or any(isinstance(dtype, pl.Enum) for dtype in others.values()):
            check_literals(predicate, others, choices)
        return names

    def _no_column(self, table: str, name: str) -> SelectionError:
        """Return the error for a name that is no column."""
        dtypes = self.known(table)
        near, columns = self._absent(name, dtypes), f"Its columns: {', '.join(dtypes)}."
        if _LIKE_SQL.search(name):
            columns = f"SQL goes to sql_filter, with texts in single quotes. {columns}"
        elif not self._files.find("units", name) and name in {
            *StepStatus.__members__,
            *LONG_NAMES,
            *chain(*self._names().values()),
        }:
            near, columns = "", f"In SQL a text has single quotes: '{name}'."
        elif table != "steps" and name in TABLES["steps"]:
            near, columns = "", f"It is a column of steps: see .steps, or `ls steps`. {columns}"
        else:
            quotes = "" if near else f" In SQL a text has single quotes: '{name}'."
            columns = f"{columns} [records] metadata adds columns.{quotes}"
        return SelectionError(f"{table} has no column {name!r}{near}", columns)

    def _absent(self, name: str, columns: Iterable[str]) -> str:
        """Return why a column may be absent, as the end of a sentence: a table is unreadable, or a typo."""
        if self._files.find("units", name):
            return "; it is a column of units: ws.units.filter(…).records"
        unread = "; ".join(table.unread for table in self.catalog.tables if table.unread)
        return f"; {unread}" if unread else did_you_mean(name, columns)

    def _names(self) -> dict[str, list[str]]:
        """The values that the key columns can have, by column."""
        units, cells = self.layout.units, self.layout.cells
        return {
            "task": sorted({unit.task for unit in units if unit.task}),
            "modality": sorted({unit.modality for unit in units if unit.modality}),
            "step": sorted({cell.step for cell in cells}),
            "next_step": sorted({cell.step for cell in cells}),
        }

    def _attach(
        self, table: str, rows: pl.DataFrame, names: Sequence[str], where: pl.Expr | None = None
    ) -> pl.DataFrame:
        """Attach named columns that are not there yet, also those of `records`.

        Sizes and times are read if a column needs them, and files if a column comes from them.

        Args:
            table: The table.
            rows: Its rows.
            names: The columns.
            where: The predicate that names them, if one does.
        """
        absent = set(names) - set(rows.columns)
        files = [name for name in names if name in absent and self._table_of_files(table, name) == table]
        if files:
            rows = self._files.attach(table, rows, files, self.stats, where)
            absent -= set(files)
        own = absent & self.schema(table).keys()
        if own and table == "steps":
            rows = self.catalog.steps_with(rows, own, self.stats)
        elif own and table == "records":
            rows = self.catalog.records_with(rows, self.stats)
        elif own and table == "files":
            rows = self.catalog.files_with(rows, self.stats)
        beside = [name for name in names if name in absent - own]
        if beside:
            counted = not RECORDS.keys().isdisjoint(beside)  # counts need the steps of every record
            records = self.catalog.records if counted else self.catalog.described.with_row_index("_rec")
            records = self._attach("records", records, beside, where)
            records = records.select("record_id", *beside)
            if self.layout.bys and "by" in rows.columns and rows["by"].null_count() < rows.height:
                records = self.catalog.group_steps.with_group_values(records)
            rows = rows.join(records, on="record_id", how="left", maintain_order="left")
        return rows
