"""Where a job finds its inputs and leaves its outputs, where one of them lies in a bucket.

Inputs are fetched to a folder of the worker that is laid out as the dataset is, so that files which name each
other find each other. A file that is there in the same version (URL and etag) is not fetched again; what was
used longest ago goes when the folder is full. Outputs go whole to their final keys: a store shows an object only
when all of it is there.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH112, PTH114, PTH118, PTH120

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sinagot_catalog._place import LocalPlace
from sinagot_catalog._spool import Shipper
from sinagot_catalog._store import is_url
from sinagot_catalog._store._remote import Info, RemoteStore
from sinagot_catalog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from sinagot_catalog._spec import RunSpec

__all__ = ["RemotePlace", "open_shipper"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a store may be away before a row fails for it."""

_PASSING = (
    "Connect",
    "Timeout",
    "ServiceRe",
    "Incomplete",
    "ServerDisconnected",
    "ResponseStreaming",
    "HttpError",
)
_PASSING_ERRNOS = (errno.EIO, errno.EBUSY, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT)


class TransferError(StorageError):
    """A file could not be fetched or written; its message says all."""

    @property
    def error_type(self) -> str:
        """What the report calls it."""
        return "StorageError"


def open_shipper(spec: RunSpec, options: Mapping[str, Mapping[str, Any]]) -> Shipper | None:
    """What sends the journal of a worker to a bucket; None where it lies on a disk."""
    if spec.remote is None or not is_url(spec.remote.log):
        return None
    return Shipper(RemoteStore(spec.remote.log, options.get("log")), spec.log, spec.run_id)


