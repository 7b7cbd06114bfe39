"""A remote root: a URL with its file system, and how paths, keys and errors relate to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from sinagot_catalog.errors import StorageError
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage.remote import cloud_listing
from sinagot_catalog.storage.remote.error_reasons import reason_of, secrets_in, status_of
from sinagot_catalog.storage.remote.filesystem import CACHES, WEB, Info, file_system
from sinagot_catalog.storage.urls import join_url, normal_url, protocols_of

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 16
_FEW_RETRIES = {"config_kwargs": {"retries": {"max_attempts": 2, "mode": "standard"}}}


class RemoteRoot:
    """A root behind any URL that fsspec supports.

    Args:
        root: The URL.
        options: fsspec options; no message shows their values.
        has_few_retries: Whether S3 makes few retries, unless the options say how many.

    Attributes:
        root: The URL in its normal form.
        protocol: The outermost protocol of the URL, but for caches: the one that names the files.
        options: The fsspec options.
        fs: The file system.
        base: The root as the file system names it.
    """

    def __init__(
        self, root: str, options: Mapping[str, Any] | None = None, *, has_few_retries: bool = False
    ) -> None:
        self.root = normal_url(root)
        protocols = protocols_of(self.root)
        self.protocol = next((name for name in protocols if name not in CACHES), protocols[0])
        self.options = dict(options or {})
        self.fs: Any
        self.base: str
        retries = _FEW_RETRIES if has_few_retries and protocols[0] in ("s3", "s3a") else {}
        self.fs, self.base = file_system(self.root, {**retries, **self.options})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown!r})"

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

    def full(self, path: str) -> str:
        """The name of the file system for a path relative to the root."""
        own = quote(path) if self.protocol in WEB else path
        return f"{self.base}/{own}" if path else self.base

    def relative(self, name: str) -> str:
        """The path relative to the root, from a name of the file system."""
        own = name[len(self.base) + 1 :] if self.base else name.lstrip("/")
        return unquote(own) if self.protocol in WEB else own

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sinagot-store")

    @cached_property
    def _keys(self) -> Any:
        """Answers about single keys at a tenth of the cost that they have through fsspec; None if it cannot."""
        with suppress(Exception):
            return cloud_listing.open_keys(self.fs, self.root, self.options)
        return None

    def each(self, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Call a function for several items in parallel; raise the first error."""
        items = list(items)
        return [do(item) for item in items] if len(items) < 2 else list(self._pool.map(do, items))  # noqa: PLR2004

    @contextmanager
    def faults(self, path: str, what: str) -> Iterator[None]:
        """Raise errors of the file system as `fault` describes them."""
        try:
            yield
        except Exception as error:
            raise self.fault(path, what, error) from error

    def fault(self, path: str, what: str, error: BaseException) -> StorageError:
        """An error as a sentence, without a secret: `s3://lab/a cannot be read: access denied`."""
        where = masked(join_url(self.root, path))
        return StorageError(f"{where} {what}: {reason_of(error, secrets_in(self.options))}")

    def peek(self, path: str) -> Info | None:
        """The store's information about a path; a marker of a folder is a directory."""
        if path and self._keys is not None:
            try:
                answer = cloud_listing.peek(self._keys, f"{self.base.partition('/')[2]}/{path}".strip("/"))
            except Exception:  # noqa: BLE001 - from now on the plain way, which reports its own error
                self._keys = None
            else:
                return None if answer is None else Info(answer)
        try:
            return Info(self.fs.info(self.full(path)))
        except (FileNotFoundError, NotADirectoryError) as error:
            if status_of(error.__cause__) in (None, 404, 410):
                return None
            raise self.fault(path, "cannot be looked at", error) from error
        except Exception as error:
            raise self.fault(path, "cannot be looked at", error) from error
