"""A file with one row of values: reads its values with their types, or the fault of the file."""

from __future__ import annotations

import codecs
import csv
import io
import json
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog.metadata_values import plain_values
from sinagot_catalog.catalog.table_file import TableFile, parse_json
from sinagot_catalog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    **{str(one): one for one in _SCALARS.values()},
    **{str(pl.List(one)): pl.List(one) for one in _SCALARS.values()},
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
            positions, known = columns.setdefault(f"{name}{_MARK}{kind}", ([], []))
            positions.append(position)
            known.append(value)
    made = [_column(column, positions, known, len(files)) for column, (positions, known) in columns.items()]
    return pl.DataFrame([pl.Series(FAULT, faults, dtype=pl.String), *made])


def _column(name: str, positions: Sequence[int], values: Sequence[Any], height: int) -> pl.Series:
    """Return a column with values at some positions, and null elsewhere."""
    dtype = _KINDS.get(split(name)[1])
    known = pl.concat(values) if dtype is None else pl.Series(values, dtype=dtype)
    at = pl.Series([None], dtype=pl.UInt32).new_from_index(0, height)
    at = at.scatter(list(positions), pl.int_range(len(positions), dtype=pl.UInt32, eager=True))
    return known.gather(at).alias(name)


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
        for column in plain_values(frame, path).columns
    }


def _check_count(file: TableFile, count: int) -> None:
    if count != 1:
        raise StorageError(f"{file.path} has {f'{count:,} rows, not one' if count else 'no row'}")


def _json_values(file: TableFile) -> Values:
    text = _decoded(file)
    try:
        found = parse_json(text, file.path)
        if "\\u" in text:  # an escape may stand for half a character
            json.dumps(found, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        what = "it nests too deeply" if isinstance(error, RecursionError) else "it has half a character"
        raise StorageError(f"{file.path} cannot be read as json: {what}") from error
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        _check_count(file, len(found))
        found = found[0]
    values = found if isinstance(found, dict) else {"value": found}
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
        types = {type(one) for one in value} - {type(None)}
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
    return type(values[0]) is int and not all(-_WHOLE <= one < _WHOLE for one in values)


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
