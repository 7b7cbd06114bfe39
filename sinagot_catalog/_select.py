"""A selection: predicates over the tables of one catalog, joined through hidden keys. Pure.

The predicates stay with their tables. What a table shows is its rows that fit its own predicates and are linked
to rows of each other table that fit theirs: from coarse to fine each table is narrowed by the one above it, then
the finest one narrows what is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.schema import FILES, RECORDS, STEPS, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog._layout import Layout
    from sinagot_catalog.catalog import Catalog, Stats

__all__ = ["Query", "Resolver", "sql_predicate", "table_schema"]

_FINE = ("records", "units", "steps")
_TIMED = {"records": {"size", "first_modified", "last_modified"}, "steps": {"stale"}, "units": set[str]()}
_TABLES: dict[str, dict[str, Any]] = {"records": RECORDS, "units": UNITS, "files": FILES, "steps": STEPS}


@dataclass(frozen=True)
class Query:
    """What is selected, and which table of it is shown.

    Attributes:
        table: The table that is shown.
        task: The scope's task, or None for all.
        modality: The scope's modality, or None for all.
        record: The only record, or None for all.
        predicates: Table and predicate, in the order in which they were given.
        rows: Keys that rows must have: some of `record_id, task, modality, step`.
    """

    table: str
    task: str | None = None
    modality: str | None = None
    record: str | None = None
    predicates: tuple[tuple[str, pl.Expr], ...] = ()
    rows: pl.DataFrame | None = None

    def where(self, *predicates: pl.Expr) -> Query:
        """Narrow the shown table.

        Raises:
            SelectionError: When a column that only takes certain values is compared with another one.
        """
        for predicate in predicates:
            check_literals(predicate, _TABLES[self.table], {})
        added = tuple((self.table, predicate) for predicate in predicates)
        return replace(self, predicates=self.predicates + added)

    def of(self, table: str) -> list[pl.Expr]:
        """The predicates of one table."""
        return [predicate for name, predicate in self.predicates if name == table]

    def widened(self, catalog: Catalog) -> Catalog:
        """A catalog that also holds the records that are asked for by id and have no file yet."""
        named = [pl.Series([self.record], dtype=pl.String)] if self.record is not None else []
        if self.rows is not None and "record_id" in self.rows.columns:
            named.append(self.rows["record_id"])
        return catalog.with_records(pl.concat(named)) if named else catalog

    @property
    def is_whole(self) -> bool:
        """Whether nothing narrows it."""
        return (self.task, self.modality, self.record, self.predicates) == (None, None, None, ()) and (
            self.rows is None
        )


def table_schema(table: str, catalog_records: dict[str, Any]) -> dict[str, Any]:
    """The columns of a table as it is handed out; `records` has further ones behind `record_id`."""
    if table == "records":
        return catalog_records
    return _TABLES[table]


def sql_predicate(where: str) -> pl.Expr:
    """Read a predicate from SQL text.

    Raises:
        SelectionError: When Polars cannot read it.
    """
    try:
        return pl.sql_expr(where)
    except Exception as error:
        raise SelectionError(
            f"the filter {where!r} cannot be read: {str(error).splitlines()[0]}",
            "Write it as in SQL, such as \"status = 'ERROR' AND record_id > 'REC-2'\".",
        ) from error


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
        """The columns of `records` here."""
        own = {name: dtype for name, dtype in self.catalog.described.schema.items() if name not in RECORDS}
        return {"record_id": RECORDS["record_id"], **own, **RECORDS}

    def schema(self, table: str) -> dict[str, Any]:
        """The columns of a table as it is handed out."""
        return table_schema(table, self.record_schema if table == "records" else {})

    # --- answers -----------------------------------------------------------------------------------------

    def fetch(
        self, query: Query, columns: Sequence[str] | None = None, *, limit: int | None = None
    ) -> pl.DataFrame:
        """The rows of a query, or the first of them, with the columns of its table, or some of them."""
        names = list(self.schema(query.table)) if columns is None else list(columns)
        timed = set(columns or ()) & _TIMED.get(query.table, set())
        if query.table == "steps" and query.is_whole and columns is None:
            rows = self.catalog.whole_steps
        elif not timed and self._is_held(query, names):
            return self._from_held(query, names, limit)
        else:
            rows = self.rows(query)
        rows = rows if limit is None else rows.head(limit)
        return self._attach(query.table, rows, names, timed=bool(timed)).select(names)

    def _is_held(self, query: Query, names: Iterable[str]) -> bool:
        """Whether a query asks for columns of `steps` that are held, and is narrowed by nothing else."""
        if query.table != "steps" or not replace(query, predicates=()).is_whole:
            return False
        if any(table != "steps" for table, _ in query.predicates):
            return False
        used = {name for one in query.of("steps") for name in one.meta.root_names()}
        return {*used, *names} - ({"stale"} - used) <= set(self.catalog.held_steps.columns)

    def _from_held(self, query: Query, names: Sequence[str], limit: int | None) -> pl.DataFrame:
        """The rows of such a query, in one go: hidden columns are not carried along."""
        predicates = query.of("steps")
        for predicate in predicates:
            self._check("steps", predicate)
        try:
            if list(names) == list(STEPS):
                # nothing to be left out, so nothing for a lazy frame to be clever about
                kept = self.catalog.shown_steps.filter(*predicates)
                return kept if limit is None else kept.head(limit)
            rows = self.catalog.held_steps.lazy().filter(*predicates)
            rows = rows.with_columns(pl.lit(None, dtype=pl.Boolean).alias("stale")).select(names)
            return (rows if limit is None else rows.head(limit)).collect()
        except pl.exceptions.PolarsError as error:
            raise _not_applied(predicates, error) from error

    def rows(self, query: Query) -> pl.DataFrame:
        """The rows of a query with core columns and hidden keys."""
        narrowed: dict[str, pl.DataFrame] = {}
        above: tuple[str, pl.DataFrame] | None = None
        for table in _FINE:
            if table == query.table or query.of(table) or (table == "steps" and query.rows is not None):
                frame = self._scoped(table, query, shown=query.table == table)
                if above is not None:
                    frame = frame.join(above[1], on=_shared(*above[:1], table), how="semi")
                frame = self.apply(table, frame, query.of(table))
                if table == "steps" and query.rows is not None:
                    frame = frame.join(query.rows, on=query.rows.columns, how="semi", nulls_equal=True)
                narrowed[table] = frame
                above = table, frame
        if query.table == "files":
            return self._files(query, above)
        if query.of("files"):
            files = self._files(replace(query, table="files", predicates=query.predicates), None)
            narrowed = {table: self._touched(table, frame, files) for table, frame in narrowed.items()}
        shown = narrowed[query.table]
        for table in reversed(_FINE):
            if table == query.table:
                break
            if table in narrowed:
                shown = shown.join(narrowed[table], on=_shared(query.table, table), how="semi")
                break
        return shown

    def _scoped(self, table: str, query: Query, *, shown: bool) -> pl.DataFrame:
        """A table's core rows within the scope."""
        frame = self._core(table)
        if query.record is not None:
            frame = frame.filter(pl.col("record_id") == query.record)
        if query.task is None and query.modality is None:
            return frame
        if table != "records":
            fits = [pl.lit(True)]
            fits += [pl.col("task") == query.task] if query.task is not None else []
            fits += [pl.col("modality") == query.modality] if query.modality is not None else []
            return frame.filter(*fits)
        finer = any(name != "records" for name, _ in query.predicates) or query.rows is not None
        if shown and not finer:
            return frame.filter(pl.col("_rec").is_in(self.catalog.seen_in(self.units(query)).implode()))
        return frame

    def _core(self, table: str) -> pl.DataFrame:
        frame: pl.DataFrame = getattr(self.catalog, "held_steps" if table == "steps" else table)
        return frame

    def units(self, query: Query) -> list[int]:
        """The units of a query's scope."""
        return [
            unit.index
            for unit in self.layout.units
            if query.task in (None, unit.task) and query.modality in (None, unit.modality)
        ]

    # --- files and links ---------------------------------------------------------------------------------

    def _files(self, query: Query, finest: tuple[str, pl.DataFrame] | None) -> pl.DataFrame:
        """The rows of `files` that fit and are linked to the finest other table that is narrowed."""
        frame = self.catalog.files
        if query.record is not None:
            frame = frame.filter(pl.col("record_id") == query.record)
        if query.task is not None or query.modality is not None:
            frame = frame.join(self._matched(self._places(self.units(query))), on=["root", "row"], how="semi")
        if finest is not None:
            frame = self._linked(frame, *finest)
        return self.apply("files", frame, query.of("files"))

    def _places(self, units: Iterable[int]) -> list[int]:
        chosen = [self.layout.units[unit] for unit in units]
        links = [link for unit in chosen for cell in unit.cells for link in self.layout.cells[cell].links]
        return sorted({link.place for link in links} | {place for unit in chosen for place in unit.data})

    def _matched(self, places: Sequence[int]) -> pl.DataFrame:
        return self.catalog.coded.filter(pl.col("place").is_in(list(places)))

    def _cells_of_places(self) -> pl.DataFrame:
        pairs = sorted({(link.place, cell.index) for cell in self.layout.cells for link in cell.links})
        return pl.DataFrame(pairs, schema={"place": pl.UInt16, "_cell": pl.UInt16}, orient="row")

    def _linked(self, files: pl.DataFrame, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The files that rows of another table are linked to."""
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
        """Paths without an id that some rows use."""
        from sinagot_catalog._patterns._columns import paths_of

        used = link.filter(pl.col(key).is_in(rows[key].unique().implode()))["place"].unique().to_list()
        shared = [place for place in used if place not in self.layout.telling]
        values = self.catalog.record_values[rows["_rec"].unique()]
        found = [
            values.select(paths_of(self.layout.places[place].template).alias("path"))["path"]
            for place in shared
        ]
        return pl.concat([pl.Series("path", [], dtype=pl.String), *found]).drop_nulls().unique()

    def _touched(self, table: str, rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
        """The rows of a table that are linked to some files."""
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
        return pl.concat(
            [rows.join(touched, on=["_rec", "_cell"], how="semi"), rows.filter(pl.col("_cell").is_in(shared))]
        ).unique(subset=["_rec", "_cell"], maintain_order=True)

    def _sharing_cells(self, files: pl.DataFrame) -> list[int]:
        """The cells that use one of some files by a pattern without an id."""
        there = files.filter(pl.col("record_id").is_null())["path"].to_list()
        places = {
            index
            for index, place in enumerate(self.layout.places)
            if not place.template.fields and place.template.text in there
        }
        return [cell.index for cell in self.layout.cells if places & {link.place for link in cell.links}]

    # --- predicates --------------------------------------------------------------------------------------

    def apply(self, table: str, frame: pl.DataFrame, predicates: Iterable[pl.Expr]) -> pl.DataFrame:
        """Keep the rows of a table that fit; columns of `records` may be named too."""
        for predicate in predicates:
            own = self.schema(table)
            names = self._check(table, predicate)
            timed = set(names) & _TIMED.get(table, set())
            wide = self._attach(table, frame, [name for name in names if name in own], timed=bool(timed))
            wide = self._with_record_columns(wide, [name for name in names if name not in own])
            try:
                kept = wide.filter(predicate)
            except pl.exceptions.PolarsError as error:
                raise _not_applied([predicate], error) from error
            frame = kept if wide is frame else kept.select(frame.columns)
        return frame

    def _check(self, table: str, predicate: pl.Expr) -> list[str]:
        """The columns that a predicate names; one that names no column, or what none can be, is refused."""
        names = list(dict.fromkeys(predicate.meta.root_names()))
        known = {**self.record_schema, **self.schema(table)}
        unknown = [name for name in names if name not in known]
        if unknown:
            sql = "" if unknown[0].isidentifier() else "SQL goes to sql_filter, with texts in single quotes. "
            raise SelectionError(
                f"{table} has no column {unknown[0]!r}{did_you_mean(unknown[0], known)}",
                f"{sql}Its columns: {', '.join(known)}.",
            )
        # columns of the table itself were looked at when the predicate was given
        choices = self._names() if not {"task", "modality", "step", "next_step"}.isdisjoint(names) else {}
        others = {name: known[name] for name in names if name not in _TABLES[table]}
        if choices or any(isinstance(dtype, pl.Enum) for dtype in others.values()):
            check_literals(predicate, others, choices)
        return names

    def _names(self) -> dict[str, list[str]]:
        """What the key columns can be, by column."""
        units, cells = self.layout.units, self.layout.cells
        return {
            "task": sorted({unit.task for unit in units if unit.task}),
            "modality": sorted({unit.modality for unit in units if unit.modality}),
            "step": sorted({cell.step for cell in cells}),
            "next_step": sorted({cell.step for cell in cells}),
        }

    def _with_record_columns(self, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        if not names:
            return frame
        timed = bool(set(names) & _TIMED["records"])
        records = self._attach("records", self.catalog.records, names, timed=timed).select(
            "record_id", *names
        )
        return frame.join(records, on="record_id", how="left", maintain_order="left")

    def _attach(self, table: str, rows: pl.DataFrame, names: Sequence[str], *, timed: bool) -> pl.DataFrame:
        """Attach the derived columns that are named."""
        stats = self.stats if timed else None
        absent = set(names) - set(rows.columns)
        if not absent:
            return rows
        if table == "steps":
            return self.catalog.steps_with(rows, absent, stats)
        if table == "records":
            return self.catalog.records_with(rows, stats)
        if table == "files":
            return self.catalog.files_with(rows, self.stats)
        return rows


def _not_applied(predicates: Sequence[pl.Expr], error: Exception) -> SelectionError:
    shown = " & ".join(map(str, predicates))
    return SelectionError(f"the filter {shown} cannot be applied: {str(error).splitlines()[0]}")


def _shared(coarse: str, fine: str) -> list[str]:
    """The hidden keys that two tables share."""
    return ["_rec", "_unit"] if {coarse, fine} == {"units", "steps"} else ["_rec"]


def check_literals(expression: pl.Expr, schema: dict[str, Any], names: dict[str, list[str]]) -> None:
    """Refuse texts that a column can never be: a typo in a deployed filter must not mean "nothing to do".

    Raises:
        SelectionError: Naming what is near.
    """
    operands = expression.meta.pop()
    for column in (one for one in operands if one.meta.is_column()):
        name = column.meta.output_name()
        dtype = schema.get(name)
        if isinstance(dtype, pl.Enum) and _compares(expression, column, operands, _ORDER | _EQUAL):
            _check_values(name, operands, list(dtype.categories))
        elif name in names and _compares(expression, column, operands, _EQUAL):
            _check_values(name, operands, names[name])
    for operand in operands:
        check_literals(operand, schema, names)


_EQUAL = frozenset({"==", "!=", "==v", "!=v"})
_ORDER = frozenset({"<", "<=", ">", ">="})


def _compares(
    expression: pl.Expr, column: pl.Expr, operands: Sequence[pl.Expr], signs: frozenset[str]
) -> bool:
    """Whether the outermost thing that an expression does is to compare a column with its other operand.

    Polars does not tell what an expression does, but how it is written: only a comparison is written like one.
    """
    text = str(expression)
    if text.startswith((f"{column}.is_in(", f"{column}.sql_is_in(")):
        return True
    return len(operands) == 2 and any(  # noqa: PLR2004 - left and right
        text == f"[({one}) {sign} ({other})]" for sign in signs for one, other in permutations(operands)
    )


def _check_values(column: str, operands: Sequence[pl.Expr], choices: Sequence[str]) -> None:
    for literal in (one for one in operands if one.meta.is_literal()):
        values = pl.select(literal).to_series()
        if isinstance(values.dtype, (pl.List, pl.Array)):
            values = values.explode(keep_nulls=False, empty_as_null=False)
        if values.dtype != pl.String:
            continue
        for value in values.drop_nulls().to_list():
            check_value(column, value, choices)


def check_value(column: str, value: str, choices: Sequence[str]) -> None:
    """Refuse one value that a column can never have."""
    if value not in choices:
        raise SelectionError(
            f"{column} is never {value!r}{did_you_mean(value, choices)}",
            "It is one of " + ", ".join(choices) + "." if choices else f"Nothing here has a {column}.",
        )
