"""Files with one row each: reads every file once, and keeps its values in the user's cache folder.

$SINAGOT_CATALOG_HOME/columns (or the cache folder of the platform), readable only by its owner
└── <hash of root and pattern>.parquet    a row per file: path, size, time, etag, and the columns of `row_frame`

A file whose size, time or etag changed is read again. Nothing is written beside the files.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import threading
import time
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog.files import row_positions
from sinagot_catalog.catalog.stored_tables.metadata_values import plain_values
from sinagot_catalog.catalog.stored_tables.table_file import TableFile, parse_json, read_contents
from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage import STATS, from_parquet, open_store, stat_columns, to_parquet, user_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinagot_catalog.catalog.rules.notices import Notice
    from sinagot_catalog.storage import Store


_FORM = "1"
"""Raise it when the form of the cached files changes."""
_SETTLED = 2_000_000_000
"""Nanoseconds: a younger file may still change without a new time."""
_LARGEST = 16 << 20
_BATCH, _BATCH_BYTES = 1_000, 64 << 20
_KEEP = "_keep"
"""The column that says whether a fault belongs to the content of the file: another fault may pass."""


class RowFiles:
    """Reads files with one row each.

    Args:
        stores: The stores of the files, by root.
        is_past: The sizes and times come from a snapshot: a file that changed since has no values.
    """

    def __init__(self, stores: Mapping[str, Store], *, is_past: bool = False) -> None:
        self._stores = stores
        self._is_past = is_past
        self._lock = threading.Lock()
        self.notices: dict[str, list[Notice]] = {}
        """What could not be read when a column was read for the last time, by column."""

    def read(self, root: str, pattern: str, format_: str, files: pl.DataFrame) -> pl.DataFrame:
        """Return the values of files.

        Args:
            root: Their root.
            pattern: Their pattern, the same for all.
            format_: Their format.
            files: The columns of `STATS`, a row per file.

        Returns:
            A row per file, in the same order: `path` and the columns of `row_frame`.
        """
        store = self._stores[root]
        name = blake2b(f"{_FORM}\0{store.root}\0{pattern}\0{format_}".encode(), digest_size=16).hexdigest()
        with self._lock:
            held = _load(name)
            rows = held.join(files, on=list(STATS), how="semi", nulls_equal=True)
            others = files.join(rows, on="path", how="anti", maintain_order="left")
            parts: list[pl.DataFrame] = []
            try:
                for part in self._parts(store, format_, others):
                    parts.append(part)  # noqa: PERF402 - an interrupted read keeps what it has read
            finally:
                _keep(name, held, parts)
        read = pl.concat([rows, *parts], how="diagonal").drop(*STATS.keys() - {"path"}, _KEEP, strict=False)
        return files.select("path").join(read, on="path", how="left", maintain_order="left")

    def _parts(self, store: Store, format_: str, files: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Read files, some at a time: the columns of `STATS` and `row_frame`, and `_KEEP`."""
        if files.is_empty():
            return
        now = time.time_ns()
        settled = pl.col("size").is_not_null() & pl.col("mtime_ns").is_not_null()
        settled &= pl.col("etag").is_not_null() | (pl.col("mtime_ns") < now - _SETTLED)
        files = files.with_columns(settled.alias(_KEEP))
        bytes_ = files["size"].fill_null(0).cum_sum() // _BATCH_BYTES
        numbers = pl.Series("batch", range(files.height)) // _BATCH
        for part in files.with_columns(bytes_.alias("_b"), numbers.alias("_n")).partition_by(
            "_b", "_n", include_key=False
        ):
            yield self._part(store, format_, part)

    def _part(self, store: Store, format_: str, files: pl.DataFrame) -> pl.DataFrame:
        """Read some files at a time."""
        large = files["size"].fill_null(0) > _LARGEST
        changed = self._changed(store, files)
        contents, unread = read_contents(store, files["path"].filter(~large & ~changed).to_list())
        read = row_frame([TableFile(store, path, format_, content=item) for path, item in contents.items()])
        read = read.with_columns(pl.Series("path", list(contents), dtype=pl.String))
        rows = files.join(read, on="path", how="left", maintain_order="left")
        path = pl.col("path")
        faults = {path: error.message for path, error in unread.items()}
        sizes = pl.format(
            "{} has {} bytes, and a file with one row at most {}", path, "size", pl.lit(_LARGEST)
        )
        return rows.with_columns(
            pl.when(pl.lit(large))
            .then(sizes)
            .when(pl.lit(changed))
            .then(pl.format("{} changed since the snapshot", path))
            .otherwise(pl.coalesce(path.replace_strict(faults, default=None, return_dtype=pl.String), FAULT))
            .alias(FAULT),
            pl.col(_KEEP) & ~path.is_in(list(unread)) & ~changed,
        )

    def _changed(self, store: Store, files: pl.DataFrame) -> pl.Series:
        """Whether files are no longer those of the snapshot."""
        if not self._is_past:
            return pl.Series([False]).new_from_index(0, files.height)
        now = stat_columns(store, files["path"])
        same = now.join(files, on=list(STATS), how="semi", nulls_equal=True)
        return ~files["path"].is_in(same["path"].implode())


