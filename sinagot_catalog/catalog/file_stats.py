"""File stats: reads sizes, times and etags of files and fingerprints of folders, once per listing and on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.storage import STATS, fingerprint, stat_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinagot_catalog.patterns import RawFolder
    from sinagot_catalog.storage import Store

__all__ = ["FOLDERS", "Stats"]

FOLDERS: dict[str, pl.DataType] = {**STATS, "count": pl.Int64()}
"""Columns of a folder: the bytes of its files, the newest time, the fingerprint as `etag`, the number of files."""

_FEW = 10
"""Paths are few if there are this many times more stats: then a join goes through the stats, and sorts none."""


class Stats:
    """Reads and caches sizes and times for one workspace.

    Args:
        stores: The store of each root.
    """

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = stores
        self._lock = threading.RLock()
        self._held: dict[str, pl.DataFrame] = {}
        self._listed: dict[str, pl.Series] = {}
        self._folders: dict[str, pl.DataFrame] = {}
        self._is_closed = False

    def __call__(self, root: str, paths: pl.Series) -> pl.DataFrame:
        """Return size, time and etag of paths, in the order of the paths."""
        with self._lock:
            held = self._held.get(root, pl.DataFrame(schema=STATS))
            asked = paths
            if root in self._listed:
                # the listing of a bucket contains all stats: only read files that were written since
                asked = paths.filter(paths.is_in(self._listed[root].implode()))
            if not (held.is_empty() or asked.is_empty()):
                asked = asked.filter(~asked.is_in(held["path"].implode()))
            if not asked.is_sorted() or (asked == asked.shift()).any():
                asked = asked.unique(maintain_order=True)
            if not asked.is_empty():
                new = stat_columns(self._stores[root], asked.alias("path"))
                held = self._held[root] = pl.concat([held, new])
                if len(asked) == len(paths):
                    return new
            if len(paths) == held.height and (paths == held["path"]).all():
                return held
            wanted = paths.alias("path").to_frame()
            few = held.join(wanted, on="path", how="semi") if len(paths) * _FEW < held.height else held
            return wanted.join(few, on="path", how="left", maintain_order="left")

    def folders(self, root: str, folders: Mapping[str, RawFolder | None]) -> pl.DataFrame:
        """Return the columns of `FOLDERS` for folders; null where the content of a folder cannot be read.

        Args:
            root: The root.
            folders: Each path with the rule that excludes some of its files; None where all files count.
        """
        with self._lock:
            held = self._folders.get(root, pl.DataFrame(schema=FOLDERS))
            known = set(held["path"])
            new = [] if self._is_closed else [path for path in folders if path not in known]
            if new:
                listed = self._stores[root].contents(new)
                rows = [
                    (path, *_measured(path, files, folders[path]))
                    for path, files in zip(new, listed, strict=True)
                ]
                read = pl.DataFrame(rows, schema=FOLDERS, orient="row")
                held = self._folders[root] = pl.concat([held, read])
            paths = pl.Series("path", list(folders), dtype=pl.String).to_frame()
            return paths.join(held, on="path", how="left", maintain_order="left")

    # --- known stats -------------------------------------------------------------------------------------

    def take(self, root: str, given: pl.DataFrame) -> None:
        """Take the stats that a listing contains; no other file exists."""
        self._held[root] = given
        self._listed[root] = pl.Series("path", [], dtype=pl.String)

    def take_folders(self, root: str, given: pl.DataFrame) -> None:
        """Take the folder stats that a snapshot stores; no other folder is read."""
        self._folders[root] = given.with_columns(pl.lit(None, pl.Int64).alias("count")).select(*FOLDERS)
        self._is_closed = True

    def written(self, paths: pl.DataFrame) -> None:
        """Forget the stats of paths that were written: columns `root, path`."""
        with self._lock:
            self._folders.clear()
            for root in self._stores:
                new = paths.filter(pl.col("root") == root)["path"]
                if root in self._listed:
                    self._listed[root] = pl.concat([self._listed[root], new])
                    self._held[root] = self._held[root].filter(~pl.col("path").is_in(new.implode()))
                else:
                    self._held.pop(root, None)

    def forget(self) -> None:
        """Forget all stats: the next call reads them again."""
        with self._lock:
            self._held.clear()
            self._listed.clear()
            self._folders.clear()
            self._is_closed = False


def _measured(
    path: str, files: Mapping[str, tuple[int, int]] | None, raw: RawFolder | None
) -> tuple[int | None, int | None, str | None, int | None]:
    """Return bytes, newest time, fingerprint and number of the files of a folder that count."""
    if files is None:
        return None, None, None, None
    counted = (
        files if raw is None else {name: one for name, one in files.items() if raw.is_own(f"{path}/{name}")}
    )
    found = fingerprint((name, size, time) for name, (size, time) in counted.items())
    newest = max((time for _, time in counted.values()), default=None)
    return found.size, newest, found.digest, found.n_files