class RemotePlace(LocalPlace):
    """Dataset, outputs or both in buckets.

    Args:
        spec: The run.
        options: fsspec options by part: `dataset`, `outputs`.
        staging: A folder of this process alone; made when needed.
        fetched: Where inputs are fetched to.
        trusted: As of a `LocalPlace`.
    """

    def __init__(
        self,
        spec: RunSpec,
        options: Mapping[str, Mapping[str, Any]],
        *,
        staging: str,
        fetched: str,
        trusted: Iterable[str] = (),
    ) -> None:
        super().__init__(
            dataset=spec.dataset,
            outputs=spec.outputs,
            log=spec.log,
            staging=staging,
            run_id=spec.run_id,
            trusted=trusted,
            durable=spec.durable,
        )
        self._fetched = fetched
        self._limit = spec.remote.fetch_limit if spec.remote is not None else 0
        self._stores: dict[str, RemoteStore] = {}
        for part, root in (("dataset", spec.dataset), ("outputs", spec.outputs)):
            if is_url(root) and root not in self._stores:
                self._stores[root] = RemoteStore(root, _impatient(root, options.get(part) or {}))
        self._outputs_store = self._stores.get(spec.outputs)
        self._roots = list(dict.fromkeys([spec.outputs, spec.dataset]))
        self._asked: dict[tuple[str, str], Info | None] = {}
        self._wanted: dict[str, tuple[str, Info]] = {}
        self._held: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        self._patience = PATIENCE
        self.data_path = fetched if is_url(spec.dataset) else spec.dataset

    # -- looking ------------------------------------------------------------------------------------------

    def expect(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Ask for all that a row is about to look at, several paths at once."""
        self._asked.clear()
        self._wanted.clear()
        for root, store in self._stores.items():
            paths = set(inputs) | (set(outputs) if root == self.outputs else set())
            answers = self._patiently(lambda store=store, paths=paths: store.each(store.info, paths))  # type: ignore[misc]
            self._asked.update(zip(((root, path) for path in paths), answers, strict=True))

    def _ask(self, root: str, path: str) -> Info | None:
        if (root, path) not in self._asked:
            self._asked[root, path] = self._patiently(lambda: self._stores[root].info(path))
        return self._asked[root, path]

    def find_input(self, path: str, *, is_directory: bool) -> tuple[str, os.stat_result | None]:
        """Where an input is going to be, and what it is; None when it is absent."""
        full, found = f"{self._fetched}/{path}", None
        for root in self._roots:
            if root not in self._stores:
                full, found = self._find_local(root, path, is_directory=is_directory)
            elif (info := self._ask(root, path)) is not None and (info.is_directory or not is_directory):
                self._wanted[path] = root, info
                full, found = f"{self._fetched}/{path}", _as_stat(info)
            if found is not None:
                break
        return full, found

    def has_output(self, path: str, *, is_directory: bool) -> bool:
        """Whether an output is in place."""
        if self._outputs_store is None:
            return super().has_output(path, is_directory=is_directory)
        info = self._ask(self.outputs, path)
        return info is not None and (info.is_directory or not is_directory)

    def find_output(self, path: str, *, is_directory: bool) -> str | None:
        """A copy of an output that is in place."""
        if self._outputs_store is None:
            return super().find_output(path, is_directory=is_directory)
        info = self._ask(self.outputs, path)
        if info is None or (is_directory and not info.is_directory):
            return None
        self._wanted[path] = self.outputs, info
        self.fetch()
        return f"{self._fetched}/{path}"

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path, for scripts that read or write it themselves."""
        root = self._wanted[path][0] if is_input and path in self._wanted else self.outputs
        return f"{root}/{path}"

    # -- fetching -----------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Fetch the inputs that were found, as far as they are not there; several at once.

        Raises:
            StorageError: When one cannot be fetched, or all of them are too much for the folder.
        """
        files: dict[str, tuple[str, Info]] = {}
        for path, (root, info) in self._wanted.items():
            files |= self._below(root, path) if info.is_directory else {path: (root, info)}
        missing = []
        for path, (root, info) in files.items():
            if self._held.get(path) == _version(root, info):
                self._held.move_to_end(path)
            else:
                missing.append(path)
        self._make_room(files)
        for folder in {os.path.dirname(path) for path in missing}:
            os.makedirs(f"{self._fetched}/{folder}", exist_ok=True)

        def get(path: str) -> None:
            root, info = files[path]
            target = f"{self._fetched}/{path}"
            self._stores[root].get(path, f"{target}.part")
            os.chmod(f"{target}.part", 0o444)  # noqa: PTH101 - an input is for reading
            os.replace(f"{target}.part", target)
            self._held[path] = _version(root, info)

        for root in {files[path][0] for path in missing}:
            there = [path for path in missing if files[path][0] == root]
            self._patiently(lambda root=root, there=there: self._stores[root].each(get, there))  # type: ignore[misc]

    def _below(self, root: str, path: str) -> dict[str, tuple[str, Info]]:
        """The files of a directory; those of an earlier version that are gone are removed."""
        store = self._stores[root]
        found = self._patiently(lambda: store.infos(path))
        for held in [one for one in self._held if one.startswith(f"{path}/") and one not in found]:
            self._drop(held)
        return {one: (root, info) for one, info in found.items()}

    def _make_room(self, files: Mapping[str, tuple[str, Info]]) -> None:
        needed = sum(info.size or 0 for _, info in files.values())
        if needed > self._limit:
            raise TransferError(
                f"its inputs are {_megabytes(needed)}, and this worker may keep {_megabytes(self._limit)}",
                "Raise [run] fetch_limit in workspace.toml, or run fewer workers.",
            )
        others = [path for path in self._held if path not in files]
        kept = sum(self._held[path][2] for path in others)
        for path in others:
            if needed + kept <= self._limit:
                break
            kept -= self._held[path][2]
            self._drop(path)

    def _drop(self, path: str) -> None:
        self._held.pop(path, None)
        with suppress(OSError):
            os.unlink(f"{self._fetched}/{path}")

    # -- publishing ---------------------------------------------------------------------------------------

    def publish(self, root: str, paths: Iterable[str], files: Collection[str] = ()) -> None:
        """Upload staged paths to their final keys, each object whole; a directory gives up what it held before.

        Raises:
            StorageError: When a path lies in `LOG`, or the bucket refuses.
        """
        store = self._outputs_store
        if store is None:
            super().publish(root, paths, files)
            return
        paths = list(paths)
        uploads: list[tuple[str, str]] = []
        for path in paths:
            if path.partition("/")[0] == "LOG":
                raise TransferError(f"cannot publish {path}: LOG is never data")
            full = f"{root}/{path}"
            uploads += (
                _files_below(full, path)
                if os.path.isdir(full) and not os.path.islink(full)
                else [(full, path)]
            )
        self._patiently(lambda: store.each(lambda one: store.put(*one), uploads))
        self._patiently(lambda: store.delete(self._outdated(store, root, paths, {key for _, key in uploads})))
        for path in paths:
            self._asked.pop((self.outputs, path), None)
            full = f"{root}/{path}"
            if os.path.isdir(full) and not os.path.islink(full):
                shutil.rmtree(full, ignore_errors=True)
            else:
                os.unlink(full)

    def _outdated(
        self, store: RemoteStore, root: str, paths: Iterable[str], new: Collection[str]
    ) -> list[str]:
        """What an earlier output of another shape left: keys in a directory, a file where one is now."""
        old = []
        for path in paths:
            before = self._asked.get((self.outputs, path))
            if os.path.isdir(f"{root}/{path}") or (before is not None and before.is_directory):
                old += [key for key in store.tree(path) if key not in new]
            if before is not None and not before.is_directory and path not in new:
                old.append(path)
        return old

    # -- outages ------------------------------------------------------------------------------------------

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do something that may be repeated; while the store is away, wait and try again.

        After a row has waited in vain the next ones do not, until the store answers again.
        """
        end = time.monotonic() + self._patience
        delay = 0.25
        while True:
            try:
                done = do()
            except StorageError as error:
                is_passing = _is_passing(error.__cause__)
                if not is_passing or time.monotonic() + delay > end:
                    self._patience = 0.0 if is_passing else self._patience
                    raise TransferError(error.message, error.hint) from None
                time.sleep(delay)
                delay = min(2 * delay, 4.0)
            else:
                self._patience = PATIENCE
                return done


def _impatient(root: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options with few retries of the library's own, where the user says nothing of them: ours know the row."""
    if not root.startswith(("s3://", "s3a://")) or "config_kwargs" in options:
        return options
    return {**options, "config_kwargs": {"retries": {"max_attempts": 2, "mode": "standard"}}}


def _is_passing(error: BaseException | None) -> bool:
    """Whether an error may be gone in a moment: the store is away or busy."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNOS:
        return True
    return error is not None and any(one in type(error).__name__ for one in _PASSING)


def _version(root: str, info: Info) -> tuple[str, str, int]:
    """What tells a version of an object from another one."""
    return root, info.etag or str(info.mtime_ns), info.size or 0


def _as_stat(info: Info) -> os.stat_result:
    mode = stat.S_IFDIR if info.is_directory else stat.S_IFREG
    return os.stat_result(
        (mode, 0, 0, 0, 0, 0, info.size or 0, 0, (info.mtime_ns or 0) // 1_000_000_000, 0),
        {"st_mtime_ns": info.mtime_ns or 0},
    )


def _files_below(full: str, path: str) -> list[tuple[str, str]]:
    """The files in a staged folder, each with its key."""
    return [
        (one, f"{path}/{os.path.relpath(one, full)}")
        for folder, _, names in os.walk(full)
        for name in sorted(names)
        if os.path.isfile(one := os.path.join(folder, name))  # noqa: PTH113
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
