"""Reading table files of many records as one frame: result files, single values, the data of a modality."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinagot_catalog.catalog.stored_tables.table_file import SEPARATORS, check_options, scan
from sinagot_catalog.catalog.stored_tables.table_files import TableFiles
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import ConfigError, SelectionError, StorageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sinagot_catalog.storage import Store

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".txt": "value",
}
"""The format of a file, by the end of its name; `value` is a file that contains one value."""

_MANY = 20
"""Number of columns that a message names."""
_LONGEST = 100_000
"""Number of characters of a line that are searched for its separator."""


def format_of(path: str, given: str | None = None) -> str:
    """Return the format of a file: the given format, else the format that belongs to the end of its name.

    Raises:
        SelectionError: When both are unknown.
    """
    formats = sorted({*FORMATS.values(), "text"})
    if given is not None:
        if given not in formats:
            raise SelectionError(
                f"format {given!r} is not one of {', '.join(formats)}{did_you_mean(given, formats)}"
            )
        return given
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in FORMATS:
        what = f"a file that ends in {suffix!r}" if suffix else "what has no suffix, such as a folder,"
        raise SelectionError(
            f"{path}: {what} is of no known format", f"Say format= one of {', '.join(formats)}."
        )
    return FORMATS[suffix]


def scan_files(
    stores: Mapping[str, Store],
    files: pl.DataFrame,
    format: str | None,  # noqa: A002 - the usual name of a reader's option
    options: Mapping[str, Any],
    *,
    ids: Collection[str] = (),
    strict: bool = True,
) -> pl.LazyFrame:
    """Read files as one lazy frame; no file is opened before the frame is collected or its schema is read.

    Args:
        stores: The stores of the files, by the names in the column `root`.
        files: Columns `root` and `path`, and the key columns that each file's rows get.
        format: One of the values of `FORMATS`, or `text`: one value, never read as a number. By default the
            format depends on the end of each name.
        options: Options for Polars' own reader; a `schema` sets the columns of the result.
        ids: Columns of CSV files that hold ids, and so are text as in `records`.
        strict: Whether an unreadable file is an error; otherwise it is left out with a warning.

    Raises:
        SelectionError: When the format of a file is unknown, or does not take an option.
    """
    if files.is_empty():
        return files.drop("root", "path").lazy()
    options = dict(options)
    schema = pl.Schema(options.pop("schema")) if options.get("schema") is not None else None
    suffixes = files["path"].str.extract(r"(\.[^./]*)$").fill_null("")
    firsts = suffixes.arg_unique()
    formats = {suffixes[first]: format_of(files["path"][first], format) for first in firsts}
    for each in formats.values():
        check_options(each, options)
    named = (
        pl.lit(formats[suffixes[0]])
        if len(formats) == 1
        else suffixes.replace_strict(formats, return_dtype=pl.String)
    ).alias("format")
    return TableFiles(stores, files.with_columns(named), schema, options, ids=ids, strict=strict).frame()


def read_table(
    store: Store, path: str, address: str, is_header: Callable[[Sequence[str]], bool]
) -> tuple[pl.DataFrame, str | None]:
    """Read a table that the config names: its rows, and what separates the values of a CSV file.

    Every column of a CSV file is text; the columns of other files have the types of the file.

    Args:
        store: The store that contains it.
        path: Its path in the store.
        address: Its key in the config, for messages.
        is_header: Whether these names can be the columns of such a table; it finds out which separator a CSV file
            uses.

    Raises:
        ConfigError: It is absent, empty, or of an unknown kind.
        StorageError: Its contents cannot be read; names the line and the column if possible.
    """
    kind = FORMATS.get(PurePosixPath(path).suffix.lower())
    if kind in (None, "value"):
        raise ConfigError(
            f"workspace.toml: {address}: {path} is not a table of a known kind (csv, tsv, parquet, json …)"
        )
    if not store.exists(path):
        folder, _, name = path.rpartition("/")
        near = did_you_mean(name, store.names(folder))
        raise ConfigError(f"workspace.toml: {address}: {store.root}/{path} does not exist{near}")
    content = store.read(path)
    if not content.strip():
        raise ConfigError(f"workspace.toml: {address}: {path} is empty, so it cannot be read as a table")
    where = f"{path} ({address}) cannot be read"
    if kind in SEPARATORS:
        return read_text_table(content, SEPARATORS[kind], where, is_header)
    whole = {"infer_schema_length": None}
    source = io.BytesIO(content)
    try:
        if kind == "json":
            return pl.read_json(source, **whole), None
        return scan(kind, source, whole if kind == "ndjson" else {}).collect(), None
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StorageError(f"{where}: {str(error).splitlines()[0]}") from error


def read_text_table(
    content: bytes, separator: str, where: str, is_header: Callable[[Sequence[str]], bool]
) -> tuple[pl.DataFrame, str]:
    """Read CSV as text, with any separator and line ending; see `read_table`.

    Args:
        content: The bytes of the file.
        separator: The usual separator.
        where: The beginning of the message of an error.
        is_header: Whether these names can be the columns of such a table.

    Raises:
        StorageError: It cannot be read.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        content = content.decode("utf-16", errors="replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    first = content.partition(b"\n")[0].decode(errors="replace").rstrip("\r")
    used = separator_of(first, separator, is_header)
    try:
        return pl.read_csv(io.BytesIO(content), separator=used, infer_schema=False), used
    except pl.exceptions.PolarsError as error:
        _check_text(content, used, where)
        raise StorageError(f"{where}: {str(error).splitlines()[0]}") from error


def no_column(name: str, columns: Sequence[str]) -> str:
    """Return that a table has no such column, as the end of a sentence that names those it has."""
    shown = ", ".join(columns[:_MANY]) + (", …" if len(columns) > _MANY else "")
    return f"has no column {name!r}, only {shown}{did_you_mean(name, columns)}"


def separator_of(line: str, usual: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    """Return what separates the names of a CSV file's header: the usual separator, or another one that fits."""
    cells = {separator: _cells(line, separator) for separator in (usual, ";", "\t", ",")}
    fits = (separator for separator, names in cells.items() if is_header(names))
    return next(fits, max(cells, key=lambda separator: len(cells[separator])))


def _cells(line: str, separator: str) -> list[str]:
    """Return the values of one line; none if it is not CSV."""
    try:
        return next(csv.reader([line[:_LONGEST]], delimiter=separator), [])
    except csv.Error:
        return []


def _check_text(content: bytes, separator: str, where: str) -> None:
    """Raise the error of the first faulty line of a CSV file, if Python's reader refuses one, too."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        begin = content.rfind(b"\n", 0, error.start) + 1
        before = _cells(content[begin : error.start].decode() + "x", separator)
        names = _cells(content.partition(b"\n")[0].decode(errors="replace"), separator)
        column = f", column {names[len(before) - 1].strip()}" if 0 < len(before) <= len(names) else ""
        raise StorageError(
            f"{where}: line {line}{column}: it is not UTF-8; save the file as UTF-8"
        ) from error
    rows = text_rows(io.StringIO(text, newline="").readlines(), separator, where)
    width = len(next(rows, TextRow(0, 0, ())).values)
    for row in rows:
        check_width(row, width, where)


class TextRow(NamedTuple):
    """A row of a CSV file: the positions of its first line and of the line after it, and its values."""

    begin: int
    end: int
    values: tuple[str, ...]


def text_rows(
    lines: Sequence[str],
    separator: str,
    where: str,
    is_left_out: Callable[[str], bool] = lambda line: not line.strip(),
) -> Iterator[TextRow]:
    """Yield the header and the rows of a CSV file.

    Args:
        lines: Its lines.
        separator: What separates the values.
        where: What cannot be read, for messages.
        is_left_out: Whether a line between two rows is none itself.

    Raises:
        StorageError: A row cannot be read; names its line.
    """
    at = 0
    while at < len(lines):
        if is_left_out(lines[at]):
            at += 1
            continue
        rest = (lines[number] for number in range(at, len(lines)))
        reader = csv.reader(rest, delimiter=separator, strict=True)
        try:
            values = tuple(next(reader))
        except csv.Error as error:
            why = "a quoted value has no end" if "unexpected end" in str(error) else str(error)
            raise StorageError(f"{where}: line {at + 1}: {why}") from error
        yield TextRow(at, at + reader.line_num, values)
        at += reader.line_num


def check_width(row: TextRow, width: int, where: str) -> None:
    """Raise an error if a row has more values than the header has columns."""
    if len(row.values) > width:
        raise StorageError(
            f"{where}: line {row.begin + 1} has {len(row.values)} values, "
            f"and the header {count_of(width, 'column')}",
            "Put a text that holds a separator into quotes.",
        )
