"""File systems: opens an fsspec file system by its URL and reads its answers. The only importer of fsspec."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sinagot_catalog.errors import StorageError, did_you_mean
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage.remote.error_reasons import reason_of, secrets_in
from sinagot_catalog.storage.urls import protocols_of

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
}
"""The extra of this package that installs what a bucket protocol needs."""
WEB = ("http", "https")
CACHES = ("simplecache", "filecache", "blockcache", "cached")
"""Protocols whose names are those of the URL behind them."""
_TAKES_NO_EXTRAS = ("sftp", "ssh")
"""Protocols whose file systems pass every option on to a library, which knows none of fsspec's own options."""
_SEVERAL_AT_ONCE = ("memory", "file", "local")
_TIMES = (
    "LastModified",
    "last_modified",
    "Last-Modified",
    "mtime",
    "updated",
    "modify",
    "date_time",
    "created",
)


class Info:
    """The store's information about one path.

    Attributes:
        is_directory: Whether it is no object but a prefix of some.
        size: Bytes.
        mtime_ns: When it was written, in whole seconds: not every answer of a store is more exact.
        etag: The store's identifier of its content.
    """

    __slots__ = ("etag", "is_directory", "mtime_ns", "size")

    def __init__(self, answer: Mapping[str, Any]) -> None:
        # Some stores report a folder marker as a file; its name, or the URL of a page, shows that it is none.
        names = (str(answer.get(key) or "") for key in ("name", "url"))
        is_marker = any(
            (key.lower(), value) == ("hdi_isfolder", "true")
            for key, value in (answer.get("metadata") or {}).items()
        )
        self.is_directory = (
            answer.get("type") == "directory" or is_marker or any(name.endswith("/") for name in names)
        )
        self.size: int | None = answer.get("size")
        self.mtime_ns = _whole_seconds(answer)
        etag = answer.get("ETag") or answer.get("etag") or answer.get("e_tag")
        self.etag: str | None = etag.strip('"') if isinstance(etag, str) else None


def _whole_seconds(told: Mapping[str, Any]) -> int | None:
    when: Any = next((told[key] for key in _TIMES if told.get(key) is not None), None)
    if isinstance(when, str):
        when = _parsed(when)
    if isinstance(when, tuple):
        with suppress(ValueError):
            when = datetime(*when[:6]).replace(tzinfo=UTC)  # noqa: DTZ001 - archives name no zone
    if isinstance(when, datetime):
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return int(when) * 1_000_000_000 if isinstance(when, (int, float)) else None


def _parsed(when: str) -> datetime | None:
    if re.fullmatch(r"\d{14}(\.\d+)?", when):  # the format of FTP servers
        return datetime.strptime(when[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError):
            return parse(when)
    return None


def file_system(root: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Open a separate file system without a listing cache: a shared one would go on showing outdated listings.

    Values in the URL itself (host, user, account) take precedence over the options.

    Returns:
        The file system, and the path of the root in it.

    Raises:
        StorageError: When its package is not installed, the protocol is unknown, or it cannot be opened.
    """
    import fsspec
    from fsspec.core import url_to_fs

    shown = masked(root)
    protocol = protocols_of(root)[0]
    try:
        kinds = {name: fsspec.get_filesystem_class(name) for name in protocols_of(root)}
    except ImportError as error:
        extra = next((EXTRAS[name] for name in protocols_of(root) if name in EXTRAS), None)
        raise StorageError(
            f"{shown} needs a package that is not installed: {str(error).splitlines()[0]}",
            f"pip install 'sinagot-catalog[{extra}]'" if extra else "Install the package that it names.",
        ) from error
    except ValueError as error:
        protocols = fsspec.available_protocols()
        wrong = next(name for name in protocols_of(root) if name not in protocols)
        raise StorageError(
            f"{shown}: no storage is known for {wrong!r}{did_you_mean(wrong, protocols)}"
        ) from error
    own = kinds[protocol]._get_kwargs_from_urls(root) if "::" not in root else {}  # noqa: SLF001 - fsspec's own way
    given = {key: value for key, value in options.items() if key not in own}
    uncached = {} if protocol in _TAKES_NO_EXTRAS else {"use_listings_cache": False}
    try:
        fs, path = url_to_fs(root, skip_instance_cache=True, **uncached, **given)
    except Exception as error:
        raise StorageError(f"{shown} cannot be opened: {reason_of(error, secrets_in(options))}") from error
    if "tar" in kinds and not path.startswith(".") and fs.ls("", detail=False) == ["."]:
        path = f"./{path}"  # `tar -c .` writes all names like this
    is_shared = fs.async_impl or protocol in _SEVERAL_AT_ONCE
    return (fs if is_shared else _OneAtATime(fs)), path.rstrip("/")


class _OneAtATime:
    """A file system that serves one thread at a time: it has a single connection, or a single open archive."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._fs, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                return value(*args, **options)

        return call
