"""Columns from files: the values that steps with `COLUMNS` wrote, a struct column named after each step.

It is a column of `records`, or of `units` where the step has a task or modality. A file is read only when its
column is named. The type of a field fits the values of all files.
"""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.rules.notices import Notice
from sinagot_catalog.catalog.stored_tables.column_types import common_type, converted
from sinagot_catalog.catalog.stored_tables.metadata_values import text_of, typed, with_nulls
from sinagot_catalog.catalog.stored_tables.read_files import FORMATS
from sinagot_catalog.catalog.stored_tables.row_files import ABSENT, FAULT, TEXT, split
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import ConfigError, SelectionError, did_you_mean
from sinagot_catalog.patterns import paths_of
from sinagot_catalog.schema import FILES, RECORDS, STEPS, UNITS
from sinagot_catalog.storage import STATS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.stored_tables.row_files import RowFiles
    from sinagot_catalog.catalog.structure.layout import Layout, UnitStep
    from sinagot_catalog.catalog.tables import Catalog
    from sinagot_catalog.patterns import Template

_TABLES = {suffix: format_ for suffix, format_ in FORMATS.items() if format_ != "value"}
_SCHEMAS = {"records": RECORDS, "units": UNITS, "steps": STEPS, "files": FILES}
_FIELDS = r'col\("{}"\)((?:\.struct\.field_by_name\([^()]*\)\(\))+)'
"""How the text of an expression shows the fields of a column."""
_MOST = 5
"""Number of files that a notice names."""
_MOSTLY = 10
"""A field is reported as mixed if it has this many times more numbers than texts."""


# --- what a layout declares ----------------------------------------------------------------------------------


def _format(template: Template) -> str | None:
    """Return the format of the files of a pattern; None if they are no tables."""
    return None if template.is_directory else _TABLES.get(PurePosixPath(template.text).suffix.lower())


def columns_fault(outputs: Sequence[Template], *, by: Sequence[str] | None) -> str | None:
    """Return why a step with these outputs has no column of values, as the end of a sentence; else None."""
    if by is not None:
        return "a step per group has no record whose values these are; leave out COLUMNS or BY"
    tables = [output.text for output in outputs if _format(output)]
    if len(tables) == 1:
        return None
    kinds = ", ".join(_TABLES)
    if not tables:
        shown = ", ".join(output.text for output in outputs) or "none"
        return f"none of its outputs is a table with one row ({kinds}), only {shown}"
    return f"{len(tables)} of its outputs are tables, {' and '.join(tables)}: write the values to one of them"


def _cells(layout: Layout) -> dict[str, list[UnitStep]]:
    """Return the unit steps of each column."""
    cells: dict[str, list[UnitStep]] = {}
    for cell in layout.cells:
        if cell.columns:
            cells.setdefault(cell.step, []).append(cell)
    return cells


def check_names(layout: Layout, taken: Container[str], what: str) -> None:
    """Refuse a column that has the name of another column.

    Args:
        layout: The layout.
        taken: Names of other columns.
        what: What these columns are.

    Raises:
        ConfigError: Names the step and what to do.
    """
    for name in _cells(layout):
        tables = [table for table, schema in _SCHEMAS.items() if name in schema]
        other = f"a column of {tables[0]}" if tables else what if name in taken else None
        if name.startswith("_"):
            other = "a reserved name, as it begins with _"
        if other is not None:
            raise ConfigError(
                f"the values of step {name!r} (COLUMNS = True) cannot be a column: {name!r} is {other}",
                "Rename the step, or take COLUMNS away."
                if tables or name.startswith("_")
                else "Rename the step or the other column, or take COLUMNS away.",
            )


# --- the columns of a catalog --------------------------------------------------------------------------------


