"""Remote store: reads, writes and lists the objects below a URL."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING

from sinagot_catalog.errors import AbsentError, StorageError, UnwritableError
from sinagot_catalog.secrets import masked
from sinagot_catalog.storage.protocol import Stat, Store
from sinagot_catalog.storage.remote import cloud_listing
from sinagot_catalog.storage.remote.error_reasons import is_outage, is_refusal, reason_of, secrets_in
from sinagot_catalog.storage.remote.remote_listing import RemoteListing
from sinagot_catalog.storage.urls import join_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.storage.remote.filesystem import Info

_PLAIN = re.compile(r"[a-z0-9]+://[A-Za-z0-9/_.=-]+")
"""A URL that every reader interprets in the same way."""
_NO_SUCH_PUT = (TypeError, NotImplementedError)
"""What file systems of fsspec raise when they do not know create-only puts: fsspec cannot be asked beforehand."""


class RemoteStore(RemoteListing, Store):
    """A store behind any URL that fsspec supports."""

    is_local = False
    _creates: bool | None = None

    # --- listing -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Do nothing: the listing itself reports what is wrong."""

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every object below a folder with its size, in the order of their keys; an absent folder has none."""
        return {path: info.size for path, info in self.infos(folder).items()}

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder the size and time of every object below it, by its name."""
        return [*self.each(self.files_below, folders)]

    def files_below(self, folder: str) -> dict[str, tuple[int, int]]:
        """Size and time of every object below a folder, by its name."""
        start = len(folder) + 1
        found = self.infos(folder).items()
        return {path[start:]: (info.size or 0, info.mtime_ns or 0) for path, info in found}

    # --- one path ----------------------------------------------------------------------------------------

    def info(self, path: str) -> Info | None:
        """The object or prefix at a path; None if there is nothing but a marker of a folder."""
        info = self.peek(path)
        if info is not None and info.is_directory and not self.infos(path):
            return None
        return info

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each key, several at a time."""
        infos = self.each(self.info, paths)
        columns = ([getattr(info, name, None) for info in infos] for name in ("size", "mtime_ns", "etag"))
        return Stat(*columns)

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None if nothing is there."""
        infos = self.each(self.info, paths)
        return [None if info is None else "directory" if info.is_directory else "file" for info in infos]

    def resolve(self, folder: str) -> str:
        """The URL of a folder: there are no links."""
        return f"{self.root}/{folder}" if folder else self.root

    @cached_property
    def _at_once(self) -> dict[str, int]:
        """The argument with which s3fs reads an object without asking for its size first."""
        is_asking = self.root.startswith(("s3://", "s3a://")) and (
            "max_concurrency" in signature(self.fs.cat_file).parameters
        )
        return {"max_concurrency": 1} if is_asking else {}

    def read(self, path: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(self.fs.cat_file(self.full(path), **self._at_once))
        except FileNotFoundError as error:
            raise AbsentError(
                f"{masked(join_url(self.root, path))} cannot be read: it does not exist"
            ) from error
        except Exception as error:
            raise self.fault(path, "cannot be read", error) from error

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Read whole objects, several at a time."""
        return self.each(self.read, paths)

    def get(self, path: str, target: str) -> None:
        """Copy an object to a local file."""
        with self.faults(path, "cannot be fetched"):
            self.fs.get_file(self.full(path), target)

    def put(self, source: str, path: str) -> None:
        """Copy a local file to an object: readers see the old one or the whole new one."""
        with self.faults(path, "cannot be written"):
            self.fs.put_file(source, self.full(path))

    def cloud_options(self) -> dict[str, str] | None:
        """The options for Polars' own readers; None if they cannot be translated exactly."""
        is_plain = _PLAIN.fullmatch(self.root) is not None and "//" not in self.root.partition("://")[2]
        config = None
        if self.protocol in ("s3", "s3a") and is_plain:
            with suppress(Exception):
                config = cloud_listing.polars_config(self.fs, self.options)
        if config is None:
            return None
        options = {f"aws_{key}": "true" if value is True else str(value) for key, value in config.items()}
        if options.pop("aws_endpoint", None) is not None:
            options["aws_endpoint_url"] = str(config["endpoint"])
            options["aws_allow_http"] = "true"
        return options

    def write(self, path: str, content: bytes) -> None:
        """Put a whole object; stores make it visible at once."""
        with self.faults(path, "cannot be written"):
            self.fs.pipe_file(self.full(path), content)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; absent ones are no error."""
        self.each(self._delete, paths)

    def _delete(self, path: str) -> None:
        with self.faults(path, "cannot be removed"), suppress(FileNotFoundError):
            self.fs.rm_file(self.full(path))

    def prune(self, folder: str) -> None:
        """Do nothing: a prefix exists as long as one of its keys does."""

    # --- create-only -------------------------------------------------------------------------------------

    def create(self, path: str, content: bytes) -> bool:
        """Put an object only if none exists; `content` differs from that of every other writer.

        If a reply is lost and a library tries again, it finds the object of the first try. So the content decides.
        """
        try:
            self.fs.pipe_file(self.full(path), content, mode="create")
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
            except _NO_SUCH_PUT:
                self._creates = False
            finally:
                self.delete([path])
        return self._creates

    def check_writable(self) -> None:
        """Raise a StorageError that names the bucket if nothing can be written."""
        path = f"LOG/probe-{secrets.token_hex(8)}"
        try:
            self.fs.pipe_file(self.full(path), b"")
        except Exception as error:
            kind = StorageError if is_outage(error) else UnwritableError
            raise kind(
                f"the run cannot write to {self.bucket}: {reason_of(error, secrets_in(self.options))}",
                "Set [path] outputs and log in workspace.toml to a place that you may write to.",
            ) from error
        self.delete([path])
