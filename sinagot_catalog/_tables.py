"""Files of many records read as one frame: result files, single values, the data of a modality."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.errors import ConfigError, SelectionError, StorageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sinagot_catalog._store import Store

__all__ = ["FORMATS", "RawTable", "format_of", "parse_json", "read_table", "scan_files"]

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
"""How a file is read, by the end of its name; `value` is a file that holds one value."""

_SCANS: dict[str, Callable[..., pl.LazyFrame]] = {
    "csv": pl.scan_csv,
    "tsv": lambda *args, **options: pl.scan_csv(*args, separator="\t", **options),
    "parquet": pl.scan_parquet,
    "ipc": pl.scan_ipc,
    "ndjson": pl.scan_ndjson,
}
_LONGEST = 100_000
"""So many characters of a line are looked at for its separator."""
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_READS: dict[str, Callable[..., pl.DataFrame]] = {
    **dict.fromkeys(_SEPARATORS, pl.read_csv),
    "parquet": pl.read_parquet,
    "ipc": pl.read_ipc,
    "json": pl.read_json,
    "ndjson": pl.read_ndjson,
}
_PATH = "_path"
_PLAIN = r"^[A-Za-z0-9/_.=-]+$"
"""Keys that mean the same in a URL, whoever quotes it."""


def format_of(path: str, given: str | None = None) -> str:
    """How a file is read: as it is said, else by the end of its name.

    Raises:
        SelectionError: When neither tells.
    """
    known = sorted({*FORMATS.values(), "text"})
    if given is not None:
        if given not in known:
            raise SelectionError(
                f"format {given!r} is not one of {', '.join(known)}{did_you_mean(given, known)}"
            )
        return given
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in FORMATS:
        what = f"a file that ends in {suffix!r}" if suffix else "what has no suffix, such as a folder,"
        raise SelectionError(
            f"{path}: {what} is of no known format", f"Say format= one of {', '.join(known)}."
        )
    return FORMATS[suffix]


def scan_files(store: Store, files: pl.DataFrame, kind: str, options: Mapping[str, Any]) -> pl.LazyFrame:
    """Read files of one format as one lazy frame.

    Args:
        store: Where they lie.
        files: A column `path` and the key columns that each file's rows get.
        kind: One of the values of `FORMATS`, or `text`: one value, never read as a number.
        options: Passed on to Polars' own reader.
    """
    if files.is_empty():
        return files.drop("path").lazy()
    if kind in ("json", "text", "value"):
        if options:
            raise SelectionError(
                f"files of format {kind} take no reader options, such as {next(iter(options))}"
            )
        if kind == "json":
            return _objects(store, files).lazy()
        contents = store.read_all(files["path"].to_list())
        texts = [content.decode(errors="replace").strip() for content in contents]
        values = pl.Series("value", texts, dtype=pl.String)
        return files.drop("path").with_columns(_typed(values) if kind == "value" else values).lazy()
    cloud = store.cloud_options()
    if not store.is_local and (cloud is None or not files["path"].str.contains(_PLAIN).all()):
        return _each(store, files, lambda content: _SCANS[kind](io.BytesIO(content), **options).collect())
    if cloud:
        options = {"storage_options": cloud, **options}
    if kind in ("csv", "tsv"):
        # A column of whole numbers in the first files may be one of fractions in the last.
        options = {"infer_schema_files": files.height, **options}
    # Names are names, whatever `*` and `[` would mean in a pattern; only this reader has no switch for it.
    full = [f"{store.root}/{path}" for path in files["path"]]
    paths = [glob.escape(path) for path in full] if kind == "ndjson" else full
    literally = {} if kind == "ndjson" else {"glob": False}
    scanned = _SCANS[kind](paths, include_file_paths=_PATH, **literally, **options)
    located = files.lazy().with_columns(pl.Series(_PATH, full)).drop("path")
    return located.join(scanned, on=_PATH, how="inner", maintain_order="left_right").drop(_PATH)


def _each(store: Store, files: pl.DataFrame, read: Callable[[bytes], pl.DataFrame]) -> pl.LazyFrame:
    """Files read whole, their rows behind the keys; a column named like a key is told apart as in a join."""
    keys = [name for name in files.columns if name != "path"]
    frames = []
    contents = store.read_all(files["path"].to_list())
    for one, content in zip(files.iter_rows(named=True), contents, strict=True):
        found = read(content)
        found = found.rename({name: f"{name}_right" for name in keys if name in found.columns})
        frames.append(
            found.select(*(pl.lit(one[key], files.schema[key]).alias(key) for key in keys), pl.all())
        )
    return pl.concat(frames, how="diagonal_relaxed").lazy()


def _objects(store: Store, files: pl.DataFrame) -> pl.DataFrame:
    """JSON files: an object is a row, a list of objects several, anything else a value."""
    rows: list[dict[str, Any]] = []
    owners: list[int] = []
    paths = files["path"].to_list()
    for number, (path, content) in enumerate(zip(paths, store.read_all(paths), strict=True)):
        found = parse_json(content, path)
        several = (
            found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else [found]
        )
        rows += [one if isinstance(one, dict) else {"value": one} for one in several]
        owners += [number] * len(several)
    keys = files.drop("path")[owners]
    values = pl.DataFrame(rows, infer_schema_length=None)
    taken = {name: f"{name}_right" for name in keys.columns if name in values.columns}
    return keys.hstack(values.rename(taken)) if values.width else keys


def parse_json(content: bytes, path: str) -> Any:
    """Read a JSON file's content.

    Raises:
        StorageError: When it is no JSON; names the file.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise StorageError(f"{path} is no JSON file: {error}") from error