class FileColumns:
    """The columns from files of one catalog; each is read when it is named for the first time.

    Args:
        catalog: The catalog.
        files: Reads the files; None where no column from files is wanted.
    """

    def __init__(self, catalog: Catalog, files: RowFiles | None) -> None:
        self._catalog = catalog
        self._files = files
        self._lock = threading.Lock()
        self._read: dict[str, pl.DataFrame] = {}

    @cached_property
    def _cells(self) -> dict[str, list[UnitStep]]:
        return {} if self._files is None else _cells(self._catalog.layout)

    @cached_property
    def _is_of_records(self) -> bool:
        return all(unit.task is None and unit.modality is None for unit in self._catalog.layout.units)

    def names(self, table: str) -> list[str]:
        """Return the columns for rows of a table: `records`, or `units` and then also `steps` and `files`."""
        return [*self._cells] if self._is_of_records == (table == "records") else []

    def find(self, table: str, name: str) -> str | None:
        """Return the column that a name such as `qc` or `qc.snr` belongs to; None if there is none."""
        fits = [column for column in self.names(table) if name == column or name.startswith(f"{column}.")]
        return max(fits, key=len, default=None)

    def read_all(self, stats: Stats) -> None:
        """Read every column, for notices on all of them."""
        for name in self._cells:
            self._column(name, stats)

    @property
    def notices(self) -> list[Notice]:
        """What could not be read, of the columns that were read since the last listing."""
        known = {} if self._files is None else self._files.notices
        return [notice for notices in known.values() for notice in notices]

    # --- values ------------------------------------------------------------------------------------------

    def dtype(self, table: str, name: str, stats: Stats) -> pl.DataType:
        """Return the type of a column or field.

        Raises:
            SelectionError: The column has no such field.
        """
        column = self.find(table, name) or name
        values = self._column(column, stats).clear()
        return values.select(self._value(column, name, values)).schema[name]

    def attach(
        self, table: str, rows: pl.DataFrame, names: Iterable[str], stats: Stats, where: pl.Expr | None = None
    ) -> pl.DataFrame:
        """Attach columns and fields to rows of a table.

        Args:
            table: The table.
            rows: Its rows.
            names: The columns, such as `qc`, and fields, such as `qc.snr`.
            stats: Reads sizes and times of files.
            where: The predicate that names them; as long as no file is there, the fields that it names are null.

        Raises:
            SelectionError: A column has no such field.
        """
        for name in names:
            column = self.find(table, name) or name
            values = self._column(column, stats)
            if values.is_empty() and where is not None and name == column:
                values = values.with_columns(pl.lit(None, _named_fields(column, where)).alias(column))
            values = self._with_names(values.with_columns(self._value(column, name, values)))
            keys = ["record_id"] if table == "records" else ["record_id", "task", "modality"]
            rows = rows.join(
                values.select(*keys, name), on=keys, how="left", maintain_order="left", nulls_equal=True
            )
        return rows

    def _with_names(self, values: pl.DataFrame) -> pl.DataFrame:
        """Attach record, task and modality to values."""
        units = [(unit.task, unit.modality) for unit in self._catalog.layout.units]
        names = pl.DataFrame(units, schema=dict.fromkeys(("task", "modality"), pl.String), orient="row")
        ids = self._catalog.ids.gather(values["_rec"]).alias("record_id")
        return values.with_columns(ids, *names[values["_unit"]])

    def _value(self, column: str, name: str, values: pl.DataFrame) -> pl.Expr:
        """Return the expression of a column or field of its values."""
        value = pl.col(column)
        dtype: object = values.schema[column]
        rest = name[len(column) + 1 :]
        while rest:
            fields = dtype.to_schema() if isinstance(dtype, pl.Struct) else {}
            fits = [field for field in fields if rest == field or rest.startswith(f"{field}.")]
            if not fits and values.is_empty() and not fields:
                return pl.lit(None, pl.String).alias(name)  # no file is there yet
            if not fits:
                raise _no_field(name[: -len(rest) - 1], rest, [*fields])
            field = max(fits, key=len)
            value, dtype, rest = value.struct.field(field), fields[field], rest[len(field) + 1 :]
        return value.alias(name)

    def fields(self, column: str, stats: Stats) -> list[str]:
        """Return the names of a column's fields."""
        dtype = self._column(column, stats).schema[column]
        return [*dtype.to_schema()] if isinstance(dtype, pl.Struct) else []

    def no_field(self, column: str, name: str, stats: Stats) -> SelectionError:
        """Return the error for a field that a column does not have."""
        return _no_field(column, name, self.fields(column, stats))

    # --- files -------------------------------------------------------------------------------------------

    def _column(self, name: str, stats: Stats) -> pl.DataFrame:
        """Return the values of a column: `_rec`, `_unit`, and the struct; a row per file that has values."""
        with self._lock:
            if name not in self._read:
                parts = [part for cell in self._cells[name] for part in self._values_of(cell, stats)]
                keys = pl.DataFrame(
                    schema={"_rec": pl.UInt32, "_unit": pl.UInt16, "path": pl.String, FAULT: pl.String}
                )
                values = pl.concat([keys, *parts], how="diagonal_relaxed")
                struct, mixed = _struct(name, values.filter(pl.col(FAULT).is_null()))
                if self._files is not None:
                    self._files.notices[name] = [*_faults(name, values, len(self._catalog.ids)), *mixed]
                self._read[name] = struct
            return self._read[name]

    def _values_of(self, cell: UnitStep, stats: Stats) -> Iterator[pl.DataFrame]:
        """Yield the values of the files of one unit step, by root."""
        catalog = self._catalog
        places = catalog.layout.places
        tables = [place for place in cell.places("output") if _format(places[place].template)]
        if len(tables) != 1 or self._files is None:
            return  # the step itself reports this fault
        template = places[tables[0]].template
        codes = catalog.presence[tables[0]].arg_true().cast(pl.UInt32)
        rows = catalog.record_values[codes].select(
            codes.alias("_rec"), pl.lit(cell.unit, pl.UInt16).alias("_unit"), paths_of(template).alias("path")
        )
        rows = rows.with_columns(catalog.root_of(tables[0], codes).alias("root")).drop_nulls("path")
        for (root,), part in rows.partition_by("root", as_dict=True).items():
            paths = part["path"].unique(maintain_order=True)
            files = stats(str(root), paths).select(*STATS)
            read = self._files.read(str(root), template.text, _format(template) or "", files)
            yield part.drop("root").join(read, on="path", how="left", maintain_order="left")


