"""Inventory: reads a listing that the user provides, as a table of keys or an S3 Inventory, in whole or in part.

A provided listing is read lazily: of a table of a hundred million keys, only the needed columns are read, and only
the groups of rows that may hold a wanted record.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.errors import ConfigError, SinagotError, UsageError, did_you_mean
from sinagot_catalog.patterns import match_columns
from sinagot_catalog.storage.listing import STATS, Listing
from sinagot_catalog.storage.roots import open_store
from sinagot_catalog.storage.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sinagot_catalog.patterns import IdPattern, Template

__all__ = ["IdRange", "KeyFilter", "read_listing"]

_NAMES = {
    "path": ("path",),
    "key": ("key", "Key"),
    "size": ("size", "Size"),
    "modified": ("modified", "last_modified", "last_modified_date", "LastModifiedDate", "LastModified"),
    "etag": ("etag", "e_tag", "ETag"),
    "is_latest": ("is_latest", "IsLatest"),
    "is_delete_marker": ("is_delete_marker", "IsDeleteMarker"),
}
_LONG = 80
_SURROGATES, _BEHIND_SURROGATES = 0xD800, 0xE000
_FORMATS = ("CSV", "Parquet")
_TAKEN = "A listing is a frame, Parquet or CSV with a column path or key, or an S3 Inventory's manifest.json."


@dataclass(frozen=True)
class IdRange:
    """A range of record ids, in the order of their characters.

    Attributes:
        first: The first id in the range.
        end: The first id after the range; None if the range has no end.
    """

    first: str = ""
    end: str | None = None

    @classmethod
    def of(cls, records: Any) -> IdRange | None:
        """The range that a user requests: the beginning of the ids, or two ids; None for all of them.

        Raises:
            UsageError: When it is neither.

        Example:
            >>> IdRange.of("REC-2020"), IdRange.of(("A", None))
            (IdRange(first='REC-2020', end='REC-2021'), IdRange(first='A', end=None))
        """
        match records:
            case None:
                return None
            case str() if records:
                return cls(records, _behind(records))
            case tuple((str() | None as first, str() | None as end)) if end is None or (first or "") < end:
                return cls(first or "", end)
            case list():
                raise UsageError(
                    f"records: {_shown(records)} is a list of ids, not a range of records",
                    "A range is a pair, records=(first, end), without the end itself. For these ids alone: "
                    'ws.records.filter(pl.col("record_id").is_in([...])), or ws.run(frame).',
                )
        raise UsageError(
            f"records: {_shown(records)} is not a range of records",
            "Give what their ids begin with, or a pair: the first id, and the first one that is left out.",
        )

    def __contains__(self, record_id: str) -> bool:
        return self.first <= record_id and (self.end is None or record_id < self.end)

    def holds(self, column: pl.Expr) -> pl.Expr:
        """Whether the ids of a column are in the range."""
        lower = column >= self.first
        return lower if self.end is None else lower & (column < self.end)

    def may_hold(self, column: pl.Expr, head: str, ids: IdPattern) -> pl.Expr:
        """Whether a path that is `head` and an id, and perhaps more, may have an id in the range.

        The conditions on the path are plain comparisons, which a Parquet reader decides for whole groups of rows.
        """
        lower = column >= head + self.first
        if self.end is None:
            return lower & column.str.starts_with(head) if head else lower
        within = lower & (column < head + self.end)
        for length in range(
            1, len(self.end)
        ):  # an id that is a prefix of the end: more text may follow it in the path
            if self.end[:length] in self and ids.values(self.end[:length]) is not None:
                within |= column.str.starts_with(head + self.end[:length])
        return within


def _shown(value: object) -> str:
    """The value, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _behind(text: str) -> str | None:
    """The first text after all texts that start with this one.

    Example:
        >>> _behind("ab"), _behind(chr(0x10FFFF))
        ('ac', None)
    """
    for length in range(len(text), 0, -1):
        code = ord(text[length - 1]) + 1
        if code <= sys.maxunicode:
            return text[: length - 1] + chr(_BEHIND_SURROGATES if code == _SURROGATES else code)
    return None