# --- the cache folder ----------------------------------------------------------------------------------------


def _load(name: str) -> pl.DataFrame:
    """Return what the cache folder has; nothing if it cannot be read."""
    empty = pl.DataFrame(schema={**STATS, FAULT: pl.String()})
    try:
        content = open_store(str(user_cache("columns"))).read(f"{name}.parquet")
        return pl.concat([empty, from_parquet(content)[0]], how="diagonal")
    except (StorageError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return empty


def _keep(name: str, held: pl.DataFrame, parts: Sequence[pl.DataFrame]) -> None:
    """Add what was read to the cache folder; without one the files are read again next time."""
    read = pl.concat(parts, how="diagonal").filter(_KEEP).drop(_KEEP) if parts else held.clear()
    if read.height:
        others = held.join(read.select("path"), on="path", how="anti", maintain_order="left")
        with suppress(StorageError, OSError, pl.exceptions.PolarsError):
            content = to_parquet(pl.concat([others, read], how="diagonal"))
            open_store(str(user_cache("columns"))).write(f"{name}.parquet", content)


# --- one file ------------------------------------------------------------------------------------------------


FAULT = "_fault"
"""The column of `row_frame` that says why a file has no row."""
TEXT, ABSENT = "text", "absent"
"""Two kinds of values: text of unknown type, as in a CSV file, and no value."""

_MARK = "\x1f"
_SCALARS: dict[type, pl.DataType] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
}
_KINDS: dict[str, pl.DataType] = {
    TEXT: pl.String(),
    ABSENT: pl.Boolean(),
    **{str(scalar): scalar for scalar in _SCALARS.values()},
    **{str(pl.List(scalar)): pl.List(scalar) for scalar in _SCALARS.values()},
}
"""The types of the kinds whose values are Python values; the value of another kind is a column with one row."""
_NAMES = {type_: str(dtype) for type_, dtype in _SCALARS.items()}
_TEXT_NAME = _NAMES[str]
_WHOLE = 1 << 63

Values = dict[str, tuple[str, pl.Series | Any]]
"""The values of a file by name: their kind, and the value."""


def split(column: str) -> tuple[str, str]:
    """Return name and kind of a column of `row_frame`."""
    name, _, kind = column.rpartition(_MARK)
    return name, kind


def row_frame(files: Sequence[TableFile]) -> pl.DataFrame:
    """Return a row per file, in their order: `FAULT`, and a column per name and kind of value.

    A value is in the column of its kind; the columns of the name's other kinds are null. So values of several files
    keep their own types until all of them are known.

    Args:
        files: The files with their content.

    Example:
        >>> contents = [b'{"snr": 3}', b'{"snr": 3.5}', b'[]']
        >>> files = [TableFile(None, f"R{n}.json", "json", content=one) for n, one in enumerate(contents)]
        >>> row_frame(files).rows()
        [(None, 3, None), (None, None, 3.5), ('R2.json has no row', None, None)]
    """
    faults: list[str | None] = []
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for position, file in enumerate(files):
        try:
            values = _values(file)
        except StorageError as error:
            faults.append(error.message)
            continue
        faults.append(None)
        for name, (kind, value) in values.items():
            positions, items = columns.setdefault(f"{name}{_MARK}{kind}", ([], []))
            positions.append(position)
            items.append(value)
    made = [_column(column, positions, items, len(files)) for column, (positions, items) in columns.items()]
    return pl.DataFrame([pl.Series(FAULT, faults, dtype=pl.String), *made])


