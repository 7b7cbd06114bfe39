"""The remote listing: lists the keys below a remote root, without markers of folders.

A folder of a bucket exists only in the names of its keys. Some tools create an empty object, a *marker*, for a
folder that has no file yet; a marker is never data. Buckets are listed in parallel ranges of keys (`cloud_listing`)
if possible, else by fsspec. Servers with real folders are listed folder by folder, so that unreadable folders are
known.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage.remote import cloud_listing
from sinagot_catalog.storage.remote.error_reasons import is_outage
from sinagot_catalog.storage.remote.filesystem import EXTRAS, WEB, Info
from sinagot_catalog.storage.remote.remote_root import RemoteRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from sinagot_catalog.storage.listing import Listing
    from sinagot_catalog.storage.protocol import Reach

_WALKED = (*WEB, "ftp", "sftp", "ssh", "smb", "webdav", "webhdfs", "hdfs")
"""Protocols of servers with real folders."""
_MOST_QUERIES = 1_000
"""The most keys that are queried one by one, because they may be markers."""
_FEW = 100


class RemoteListing(RemoteRoot):
    """A remote root whose keys can be listed."""

    on_page: Callable[[int], None] | None = None
    """Called with the number of keys of each page of a long listing."""

    @property
    def _is_walked(self) -> bool:
        return self.protocol in _WALKED

    def find(self, reach: Reach) -> Listing:
        """List keys under the patterns' literal folders, with the stats that the listing has."""
        import polars as pl

        from sinagot_catalog.storage.listing import from_keys

        unreadable: list[str] = []
        keys = pl.concat([self._list(prefix, unreadable, reach) for prefix in reach.prefixes])
        if keys.is_empty() and not unreadable:
            self._check_root()
        listing = replace(from_keys(keys, reach), unreadable=tuple(sorted(set(unreadable))))
        says_nothing = keys.select(pl.col("size", "mtime_ns").is_null().all()).row(0) == (True, True)
        # stats that a listing lacks are read later
        return replace(listing, stats=None) if says_nothing else listing

    def _list(self, prefix: str, unreadable: list[str], reach: Reach) -> pl.DataFrame:
        """The keys under a folder, with the columns of `STATS`."""
        import polars as pl

        from sinagot_catalog.storage.listing import STATS

        listed = self._list_quickly(prefix, may_be_bare=reach.may_be_bare)
        if listed is not None:
            return listed
        folder = prefix.rstrip("/")
        infos = dict(self._walk(folder, unreadable)) if self._is_walked else self.infos(folder)
        columns = {name: [getattr(info, name) for info in infos.values()] for name in STATS if name != "path"}
        return pl.DataFrame({"path": list(infos), **columns}, schema=STATS)

    def _list_quickly(self, prefix: str, *, may_be_bare: bool) -> pl.DataFrame | None:
        """The same in parallel ranges; None if that is not possible, or the result is not reliable."""
        import polars as pl

        base = self.base.partition("/")[2]
        folder = "/".join(part for part in (base, prefix.rstrip("/")) if part)
        try:
            cloud = cloud_listing.open_cloud(self.fs, self.root, self.options)
            if cloud is None:
                return None
            listed = cloud_listing.list_keys(cloud, f"{folder}/" if folder else "", self.on_page)
        except Exception:  # noqa: BLE001 - on any error the plain way is tried, and reports its own error
            return None
        keys = listed.select(
            pl.col("path").str.slice(len(base) + 1 if base else 0),
            pl.col("size").cast(pl.Int64),
            mtime_ns=pl.col("last_modified").dt.epoch("s") * 1_000_000_000,
            etag=pl.col("e_tag").str.strip_chars('"'),
        )
        return self._without_markers(keys, may_be_bare=may_be_bare)

    def _without_markers(self, keys: pl.DataFrame, *, may_be_bare: bool) -> pl.DataFrame | None:
        """Keys without markers of folders whose slash a library has dropped.

        An empty object may be a marker, and an object whose name has no suffix. None if these are too many.
        """
        import polars as pl

        path = pl.col("path")
        keys = keys.filter(path.ne_missing(path.shift()))  # an object precedes a marker of the same name
        is_empty, is_bare = pl.col("size") == 0, ~path.str.contains(r"\.[^/]*$")
        bare = keys.filter(is_bare & ~is_empty)["path"].to_list()
        if len(bare) > _FEW and not may_be_bare:
            bare = []  # no pattern matches them
        doubtful = keys.filter(is_empty)["path"].to_list() + bare
        if len(doubtful) > _MOST_QUERIES:
            return None
        markers = self._markers_in(doubtful)
        return keys.filter(~pl.col("path").is_in(markers)) if markers else keys

    def _walk(self, folder: str, unreadable: list[str]) -> Iterator[tuple[str, Info]]:
        """The files below a folder, listed folder by folder, and the information that each listing has."""
        todo, seen = [folder], {folder}
        while todo:
            here = todo.pop()
            try:
                entries = self.fs.ls(
                    f"{self.full(here)}/" if self.protocol in WEB else self.full(here),
                    detail=True,
                )
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:
                if here == "" or is_outage(error):
                    raise self.fault(here, "cannot be listed", error) from error
                unreadable.append(here)
                continue
            for entry in entries:
                if self.protocol in WEB and re.search(r"[?#]", entry["name"]):
                    continue  # a link that sorts the page, or leads to a position on it
                path = self.relative(entry["name"]).rstrip("/")
                info = Info(entry)
                if not info.is_directory:
                    yield path, info
                elif path not in seen and path.startswith(f"{here}/" if here else ""):
                    seen.add(path)
                    todo.append(path)

    def infos(self, folder: str) -> dict[str, Info]:
        """The listing's information about every object below a folder, without markers of folders."""
        if self._is_walked:
            unreadable: list[str] = []
            below = dict(sorted(self._walk(folder.rstrip("/"), unreadable)))
            if unreadable:
                raise self.fault(unreadable[0], "cannot be listed", PermissionError())
            return below
        details: dict[str, Any] = {}
        with self.faults(folder, "cannot be listed"), suppress(FileNotFoundError, NotADirectoryError):
            details = self.fs.find(self.full(folder), detail=True)
        infos = {self.relative(name): Info(answer) for name, answer in sorted(details.items())}
        infos = {
            path: info
            for path, info in infos.items()
            if not info.is_directory and path != folder and not path.endswith("/")
        }
        if EXTRAS.get(self.protocol) == "azure":  # its file system drops the slash of a marker
            odd = {path.rpartition("/")[0] for path in infos}
            bare = [path for path in infos if "." not in path.rpartition("/")[2]]
            odd.update(bare if len(bare) <= _FEW else ())
            doubtful = [path for path, info in infos.items() if not info.size or path in odd]
            for path in self._markers_in(doubtful):
                del infos[path]
        return infos

    def _markers_in(self, paths: list[str]) -> list[str]:
        """Those of some listed paths that are no files when the store is asked for them."""
        answers = zip(paths, self.each(self.peek, paths), strict=True)
        return [path for path, info in answers if info is None or info.is_directory]

    def entries(self, folder: str, *, is_file: bool) -> list[str]:
        """Names of the files or of the folders directly in a folder, sorted; an absent folder has none."""
        entries: list[dict[str, Any]] = []
        kind = "file" if is_file else "directory"
        with self.faults(folder, "cannot be listed"), suppress(FileNotFoundError, NotADirectoryError):
            entries = self.fs.ls(self.full(folder.rstrip("/")), detail=True)
        found = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == kind}
        return sorted(found - {"", self.base.rpartition("/")[2] if not folder else folder.rpartition("/")[2]})

    def _check_root(self) -> None:
        """Accept a prefix without a key as an empty dataset; raise an error if a bucket or folder is absent."""
        if self._is_walked:
            self._check_folder()
            return
        top = self.base.lstrip("/").partition("/")[0]
        if self.protocol not in EXTRAS or not top:
            return
        with self.faults("", "cannot be listed"):
            there = self.fs.exists(top)
        if not there:
            raise StorageError(
                f"{self.shown} cannot be listed: there is no bucket {self.bucket}",
                "Look at its name, and at the account and endpoint that [storage] names.",
            )

    def _check_folder(self) -> None:
        """Raise an error with the reason if a folder of a server cannot be listed."""
        try:
            self.fs.ls(f"{self.base}/" if self.protocol in WEB else self.base, detail=False)
        except FileNotFoundError as error:
            why = "404 Not Found" if self.protocol in WEB else "there is no such folder"
            raise StorageError(
                f"{self.shown} cannot be listed: {why}", "Look at the address of the dataset."
            ) from error
        except Exception as error:
            raise self.fault("", "cannot be listed", error) from error
