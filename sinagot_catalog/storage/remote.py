"""Remote store: a root behind any URL that fsspec supports."""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from sinagot_catalog.errors import StorageError
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage.error_reasons import is_refusal, reason_of, secrets_in, status_of
from sinagot_catalog.storage.filesystem import EXTRAS, WEB, Info, file_system
from sinagot_catalog.storage.protocol import Reach, ScanResult, Stat
from sinagot_catalog.storage.urls import join_url, normal_url, protocols_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Info", "RemoteStore"]

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 16
_WALKED = (*WEB, "ftp", "sftp", "ssh", "smb", "webdav", "webhdfs", "hdfs")
"""Protocols that are listed folder by folder, so that unreadable folders are known."""
_MOST_ASKED, _FEW = 1_000, 100
_PLAIN = re.compile(r"[a-z0-9]+://[A-Za-z0-9/_.=-]+")
"""A URL that every reader interprets in the same way."""


class RemoteStore:
    """A root behind any URL that fsspec supports.

    Args:
        root: The URL.
        options: fsspec options; no message shows their values.
    """

    is_local = False

    def __init__(self, root: str, options: Mapping[str, Any] | None = None) -> None:
        self.root = normal_url(root)
        self.protocol = protocols_of(self.root)[0]
        self._options = dict(options or {})
        self._creates: bool | None = None
        self.on_page: Callable[[int], None] | None = None
        self.fs: Any
        self.base: str
        self.fs, self.base = file_system(self.root, self._options)

    def __repr__(self) -> str:
        return f"RemoteStore({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL as messages show it."""
        return masked(self.root)

    def __reduce__(self) -> str:
        raise TypeError("a remote store is never pickled; open it again")

    @property
    def bucket(self) -> str:
        """The URL of the bucket."""
        protocol, _, rest = self.shown.partition("://")
        return f"{protocol}://{rest.partition('/')[0]}"

    def _at(self, path: str) -> str:
        own = quote(path) if self.protocol in WEB else path
        return f"{self.base}/{own}" if path else self.base

    def _below_root(self, name: str) -> str:
        """The path relative to the root, from a name of the file system."""
        own = name[len(self.base) + 1 :] if self.base else name.lstrip("/")
        return unquote(own) if self.protocol in WEB else own

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sinagot-store")

    def each(self, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Call a function for several items in parallel; raise the first error."""
        items = list(items)
        return [do(one) for one in items] if len(items) < 2 else list(self._pool.map(do, items))  # noqa: PLR2004

    def fault(self, path: str, what: str, error: BaseException) -> StorageError:
        """An error as a sentence, without a secret: `s3://lab/a cannot be read: access denied`."""
        where = masked(join_url(self.root, path))
        return StorageError(f"{where} {what}: {reason_of(error, secrets_in(self._options))}")

    # --- listing -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Do nothing: the listing itself reports what is wrong."""

    def find(self, reach: Reach) -> ScanResult:
        """List keys under the patterns' literal folders, with the stats that the listing has."""
        import polars as pl

        unreadable: list[str] = []
        frames = [self._list(prefix, unreadable, may_be_bare=reach.may_be_bare) for prefix in reach.prefixes]
        keys = pl.concat(frames)
        if keys.is_empty() and not unreadable:
            self._check_root()
        return ScanResult(keys=keys, unreadable=unreadable)

    def _list(self, prefix: str, unreadable: list[str] | None = None, *, may_be_bare: bool = True) -> Any:
        """The keys under a folder: `path` relative to the root, `size`, `mtime_ns`, `etag`."""
        import polars as pl

        listed = self._list_quickly(prefix, may_be_bare=may_be_bare)
        if listed is not None:
            return listed
        if self.protocol in _WALKED:
            found = dict(self._walk(prefix.rstrip("/"), [] if unreadable is None else unreadable))
        else:
            found = self.infos(prefix.rstrip("/"))
        keys = pl.DataFrame(
            {
                "path": list(found),
                "size": [one.size for one in found.values()],
                "mtime_ns": [one.mtime_ns for one in found.values()],
                "etag": [one.etag for one in found.values()],
            },
            schema={"path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64, "etag": pl.String},
        )
        if EXTRAS.get(self.protocol) != "azure":
            return keys
        told = self._without_markers(keys, may_be_bare=False)  # it drops the slash of a marker
        return keys if told is None else told

    def _walk(self, folder: str, unreadable: list[str]) -> Iterator[tuple[str, Info]]:
        """The files below a folder, listed folder by folder, and the information that each listing has."""
        todo, seen = [folder], {folder}
        while todo:
            here = todo.pop()
            try:
                entries = self.fs.ls(
                    f"{self._at(here)}/" if self.protocol in WEB else self._at(here), detail=True
                )
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:
                if here == "":
                    raise self.fault(here, "cannot be listed", error) from error
                unreadable.append(here)
                continue
            for entry in entries:
                if self.protocol in WEB and re.search(r"[?#]", entry["name"]):
                    continue  # a link that sorts the page, or leads to a position on it
                path = self._below_root(entry["name"]).rstrip("/")
                info = Info(entry)
                if not info.is_directory:
                    yield path, info
                elif path not in seen and path.startswith(f"{here}/" if here else ""):
                    seen.add(path)
                    todo.append(path)

    def _list_quickly(self, prefix: str, *, may_be_bare: bool = True) -> Any:
        """The same in parallel ranges; None if that is not possible, or the result is not reliable."""
        import polars as pl

        from sinagot_catalog.storage import cloud_listing

        base = self.base.partition("/")[2]
        folder = "/".join(part for part in (base, prefix.rstrip("/")) if part)
        try:
            cloud = cloud_listing.open_cloud(self.fs, self.root, self._options)
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

    def _without_markers(self, keys: Any, *, may_be_bare: bool = True) -> Any:
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
        asked = keys.filter(is_empty)["path"].to_list() + bare
        if len(asked) > _MOST_ASKED:
            return None
        infos = self.each(self._info, asked)
        markers = [path for path, info in zip(asked, infos, strict=True) if not _is_file(info)]
        return keys.filter(~pl.col("path").is_in(markers)) if markers else keys

    def _check_root(self) -> None:
        """Accept a prefix without a key as an empty dataset; raise an error if a bucket or folder is absent."""
        if self.protocol in _WALKED:
            self._check_folder()
            return
        top = self.base.lstrip("/").partition("/")[0]
        if self.protocol not in EXTRAS or not top:
            return
        try:
            there = self.fs.exists(top)
        except Exception as error:
            raise self.fault("", "cannot be listed", error) from error
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

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every object below a folder with its size, in the order of their keys; an absent folder has none."""
        return {path: info.size for path, info in self.infos(folder).items()}

    def infos(self, folder: str) -> dict[str, Info]:
        """The listing's information about every object below a folder, without markers of folders."""
        if self.protocol in _WALKED:
            unreadable: list[str] = []
            below = dict(sorted(self._walk(folder.rstrip("/"), unreadable)))
            if unreadable:
                raise self.fault(unreadable[0], "cannot be listed", PermissionError())
            return below
        try:
            found = self.fs.find(self._at(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except Exception as error:
            raise self.fault(folder, "cannot be listed", error) from error
        told = {self._below_root(name): Info(one) for name, one in sorted(found.items())}
        told = {
            path: info
            for path, info in told.items()
            if not info.is_directory and path != folder and not path.endswith("/")
        }
        if EXTRAS.get(self.protocol) == "azure":  # it drops the slash of a marker
            folders = {path.rpartition("/")[0] for path in told}
            asked = [path for path, info in told.items() if not info.size or path in folders]
            infos = self.each(self._info, asked)
            for path, info in zip(asked, infos, strict=True):
                if not _is_file(info):
                    del told[path]
        return told

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder the size and time of every object below it, by its name."""
        return [*self.each(self.files_below, folders)]

    def files_below(self, folder: str) -> dict[str, tuple[int, int]]:
        """Size and time of every object below a folder, by its name."""
        start = len(folder) + 1
        found = self.infos(folder).items()
        return {path[start:]: (info.size or 0, info.mtime_ns or 0) for path, info in found}

    def names(self, folder: str) -> list[str]:
        """Names of the keys directly under a prefix."""
        return self._entries(folder, "file")

    def folders(self, folder: str) -> list[str]:
        """Names of the common prefixes directly under a prefix."""
        return self._entries(folder, "directory")

    def _entries(self, folder: str, kind: str) -> list[str]:
        try:
            entries = self.fs.ls(self._at(folder.rstrip("/")), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise self.fault(folder, "cannot be listed", error) from error
        found = {one["name"].rstrip("/").rsplit("/", 1)[-1] for one in entries if one["type"] == kind}
        return sorted(found - {"", self.base.rpartition("/")[2] if not folder else folder.rpartition("/")[2]})

    # --- one path ----------------------------------------------------------------------------------------

    def info(self, path: str) -> Info | None:
        """The object or prefix at a path; None if there is nothing but a marker of a folder."""
        found = self._info(path)
        if found is not None and found.is_directory and not self.infos(path):
            return None
        return found

    def _info(self, path: str) -> Info | None:
        """The store's information about a path; a marker of a folder is a directory."""
        try:
            return Info(self.fs.info(self._at(path)))
        except (FileNotFoundError, NotADirectoryError) as error:
            if status_of(error.__cause__) in (None, 404, 410):
                return None
            raise self.fault(path, "cannot be looked at", error) from error
        except Exception as error:
            raise self.fault(path, "cannot be looked at", error) from error

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each key, several at a time."""
        found = self.each(self.info, paths)
        return Stat(
            [None if one is None else one.size for one in found],
            [None if one is None else one.mtime_ns for one in found],
            [None if one is None else one.etag for one in found],
        )

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None if nothing is there."""
        found = self.each(self.info, paths)
        return [None if one is None else "directory" if one.is_directory else "file" for one in found]

    def exists(self, path: str) -> bool:
        """Whether there is a key, or a key below it."""
        return self.info(path) is not None

    def resolve(self, folder: str) -> str:
        """The URL of a folder: there are no links."""
        return f"{self.root}/{folder}" if folder else self.root

    def read(self, path: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(self.fs.cat_file(self._at(path)))
        except FileNotFoundError as error:
            raise StorageError(
                f"{masked(join_url(self.root, path))} cannot be read: it does not exist"
            ) from error
        except Exception as error:
            raise self.fault(path, "cannot be read", error) from error

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Read whole objects, several at a time."""
        return self.each(self.read, paths)

    def get(self, path: str, target: str) -> None:
        """Copy an object to a local file."""
        try:
            self.fs.get_file(self._at(path), target)
        except Exception as error:
            raise self.fault(path, "cannot be fetched", error) from error

    def put(self, source: str, path: str) -> None:
        """Copy a local file to an object: readers see the old one or the whole new one."""
        try:
            self.fs.put_file(source, self._at(path))
        except Exception as error:
            raise self.fault(path, "cannot be written", error) from error

    def cloud_options(self) -> dict[str, str] | None:
        """The options for Polars' own readers; None if they cannot be translated exactly."""
        from sinagot_catalog.storage import cloud_listing

        is_plain = _PLAIN.fullmatch(self.root) is not None and "//" not in self.root.partition("://")[2]
        config = (
            cloud_listing.polars_config(self._options)
            if self.protocol in ("s3", "s3a") and is_plain
            else None
        )
        if config is None:
            return None
        told = {f"aws_{key}": "true" if value is True else str(value) for key, value in config.items()}
        if told.pop("aws_endpoint", None) is not None:
            told["aws_endpoint_url"] = str(config["endpoint"])
            told["aws_allow_http"] = "true"
        return told

    def write(self, path: str, content: bytes) -> None:
        """Put a whole object; stores make it visible at once."""
        try:
            self.fs.pipe_file(self._at(path), content)
        except Exception as error:
            raise self.fault(path, "cannot be written", error) from error

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; absent ones are no error."""
        self.each(self._delete, paths)

    def _delete(self, path: str) -> None:
        try:
            self.fs.rm_file(self._at(path))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self.fault(path, "cannot be removed", error) from error

    def prune(self, folder: str) -> None:
        """Do nothing: a prefix exists as long as one of its keys does."""

    # --- create-only -------------------------------------------------------------------------------------

    def create(self, path: str, content: bytes) -> bool:
        """Put an object only if none exists; `content` differs from that of every other writer.

        If a reply is lost and a library tries again, it finds the object of the first try. So the content decides.
        """
        try:
            self.fs.pipe_file(self._at(path), content, mode="create")
        except Exception as error:
            if not is_refusal(error):
                raise self.fault(path, "cannot be written", error) from error
            try:
                return self.read(path) == content
            except StorageError as unread:
                raise self.fault(path, "cannot be written", error) from unread
        return True

    def can_create(self, folder: str) -> bool:
        """Whether the store supports create-only puts; tested once, with an object that is removed again."""
        if self._creates is None:
            path = f"{folder}/probe-{secrets.token_hex(8)}"
            try:
                first = self.create(path, b"1")
                self._creates = first and not self.create(path, b"2")
            except (
                TypeError,
                NotImplementedError,
            ):  # how file systems of fsspec say that they know no such put
                self._creates = False
            finally:
                self.delete([path])
        return self._creates

    def check_writable(self) -> None:
        """Raise a StorageError that names the bucket if nothing can be written."""
        path = f"LOG/probe-{secrets.token_hex(8)}"
        try:
            self.fs.pipe_file(self._at(path), b"")
        except Exception as error:
            raise StorageError(
                f"the run cannot write to {self.bucket}: {reason_of(error, secrets_in(self._options))}",
                "Set [path] outputs and log in workspace.toml to a place that you may write to.",
            ) from error
        self.delete([path])


def _is_file(info: Info | None) -> bool:
    return info is not None and not info.is_directory
