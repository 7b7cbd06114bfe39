"""Inventory: reads a listing that the user provides, as a table of keys or an S3 Inventory, in whole or in part.

A provided listing is read lazily: of a table of a hundred million keys, only the needed columns are read, and only
the groups of rows that may hold a wanted record.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.errors import ConfigError, did_you_mean
from sinagot_catalog.storage.listing import STATS
from sinagot_catalog.storage.roots import open_store
from sinagot_catalog.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sinagot_catalog.storage.id_ranges import KeyFilter

_NAMES = {
    "path": ("path",),
    "key": ("key", "Key"),
    "size": ("size", "Size"),
    "modified": ("modified", "last_modified", "last_modified_date", "LastModifiedDate", "LastModified"),
    "etag": ("etag", "e_tag", "ETag"),
    "is_latest": ("is_latest", "IsLatest"),
    "is_delete_marker": ("is_delete_marker", "IsDeleteMarker"),
}
_FORMATS = ("CSV", "Parquet")
_TAKEN = "A listing is a frame, Parquet or CSV with a column path or key, or an S3 Inventory's manifest.json."


def read_listing(
    given: Any, dataset: str, options: Callable[[str], Mapping[str, Any]], wanted: KeyFilter | None = None
) -> pl.DataFrame:
    """The columns of `STATS` of a provided listing, a row per key of the dataset.

    Args:
        given: A frame; the path or URL of a Parquet or CSV table; or the path or URL of the `manifest.json` of
            an S3 Inventory. A column `path` is relative to the dataset, a column `key` to its bucket; `size`,
            `modified` (or `last_modified`) and `etag` are optional.
        dataset: The dataset.
        options: The fsspec options of a URL.
        wanted: Leaves out keys that cannot belong to a wanted record.

    Raises:
        ConfigError: When it is no such listing.
    """
    with _faults(given):
        parts = [_collected(_cleaned(part, dataset, wanted)) for part in _parts(given, options)]
    return pl.concat([pl.DataFrame(schema=STATS), *parts])


def count_keys(given: Any, options: Callable[[str], Mapping[str, Any]]) -> int:
    """How many keys a provided listing has; 0 for CSV, which would have to be read for that.

    Raises:
        ConfigError: It is not a listing; see `read_listing`.
    """
    with _faults(given):
        if isinstance(given, (str, Path)) and _is_csv(str(given), options):
            return 0
        return sum(_collected(part.select(pl.len())).item() for part in _parts(given, options))


def sample_keys(
    given: Any, dataset: str, options: Callable[[str], Mapping[str, Any]], every: int
) -> pl.Series:
    """Every n-th key of a provided listing, in its order; nothing else is held.

    Raises:
        ConfigError: It is not a listing; see `read_listing`.
    """
    # the texts are copied: a column of few of them would hold all the texts that it was filtered from
    copied = pl.concat_str("path", pl.lit("")).alias("path")
    is_taken = pl.col("n") % every == 0
    with _faults(given):
        paths = (_cleaned(part, dataset, None).select("path") for part in _parts(given, options))
        keys = [_collected(path.with_row_index("n").filter(is_taken).select(copied)) for path in paths]
    return pl.concat(keys)["path"]


def _collected(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")


@contextmanager
def _faults(given: Any) -> Iterator[None]:
    """Raise what Polars and a wrong listing raise as an error of the config."""
    try:
        yield
    except (pl.exceptions.PolarsError, KeyError, AttributeError, TypeError, ValueError) as error:
        what = given if isinstance(given, (str, Path)) else f"the {type(given).__name__} that is given"
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise ConfigError(f"listing: {what} cannot be read: {why}", _TAKEN) from error


def _parts(given: Any, options: Callable[[str], Mapping[str, Any]]) -> Iterator[pl.LazyFrame]:
    """The tables of a listing, one after the other."""
    if not isinstance(given, (str, Path)):
        is_frame = isinstance(given, (pl.DataFrame, pl.LazyFrame))
        yield (given if is_frame else pl.DataFrame(given)).lazy()
        return
    where = str(given)
    if where.endswith((".parquet", ".pq")):
        yield _parquet(where, options)
    elif where.endswith((".csv", ".csv.gz")):
        texts = dict.fromkeys((*_NAMES["path"], *_NAMES["key"], *_NAMES["etag"]), pl.String())
        content = io.BytesIO(_read(where, options))
        yield pl.read_csv(content, infer_schema_length=10_000, schema_overrides=texts).lazy()
    elif where.endswith(".json"):
        yield from _inventory(where, options)
    else:
        raise ConfigError(
            f"listing: {where} is neither Parquet nor CSV nor the manifest.json of an S3 Inventory"
        )


def _is_csv(where: str, options: Callable[[str], Mapping[str, Any]]) -> bool:
    """Whether the keys of a listing are in CSV, which has no parts that could be left out."""
    return where.endswith((".csv", ".csv.gz")) or (
        where.endswith(".json") and _manifest(where, options)["fileFormat"] == "CSV"
    )


def _manifest(where: str, options: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of an S3 Inventory."""
    manifest = json.loads(_read(where, options))
    if not isinstance(manifest, dict):
        raise ConfigError(f"{where} is not a manifest of an S3 Inventory: it holds no object")
    if manifest.get("fileFormat") not in _FORMATS or "files" not in manifest:
        raise ConfigError(
            f"{where} is not a manifest of an S3 Inventory in CSV or Parquet",
            f"It says fileFormat = {manifest.get('fileFormat')!r}.",
        )
    return manifest


