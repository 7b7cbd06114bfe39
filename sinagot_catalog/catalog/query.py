"""Queries: apply the predicates of a selection to the tables of one catalog, joined through hidden keys. Pure.

A query shows the rows of one table within a scope. Its predicates are applied one after the other, like the
filters of a Polars frame. A query that shows the rows of another query as another table keeps the rows that are
linked to at least one of those rows: a semi-join.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog.literals import check_literals
from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.schema import FILES, RECORDS, STEPS, TIMED, UNITS
from sinagot_catalog.status import LONG_NAMES, StepStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog.layout import Layout
    from sinagot_catalog.catalog.tables import Catalog, Stats

__all__ = ["Query", "Resolver"]

_TABLES: dict[str, dict[str, Any]] = {"records": RECORDS, "units": UNITS, "files": FILES, "steps": STEPS}


@dataclass(frozen=True)
class Query:
    """The predicates of a selection, and the table that it shows.

    Attributes:
        table: The shown table.
        task: The scope's task, or None for all.
        modality: The scope's modality, or None for all.
        record: The only record, or None for all.
        predicates: The predicates of the shown table, in the order in which they were given.
        rows: Keys that rows must have: some of `record_id, task, modality, step`.
        before: The query whose rows are shown as another table, or in a narrower scope.
    """

    table: str
    task: str | None = None
    modality: str | None = None
    record: str | None = None
    predicates: tuple[pl.Expr, ...] = ()
    rows: pl.DataFrame | None = None
    before: Query | None = None

    def where(self, *predicates: pl.Expr) -> Query:
        """Narrow the shown table.

        Raises:
            SelectionError: When a column with fixed values is compared with a value that it can never have.
        """
        for predicate in predicates:
            check_literals(predicate, _TABLES[self.table], {})
        return replace(self, predicates=self.predicates + predicates)

    def seen_as(self, table: str) -> Query:
        """Return the same rows as another table."""
        if table == self.table:
            return self
        return self._after(replace(self, table=table))

    def within(self, task: str | None, modality: str | None) -> Query:
        """Return the same rows in another scope."""
        return self._after(replace(self, task=task, modality=modality))

    def _after(self, query: Query) -> Query:
        """Return a query for the rows of this one: linked to them if the query is narrowed."""
        if not self.is_narrowed:
            return query
        return replace(query, predicates=(), rows=None, before=self)

    def widened(self, catalog: Catalog) -> Catalog:
        """Return a catalog that also contains the records that the query names by id and that have no file yet."""
        named = self.ids()
        return catalog.with_records(pl.concat(named)) if named else catalog

    def ids(self) -> list[pl.Series]:
        """The ids that the query and the queries before it name."""
        named = [] if self.before is None else self.before.ids()
        if self.record is not None:
            named.append(pl.Series([self.record], dtype=pl.String))
        if self.rows is not None and "record_id" in self.rows.columns:
            named.append(self.rows["record_id"])
        return named

    def shown(self, schema: Iterable[str]) -> list[str]:
        """The columns that it shows if the user names none.

        Columns of `steps` and `records` that need sizes or times are shown if a predicate names them.
        """
        named = {name for one in self.predicates for name in _named_in(self.table, one, schema)}
        hidden = TIMED.get(self.table, frozenset()) - named
        return [name for name in schema if name not in hidden]

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the scope narrows it."""
        return bool(self.predicates) or self.rows is not None or self.before is not None

    def named_steps(self, steps: Sequence[str]) -> set[str]:
        """Which of the steps the predicates name; a predicate that only excludes steps names none."""
        names = pl.DataFrame({"step": [*steps, ""]})
        named = set[str]() if self.before is None else self.before.named_steps(steps)
        for predicate in self.predicates if self.table == "steps" else ():
            if predicate.meta.root_names() == ["step"]:
                try:
                    kept = names.filter(predicate)["step"].to_list()
                except pl.exceptions.PolarsError:
                    continue  # the selection itself reports the error
                named |= set(kept) if "" not in kept else set()
        return named

    @property
    def is_whole(self) -> bool:
        """Whether nothing narrows it."""
        return (self.task, self.modality, self.record) == (None, None, None) and not self.is_narrowed


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
        return self.record_schema if table == "records" else _TABLES[table]

    def known(self, table: str) -> dict[str, Any]:
        """The columns that a filter may name for the rows of a table: its own, and those of `records`."""
        return {**self.record_schema, **self.schema(table)}

    def columns(self, query: Query) -> list[str]:
        """The columns that a query shows if the user names none."""
        return query.shown(self.schema(query.table))

    def described(self, query: Query, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Return names and dtypes of the columns of a query.

        Args:
            query: The query.
            columns: Columns of its table and of `records`; by default those that it shows.

        Raises:
            SelectionError: When there is no such column; names similar ones.
        """
        known = self.known(query.table)
        names = self.columns(query) if columns is None else columns
        for name in names:
            if name not in known:
                raise SelectionError(
                    f"{query.table} has no column {name!r}{self._absent(name, known)}",
                    "Its columns: " + ", ".join(self.schema(query.table)) + ".",
                )
        return {name: known[name] for name in names}

    # --- results -----------------------------------------------------------------------------------------

    def fetch(
        self, query: Query, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pl.DataFrame:
        """Return the rows of a query, or the first of them, with the shown columns or the given ones."""
        names = self.columns(query) if columns is None else list(columns)
        if query.table == "steps" and query.is_whole and columns is None:
            rows = self.catalog.whole_steps
        elif self._is_held(query, names):
            return self._from_held(query, names, limit)
        else:
            rows = self.rows(query)
        rows = rows if limit is None else rows.head(limit)
        return self._attach(query.table, rows, names).select(names)

    def _is_held(self, query: Query, names: Iterable[str]) -> bool:
        """Whether a query needs only columns of `steps` that are cached, and nothing else narrows it."""
        if query.table != "steps" or not replace(query, predicates=()).is_whole:
            return False
        used = {name for one in query.predicates for name in self.check("steps", one)}
        return {*used, *names} <= set(self.catalog.held_steps.columns)

    def _from_held(self, query: Query, names: Sequence[str], limit: int | None) -> pl.DataFrame:
        """Return the rows of such a query, without columns that are not needed."""
        used = [name for one in query.predicates for name in self.check("steps", one)]
        rows = self.catalog.held_steps.select(list(dict.fromkeys([*names, *used])))
        for predicate in query.predicates:
            rows = _fitting(rows, predicate, self.check("steps", predicate))
        return (rows if limit is None else rows.head(limit)).select(names)

    def rows(self, query: Query, *, shown: bool = True) -> pl.DataFrame:
        """Return the rows of a query with core columns and hidden keys.

        Args:
            query: The query.
            shown: Whether the user gets these rows; otherwise they only lead to another table.
        """
        frame = self._scoped(query, shown=shown)
        if query.before is not None:
            frame = self._linked(query.table, frame, query.before.table, self.rows(query.before, shown=False))
        if query.rows is not None:
            frame = frame.join(query.rows, on=query.rows.columns, how="semi", nulls_equal=True)
        return self.apply(query.table, frame, query.predicates)

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
            fits = [pl.lit(True)]
            fits += [pl.col("task") == query.task] if query.task is not None else []
            fits += [pl.col("modality") == query.modality] if query.modality is not None else []
            return frame.filter(*fits)
        if query.before is not None and query.before.table != "records":
            return frame  # the query names its records: it has their rows with or without files
        if not shown and not query.predicates:
            return frame  # the steps and units of a scope also belong to records without a file there
        return frame.filter(pl.col("_rec").is_in(self.catalog.seen_in(self.units(query)).implode()))

    def _linked(self, table: str, frame: pl.DataFrame, other: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table that are linked to a row of another table, or are a row of the same one."""
        if table == "files":
            return self._files_of(frame, other, rows)
        if other == "files":
            return self._of_files(table, frame, rows)
        keys = [key for key in ("_rec", "_unit", "_cell") if key in frame.columns and key in rows.columns]
        return frame.join(rows, on=keys, how="semi")

    def _core(self, table: str) -> pl.DataFrame:
        frame: pl.DataFrame = getattr(self.catalog, "held_steps" if table == "steps" else table)
        return frame

    def units(self, query: Query) -> list[int]:
        """Return the units of a query's scope."""
        return [
            unit.index
            for unit in self.layout.units
            if query.task in (None, unit.task) and query.modality in (None, unit.modality)
        ]

    # --- files and links ---------------------------------------------------------------------------------

    def _places(self, units: Iterable[int]) -> list[int]:
        chosen = [self.layout.units[unit] for unit in units]
        links = [link for unit in chosen for cell in unit.cells for link in self.layout.cells[cell].links]
        return sorted({link.place for link in links} | {place for unit in chosen for place in unit.data})

    def _matched(self, places: Sequence[int]) -> pl.DataFrame:
        return self.catalog.coded.filter(pl.col("place").is_in(list(places)))

    def _cells_of_places(self) -> pl.DataFrame:
        pairs = sorted({(link.place, cell.index) for cell in self.layout.cells for link in cell.links})
        return pl.DataFrame(pairs, schema={"place": pl.UInt16, "_cell": pl.UInt16}, orient="row")

    def _files_of(self, files: pl.DataFrame, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the files that rows of another table are linked to."""
        if table == "records":
            return files.filter(pl.col("record_id").is_in(rows["record_id"].implode()))
        if table == "units":
            places = [
                (place, unit.index) for unit in self.layout.units for place in self._places([unit.index])
            ]
            link = pl.DataFrame(places, schema={"place": pl.UInt16, "_unit": pl.UInt16}, orient="row")
            key = "_unit"
        else:
            link, key = self._cells_of_places(), "_cell"
        matched = self.catalog.coded.join(link, on="place", how="inner").join(
            rows, on=["_rec", key], how="semi"
        )
        shared = self._shared_paths(rows, key, link)
        return files.filter(
            pl.struct("root", "row").is_in(matched.select(pl.struct("root", "row")).to_series().implode())
            | pl.col("path").is_in(shared.implode())
        )

    def _shared_paths(self, rows: pl.DataFrame, key: str, link: pl.DataFrame) -> pl.Series:
        """Return paths without an id that the rows use."""
        from sinagot_catalog.patterns import paths_of

        used = link.filter(pl.col(key).is_in(rows[key].unique().implode()))["place"].unique().to_list()
        shared = [place for place in used if place not in self.layout.telling]
        values = self.catalog.record_values[rows["_rec"].unique()]
        found = [
            values.select(paths_of(self.layout.places[place].template).alias("path"))["path"]
            for place in shared
        ]
        return pl.concat([pl.Series("path", [], dtype=pl.String), *found]).drop_nulls().unique()

    def _of_files(self, table: str, rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table that are linked to the files."""
        if table == "records":
            return rows.filter(pl.col("record_id").is_in(files["record_id"].drop_nulls().implode()))
        matched = self.catalog.coded.join(files, on=["root", "row"], how="semi")
        cells = self._cells_of_places()
        touched = matched.join(cells, on="place", how="inner").select("_rec", "_cell")
        shared = self._sharing_cells(files)
        if table == "units":
            units = (
                self.catalog.cell_table.select("_unit")
                .with_row_index("_cell")
                .with_columns(pl.col("_cell").cast(pl.UInt16))
            )
            pairs = touched.join(units, on="_cell").select("_rec", "_unit")
            data = pl.DataFrame(
                [(place, unit.index) for unit in self.layout.units for place in unit.data],
                schema={"place": pl.UInt16, "_unit": pl.UInt16},
                orient="row",
            )
            pairs = pl.concat([pairs, matched.join(data, on="place").select("_rec", "_unit")])
            return rows.join(pairs, on=["_rec", "_unit"], how="semi")
        sharing = rows.filter(pl.col("_cell").is_in(shared)).select("_rec", "_cell")
        return rows.join(pl.concat([touched, sharing]), on=["_rec", "_cell"], how="semi")

    def _sharing_cells(self, files: pl.DataFrame) -> list[int]:
        """Return the unit steps that use one of the files by a pattern without an id."""
        there = files.filter(pl.col("record_id").is_null())["path"].to_list()
        places = {
            index
            for index, place in enumerate(self.layout.places)
            if not place.template.fields and place.template.text in there
        }
        return [cell.index for cell in self.layout.cells if places & {link.place for link in cell.links}]

    # --- predicates --------------------------------------------------------------------------------------

    def apply(self, table: str, frame: pl.DataFrame, predicates: Iterable[pl.Expr]) -> pl.DataFrame:
        """Apply predicates one after the other to rows of a table; they may also name columns of `records`."""
        for predicate in predicates:
            names = self.check(table, predicate)
            wide = self._attach(table, frame, names)
            if wide is frame:
                frame = _fitting(frame, predicate, names)
            else:
                frame = _fitting(wide, predicate, names).select(frame.columns)
        return frame

    def check(self, table: str, predicate: pl.Expr) -> list[str]:
        """Return the columns that a predicate names; refuse unknown columns and impossible values.

        Raises:
            SelectionError: When it names no known column, or a value that the column can never have.
        """
        names = _named_in(table, predicate, self.schema(table))
        known = self.known(table)
        unknown = [name for name in names if name not in known]
        if unknown:
            sql = "" if unknown[0].isidentifier() else "SQL goes to sql_filter, with texts in single quotes. "
            if unknown[0] in StepStatus.__members__ or unknown[0] in LONG_NAMES:
                sql = f"In SQL a text has single quotes: '{unknown[0]}'. "
            raise SelectionError(
                f"{table} has no column {unknown[0]!r}{self._absent(unknown[0], known)}",
                f"{sql}Its columns: {', '.join(known)}.",
            )
        # the columns of the table itself were checked when the user gave the predicate
        keys = {"task", "modality", "step", "next_step"} & _TABLES[table].keys()
        choices = self._names() if not keys.isdisjoint(names) else {}
        others = {name: known[name] for name in names if name not in _TABLES[table]}
        if choices or any(isinstance(dtype, pl.Enum) for dtype in others.values()):
            check_literals(predicate, others, choices)
        return names

    def _absent(self, name: str, known: Iterable[str]) -> str:
        """Return why a column may be absent, as the end of a sentence: a table is unreadable, or a typo."""
        unread = "; ".join(one.unread for one in self.catalog.tables if one.unread)
        return f"; {unread}" if unread else did_you_mean(name, known)

    def _names(self) -> dict[str, list[str]]:
        """The values that the key columns can have, by column."""
        units, cells = self.layout.units, self.layout.cells
        return {
            "task": sorted({unit.task for unit in units if unit.task}),
            "modality": sorted({unit.modality for unit in units if unit.modality}),
            "step": sorted({cell.step for cell in cells}),
            "next_step": sorted({cell.step for cell in cells}),
        }

    def _attach(self, table: str, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Attach named columns that are not there yet, also those of `records`.

        Sizes and times are read if a column needs them.
        """
        absent = set(names) - set(rows.columns)
        own = absent & self.schema(table).keys()
        if own and table == "steps":
            rows = self.catalog.steps_with(rows, own, self.stats)
        elif own and table == "records":
            rows = self.catalog.records_with(rows, self.stats)
        elif own and table == "files":
            rows = self.catalog.files_with(rows, self.stats)
        beside = [name for name in names if name in absent - own]
        if beside:
            records = self._attach("records", self.catalog.records, beside).select("record_id", *beside)
            rows = rows.join(records, on="record_id", how="left", maintain_order="left")
        return rows


def _named_in(table: str, predicate: pl.Expr, schema: Iterable[str]) -> list[str]:
    """Return the columns that a predicate names; for a selector all columns that the table shows."""
    names = dict.fromkeys(predicate.meta.root_names())
    if predicate.meta.has_multiple_outputs():
        text, hidden = str(predicate), TIMED.get(table, frozenset())
        names |= dict.fromkeys(name for name in schema if name not in hidden or f"'{name}'" in text)
    return list(names)


def _fitting(frame: pl.DataFrame, predicate: pl.Expr, names: Sequence[str]) -> pl.DataFrame:
    """Return the rows of a frame that fit a predicate.

    Args:
        frame: The frame; it may have more columns than a predicate with selectors may see.
        predicate: The predicate.
        names: The columns that it names.

    Raises:
        SelectionError: When Polars cannot apply it.
    """
    try:
        if not predicate.meta.has_multiple_outputs() or len(names) == frame.width:
            return frame.filter(predicate)
        fits = frame.select(names).select(predicate)
        if fits.width != 1:
            raise SelectionError(
                f"the filter {predicate} cannot be applied: it gives {fits.width} columns, not one",
                "Put pl.all_horizontal(…) or pl.any_horizontal(…) around it.",
            )
        fit = fits.to_series()
        return frame.filter(fit if len(fit) == frame.height else pl.lit(fit.first()))
    except pl.exceptions.PolarsError as error:
        raise _not_applied([predicate], error) from error


def _not_applied(predicates: Sequence[pl.Expr], error: Exception) -> SelectionError:
    shown = " & ".join(map(str, predicates))
    return SelectionError(f"the filter {shown} cannot be applied: {str(error).splitlines()[0]}")
