"""Files of many records read as one frame: result files, single values, the data of a modality."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog._table_file import check_options
from sinagot_catalog._table_files import TableFiles
from sinagot_catalog.errors import ConfigError, SelectionError, StorageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sinagot_catalog._store import Store

__all__ = ["FORMATS", "format_of", "read_table", "scan_files"]

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

_READS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    "csv": pl.read_csv,
    "tsv": lambda content: pl.read_csv(content, separator="\t"),
    "parquet": pl.read_parquet,
    "ipc": pl.read_ipc,
    "json": pl.read_json,
    "ndjson": pl.read_ndjson,
}


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


def scan_files(
    stores: Mapping[str, Store],
    files: pl.DataFrame,
    format: str | None,  # noqa: A002 - the word that readers use
    options: Mapping[str, Any],
    *,
    strict: bool = True,
) -> pl.LazyFrame:
    """Read files as one lazy frame; no file is opened before it is collected or its schema is asked for.

    Args:
        stores: Where they lie, by the names in the column `root`.
        files: Columns `root` and `path`, and the key columns that each file's rows get.
        format: One of the values of `FORMATS`, or `text`: one value, never read as a number; by default as the
            names end.
        options: Passed on to Polars' own reader; a `schema` says which columns to give.
        strict: Whether a file that cannot be read is an error; else it is left out with a warning.

    Raises:
        SelectionError: When the format of a file is not known, or takes no such option.
    """
    if files.is_empty():
        return files.drop("root", "path").lazy()
    options = dict(options)
    schema = pl.Schema(options.pop("schema")) if options.get("schema") is not None else None
    suffix = PurePosixPath(files["path"][0]).suffix
    if suffix and files["path"].str.ends_with(suffix).all():
        suffixes = pl.Series([suffix])
        firsts = files["path"][:1]
    else:
        suffixes = files["path"].str.extract(r"(\.[^./]*)$").fill_null("")
        firsts = files["path"].gather(suffixes.arg_unique())
    formats = {PurePosixPath(path).suffix: format_of(path, format) for path in firsts}
    for each in formats.values():
        check_options(each, options)
    named = (
        pl.lit(formats[suffix])
        if len(formats) == 1
        else suffixes.replace_strict(formats, return_dtype=pl.String)
    ).alias("format")
    return TableFiles(stores, files.with_columns(named), schema, options, strict=strict).frame()


def read_table(store: Store, path: str, address: str) -> pl.DataFrame:
    """Read a table that the config names, with its column `record_id` as text and each id once.

    Args:
        store: Where it lies.
        path: Its path there.
        address: Where the config names it, for messages.

    Raises:
        ConfigError: When it is not there, of no known kind, or has no column `record_id`.
    """
    kind = FORMATS.get(PurePosixPath(path).suffix.lower())
    if kind not in _READS:
        raise ConfigError(
            f"workspace.toml: {address}: {path} is no table of a known kind (csv, tsv, parquet, json …)"
        )
    if not store.exists(path):
        raise ConfigError(f"workspace.toml: {address}: {store.root}/{path} does not exist")
    try:
        frame = _READS[kind](io.BytesIO(store.read(path)))
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"{path} ({address}) cannot be read: {str(error).splitlines()[0]}") from error
    if "record_id" not in frame.columns:
        raise ConfigError(
            f"workspace.toml: {address}: {path} has no column 'record_id', only {', '.join(frame.columns)}"
            f"{did_you_mean('record_id', frame.columns)}"
        )
    ids = pl.col("record_id").cast(pl.String)
    return frame.with_columns(ids).unique(subset="record_id", keep="first", maintain_order=True)
