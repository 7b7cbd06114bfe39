"""A table file: reads its columns and its rows in given types, through its store."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from sinagot_catalog.catalog.stored_tables.column_types import converted
from sinagot_catalog.catalog.stored_tables.metadata_values import has_leading_zeros
from sinagot_catalog.errors import SelectionError, StorageError
from sinagot_catalog.storage import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sinagot_catalog.storage import Store

T = TypeVar("T")

FILE = "__file__"
"""The column of `TableFile.rows` that distinguishes files."""
_LARGE = 8 << 20
"""Size in bytes from which a local text file is read in pieces instead of as a whole."""
SEPARATORS = {"csv": ",", "tsv": "\t"}
"""The formats of texts with separators."""
_SHORT = 1 << 16
"""Number of bytes up to which content is searched for leading zeros before its values are."""
_LEADING_ZEROS = {
    name: re.compile(rf'(?:^|[\n"{separator}])[+-]?0[0-9]+(?:[\r\n"{separator}]|$)'.encode())
    for name, separator in SEPARATORS.items()
}
_TEXTS = (*SEPARATORS, "ndjson")
_SINGLE = ("json", "value", "text")
_SCANS: dict[str, Callable[..., pl.LazyFrame]] = {"parquet": pl.scan_parquet, "ipc": pl.scan_ipc}
_PLAIN = ("utf8", "utf-8", "utf8-lossy")
"""Encodings that Polars reads natively."""
_VALUE_FAULT = re.compile(r"could not parse `(.*)` as dtype `.*` at column '(.*)' \(", re.DOTALL)


def check_options(format_: str, options: Mapping[str, Any]) -> None:
    """Refuse reader options that a format does not take.

    Raises:
        SelectionError: Names the option.
    """
    for name, value in options.items():
        if format_ in _SINGLE and name != "encoding":
            raise SelectionError(f"files of format {format_} take no reader options, such as {name}")
        if name == "encoding":
            try:
                codecs.lookup("utf8" if value in _PLAIN else value)
            except (LookupError, TypeError):
                raise SelectionError(
                    f"encoding {value!r} is not known", "Use a name such as 'latin-1', 'cp1252' or 'utf-16'."
                ) from None


def parse_json(content: bytes | str, path: str) -> Any:
    """Read a JSON file's content.

    Raises:
        StorageError: When it is not JSON; names the file.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise StorageError(f"{path} is not a JSON file: {error}") from error


def read_contents(store: Store, paths: list[str]) -> tuple[dict[str, bytes], dict[str, StorageError]]:
    """Return the contents of files by path, and why the others cannot be read."""
    with suppress(StorageError):
        return dict(zip(paths, store.read_all(paths), strict=True)), {}
    contents: dict[str, bytes] = {}
    unread: dict[str, StorageError] = {}
    for path in paths:
        try:
            contents[path] = store.read(path)
        except StorageError as error:
            unread[path] = error
    return contents, unread


def scan(format_: str, source: Any, options: Mapping[str, Any]) -> pl.LazyFrame:
    """Scan one or several files with Polars' reader of a format; `*` and `[` in their names are literal."""
    if format_ == "ndjson":  # its reader cannot disable globs
        if isinstance(source, str):
            source = [source]
        literal = [glob.escape(path) for path in source] if isinstance(source, list) else source
        return pl.scan_ndjson(literal, **options)
    if format_ in SEPARATORS:
        return pl.scan_csv(source, **{"glob": False, "separator": SEPARATORS[format_], **options})
    return _SCANS[format_](source, **{"glob": False, "hive_partitioning": False, **options})