def _column(name: str, positions: Sequence[int], values: Sequence[Any], height: int) -> pl.Series:
    """Return a column with values at some positions, and null elsewhere."""
    dtype = _KINDS.get(split(name)[1])
    known = pl.concat(values) if dtype is None else pl.Series(values, dtype=dtype)
    return known.gather(row_positions.positions(pl.Series(positions), height)).alias(name)


# --- one file ------------------------------------------------------------------------------------------------


def _values(file: TableFile) -> Values:
    """Return the values of a file with one row.

    Raises:
        StorageError: When it cannot be read, or does not have one row.
    """
    if file.format == "json":
        return _json_values(file)
    if file.format in ("csv", "tsv"):
        texts = _csv_texts(file)
        if texts is not None:
            return {name: (TEXT, text) for name, text in texts.items()}
        frame = file.rows(dict.fromkeys(file.schema(), pl.String()))  # explains a fault
    else:
        frame = file.rows(file.schema())
    frame = frame.drop(frame.columns[0])
    _check_count(file, frame.height)
    if file.format in ("csv", "tsv"):
        return {column.name: (TEXT, column[0]) for column in frame}
    return _typed(frame, file.path)


def _typed(frame: pl.DataFrame, path: str) -> Values:
    """Return the values of a row that has types."""
    return {
        column.name: (ABSENT, True)
        if column.null_count()
        else (str(column.dtype), column.to_list()[0] if str(column.dtype) in _KINDS else column.alias(""))
        for column in plain_values(frame, path)[0]
    }


def _check_count(file: TableFile, count: int) -> None:
    if count != 1:
        raise StorageError(f"{file.path} has {f'{count:,} rows, not one' if count else 'no row'}")


def _json_values(file: TableFile) -> Values:
    text = _decoded(file)
    try:
        document = parse_json(text, file.path)
        if "\\u" in text:  # an escape may stand for half a character
            json.dumps(document, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        what = "it nests too deeply" if isinstance(error, RecursionError) else "it has half a character"
        raise StorageError(f"{file.path} cannot be read as json: {what}") from error
    if isinstance(document, list) and all(isinstance(item, dict) for item in document):
        _check_count(file, len(document))
        document = document[0]
    values = document if isinstance(document, dict) else {"value": document}
    return {name: _kind(name, value, file.path) for name, value in values.items()}


def _kind(name: str, value: Any, path: str) -> tuple[str, Any]:
    """Return the kind of a value of a JSON file, and the value."""
    kind = _NAMES.get(type(value))
    if kind is not None:
        if value != value:  # noqa: PLR0124 - only NaN differs from itself
            return ABSENT, True
        return (_TEXT_NAME, str(value)) if _is_too_long([value]) else (kind, value)
    if value is None or value == {}:
        return ABSENT, True
    if isinstance(value, list):
        types = {type(item) for item in value} - {type(None)}
        if not types:
            return ABSENT, True
        inner = _NAMES.get(types.pop()) if len(types) == 1 and None not in value else None
        if inner is not None and not _is_too_long(value):
            return f"List({inner})", value
    try:
        typed = _typed(pl.DataFrame({name: [value]}, strict=False), path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError):
        typed = {}
    return typed.get(name, (_TEXT_NAME, json.dumps(value)))


def _is_too_long(values: Sequence[Any]) -> bool:
    """Whether one of several values of one type is a whole number with more than 64 bits."""
    return type(values[0]) is int and not all(-_WHOLE <= value < _WHOLE for value in values)


def _decoded(file: TableFile) -> str:
    content = file.content or b""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StorageError(f"{file.path}: line {line} is not UTF-8 text") from error


def _csv_texts(file: TableFile) -> dict[str, str] | None:
    """Return the texts of a plain CSV file with one row; None if Polars has to read it."""
    content = file.content or b""
    separator = "\t" if file.format == "tsv" else ","
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row
        ]
    except (UnicodeDecodeError, csv.Error):
        return None
    if len(rows) != 2 or len(rows[0]) != len(rows[1]) or len(set(rows[0])) != len(rows[0]):  # noqa: PLR2004
        return None
    return dict(zip(*rows, strict=True))