@dataclass(frozen=True)
class KeyFilter:
    """Selects the keys of wanted records in a listing.

    Attributes:
        span: The range of ids.
        templates: The patterns of the paths.
        ids: The id pattern.
    """

    span: IdRange
    templates: Sequence[Template]
    ids: IdPattern

    def may_be(self, column: pl.Expr, base: str) -> pl.Expr:
        """Whether a key may belong to a wanted record; leaves out most of the others."""
        told = pl.lit(value=False)
        for one in (variant for template in self.templates for variant in template.variants.values()):
            texts = [*one.tokens, ("text", "")]
            head = base + (texts[0][1] if texts[0][0] == "text" else "")
            field = texts[1] if texts[0][0] == "text" else texts[0]
            is_id = field == ("field", "id")
            told |= self.span.may_hold(column, head, self.ids) if is_id else column.str.starts_with(head)
        return told

    def narrowed(self, listing: Listing) -> Listing:
        """A listing without the paths that belong only to other records."""
        paths = listing.paths
        found = match_columns(paths["path"], self.templates, self.ids)
        inside = found.filter(self.span.holds(pl.col("record_id")))
        others = found.join(inside, on="row", how="anti").select(pl.col("row").unique())
        kept = (
            paths.with_row_index("row").join(others, on="row", how="anti", maintain_order="left").drop("row")
        )
        return listing.only(kept)


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
    try:
        tables = (_cleaned(part, dataset, wanted) for part in _parts(given, options))
        parts = [one.collect(engine="streaming") for one in tables]
        return pl.concat([pl.DataFrame(schema=STATS), *parts])
    except SinagotError:
        raise
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
        yield pl.read_csv(io.BytesIO(_read(where, options)), infer_schema_length=10_000).lazy()
    elif where.endswith(".json"):
        yield from _inventory(where, options)
    else:
        raise ConfigError(
            f"listing: {where} is neither Parquet nor CSV nor the manifest.json of an S3 Inventory"
        )


def _inventory(where: str, options: Callable[[str], Mapping[str, Any]]) -> Iterator[pl.LazyFrame]:
    manifest = json.loads(_read(where, options))
    if not isinstance(manifest, dict):
        raise ConfigError(f"{where} is not a manifest of an S3 Inventory: it holds no object")
    if manifest.get("fileFormat") not in _FORMATS or "files" not in manifest:
        raise ConfigError(
            f"{where} is not a manifest of an S3 Inventory in CSV or Parquet",
            f"It says fileFormat = {manifest.get('fileFormat')!r}.",
        )
    for one in manifest["files"]:
        part = _part(where, manifest, one["key"])
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
    return str(next((one for one in places if one.exists()), places[1]))


def _unquoted(keys: pl.Series) -> pl.Series:
    """Unquote the keys of an inventory in CSV, which are quoted as in a URL. The few quoted ones go one by one."""
    from urllib.parse import unquote_plus

    odd = keys.str.contains(r"[%+]")
    return keys.zip_with(~odd, keys.map_elements(unquote_plus, pl.String)) if odd.any() else keys


def _cleaned(frame: pl.LazyFrame, dataset: str, wanted: KeyFilter | None) -> pl.LazyFrame:
    schema = frame.collect_schema()
    names = {ours: next((one for one in theirs if one in schema), None) for ours, theirs in _NAMES.items()}
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
    if name is None:
        return pl.lit(None, pl.Int64)
    column, dtype = pl.col(name), schema[name]
    if dtype not in (pl.Datetime, pl.Date, pl.String, pl.Null):
        raise ConfigError(
            f"listing: column {name} holds {dtype}, not times",
            "Give times, or texts like 2026-11-23T05:45:00Z; or leave the column out.",
        )
    if dtype == pl.Null:
        return pl.lit(None, pl.Int64)
    if dtype == pl.String:
        column = column.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return column.dt.epoch("s") * 1_000_000_000
