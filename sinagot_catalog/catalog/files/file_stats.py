"""File stats: reads sizes, times and etags of files and fingerprints of folders, once per listing and on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.patterns import RawFolder, paths_of
from sinagot_catalog.storage import STATS, digest_of, fingerprint, stat_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinagot_catalog.catalog.files.presence import Presence
    from sinagot_catalog.catalog.structure.layout import Link
    from sinagot_catalog.storage import Store


FOLDERS: dict[str, pl.DataType] = {**STATS, "count": pl.Int64()}
"""Columns of a folder: the bytes of its files, the newest time, the fingerprint as `etag`, the number of files."""

_READ = {**FOLDERS, "is_folder": pl.Boolean()}

_FEW = 10
"""Paths are few if there are this many times more stats: then a join goes through the stats, and sorts none."""

_PARTS = 16
"""The most parts in which stats are held: each is what one call read, as of the inputs of a step."""


class Stats:
    """Reads and caches sizes and times for one workspace.

    Args:
        stores: The store of each root.
    """

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = stores
        self._lock = threading.RLock()
        self._held: dict[str, list[pl.DataFrame]] = {}
        self._listed: dict[str, pl.Series] = {}
        self._folders: dict[str, pl.DataFrame] = {}
        self._is_closed = False

    def __call__(self, root: str, paths: pl.Series) -> pl.DataFrame:
        """Return size, time and etag of paths, in the order of the paths."""
        with self._lock:
            several = self._held.setdefault(root, [])
            for stats in several:
                if len(paths) == stats.height and (paths == stats["path"]).all():
                    return stats
            new_paths = paths
            if root in self._listed:
                # the listing of a bucket contains all stats: only read files that were written since
                new_paths = paths.filter(paths.is_in(self._listed[root].implode()))
            near = [stats for stats in several if _overlap(stats["path"], paths)]
            for stat in near:
                new_paths = new_paths.filter(~new_paths.is_in(stat["path"].implode()))
            if not new_paths.is_sorted() or (new_paths == new_paths.shift()).any():
                new_paths = new_paths.unique(maintain_order=True)
            if not new_paths.is_empty():
                new = stat_columns(self._stores[root], new_paths.alias("path"))
                near.append(new)
                several[:] = [*several, new] if len(several) < _PARTS else [pl.concat([*several, new])]
                if len(new_paths) == len(paths):
                    return new
            held = pl.concat([pl.DataFrame(schema=STATS), *near])
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
        self._held[root] = [given]
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
                    self._held[root] = [
                        table.filter(~pl.col("path").is_in(new.implode())) for table in self._held[root]
                    ]
                else:
                    self._held.pop(root, None)

    def forget(self) -> None:
        """Forget all stats: the next call reads them again."""
        with self._lock:
            self._held.clear()
            self._listed.clear()
            self._folders.clear()
            self._is_closed = False


def _overlap(some: pl.Series, others: pl.Series) -> bool:
    """Whether some paths can be among others: the files of two folders never are."""
    if some.is_empty() or others.is_empty():
        return False
    (first, last), (low, high) = ((str(paths.min()), str(paths.max())) for paths in (some, others))
    return first <= high and low <= last


def _measured(
    path: str, files: Mapping[str, tuple[int, int]] | None, raw: RawFolder | None
) -> tuple[int | None, int | None, str | None, int | None]:
    """Return bytes, newest time, fingerprint and number of the files of a folder that count."""
    if files is None:
        return None, None, None, None
    counted = (
        files if raw is None else {name: item for name, item in files.items() if raw.is_own(f"{path}/{name}")}
    )
    found = fingerprint((name, size, time) for name, (size, time) in counted.items())
    newest = max((time for _, time in counted.values()), default=None)
    return found.size, newest, found.digest, found.n_files


# --- the paths of rows ---------------------------------------------------------------------------------------


def port_stats(presence: Presence, codes: pl.Series, port: Sequence[Link], stats: Stats) -> pl.DataFrame:
    """Return size, time and fingerprint of one input for records, and whether it is a folder.

    Of alternatives it is the first that is present, of many files all together.
    """
    frames = [
        files_stats(presence, codes, presence.many_files(link.place), stats)
        if presence.layout.places[link.place].template.is_wild
        else stat_rows(presence, presence.located(link.place, codes), stats)
        for link in port
    ]
    if len(frames) == 1:
        return frames[0]
    chosen = presence.chosen_way(port).gather(codes)
    rows = pl.int_range(len(codes), eager=True)
    return pl.concat(frames).select(pl.all().gather(chosen.cast(pl.Int64) * len(codes) + rows))


def files_stats(presence: Presence, codes: pl.Series, files: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return bytes, newest time, fingerprint and number of files for records or groups.

    Args:
        presence: The listing.
        codes: The codes of records or groups.
        files: The files of each: columns `_rec`, `root`, `path`.
        stats: Reads sizes and times.
    """
    files = files.join(codes.unique().to_frame("_rec"), on="_rec", how="semi")
    read = stat_rows(presence, files, stats).with_columns(files["_rec"])
    number = pl.col("etag").str.to_integer(base=16, dtype=pl.UInt64, strict=False)
    state = pl.when("is_folder").then(number.reinterpret(signed=True)).otherwise("mtime_ns")
    line = pl.concat_str(
        "path", pl.lit("\0"), pl.col("size").cast(pl.String), pl.lit("\0"), state.cast(pl.String)
    )
    sums = read.group_by("_rec").agg(
        pl.col("path").min(),
        pl.col("size").sum(),
        pl.col("mtime_ns").max(),
        line.sort().str.join("\n").alias("_lines"),
        pl.len().cast(pl.Int64).alias("count"),
    )
    etag = pl.Series("etag", [digest_of(lines) for lines in sums["_lines"]], dtype=pl.String)
    whole = sums.with_columns(etag).select("_rec", *FOLDERS, pl.lit(value=True).alias("is_folder"))
    return codes.to_frame("_rec").join(whole, on="_rec", how="left", maintain_order="left").drop("_rec")


