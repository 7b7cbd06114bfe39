"""A listing that is given, in place of one that is made: a table of keys, or an S3 Inventory."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog._scan import STATS
from sinagot_catalog._store import is_url, open_store
from sinagot_catalog.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["read_listing"]

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


def read_listing(given: Any, dataset: str, options: Callable[[str], Mapping[str, Any]]) -> pl.DataFrame:
    """The columns of `STATS` of a given listing, a row per key of the dataset.

    Args:
        given: A frame; the path or URL of a Parquet or CSV table; or that of the `manifest.json` of an S3
            Inventory. A column `path` is relative to the dataset, a column `key` to its bucket; `size`,
            `modified` (or `last_modified`) and `etag` may be there.
        dataset: The dataset.
        options: The fsspec options of a URL.

    Raises:
        ConfigError: When it is no such listing.
    """
    if isinstance(given, pl.LazyFrame):
        given = given.collect()
    if not isinstance(given, (str, Path)):
        return _cleaned(given if isinstance(given, pl.DataFrame) else pl.DataFrame(given), dataset)
    where = str(given)
    content = _read(where, options)
    if not where.endswith(".json"):
        return _cleaned(_table(content, where), dataset)
    manifest = json.loads(content)
    if manifest.get("fileFormat") not in _FORMATS or "files" not in manifest:
        raise ConfigError(
            f"{where} is no manifest of an S3 Inventory in CSV or Parquet",
            f"It says fileFormat = {manifest.get('fileFormat')!r}.",
        )
    parts = []
    for one in manifest["files"]:
        name = one["key"]
        found = _read(_part(where, manifest, name), options)
        parts.append(_cleaned(_part_frame(found, manifest), dataset))
    return pl.concat([pl.DataFrame(schema=STATS), *parts])


def _read(where: str, options: Callable[[str], Mapping[str, Any]]) -> bytes:
    folder, _, name = where.rpartition("/")
    return open_store(folder or ".", options(where)).read(name)


def _part(where: str, manifest: Mapping[str, Any], key: str) -> str:
    """Where a part of an inventory lies: in its bucket, or, for a copy on disk, below or beside the manifest."""
    if is_url(where):
        protocol = where.partition("://")[0]
        return f"{protocol}://{str(manifest['destinationBucket']).rpartition(':')[2]}/{key}"
    folder, name = Path(where).parent, key.rpartition("/")[2]
    places = (folder / key, folder / name, folder / "data" / name, folder.parent / "data" / name)
    return str(next((one for one in places if one.exists()), places[1]))


def _part_frame(content: bytes, manifest: Mapping[str, Any]) -> pl.DataFrame:
    if manifest["fileFormat"] == "Parquet":
        return pl.read_parquet(io.BytesIO(content))
    names = [name.strip() for name in manifest["fileSchema"].split(",")]
    frame = pl.read_csv(io.BytesIO(content), has_header=False, new_columns=names, infer_schema=False)
    return frame.with_columns(pl.Series("Key", _unquoted(frame["Key"])))


def _unquoted(keys: pl.Series) -> pl.Series:
    """Keys of an inventory in CSV are quoted as in a URL; the few that differ are unquoted one by one."""
    from urllib.parse import unquote_plus

    odd = keys.str.contains(r"[%+]")
    return keys.zip_with(~odd, keys.map_elements(unquote_plus, pl.String)) if odd.any() else keys


def _table(content: bytes, where: str) -> pl.DataFrame:
    if where.endswith((".parquet", ".pq")):
        return pl.read_parquet(io.BytesIO(content))
    if where.endswith((".csv", ".csv.gz")):
        return pl.read_csv(io.BytesIO(content), infer_schema_length=10_000)
    raise ConfigError(f"listing: {where} is neither Parquet nor CSV nor the manifest.json of an S3 Inventory")


def _cleaned(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    names = {
        ours: next((one for one in theirs if one in frame.columns), None) for ours, theirs in _NAMES.items()
    }
    if names["path"] is None and names["key"] is None:
        raise ConfigError(
            f"listing: it has no column 'path' or 'key', only {', '.join(frame.columns)}"
            f"{did_you_mean('key', frame.columns)}"
        )
    for column, wanted in (("is_latest", "true"), ("is_delete_marker", "false")):
        if (name := names[column]) is not None:
            frame = frame.filter(pl.col(name).cast(pl.String).str.to_lowercase() == wanted)
    if names["path"] is not None:
        path = pl.col(names["path"])
    else:
        base = dataset.partition("://")[2].partition("/")[2] if is_url(dataset) else ""
        key = pl.col(str(names["key"]))
        frame = frame.filter(key.str.starts_with(f"{base}/")) if base else frame
        path = key.str.slice(len(base) + 1 if base else 0)
    return frame.select(
        path.cast(pl.String).alias("path"),
        _or_null(names["size"], pl.Int64()).alias("size"),
        _time(names["modified"], frame).alias("mtime_ns"),
        _or_null(names["etag"], pl.String()).str.strip_chars('"').alias("etag"),
    )


def _or_null(name: str | None, dtype: pl.DataType) -> pl.Expr:
    return pl.lit(None, dtype) if name is None else pl.col(name).cast(dtype, strict=False)


def _time(name: str | None, frame: pl.DataFrame) -> pl.Expr:
    """A time in whole seconds, as the stores give it."""
    if name is None:
        return pl.lit(None, pl.Int64)
    column = pl.col(name)
    if frame.schema[name] == pl.String:
        column = column.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return column.dt.epoch("s") * 1_000_000_000
