"""A root behind any URL that fsspec knows."""

from __future__ import annotations

import errno
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sinagot_catalog._secrets import masked
from sinagot_catalog._store._types import Found, Reach, Stat
from sinagot_catalog.errors import StorageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Info", "RemoteStore", "file_system"]

T = TypeVar("T")
R = TypeVar("R")

_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
}
_AT_ONCE = 16
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_SECRET = re.compile(
    r"(?i)secret|token|password|passwd|pwd|sas|credential|connection_string|account_key|^key$|cookie|auth"
)
_SHORTEST_SECRET = 4
_MOST_EMPTY = 1_000
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "BlobAlreadyExists")


class Info:
    """What a store says of one path.

    Attributes:
        is_directory: Whether it is no object but a prefix of some.
        size: Bytes.
        mtime_ns: When it was written, in whole seconds: not every answer of a store is more exact.
        etag: What the store calls its content.
    """

    __slots__ = ("etag", "is_directory", "mtime_ns", "size")

    def __init__(self, told: Mapping[str, Any]) -> None:
        # some say of the marker of a folder that it is a file, by its own name
        self.is_directory = told.get("type") == "directory" or str(told.get("name", "")).endswith("/")
        self.size: int | None = told.get("size")
        self.mtime_ns = _whole_seconds(told)
        etag = told.get("ETag") or told.get("etag") or told.get("e_tag")
        self.etag: str | None = etag.strip('"') if isinstance(etag, str) else None


def _whole_seconds(told: Mapping[str, Any]) -> int | None:
    when: Any = next((told[key] for key in _TIMES if told.get(key) is not None), None)
    if isinstance(when, str):
        when = _parsed(when)
    if isinstance(when, datetime):
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return int(when) * 1_000_000_000 if isinstance(when, (int, float)) else None


def _parsed(when: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError):
            return parse(when)
    return None


def file_system(root: str, options: Mapping[str, Any]) -> Any:
    """A file system of our own, without a listing cache: a shared one goes on showing what has since changed.

    Raises:
        StorageError: When its package is not installed, or the protocol is unknown.
    """
    import fsspec

    protocol = root.split("://", 1)[0]
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        raise StorageError(
            f"{root} needs a package that is not installed: {str(error).splitlines()[0]}",
            f"pip install 'sinagot-catalog[{extra}]'" if extra else "Install the package that it names.",
        ) from error
    except ValueError as error:
        raise StorageError(
            f"{root}: no storage is known for {protocol!r}"
            f"{did_you_mean(protocol, fsspec.available_protocols())}"
        ) from error
    try:
        return kind(skip_instance_cache=True, use_listings_cache=False, **options)
    except Exception as error:
        raise StorageError(f"{root} cannot be opened: {_told(error, _secrets(options))}") from error