@dataclass
class TableFile:
    """One file of a table.

    Attributes:
        store: The store that contains it.
        path: Its path in the store.
        format: One of the formats of `read_files.FORMATS`.
        owner: Its record, for messages; None if it belongs to several.
        options: Options for Polars' own reader.
        ids: Columns that are text, if the file is CSV.
        content: Its bytes, if they are in memory.
        number: What `rows` gives as `FILE`.
        fault: Why it is left out.
    """

    store: Store
    path: str
    format: str
    owner: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ids: Collection[str] = ()
    content: bytes | None = None
    number: int = 0
    fault: StorageError | None = None
    _schema: pl.Schema | None = None
    _texts: Mapping[str, pl.DataType] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[Any, ...] | None:
        """Polars reads files of the same kind together; None if Polars cannot read the file natively."""
        if not self.store.is_local or self.options or self.format in _SINGLE or not self._schema:
            return None
        return self.store.root, self.format, *self._schema.items()

    @property
    def is_read_whole(self) -> bool:
        """Whether the store reads all its bytes before they are parsed."""
        if not self.store.is_local or self.format in _SINGLE:
            return True
        if self.format not in _TEXTS or "encoding" in self.options:
            return self.format in _TEXTS
        try:
            return os.stat(self.full_path).st_size < _LARGE  # noqa: PTH116 - faster than pathlib, called for every file
        except OSError:
            return True

    @property
    def full_path(self) -> str:
        """Its path on a local disk, its address in other stores."""
        return f"{self.store.root}/{self.path}"

    def schema(self) -> pl.Schema:
        """Return its columns.

        Raises:
            StorageError: When it cannot be read: one sentence with path, record and position in the file.
        """
        self._schema = self._explained(self._found_schema)
        return self._schema

    def _found_schema(self) -> pl.Schema:
        schema = self._frame().collect_schema()
        if self.format in SEPARATORS and (self._may_have_codes() or not schema.keys().isdisjoint(self.ids)):
            self._texts = dict.fromkeys(self._codes(schema), pl.String())
        return pl.Schema({**schema, **self._texts}) if self._texts else schema

    def _codes(self, schema: pl.Schema) -> list[str]:
        """Return the columns of a CSV file that hold ids or codes, though they look like numbers."""
        given = self.options.get("schema_overrides") or {}
        if not isinstance(given, Mapping):  # the user gives the types of all columns
            return []
        free = [name for name, dtype in schema.items() if dtype != pl.String and name not in given]
        numbers = [name for name in free if name not in self.ids and schema[name].is_numeric()]
        if not numbers or not self._may_have_codes():
            return [name for name in free if name in self.ids]
        texts = replace(self, options={**self.options, "infer_schema": False}, _schema=None)._frame()  # noqa: SLF001 - itself
        read = texts.collect_schema()
        numbers = [name for name in numbers if read[name] == pl.String]  # not the number of a row
        found = texts.select(has_leading_zeros(pl.col(name)) for name in numbers).collect()
        return [name for name in free if name in self.ids or (name in numbers and found[name][0])]

    def _may_have_codes(self) -> bool:
        """Whether its bytes may have a value with leading zeros; quicker than to read the values as texts."""
        if self.content is None or self.options or len(self.content) > _SHORT:
            return True
        return _LEADING_ZEROS[self.format].search(self.content) is not None

    def has_values(self, column: str) -> bool:
        """Whether a column contains any value.

        Raises:
            StorageError: As `schema`.
        """
        any_value = pl.col(column).is_not_null().any()
        return bool(self._explained(lambda: self._frame().select(any_value).collect().item()))

    def rows(self, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return its rows: `FILE`, and those of the given columns that it has, in the given types.

        Raises:
            StorageError: As `schema`.
        """
        return self._explained(lambda: self._in_types(types).collect())

    def _in_types(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        frame = self._frame()
        schema = self._schema if self._schema is not None else frame.collect_schema()
        dtypes = {name: types[name] for name in schema if name in types}
        if any(schema[name] != dtype for name, dtype in dtypes.items()):
            frame = self._frame(dtypes)  # a number's text may differ from its value's text
            schema = frame.collect_schema()
        columns = [converted(pl.col(name), schema[name], dtype).alias(name) for name, dtype in dtypes.items()]
        return frame.with_columns(*columns, pl.lit(self.number, pl.UInt32).alias(FILE)).select(FILE, *dtypes)

    # --- by format ---------------------------------------------------------------------------------------

    def _frame(self, types: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
        """Return its rows as they are, in the given types if the reader can parse them directly."""
        if self.format == "json":
            return self._objects()
        if self.format in ("value", "text"):
            return self._single_value(is_text=self.format == "text" or types is not None).lazy()
        options = {name: value for name, value in self.options.items() if name != "encoding"}
        added = options.pop("include_file_paths", None)
        source = self._source()
        if self.format == "ndjson" and isinstance(source, io.BytesIO):
            content = source.getvalue()
            if not content or content.isspace():
                return pl.LazyFrame()
        if self.format in _TEXTS:
            options = {"infer_schema_length": None, **options}  # all rows decide the type of a column
        if self.format in SEPARATORS:
            options = {"raise_if_empty": False, **options}  # a file without rows is valid
            if self.options.get("encoding") == "utf8-lossy":
                options["encoding"] = "utf8-lossy"
            if types or self._texts:
                options["schema_overrides"] = self._overrides(types or {})
        frame = self._in_known_types(source, options)
        if frame is None:
            frame = scan(self.format, source, options)
        return frame if added is None else frame.with_columns(pl.lit(self.full_path).alias(added))

    def _in_known_types(self, source: str | io.BytesIO, options: Mapping[str, Any]) -> pl.LazyFrame | None:
        """Return its rows in the types that `schema` found, as the reader would read all values to find them again.

        None where the reader does not give these types, because of the options or of a type that it does not parse.
        """
        given = options.get("schema_overrides") or {}
        if not self._schema or self.format not in SEPARATORS or not isinstance(given, Mapping):
            return None
        known = pl.Schema({name: given.get(name, dtype) for name, dtype in self._schema.items()})
        if not all(dtype.is_numeric() or dtype in (pl.String, pl.Boolean) for dtype in known.values()):
            return None
        frame = scan(self.format, source, {**options, "infer_schema": False, "schema_overrides": known})
        return frame if frame.collect_schema() == known else None

    def _overrides(self, types: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
        """Return the types that the reader parses: those of the user, of codes, and the given ones."""
        parsed = {
            name: dtype
            for name, dtype in types.items()
            if dtype.is_numeric() or dtype in (pl.String, pl.Boolean)
        }
        given = self.options.get("schema_overrides") or {}
        return {**given, **self._texts, **parsed} if isinstance(given, Mapping) else parsed

    def _objects(self) -> pl.LazyFrame:
        """Read a JSON file: an object is a row, a list of objects several, anything else a value."""
        found = parse_json(self._text(), self.path)
        is_list = isinstance(found, list) and all(isinstance(each, dict) for each in found)
        objects = found if is_list else [found if isinstance(found, dict) else {"value": found}]
        rows = [{FILE: 0, **each} for each in objects]  # objects without a key are rows too
        return pl.LazyFrame(rows, infer_schema_length=None).drop(FILE, strict=False)

    def _single_value(self, *, is_text: bool) -> pl.DataFrame:
        text = pl.Series("value", [self._text().strip()], dtype=pl.String)
        is_text = is_text or pl.select(has_leading_zeros(pl.lit(text))).item()
        for dtype in () if is_text else (pl.Int64, pl.Float64):
            number = text.cast(dtype, strict=False)
            if not number.has_nulls():
                return number.to_frame()
        return text.to_frame()

    # --- its content -------------------------------------------------------------------------------------

    def _bytes(self) -> bytes:
        return self.store.read(self.path) if self.content is None else self.content

    def _text(self) -> str:
        encoding = self.options.get("encoding", "utf-8")
        if encoding == "utf8-lossy":
            return self._bytes().decode(errors="replace")
        return self._bytes().decode("utf-8-sig" if encoding in _PLAIN else encoding)

    def _source(self) -> str | io.BytesIO:
        """Return the argument of Polars' reader: a local file that it may read in part, or the content."""
        if not self.is_read_whole and self.content is None:
            os.close(open_regular(self.full_path))
            return self.full_path
        content = self._bytes()
        if self.format in _TEXTS and self.options.get("encoding") != "utf8-lossy":
            if self.options.get("encoding", "utf8") not in _PLAIN:
                content = self._text().encode()
            else:
                content.decode()
        return io.BytesIO(content)

    # --- faults ------------------------------------------------------------------------------------------

    def _explained(self, do: Callable[[], T]) -> T:
        """Call a function that reads the file; turn an error into one sentence."""
        try:
            return do()
        except StorageError:
            raise
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise self._fault(
                f"line {line} is not {error.encoding} text",
                "Name its encoding, such as encoding='latin-1', or leave out what cannot be read: strict=False.",
            ) from error
        except OSError as error:
            raise self._fault(error.strerror or str(error)) from error
        except (Exception, pl.exceptions.PanicException) as error:
            raise self._fault(self._place(error) + str(error).strip().partition("\n")[0]) from error

    def _fault(self, what: str, hint: str = "") -> StorageError:
        record = f" (record {self.owner})" if self.owner is not None else ""
        return StorageError(
            f"{self.path}{record} cannot be read as {self.format}: {what}",
            hint or "Leave out what cannot be read: strict=False.",
        )

    def _place(self, error: BaseException) -> str:
        """Return the position of the fault, as the beginning of a sentence; empty if it is unknown."""
        with suppress(Exception):  # the original error is reported without a position
            if self.format == "ndjson":
                return _ndjson_place(self._text())
            if self.format in SEPARATORS and self.options.get("has_header", True):
                separator = self.options.get("separator", SEPARATORS[self.format])
                return _csv_place(self._text(), separator, str(error))
        return ""


def rows_of_alike(files: Sequence[TableFile], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the rows, as `TableFile.rows` does, of several files of one `kind`, in one scan of Polars.

    Raises:
        StorageError: When one of them cannot be read, or they have no kind.
    """
    first = files[0]
    if first.kind is None:
        raise StorageError(f"{first.path} is not read together with others")
    _, format_, *columns = first.kind
    schema = dict(columns)
    dtypes = {name: types[name] for name in schema if name in types}
    paths = [file.full_path for file in files]
    if format_ in SEPARATORS:
        schema |= dtypes
    given = {"schema": schema} if format_ in _TEXTS else {}
    frame = scan(format_, paths, {"include_file_paths": FILE, **given})
    values = [converted(pl.col(name), schema[name], dtype).alias(name) for name, dtype in dtypes.items()]
    try:
        number = pl.col(FILE).replace_strict(paths, [file.number for file in files], return_dtype=pl.UInt32)
        return frame.select(number, *values).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StorageError(f"files such as {first.path} cannot be read together: {error}") from error


def _ndjson_place(text: str) -> str:
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            json.loads(line or "null", parse_constant=_refused)
        except ValueError as error:
            return f"line {number}: {error}; "
    return ""


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _csv_place(text: str, separator: str, fault: str) -> str:
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    header = next(reader)
    value = _VALUE_FAULT.search(fault)
    for row in reader:
        if value and value[2] in header[: len(row)] and row[header.index(value[2])] == value[1]:
            return f"line {reader.line_num}, column {value[2]!r}: "
        if not value and len(row) > len(header):
            return f"line {reader.line_num} has {len(row)} values for {len(header)} columns: "
    return ""
