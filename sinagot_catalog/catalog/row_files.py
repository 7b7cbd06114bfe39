"""Files with one row each: reads every file once, and keeps its values in the user's cache folder.

$SINAGOT_CATALOG_HOME/columns (or the cache folder of the platform), readable only by its owner
└── <hash of root and pattern>.parquet    a row per file: path, size, time, etag, and the columns of `row_frame`

A file whose size, time or etag changed is read again. Nothing is written beside the files.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.row_file import FAULT, row_frame
from sinagot_catalog.catalog.table_file import TableFile
from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage import STATS, open_store, stat_columns, user_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinagot_catalog.catalog.notices import Notice
    from sinagot_catalog.storage import Store

_FORM = "1"
"""Raise it when the form of the cached files changes."""
_SETTLED = 2_000_000_000
"""Nanoseconds: a younger file may still change without a new time."""
_LARGEST = 16 << 20
_BATCH, _BATCH_BYTES = 1_000, 64 << 20
_HELD = "\x1eheld"
"""The suffix of sizes and times of cached files."""
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
        self._held: dict[str, pl.DataFrame] = {}
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
            held = self._held[name] if name in self._held else _load(name)
            looked = files.join(held, on="path", how="left", maintain_order="left", suffix=_HELD)
            is_held = looked.select(
                pl.all_horizontal(pl.col(name) == pl.col(f"{name}{_HELD}") for name in ("size", "mtime_ns"))
                & pl.col("etag").eq_missing(pl.col(f"etag{_HELD}"))
            ).to_series()
            is_held = is_held.fill_null(value=False)
            parts: list[pl.DataFrame] = []
            try:
                for part in self._parts(store, format_, files.filter(~is_held)):
                    parts.append(part)  # noqa: PERF402 - an interrupted read keeps what it has read
            finally:
                self._keep(name, held, parts)
        no_values = [name for name in looked.columns if name in STATS or name.endswith(_HELD)][1:]
        rows = looked.drop(no_values).filter(is_held)
        if parts:
            read = pl.concat(
                [rows, *(part.drop(*no_values, _KEEP, strict=False) for part in parts)], how="diagonal"
            )
            rows = files.select("path").join(read, on="path", how="left", maintain_order="left")
        used = [one.name for one in rows if one.name in ("path", FAULT) or one.null_count() < rows.height]
        return rows.select(used)

    def _keep(self, name: str, held: pl.DataFrame, parts: Sequence[pl.DataFrame]) -> None:
        """Add what was read to what is held, in memory and in the cache folder."""
        read = pl.concat(parts, how="diagonal") if parts else pl.DataFrame(schema={_KEEP: pl.Boolean})
        read = read.filter(_KEEP).drop(_KEEP)
        if read.height:
            others = held.join(read.select("path"), on="path", how="anti", maintain_order="left")
            held = pl.concat([others, read], how="diagonal")
            _save(name, held)
        self._held[name] = held

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
        contents, unread = _contents(store, files["path"].filter(~large & ~changed).to_list())
        read = row_frame([TableFile(store, path, format_, content=one) for path, one in contents.items()])
        read = read.with_columns(pl.Series("path", list(contents), dtype=pl.String))
        rows = files.join(read, on="path", how="left", maintain_order="left")
        path = pl.col("path")
        sizes = pl.format(
            "{} has {} bytes, and a file with one row at most {}", path, "size", pl.lit(_LARGEST)
        )
        return rows.with_columns(
            pl.when(pl.lit(large))
            .then(sizes)
            .when(pl.lit(changed))
            .then(pl.format("{} changed since the snapshot", path))
            .otherwise(pl.coalesce(path.replace_strict(unread, default=None, return_dtype=pl.String), FAULT))
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


def _contents(store: Store, paths: list[str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the contents of files by path, and why the others cannot be read."""
    with suppress(StorageError):
        return dict(zip(paths, store.read_all(paths), strict=True)), {}
    contents: dict[str, bytes] = {}
    unread: dict[str, str] = {}
    for path in paths:
        try:
            contents[path] = store.read(path)
        except StorageError as error:
            unread[path] = error.message
    return contents, unread


# --- the cache folder ----------------------------------------------------------------------------------------


def _load(name: str) -> pl.DataFrame:
    """Return what the cache folder has; nothing if it cannot be read."""
    empty = pl.DataFrame(schema={**STATS, FAULT: pl.String()})
    try:
        content = open_store(str(user_cache("columns"))).read(f"{name}.parquet")
        held = pl.read_parquet(io.BytesIO(content))
        return pl.concat([empty, held], how="diagonal")
    except (StorageError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return empty


def _save(name: str, held: pl.DataFrame) -> None:
    """Write to the cache folder; without one the files are read again next time."""
    content = io.BytesIO()
    with suppress(StorageError, OSError, pl.exceptions.PolarsError):
        held.write_parquet(content)
        open_store(str(user_cache("columns"))).write(f"{name}.parquet", content.getvalue())