def _inventory(where: str, options: Callable[[str], Mapping[str, Any]]) -> Iterator[pl.LazyFrame]:
    manifest = _manifest(where, options)
    for file in manifest["files"]:
        part = _part(where, manifest, file["key"])
        if manifest["fileFormat"] == "Parquet":
            yield _parquet(part, options)
        else:
            names = [name.strip() for name in manifest["fileSchema"].split(",")]
            content = io.BytesIO(_read(part, options))
            frame = pl.read_csv(content, has_header=False, new_columns=names, infer_schema=False)
            yield frame.with_columns(pl.Series("Key", _unquoted(frame["Key"]))).lazy()


def _parquet(where: str, options: Callable[[str], Mapping[str, Any]]) -> pl.LazyFrame:
    """A Parquet file; only what is needed is read, if Polars can open the file itself."""
    if not is_url(where):
        if not Path(where).is_file():
            raise ConfigError(f"listing: there is no file {where}")
        return pl.scan_parquet(where)
    store = open_store(where.rpartition("/")[0], options(where))
    cloud = store.cloud_options()
    if cloud is not None:
        return pl.scan_parquet(where, storage_options=cloud)
    return pl.scan_parquet(io.BytesIO(store.read(where.rpartition("/")[2])))


def _read(where: str, options: Callable[[str], Mapping[str, Any]]) -> bytes:
    folder, _, name = where.rpartition("/")
    return open_store(folder or ".", options(where)).read(name)


def _part(where: str, manifest: Mapping[str, Any], key: str) -> str:
    """Where a part of an inventory is: in its bucket or, for a copy on disk, below or beside the manifest."""
    if is_url(where):
        protocol = where.partition("://")[0]
        return f"{protocol}://{str(manifest['destinationBucket']).rpartition(':')[2]}/{key}"
    folder, name = Path(where).parent, key.rpartition("/")[2]
    places = (folder / key, folder / name, folder / "data" / name, folder.parent / "data" / name)
    return str(next((place for place in places if place.exists()), places[1]))


def _unquoted(keys: pl.Series) -> pl.Series:
    """Unquote the keys of an inventory in CSV, which are quoted as in a URL. The few quoted ones go one by one."""
    from urllib.parse import unquote_plus

    odd = keys.str.contains(r"[%+]")
    return keys.zip_with(~odd, keys.map_elements(unquote_plus, pl.String)) if odd.any() else keys


def _cleaned(frame: pl.LazyFrame, dataset: str, wanted: KeyFilter | None) -> pl.LazyFrame:
    schema = frame.collect_schema()
    names = {
        ours: next((their for their in theirs if their in schema), None) for ours, theirs in _NAMES.items()
    }
    if names["path"] is None and names["key"] is None:
        raise ConfigError(
            f"listing: it has no column 'path' or 'key', only {', '.join(schema)}{did_you_mean('key', schema)}"
        )
    for column, value in (("is_latest", "true"), ("is_delete_marker", "false")):
        if (name := names[column]) is not None:
            frame = frame.filter(pl.col(name).cast(pl.String).str.to_lowercase() == value)
    base = ""
    key = pl.col(names["path"] or str(names["key"]))
    if names["path"] is None and is_url(dataset):
        base = dataset.partition("://")[2].partition("/")[2]
        base = f"{base}/" if base else ""
        frame = frame.filter(key.str.starts_with(base)) if base else frame
    if wanted is not None:
        frame = frame.filter(wanted.may_be(key, base))
    return frame.select(
        key.cast(pl.String).str.slice(len(base)).alias("path"),
        _or_null(names["size"], pl.Int64()).alias("size"),
        _time(names["modified"], schema).alias("mtime_ns"),
        _or_null(names["etag"], pl.String()).str.strip_chars('"').alias("etag"),
    )


def _or_null(name: str | None, dtype: pl.DataType) -> pl.Expr:
    return pl.lit(None, dtype) if name is None else pl.col(name).cast(dtype, strict=False)


def _time(name: str | None, schema: pl.Schema) -> pl.Expr:
    """A time in whole seconds, as the stores give it."""
    if name is None or schema[name] == pl.Null:
        return pl.lit(None, pl.Int64)
    column, dtype = pl.col(name), schema[name]
    if dtype not in (pl.Datetime, pl.Date, pl.String):
        raise ConfigError(
            f"listing: column {name} holds {dtype}, not times",
            "Give times, or texts like 2026-11-23T05:45:00Z; or leave the column out.",
        )
    if dtype == pl.String:
        column = column.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return column.dt.epoch("s") * 1_000_000_000
