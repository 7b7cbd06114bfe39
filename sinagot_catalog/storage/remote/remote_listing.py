"""The remote listing: lists the keys below a remote root, without markers of folders.

A folder of a bucket exists only in the names of its keys. Some tools create an empty object, a *marker*, for a
folder that has no file yet; a marker is never data. Buckets are listed in parallel ranges of keys (`cloud_listing`)
if possible, else by fsspec. Servers with real folders are listed folder by folder, so that unreadable folders are
known.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage.protocol import Reach, ScanResult
from sinagot_catalog.storage.remote.filesystem import EXTRAS, WEB, Info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sinagot_catalog.storage.remote.remote_root import RemoteRoot

_WALKED = (*WEB, "ftp", "sftp", "ssh", "smb", "webdav", "webhdfs", "hdfs")
"""Protocols of servers with real folders."""
_MOST_QUERIES = 1_000
"""The most keys that are queried one by one, because they may be markers."""
_FEW = 100


class RemoteListing:
    """Lists one remote root.

    Args:
        root: The root.
    """

    def __init__(self, root: RemoteRoot) -> None:
        self._root = root
        self._is_walked = root.protocol in _WALKED

    def find(self, reach: Reach, on_page: Callable[[int], None] | None = None) -> ScanResult:
        """List keys under the patterns' literal folders, with the stats that the listing has."""
        import polars as pl

        unreadable: list[str] = []
        frames = [
            self._list(prefix, unreadable, on_page, may_be_bare=reach.may_be_bare)
            for prefix in reach.prefixes
        ]
        keys = pl.concat(frames)
        if keys.is_empty() and not unreadable:
            self._check_root()
        return ScanResult(keys=keys, unreadable=unreadable)

    def _list(
        self,
        prefix: str,
        unreadable: list[str],
        on_page: Callable[[int], None] | None,
        *,
        may_be_bare: bool,
    ) -> Any:
        """The keys under a folder: `path` relative to the root, `size`, `mtime_ns`, `etag`."""
        import polars as pl

        listed = self._list_quickly(prefix, on_page, may_be_bare=may_be_bare)
        if listed is not None:
            return listed
        if self._is_walked:
            infos = dict(self._walk(prefix.rstrip("/"), unreadable))
        else:
            infos = self.infos(prefix.rstrip("/"))
        keys = pl.DataFrame(
            {
                "path": list(infos),
                "size": [info.size for info in infos.values()],
                "mtime_ns": [info.mtime_ns for info in infos.values()],
                "etag": [info.etag for info in infos.values()],
            },
            schema={"path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64, "etag": pl.String},
        )
        if EXTRAS.get(self._root.protocol) != "azure":
            return keys
        # Its file system drops the slash of a marker.
        data = self._without_markers(keys, may_be_bare=False)
        return keys if data is None else data

    def _list_quickly(self, prefix: str, on_page: Callable[[int], None] | None, *, may_be_bare: bool) -> Any:
        """The same in parallel ranges; None if that is not possible, or the result is not reliable."""
        import polars as pl

        from sinagot_catalog.storage.remote import cloud_listing

        base = self._root.base.partition("/")[2]
        folder = "/".join(part for part in (base, prefix.rstrip("/")) if part)
        try:
            cloud = cloud_listing.open_cloud(self._root.fs, self._root.root, self._root.options)
            if cloud is None:
                return None
            listed = cloud_listing.list_keys(cloud, f"{folder}/" if folder else "", on_page)
        except Exception:  # noqa: BLE001 - on any error the plain way is tried, and reports its own error
            return None
        keys = listed.select(
            pl.col("path").str.slice(len(base) + 1 if base else 0),
            pl.col("size").cast(pl.Int64),
            mtime_ns=pl.col("last_modified").dt.epoch("s") * 1_000_000_000,
            etag=pl.col("e_tag").str.strip_chars('"'),
        )
        return self._without_markers(keys, may_be_bare=may_be_bare)

    def _without_markers(self, keys: Any, *, may_be_bare: bool) -> Any:
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
        infos = self._root.each(self._root.peek, doubtful)
        markers = [path for path, info in zip(doubtful, infos, strict=True) if not _is_file(info)]
        return keys.filter(~pl.col("path").is_in(markers)) if markers else keys

    def _walk(self, folder: str, unreadable: list[str]) -> Iterator[tuple[str, Info]]:
        """The files below a folder, listed folder by folder, and the information that each listing has."""
        todo, seen = [folder], {folder}
        while todo:
            here = todo.pop()
            try:
                entries = self._root.fs.ls(
                    f"{self._root.full(here)}/" if self._root.protocol in WEB else self._root.full(here),
                    detail=True,
                )
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:
                if here == "":
                    raise self._root.fault(here, "cannot be listed", error) from error
                unreadable.append(here)
                continue
            for entry in entries:
                if self._root.protocol in WEB and re.search(r"[?#]", entry["name"]):
                    continue  # a link that sorts the page, or leads to a position on it
                path = self._root.relative(entry["name"]).rstrip("/")
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
                raise self._root.fault(unreadable[0], "cannot be listed", PermissionError())
            return below
        details: dict[str, Any] = {}
        with self._root.faults(folder, "cannot be listed"), suppress(FileNotFoundError, NotADirectoryError):
            details = self._root.fs.find(self._root.full(folder), detail=True)
        infos = {self._root.relative(name): Info(answer) for name, answer in sorted(details.items())}
        infos = {
            path: info
            for path, info in infos.items()
            if not info.is_directory and path != folder and not path.endswith("/")
        }
        if EXTRAS.get(self._root.protocol) == "azure":  # its file system drops the slash of a marker
            folders = {path.rpartition("/")[0] for path in infos}
            doubtful = [path for path, info in infos.items() if not info.size or path in folders]
            answers = self._root.each(self._root.peek, doubtful)
            for path, info in zip(doubtful, answers, strict=True):
                if not _is_file(info):
                    del infos[path]
        return infos

    def entries(self, folder: str, kind: str) -> list[str]:
        """The names of the entries directly in a folder; `kind` is `file` or `directory`."""
        entries: list[dict[str, Any]] = []
        with self._root.faults(folder, "cannot be listed"), suppress(FileNotFoundError, NotADirectoryError):
            entries = self._root.fs.ls(self._root.full(folder.rstrip("/")), detail=True)
        found = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == kind}
        return sorted(
            found - {"", self._root.base.rpartition("/")[2] if not folder else folder.rpartition("/")[2]}
        )

    def _check_root(self) -> None:
        """Accept a prefix without a key as an empty dataset; raise an error if a bucket or folder is absent."""
        if self._is_walked:
            self._check_folder()
            return
        top = self._root.base.lstrip("/").partition("/")[0]
        if self._root.protocol not in EXTRAS or not top:
            return
        with self._root.faults("", "cannot be listed"):
            there = self._root.fs.exists(top)
        if not there:
            raise StorageError(
                f"{self._root.shown} cannot be listed: there is no bucket {self._root.bucket}",
                "Look at its name, and at the account and endpoint that [storage] names.",
            )

    def _check_folder(self) -> None:
        """Raise an error with the reason if a folder of a server cannot be listed."""
        try:
            self._root.fs.ls(
                f"{self._root.base}/" if self._root.protocol in WEB else self._root.base, detail=False
            )
        except FileNotFoundError as error:
            why = "404 Not Found" if self._root.protocol in WEB else "there is no such folder"
            raise StorageError(
                f"{self._root.shown} cannot be listed: {why}", "Look at the address of the dataset."
            ) from error
        except Exception as error:
            raise self._root.fault("", "cannot be listed", error) from error


def _is_file(info: Info | None) -> bool:
    return info is not None and not info.is_directory