class RemoteStore:
    """A root behind any URL that fsspec knows.

    Args:
        root: The URL.
        options: fsspec options; their values are kept out of every message.
    """

    is_local = False

    def __init__(self, root: str, options: Mapping[str, Any] | None = None) -> None:
        self.root = root.rstrip("/")
        self._options = dict(options or {})
        self._creates: bool | None = None
        self.on_page: Callable[[int], None] | None = None
        self.fs: Any = file_system(self.root, self._options)
        self.base: str = self.fs._strip_protocol(self.root).rstrip("/")  # noqa: SLF001 - fsspec's own way to say it

    def __repr__(self) -> str:
        return f"RemoteStore({masked(self.root)!r})"

    def __reduce__(self) -> str:
        raise TypeError("a remote store is never pickled; open it again")

    @property
    def bucket(self) -> str:
        """The URL of the bucket."""
        protocol, _, rest = self.root.partition("://")
        return f"{protocol}://{rest.partition('/')[0]}"

    def _at(self, path: str) -> str:
        return f"{self.base}/{path}" if path else self.base

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sinagot-store")

    def each(self, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do something for several paths at once; the first error of them is raised."""
        items = list(items)
        return [do(one) for one in items] if len(items) < 2 else list(self._pool.map(do, items))  # noqa: PLR2004

    def fault(self, path: str, what: str, error: BaseException) -> StorageError:
        """An error in a sentence, without a secret: `s3://lab/a cannot be read: access denied`."""
        where = f"{self.root}/{path}" if path else self.root
        return StorageError(f"{where} {what}: {_told(error, _secrets(self._options))}")

    # --- listing -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing to ask beforehand: the listing itself says what is wrong."""

    def find(self, reach: Reach) -> Found:
        """List keys under the patterns' literal folders, with what the listing says of each."""
        import polars as pl

        frames = [self._list(prefix) for prefix in _prefixes(reach)]
        keys = pl.concat(frames)
        if keys.is_empty():
            self._check_bucket()
        return Found(keys=keys)

    def _list(self, prefix: str) -> Any:
        """The keys under a folder: `path` relative to the root, `size`, `mtime_ns`, `etag`."""
        import polars as pl

        listed = self._list_quickly(prefix)
        if listed is not None:
            return listed
        try:
            found = self.fs.find(self._at(prefix).rstrip("/"), detail=True)
        except FileNotFoundError:
            found = {}
        except Exception as error:
            raise self.fault(prefix, "cannot be listed", error) from error
        start = len(self.base) + 1
        infos = [Info(one) for one in found.values()]
        keys = pl.DataFrame(
            {
                "path": [name[start:] for name in found],
                "size": [one.size for one in infos],
                "mtime_ns": [one.mtime_ns for one in infos],
                "etag": [one.etag for one in infos],
            },
            schema={"path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64, "etag": pl.String},
        ).filter(pl.Series([not one.is_directory for one in infos], dtype=pl.Boolean))
        if _EXTRAS.get(self.root.partition("://")[0]) != "azure":
            return keys  # markers end in a slash here
        told = self._without_markers(keys)
        return keys if told is None else told

    def _list_quickly(self, prefix: str) -> Any:
        """The same in ranges side by side; None where that cannot be done, or gave a reason to doubt it."""
        import polars as pl

        from sinagot_catalog._store import _clouds

        base = self.base.partition("/")[2]
        folder = "/".join(part for part in (base, prefix.rstrip("/")) if part)
        try:
            cloud = _clouds.open_cloud(self.fs, self.root, self._options)
            if cloud is None:
                return None
            listed = _clouds.list_keys(cloud, f"{folder}/" if folder else "", self.on_page)
        except Exception:  # noqa: BLE001 - whatever it is, the plain way says it in its own words
            return None
        keys = listed.select(
            pl.col("path").str.slice(len(base) + 1 if base else 0),
            pl.col("size").cast(pl.Int64),
            mtime_ns=pl.col("last_modified").dt.epoch("s") * 1_000_000_000,
            etag=pl.col("e_tag").str.strip_chars('"'),
        )
        return self._without_markers(keys)

    def _without_markers(self, keys: Any) -> Any:
        """Keys without markers of folders whose slash a library has dropped: an empty object may be one.

        None where too many are empty to ask for each.
        """
        import polars as pl

        empty = keys.filter(size=0)["path"].to_list()
        if len(empty) > _MOST_EMPTY:
            return None
        markers = [path for path, kind in zip(empty, self.kinds(empty), strict=True) if kind != "file"]
        return keys.filter(~pl.col("path").is_in(markers))

    def _check_bucket(self) -> None:
        """A prefix without a key is an empty dataset; a bucket that is not there is a mistake."""
        top = self.base.lstrip("/").partition("/")[0]
        if self.fs.protocol == "memory" or not top:
            return
        try:
            there = self.fs.exists(top)
        except Exception as error:
            raise self.fault("", "cannot be listed", error) from error
        if not there:
            raise StorageError(
                f"{self.root} cannot be listed: there is no bucket {self.bucket}",
                "Look at its name, and at the account and endpoint that [storage] names.",
            )

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every object below a folder with its size, in the order of their keys; an absent folder has none."""
        return {path: info.size for path, info in self.infos(folder).items()}

    def infos(self, folder: str) -> dict[str, Info]:
        """What the listing says of every object below a folder."""
        try:
            found = self.fs.find(self._at(folder), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self.fault(folder, "cannot be listed", error) from error
        start = len(self.base) + 1
        told = {name[start:]: Info(one) for name, one in sorted(found.items()) if not name.endswith("/")}
        return {path: info for path, info in told.items() if not info.is_directory}

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder size and time of every object below it, by its name."""
        return [*self.each(self.files_below, folders)]

    def files_below(self, folder: str) -> dict[str, tuple[int, int]]:
        """Size and time of every object below a folder, by its name."""
        start = len(folder) + 1
        found = self.infos(folder).items()
        return {path[start:]: (info.size or 0, info.mtime_ns or 0) for path, info in found}

    def names(self, folder: str) -> list[str]:
        """Names of the keys right under a prefix."""
        return self._entries(folder, "file")

    def folders(self, folder: str) -> list[str]:
        """Names of the common prefixes right under a prefix."""
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
        """What lies at a path: an object, or a prefix of some; None where nothing does."""
        try:
            return Info(self.fs.info(self._at(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
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
        """For each path `file`, `directory`, or None where nothing is there."""
        found = self.each(self.info, paths)
        return [None if one is None else "directory" if one.is_directory else "file" for one in found]

    def exists(self, path: str) -> bool:
        """Whether a key, or a key below it, is there."""
        return self.info(path) is not None

    def resolve(self, folder: str) -> str:
        """The URL of a folder: there are no links."""
        return f"{self.root}/{folder}" if folder else self.root

    def read(self, path: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(self.fs.cat_file(self._at(path)))
        except FileNotFoundError as error:
            raise StorageError(f"{self.root}/{path} cannot be read: it does not exist") from error
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
        """The options as Polars' own readers take them; None where they do not map cleanly."""
        from sinagot_catalog._store import _clouds

        config = _clouds.s3_config(self._options) if self.root.startswith(("s3://", "s3a://")) else None
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
        """Nothing: a prefix is there as long as a key is."""

    # --- create-only -------------------------------------------------------------------------------------

    def create(self, path: str, content: bytes) -> bool:
        """Put an object only if none is there; `content` differs from every other writer's.

        A reply that was lost makes the second try of a library find our own object: what lies there decides.
        """
        try:
            self.fs.pipe_file(self._at(path), content, mode="create")
        except Exception as error:
            if not _is_refusal(error):
                raise self.fault(path, "cannot be written", error) from error
            try:
                return self.read(path) == content
            except StorageError as unread:
                raise self.fault(path, "cannot be written", error) from unread
        return True

    def can_create(self, folder: str) -> bool:
        """Whether the store honours create-only puts; tried once, with an object that is removed again."""
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
        """Raise a StorageError that names the bucket where nothing can be written."""
        path = f"LOG/probe-{secrets.token_hex(8)}"
        try:
            self.fs.pipe_file(self._at(path), b"")
        except Exception as error:
            raise StorageError(
                f"the run cannot write to {self.bucket}: {_told(error, _secrets(self._options))}",
                "Set [path] outputs and log in workspace.toml to a place that you may write to.",
            ) from error
        self.delete([path])


def _is_refusal(error: BaseException) -> bool:
    """Whether an error says that an object was there already: stores and libraries have several ways to."""
    if isinstance(error, FileExistsError):
        return True
    code = getattr(error, "code", None) or getattr(error, "status", None)
    told = f"{code} {error} {error.__cause__ or ''}"
    return (isinstance(error, OSError) and error.errno == errno.EINVAL) or any(
        one in told for one in _REFUSED
    )


def _secrets(options: Any, name: str = "") -> set[str]:
    """Every text in some options that no message may show."""
    if isinstance(options, dict):
        return {one for key, value in options.items() for one in _secrets(value, str(key))}
    if isinstance(options, (list, tuple)):
        return {one for value in options for one in _secrets(value, name)}
    is_secret = isinstance(options, str) and len(options) >= _SHORTEST_SECRET and _SECRET.search(name)
    return {options} if is_secret else set()


def _told(error: BaseException, hidden: Iterable[str]) -> str:
    """An exception of a storage library in a few words, without a secret."""
    if isinstance(error, PermissionError):
        return "access denied"
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    for one in sorted(hidden, key=len, reverse=True):
        text = text.replace(one, "***")
    text = masked(text)
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _prefixes(reach: Reach) -> list[str]:
    """The literal folders that hold every pattern, none inside another."""
    heads = {"" if reach.everything else _literal_head(one) for one in reach.patterns}
    return sorted(one for one in heads if not any(one != other and one.startswith(other) for other in heads))


def _literal_head(pattern: tuple[str | None, ...]) -> str:
    head = ""
    for part in pattern[:-1]:
        if part is None:
            break
        head += part + "/"
    return head
