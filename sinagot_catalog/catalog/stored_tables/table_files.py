"""Sets of table files as one lazy frame: chooses the files to read, and unites their columns.

The frame is an IO source of Polars. Its schema is the union over all its files, so that a projection or a later
filter never changes a value. Reading the schema reads the columns of the files; no file is opened before. A filter
of key columns directly on the frame chooses files: an excluded file is never opened.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import polars as pl
from polars.io.plugins import register_io_source

from sinagot_catalog.catalog.expressions import conjuncts
from sinagot_catalog.catalog.stored_tables.column_types import common_type
from sinagot_catalog.catalog.stored_tables.table_file import (
    FILE,
    SEPARATORS,
    TableFile,
    read_contents,
    rows_of_alike,
)
from sinagot_catalog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from sinagot_catalog.storage import Store

_FEWEST, _MOST = 16, 512
"""Number of files that are read at once: at first, and at most."""
_SMALL, _BIG = 16 << 20, 128 << 20
"""Bytes of a batch below which the next batch has more files, and above which it has fewer."""
_HELD = 64 << 20
"""Bytes of content that stay in memory between reading the columns and reading the rows."""
_SCHEMA_FAULT = re.compile(
    r"schema callable failed: (?:Storage|Absent)Error: (.*?)(?:\n\nThis error occurred .*)?$", re.DOTALL
)

_Schema: TypeAlias = tuple[tuple[str, pl.DataType], ...]


class TableFiles:
    """Files with the key columns of their rows.

    Args:
        stores: The stores of the files, by the names in the column `root`.
        located: A row per file: the key columns, `root`, `path` and `format`.
        schema: The columns of the result, if the user sets them.
        options: Options for Polars' own readers.
        ids: Columns of CSV files that are text.
        strict: Whether an unreadable file is an error; otherwise it is left out with a warning.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        located: pl.DataFrame,
        schema: Mapping[str, pl.DataType] | None,
        options: Mapping[str, Any],
        *,
        ids: Collection[str],
        strict: bool,
    ) -> None:
        self.keys = located.drop("root", "path", "format")
        self._stores = stores
        self._located = located
        self._given = schema
        self._options = options
        self._ids = ids
        self._strict = strict
        self._types: dict[str, pl.DataType] | None = None
        self._files: dict[int, TableFile] = {}

    def _some(self, numbers: pl.Series) -> list[TableFile]:
        """Return the files with these numbers, without those that are left out."""
        new = [number for number in numbers if number not in self._files]
        for number, row in zip(new, self._located[new].iter_rows(named=True), strict=True):
            self._files[number] = TableFile(
                self._stores[row["root"]],
                row["path"],
                row["format"],
                row.get("record_id"),
                self._options,
                self._ids,
                number=number,
            )
        files = [self._files[number] for number in numbers]
        return [file for file in files if file.fault is None]

    def frame(self) -> TableFrame:
        """Return the rows of all files as one lazy frame."""
        source = register_io_source(
            self._read, schema=self._schema, explain_name="files", explain_detail=f"{self.keys.height} files"
        )
        frame = cast("TableFrame", TableFrame._from_pyldf(source._ldf))  # noqa: SLF001 - Polars has no public API for subclasses of LazyFrame
        frame._files = self  # noqa: SLF001 - the same module
        return frame

    # --- columns -----------------------------------------------------------------------------------------

    def _schema(self) -> pl.Schema:
        types = self._union()
        names = self._names(types)
        return pl.Schema({**self.keys.schema, **{names[name]: dtype for name, dtype in types.items()}})

    def _names(self, types: Mapping[str, pl.DataType]) -> dict[str, str]:
        """Return the columns' names in the frame: a name that is also a key's gets a suffix, as in a join."""
        taken = {*self.keys.columns, *types}
        names = {}
        for name in types:
            shown = name
            while shown in self.keys.columns or (shown != name and shown in taken):
                shown += "_right"
            taken.add(shown)
            names[name] = shown
        return names

    def _union(self) -> dict[str, pl.DataType]:
        """Return the columns of all files, in order of appearance, each of a type that holds all its values."""
        if self._types is None:
            self._types = dict(self._given) if self._given is not None else self._found()
        return self._types

    def _found(self) -> dict[str, pl.DataType]:
        schemas: dict[_Schema, list[TableFile]] = {}
        start, many, held = 0, _FEWEST, 0
        numbers = self._chosen(None, None)
        while start < len(numbers):
            before = held
            for file in self._with_content(self._some(numbers[start : start + many])):
                try:
                    schemas.setdefault(tuple(file.schema().items()), []).append(file)
                except StorageError as error:
                    self._leave_out(file, error)
                if file.content is not None:
                    held += len(file.content)
                    file.content = file.content if held <= _HELD and file.kind is None else None
            start, many = start + many, _next_many(many, held - before)
        types = self._united(schemas)
        self._warn(self._files.values())
        return types

    def _united(self, schemas: Mapping[_Schema, list[TableFile]]) -> dict[str, pl.DataType]:
        """Return the common type of each column; without a common type, the first file's type counts."""
        valueless = self._valueless(schemas)
        types: dict[str, pl.DataType] = {}
        first: dict[str, TableFile] = {}
        for schema, files in schemas.items():
            dtypes = {
                name: pl.Null() if dtype == pl.String and name in valueless else dtype
                for name, dtype in schema
            }
            common_types = {
                name: common_type(types.get(name, pl.Null()), dtype) for name, dtype in dtypes.items()
            }
            odd = next((name for name, dtype in common_types.items() if dtype is None), None)
            if odd is None:
                types |= cast("dict[str, pl.DataType]", common_types)
                first = {**dict.fromkeys(common_types, files[0]), **first}
                continue
            for file in files:
                fault = StorageError(
                    f"{file.path} cannot be read with {first[odd].path}: column {odd!r} is "
                    f"{dtypes[odd]} and there {types[odd]}, and no type holds both",
                    "Leave out what cannot be read: strict=False.",
                )
                self._leave_out(file, fault)
        return types

    def _valueless(self, schemas: Mapping[_Schema, list[TableFile]]) -> set[str]:
        """Return columns that are text only in CSV files without a value in them: other files decide their type."""
        texts: dict[str, list[TableFile]] = {}
        others: set[str] = set()
        for schema, files in schemas.items():
            for name, dtype in schema:
                if dtype != pl.String:
                    others.add(name)
                elif files[0].format in SEPARATORS:
                    texts.setdefault(name, []).extend(files)
        return {
            name
            for name in texts.keys() & others
            if not any(self._has_values(file, name) for file in texts[name])
        }

    def _has_values(self, file: TableFile, name: str) -> bool:
        try:
            return file.has_values(name)
        except StorageError as error:
            self._leave_out(file, error)
            return False

    # --- rows --------------------------------------------------------------------------------------------

    def _read(
        self, columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        """Read rows for Polars: a limit applies before the predicate."""
        types = self._union()
        names = self._names(types)
        wanted = {*(columns if columns is not None else self._schema())}
        wanted |= set(predicate.meta.root_names() if predicate is not None else ())
        read = {name: dtype for name, dtype in types.items() if names[name] in wanted}
        numbers = self._chosen(predicate, limit)
        start, many = 0, _FEWEST
        files: list[TableFile] = []
        while start < len(numbers):
            some = self._some(numbers[start : start + many])
            files += some
            rows = self._rows(some, read)
            start, many = start + many, _next_many(many, int(rows.estimated_size()))
            keys = self.keys[rows[FILE]]
            frame = keys.hstack(rows.drop(FILE).rename({name: names[name] for name in read}))
            if limit is not None:
                frame = frame.head(limit)
                limit -= frame.height
                start = len(numbers) if limit == 0 else start
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame if columns is None else frame.select(columns)
        if numbers.is_empty():
            empty = self._schema().to_frame()
            yield empty if columns is None else empty.select(columns)
        self._warn(files)

    def _chosen(self, predicate: pl.Expr | None, limit: int | None) -> pl.Series:
        """Return the numbers of the files with rows that a predicate may keep."""
        keys = self.keys.with_row_index(FILE)
        if predicate is not None and limit is None:
            for part in conjuncts(predicate):
                if self._is_on_keys(part):
                    keys = keys.filter(part)
        return keys[FILE]

    def _rows(self, files: Sequence[TableFile], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return the rows of files, in the files' order, with all columns."""
        parts = [pl.DataFrame(schema={FILE: pl.UInt32(), **types})]
        for group in _grouped(files, lambda file: file.kind or file.number):
            try:
                parts.append(rows_of_alike(group, types))
            except StorageError:
                parts += self._one_by_one(group, types)  # finds the faulty file
        return pl.concat(parts, how="diagonal").sort(FILE, maintain_order=True)

    def _one_by_one(
        self, files: Sequence[TableFile], types: Mapping[str, pl.DataType]
    ) -> Iterator[pl.DataFrame]:
        for file in self._with_content(files):
            try:
                yield file.rows(types)
            except StorageError as error:
                self._leave_out(file, error)
            file.content = None

    def _with_content(self, files: Sequence[TableFile]) -> list[TableFile]:
        """Return files that are in memory or that Polars reads natively; fetch files of a store in parallel."""
        fetched = [file for file in files if file.content is None and file.is_read_whole]
        for some in _grouped(fetched, lambda file: id(file.store)):
            contents, unread = read_contents(some[0].store, [file.path for file in some])
            for file in some:
                file.content = contents.get(file.path)
                if file.path in unread:
                    self._leave_out(file, unread[file.path])
        return [file for file in files if file.fault is None]

    def _leave_out(self, file: TableFile, fault: StorageError) -> None:
        if self._strict:
            raise fault
        file.fault = fault

    def _warn(self, files: Iterable[TableFile]) -> None:
        """Warn of those of the files that are left out."""
        left_out = [file.fault for file in files if file.fault is not None]
        if left_out:
            verb = "is" if len(left_out) == 1 else "are"
            warnings.warn(
                f"{len(left_out)} of {self.keys.height} files {verb} left out, such as: {left_out[0].message}",
                stacklevel=2,
            )

    # --- filters of key columns --------------------------------------------------------------------------

    def narrowed(self, predicates: Sequence[pl.Expr]) -> tuple[TableFiles, list[pl.Expr]] | None:
        """Return the files that predicates of keys leave, and the predicates of rows.

        Returns:
            None if the predicates cannot be separated, for example a predicate over all rows.
        """
        parts = [part for predicate in predicates for part in conjuncts(predicate)]
        on_files = [part for part in parts if self._is_on_keys(part)]
        if not on_files or not all(_goes_by_row(part, self.keys.schema) for part in parts):
            return None
        kept = self._located.filter(on_files)
        files = TableFiles(self._stores, kept, self._given, self._options, ids=self._ids, strict=self._strict)
        return files, [part for part in parts if not self._is_on_keys(part)]

    def _is_on_keys(self, predicate: pl.Expr) -> bool:
        """Whether a predicate reads keys alone."""
        names = predicate.meta.root_names()
        return bool(names) and set(self.keys.columns).issuperset(names)


def _grouped(files: Sequence[TableFile], key: Callable[[TableFile], object]) -> Iterable[list[TableFile]]:
    """Group files by a key, in their order."""
    groups: dict[object, list[TableFile]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups.values()


def _next_many(many: int, size: int) -> int:
    """Return how many files to read at once, from the size of the last batch."""
    if size < _SMALL:
        return min(2 * many, _MOST)
    return max(many // 2, 1) if size > _BIG else many


def _goes_by_row(predicate: pl.Expr, keys: Mapping[str, pl.DataType]) -> bool:
    """Whether a predicate reads one row at a time: only then Polars pushes it down to the IO source."""
    predicates: list[pl.Expr | None] = []

    def source(
        _columns: list[str] | None, given: pl.Expr | None, _limit: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        predicates.append(given)
        yield schema.to_frame()

    for dtype in (pl.Null(), pl.Int64(), pl.String()):  # the types of a file's columns are unknown here
        others = dict.fromkeys(predicate.meta.root_names(), dtype)
        schema = pl.Schema({**others, **keys})
        try:
            register_io_source(source, schema=schema).filter(predicate).collect()
        except Exception:  # noqa: BLE001, S112 - the query itself raises the error
            continue
        return bool(predicates) and predicates[-1] is not None
    return False


class TableFrame(pl.LazyFrame):
    """A lazy frame over files: a filter of its key columns leaves out files before any is opened."""

    _files: TableFiles | None = None

    def filter(self, *predicates: Any, **constraints: Any) -> pl.LazyFrame:
        """Keep the rows that fit, as `polars.LazyFrame.filter` does."""
        given = [*predicates, *(pl.col(name) == value for name, value in constraints.items())]
        if self._files is not None and given and all(isinstance(each, pl.Expr) for each in given):
            found = self._files.narrowed(given)
            if found is not None:
                files, rest = found
                return files.frame().filter(*rest) if rest else files.frame()
        return super().filter(*predicates, **constraints)

    def collect(self, *args: Any, **options: Any) -> Any:
        """Read the rows, as `polars.LazyFrame.collect` does."""
        with _own_faults():
            return super().collect(*args, **options)

    def collect_schema(self) -> pl.Schema:
        """Return the columns of the files, as `polars.LazyFrame.collect_schema` does."""
        with _own_faults():
            return super().collect_schema()


@contextmanager
def _own_faults() -> Iterator[None]:
    """Raise the library's own errors on files, where Polars wraps them in an error of its own."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        match = _SCHEMA_FAULT.search(str(error))
        if match is None:
            raise
        message, _, hint = match[1].partition("\n")
        raise StorageError(message, hint) from None