def _typed(texts: pl.Series) -> pl.Series:
    """Numbers where every text reads as one, else the texts."""
    for dtype in (pl.Int64, pl.Float64):
        numbers = texts.cast(dtype, strict=False)
        if not numbers.has_nulls():
            return numbers
    return texts


@dataclass(frozen=True)
class RawTable:
    """The rows of a table file as they are written.

    Attributes:
        frame: Every column of a CSV file is text; the columns of other files have the types of the file.
        is_text: Whether it comes from a CSV file.
        has_decimal_commas: Whether its numbers may be written as `1,5`: the values are parted by semicolons.
    """

    frame: pl.DataFrame
    is_text: bool = False
    has_decimal_commas: bool = False


def read_table(store: Store, path: str, address: str, is_header: Callable[[Sequence[str]], bool]) -> RawTable:
    """Read a table that the config names.

    Args:
        store: Where it lies.
        path: Its path there.
        address: Where the config names it, for messages.
        is_header: Whether names of columns can be those of such a table; tells by what the values of a CSV file are
            parted.

    Raises:
        ConfigError: It is not there, empty, or of no known kind.
        StorageError: Its contents cannot be read; names the line and the column where it can.
    """
    kind = FORMATS.get(PurePosixPath(path).suffix.lower())
    if kind not in _READS:
        raise ConfigError(
            f"workspace.toml: {address}: {path} is no table of a known kind (csv, tsv, parquet, json …)"
        )
    if not store.exists(path):
        raise ConfigError(f"workspace.toml: {address}: {store.root}/{path} does not exist")
    content = store.read(path)
    if not content.strip():
        raise ConfigError(f"workspace.toml: {address}: {path} is empty, so it cannot be read as a table")
    where = f"{path} ({address}) cannot be read"
    if kind in _SEPARATORS:
        return _read_text(content, _SEPARATORS[kind], where, is_header)
    options = {} if kind in ("parquet", "ipc") else {"infer_schema_length": None}
    try:
        return RawTable(_READS[kind](io.BytesIO(content), **options))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StorageError(f"{where}: {str(error).splitlines()[0]}") from error


def _read_text(
    content: bytes, separator: str, where: str, is_header: Callable[[Sequence[str]], bool]
) -> RawTable:
    """Read CSV as text, whatever parts its values and ends its lines."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        content = content.decode("utf-16", errors="replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    first = content.partition(b"\n")[0].decode(errors="replace").rstrip("\r")
    used = next((one for one in (separator, ";", "\t", ",") if is_header(_cells(first, one))), separator)
    try:
        frame = pl.read_csv(io.BytesIO(content), separator=used, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        fault = _text_fault(content, used) or str(error).splitlines()[0]
        raise StorageError(f"{where}: {fault}") from error
    return RawTable(frame, is_text=True, has_decimal_commas=used == ";")


def _cells(line: str, separator: str) -> list[str]:
    """The values of one line; none where it is not CSV."""
    try:
        return next(csv.reader([line[:_LONGEST]], delimiter=separator), [])
    except csv.Error:
        return []


def _text_fault(content: bytes, separator: str) -> str | None:
    """What is wrong with a CSV file that Polars refuses: the first line at fault, and its column."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        begin = content.rfind(b"\n", 0, error.start) + 1
        before = _cells(content[begin : error.start].decode() + "x", separator)
        names = _cells(content.partition(b"\n")[0].decode(errors="replace"), separator)
        column = f", column {names[len(before) - 1].strip()}" if 0 < len(before) <= len(names) else ""
        return f"line {line}{column}: it is not UTF-8; save the file as UTF-8"
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin = 0
    try:
        names = next(rows)
        begin = rows.line_num
        for row in rows:
            if len(row) > len(names):
                return f"line {begin + 1} has {len(row)} values, and the header {len(names)} columns"
            begin = rows.line_num
    except csv.Error as error:
        fault = "a quoted value has no end" if "unexpected end" in str(error) else str(error)
        return f"line {begin + 1}: {fault}"
    return None