def _no_field(column: str, name: str, fields: Sequence[str]) -> SelectionError:
    hint = f"Its fields: {', '.join(fields)}." if fields else "It has no fields."
    return SelectionError(f"{column} has no field {name!r}{did_you_mean(name, fields)}", hint)


def _named_fields(column: str, where: pl.Expr) -> pl.Struct:
    """Return a type with the fields of a column that a predicate names.

    Example:
        >>> _named_fields("qc", (pl.col("qc").struct.field("snr") > 3) & pl.col("qc").is_not_null())
        Struct({'snr': Null})
    """
    fields: dict[str, pl.DataType] = {}
    for chain in re.findall(_FIELDS.format(re.escape(column)), str(where)):
        first, *inner = re.findall(r"field_by_name\(([^()]*)\)", chain)
        dtype: pl.DataType = pl.Null()
        for name in reversed(inner):
            dtype = pl.Struct({name: dtype})
        fields[first] = common_type(fields.get(first, pl.Null()), dtype) or dtype
    return pl.Struct(fields)


def _faults(name: str, values: pl.DataFrame, records: int) -> Iterator[Notice]:
    """Report the files without values, and a column without files."""
    faults = values.drop_nulls(FAULT).unique("path", maintain_order=True)
    total = values["path"].n_unique()
    if faults.height:
        files = f"{faults.height:,} of {total:,} files of {name} {'has' if faults.height == 1 else 'have'} no value"
        yield Notice(
            "column file not read",
            faults.height,
            faults["path"][0],
            f"{files}, such as: {faults[FAULT][0]}",
            "Write one row of JSON, CSV or Parquet.",
            tuple(faults[FAULT].head(_MOST)),
            area="columns",
        )
    if not total and records:
        yield Notice(
            "column without files", records, None, f"no file of {name} is there yet: its values are null"
        )


# --- types ---------------------------------------------------------------------------------------------------


def _struct(name: str, values: pl.DataFrame) -> tuple[pl.DataFrame, list[Notice]]:
    """Join the values of all files to one struct column, each field with a type that fits all its values."""
    columns = [
        series for series in values.drop("_rec", "_unit", "path", FAULT) if series.null_count() < len(series)
    ]
    columns.sort(
        key=lambda series: int(series.is_not_null().arg_max() or 0)
    )  # in the order of the first file
    kinds: dict[str, dict[str, pl.Series]] = {}
    for column in columns:
        field, kind = split(column.name)
        kinds.setdefault(field, {})[kind] = column
    fields: list[pl.Series] = []
    notices: list[Notice] = []
    for field, parts in kinds.items():
        values_of = {kind: _typed(kind, column) for kind, column in parts.items()}
        some = [series for series in values_of.values() if series.null_count() < len(series)]
        fields.append(_united(field, some, values.height))
        notices += _mixed(f"{name}.{field}", values_of, values["path"])
    struct = pl.struct(fields) if fields else pl.lit(None, pl.Struct({}))
    return values.select("_rec", "_unit").with_columns(struct.alias(name)), notices


def _typed(kind: str, column: pl.Series) -> pl.Series:
    """Return values with the type that fits this whole column; texts for "no value" become null."""
    if kind == ABSENT:
        return pl.Series(column.name, [None], dtype=pl.Null).new_from_index(0, len(column))
    if kind == TEXT:
        return typed(with_nulls(column))
    return with_nulls(column) if column.dtype == pl.String else column


def _united(field: str, parts: Sequence[pl.Series], height: int) -> pl.Series:
    """Return one column of the values in several columns of different types; a row has a value in at most one."""
    if not parts:
        return pl.Series(field, [None], dtype=pl.String).new_from_index(0, height)
    want: pl.DataType | None = pl.Null()
    for column in parts:
        want = None if want is None else common_type(want, column.dtype)
    frame = pl.DataFrame([column.alias(str(n)) for n, column in enumerate(parts)])
    if want is None:  # such as a list and a number
        values = [text_of(name, dtype) for name, dtype in frame.schema.items()]
    else:
        values = [converted(pl.col(name), dtype, want) for name, dtype in frame.schema.items()]
    return frame.select(pl.coalesce(values).alias(field)).to_series()


def _mixed(name: str, typed: Mapping[str, pl.Series], paths: pl.Series) -> Iterator[Notice]:
    """Report a field that is text because of few of its values."""
    texts = [column for column in typed.values() if column.dtype == pl.String]
    numbers = sum(len(series) - series.null_count() for series in typed.values() if series.dtype.is_numeric())
    for column in texts:
        count = len(column) - column.null_count()
        if count and numbers >= _MOSTLY * count:
            at = column.is_not_null().arg_max() or 0
            files = count_of(count, "file")
            text = f"{name} is text and not numbers, for {files}: {paths[at]} has {column[at]!r}"
            yield Notice("text among numbers", count, paths[at], text)