def stat_rows(presence: Presence, rows: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return the same as `stat_paths` for rows with columns `root` and `path`."""
    numbered = rows.select("root", "path").with_row_index("_row")
    parts = [
        stat_paths(presence, str(root), part, stats).with_columns(part["_row"])
        for (root,), part in numbered.partition_by("root", as_dict=True, maintain_order=True).items()
    ]
    if len(parts) != 1:
        parts = [pl.DataFrame(schema={**_READ, "_row": pl.UInt32}), *parts]
    return pl.concat(parts).sort("_row").drop("_row")


def stat_paths(presence: Presence, root: str, paths: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return the columns of `FOLDERS` and `is_folder` for paths, in their order; of a folder its content."""
    folders = presence.listings[root].directories
    path = paths["path"]
    if not (path.has_nulls() or path.is_in(folders.implode()).any()):
        return _of_files(stats(root, path))
    distinct = path.drop_nulls().unique()
    is_folder = distinct.is_in(folders.implode())
    held = stats.folders(root, folder_rules(presence, root, distinct.filter(is_folder)))
    files = _of_files(stats(root, distinct.filter(~is_folder)))
    both = pl.concat([files, held.select(*FOLDERS, pl.lit(value=True).alias("is_folder"))])
    return paths.select("path").join(both, on="path", how="left", maintain_order="left")


def _of_files(found: pl.DataFrame) -> pl.DataFrame:
    """The stats of files, with the columns that only folders have."""
    return found.with_columns(count=pl.lit(None, pl.Int64), is_folder=pl.lit(value=False))


def folder_rules(presence: Presence, root: str, paths: pl.Series) -> dict[str, RawFolder | None]:
    """Return folders, each with the rule that excludes the files in it that steps declare."""
    folders: dict[str, RawFolder | None] = dict.fromkeys(paths)
    for place, inside in presence.layout.raw_folders.items() if folders else ():
        template = presence.layout.places[place].template
        if presence.layout.places[place].root != root:
            continue
        declared = [presence.layout.places[place].template for place in inside]
        rows = presence.path_values.with_columns(paths_of(template).alias("path"))
        for row in rows.filter(pl.col("path").is_in(paths.implode())).unique("path").iter_rows(named=True):
            values = presence.layout.ids.values(row["record_id"]) or {}
            folders[row["path"]] = RawFolder(template, declared, presence.layout.ids, values)
    return folders
