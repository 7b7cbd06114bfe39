"""The files of a row in buckets: fetches and prefetches its inputs, uploads its outputs.

Inputs are fetched to a folder of the worker with the layout of the dataset, so that files which refer to each other
by relative paths work. A file that is already there in the same version (URL and etag) is not fetched again. When
the folder is full, the least recently used files are removed. While a script runs, the inputs of the next rows are
prefetched, as far as there is room. Each output is uploaded to its final key as a whole: a store shows an object
only when it is complete.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH112, PTH114, PTH118, PTH120

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import JournalUploader, Standing, StandingFile
from sinagot_catalog.storage import Info, RemoteStore, find_entry, is_url, join_url
from sinagot_catalog.worker.local_files import LocalFiles, Look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.patterns import RawFolder, Template
    from sinagot_catalog.worker.local_files import Coming

__all__ = ["RemoteFiles", "open_uploader"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a store may be unreachable before a row fails."""

_ANY = Look()

_AHEAD = 4
"""How many rows are prefetched while another one runs."""

_FRESH = 2.0
"""Seconds for which prefetched information about an output stays valid."""

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
    """A file could not be fetched or written; the message needs no traceback."""

    @property
    def error_type(self) -> str:
        """The error type in the report."""
        return "StorageError"


def open_uploader(spec: RunSpec, options: Mapping[str, Mapping[str, Any]]) -> JournalUploader | None:
    """The uploader for the journal of a worker; None if `LOG` is on a local disk."""
    if spec.remote is None or not is_url(spec.remote.log):
        return None
    return JournalUploader(RemoteStore(spec.remote.log, options.get("log")), spec.log, spec.run_id)


class RemoteFiles(LocalFiles):
    """Dataset, outputs or both in buckets.

    Args:
        spec: The run.
        options: fsspec options by part: `dataset`, `outputs`.
        staging: The staging folder of this process; made when needed.
        fetched: The folder to which inputs are fetched.
        trusted: See `LocalFiles`.
        raw: See `LocalFiles`.
    """

    def __init__(
        self,
        spec: RunSpec,
        options: Mapping[str, Mapping[str, Any]],
        *,
        staging: str,
        fetched: str,
        trusted: Iterable[str] = (),
        raw: Iterable[Template] = (),
    ) -> None:
        super().__init__(
            dataset=spec.dataset,
            outputs=spec.outputs,
            log=spec.log,
            staging=staging,
            run_id=spec.run_id,
            trusted=trusted,
            durable=spec.durable,
            links=spec.links,
            raw=() if is_url(spec.dataset) or is_url(spec.outputs) else raw,
        )
        self._fetched = fetched
        self._limit = spec.remote.fetch_limit if spec.remote is not None else 0
        self._stores: dict[str, RemoteStore] = {}
        for part, root in (("dataset", spec.dataset), ("outputs", spec.outputs)):
            if is_url(root) and root not in self._stores:
                self._stores[root] = RemoteStore(root, _impatient(root, options.get(part) or {}))
        self._outputs_store = self._stores.get(spec.outputs)
        self.uploads = self._outputs_store is not None
        self._asked: dict[tuple[str, str], Info | None] = {}
        self._wanted: dict[str, tuple[str, Info]] = {}
        self._held: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        self._patience = PATIENCE
        self._force = spec.force
        self._lock = threading.Lock()
        self._on_its_way = 0
        self._getting: set[str] = set()
        self._numbers = itertools.count()
        self._closed = threading.Event()
        self._ahead = ThreadPoolExecutor(_AHEAD, thread_name_prefix="sinagot-ahead")
        self._coming: dict[_Paths, Future[_Answers | None]] = {}
        self.data_path = fetched if is_url(spec.dataset) else spec.dataset

    # -- finding ------------------------------------------------------------------------------------------

    def prepare(self, inputs: Sequence[str], outputs: Sequence[str], looks: Sequence[Look] = ()) -> None:
        """Query the paths of the next row, several at once, unless prefetching has already done so."""
        super().prepare(inputs, outputs, looks)
        self._asked.clear()
        self._wanted.clear()
        coming = self._coming.pop((tuple(inputs), tuple(outputs)), None)
        if coming is not None and not coming.cancel() and (known := coming.result()) is not None:
            # A fetched input keeps its version, which the row records; other paths may have changed since.
            is_fresh = time.monotonic() - known[0] < _FRESH
            self._asked.update(
                (at, info)
                for at, info in known[1].items()
                if is_fresh or (at[1] not in outputs and self._is_held(*at, info))
            )
        for root, store in self._stores.items():
            wanted = self._paths(root, inputs, outputs, looks)
            paths = {path for path in wanted if (root, path) not in self._asked}
            answers = self._patiently(lambda store=store, paths=paths: store.each(store.info, paths))  # type: ignore[misc]
            self._asked.update(zip(((root, path) for path in paths), answers, strict=True))

    def _is_held(self, root: str, path: str, info: Info | None) -> bool:
        """Whether this version of a file is in the folder of fetched inputs."""
        return info is not None and self._held.get(path) == _version(root, info)

    def _paths(
        self, root: str, inputs: Sequence[str], outputs: Iterable[str], looks: Sequence[Look]
    ) -> set[str]:
        """The paths of a row to query in one root."""
        read = zip(inputs, looks or [Look()] * len(inputs), strict=True)
        found = {path for path, look in read if root in self.roots_of(look)}
        return found | (set(outputs) if root == self.outputs else set())

    def _ask(self, root: str, path: str) -> Info | None:
        if (root, path) not in self._asked:
            self._asked[root, path] = self._patiently(lambda: self._stores[root].info(path))
        return self._asked[root, path]

    def find_input(self, path: str, look: Look = _ANY) -> tuple[str, os.stat_result | None]:
        """The path to which `fetch` brings an input, and its `stat`; None when it is absent."""
        full, found = f"{self._fetched}/{path}", None
        for root in self.roots_of(look):
            if root not in self._stores:
                full = f"{root}/{path}"
                found = find_entry(root, path, is_directory=look.is_directory, varies=look.varies)
            elif (info := self._ask(root, path)) is not None and (info.is_directory or not look.is_directory):
                self._wanted[path] = root, info
                full, found = f"{self._fetched}/{path}", _as_stat(info)
            if found is not None:
                self._found_in[path] = root
                break
        return full, found

    def has_own(self, path: str, full: str, raw: RawFolder) -> bool:
        """Whether a folder of raw data holds a file that no step declares."""
        if path not in self._wanted:
            return super().has_own(path, full, raw)
        return raw.has_own(self._below(self._wanted[path][0], path))

    def input_files(self, path: str, full: str) -> dict[str, tuple[int, int]]:
        """Size and time of each file of a folder that is an input, by its name."""
        if path not in self._wanted:
            return super().input_files(path, full)
        store = self._stores[self._wanted[path][0]]
        return self._patiently(lambda: store.files_below(path))

    def has_output(self, path: str, look: Look = _ANY) -> bool:
        """Whether an output is in place."""
        if self._outputs_store is None:
            return super().has_output(path, look)
        info = self._ask(self.outputs, path)
        return info is not None and (info.is_directory or not look.is_directory)

    def has_file(self, path: str) -> bool:
        """Whether a file is at an output's path."""
        if self._outputs_store is None:
            return super().has_file(path)
        info = self._ask(self.outputs, path)
        return info is not None and not info.is_directory

    def find_output(self, path: str, look: Look = _ANY) -> str | None:
        """The path of a local copy of an output that is in place."""
        if self._outputs_store is None:
            return super().find_output(path, look)
        info = self._ask(self.outputs, path)
        if info is None or (look.is_directory and not info.is_directory):
            return None
        self._wanted[path] = self.outputs, info
        self.fetch()
        return f"{self._fetched}/{path}"

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path, for scripts that read or write it themselves."""
        known = self._wanted[path][0] if path in self._wanted else self._found_in.get(path)
        root = known if is_input and known is not None else self.outputs
        return join_url(root, path) if is_url(root) else f"{root}/{path}"

    # -- the next rows ------------------------------------------------------------------------------------

    def prefetch(self, made: Iterable[str], rows: Iterable[Coming]) -> None:
        """Query the following rows and fetch their inputs while another row runs.

        Args:
            made: The outputs of the row that runs now.
            rows: The following rows in their order. A row that reads or writes a path which an earlier row makes is
                not prefetched: the path will have changed when the row runs.
        """
        made = set(made)
        wanted: dict[_Paths, Future[_Answers | None]] = {}
        for inputs, outputs, looks in rows:
            is_free = not any(_is_about(path, one) for path in (*inputs, *outputs) for one in made)
            made.update(outputs)
            if is_free and len(wanted) < _AHEAD:
                key = (tuple(inputs), tuple(outputs))
                known = self._coming.pop(key, None)
                with suppress(RuntimeError):  # no thread is available: the row queries its paths itself
                    wanted[key] = known or self._ahead.submit(self._look_ahead, *key, looks)
        for gone in self._coming.values():  # returned to the parent, or another attempt
            gone.cancel()
        self._coming = wanted

    def _look_ahead(
        self, inputs: tuple[str, ...], outputs: tuple[str, ...], looks: Sequence[Look]
    ) -> _Answers | None:
        """Query the paths of a row and fetch its inputs; None on any error, which the row itself will report."""
        asked: dict[tuple[str, str], Info | None] = {}
        try:
            for root, store in self._stores.items():
                paths = self._paths(root, inputs, outputs, looks)
                asked.update(
                    zip(((root, path) for path in paths), store.each(store.info, paths), strict=True)
                )
            now = time.monotonic()
            is_done = outputs and all(asked.get((self.outputs, path)) is not None for path in outputs)
            if self._force or not is_done:
                for path, look in zip(inputs, looks, strict=True):
                    self._fetch_ahead(path, self.roots_of(look), asked)
        except (StorageError, OSError, RuntimeError):  # also raised by a store that is being closed
            return None
        return now, asked

    def _fetch_ahead(
        self, path: str, roots: Sequence[str], asked: Mapping[tuple[str, str], Info | None]
    ) -> None:
        """Fetch one file if there is room for it and the running script does not read it."""
        root = next((one for one in roots if asked.get((one, path)) is not None), None)
        info = None if root is None else asked[root, path]
        if root is None or info is None or info.is_directory:
            return
        size = info.size or 0
        with self._lock:
            kept = sum(one[2] for one in self._held.values()) + self._on_its_way
            if path in {*self._held, *self._wanted, *self._getting} or kept + size > self._limit:
                return
            self._on_its_way += size
            self._getting.add(path)
        try:
            self._get(path, root, info, is_ahead=True)
        finally:
            with self._lock:
                self._on_its_way -= size
                self._getting.discard(path)

    def close(self) -> None:
        """End prefetching; a running download is discarded when it completes."""
        super().close()
        self._closed.set()
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._coming.clear()

    # -- fetching -----------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Fetch the inputs that were found and are not fetched yet; several at once.

        Raises:
            StorageError: When an input cannot be fetched, or the inputs together exceed the limit of the folder.
        """
        files: dict[str, tuple[str, Info]] = {}
        for path, (root, info) in self._wanted.items():
            files |= self._below(root, path) if info.is_directory else {path: (root, info)}
        missing = []
        with self._lock:
            for path, (root, info) in files.items():
                if self._is_held(root, path, info):
                    self._held.move_to_end(path)
                else:
                    missing.append(path)
        size = sum(files[path][1].size or 0 for path in missing)
        self._make_room(files, size)
        try:
            self._patiently(lambda: self._each(lambda path: self._get(path, *files[path]), missing))
        finally:
            with self._lock:
                self._on_its_way -= size

    def _each(self, do: Callable[[str], None], paths: Collection[str]) -> None:
        """Call a function for several paths in parallel."""
        if paths:
            next(iter(self._stores.values())).each(do, paths)

    def _get(self, path: str, root: str, info: Info, *, is_ahead: bool = False) -> None:
        """Fetch one file, first to a temporary name that no input can have."""
        if self._closed.is_set():
            return
        target = f"{self._fetched}/{path}"
        part = f"{self._fetched}.parts/{next(self._numbers)}"
        os.makedirs(os.path.dirname(part), exist_ok=True)
        try:
            self._stores[root].get(path, part)
            os.chmod(part, 0o444)  # noqa: PTH101 - an input is for reading
            with self._lock:
                # The running script must keep the version that it reads: a prefetched newer version is dropped.
                is_read = is_ahead and any(_is_about(path, one) for one in list(self._wanted))
                if not (self._closed.is_set() or is_read):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.replace(part, target)
                    self._held[path] = _version(root, info)
        finally:
            with suppress(OSError):
                os.unlink(part)  # left over if the download failed or was dropped

    def _below(self, root: str, path: str) -> dict[str, tuple[str, Info]]:
        """The files of a directory; removes fetched files that the directory no longer has."""
        store = self._stores[root]
        found = self._patiently(lambda: store.infos(path))
        with self._lock:
            for held in [one for one in self._held if one.startswith(f"{path}/") and one not in found]:
                self._drop(held)
        return {one: (root, info) for one, info in found.items()}

    def _make_room(self, files: Mapping[str, tuple[str, Info]], size: int) -> None:
        """Remove the least recently used files, and reserve room for the files to be fetched."""
        needed = sum(info.size or 0 for _, info in files.values())
        if needed > self._limit:
            raise TransferError(
                f"its inputs are {_megabytes(needed)}, and this worker may keep {_megabytes(self._limit)}",
                "Raise [run] fetch_limit in workspace.toml, or run fewer workers.",
            )
        if needed + self._on_its_way > self._limit:
            wait(self._coming.values())
        with self._lock:
            others = [path for path in self._held if path not in files]
            kept = sum(self._held[path][2] for path in others) + self._on_its_way
            for path in others:
                if needed + kept <= self._limit:
                    break
                kept -= self._held[path][2]
                self._drop(path)
            self._on_its_way += size

    def _drop(self, path: str) -> None:
        self._held.pop(path, None)
        with suppress(OSError):
            os.unlink(f"{self._fetched}/{path}")

    # -- publishing ---------------------------------------------------------------------------------------

    def standing(self, path: str, *, is_folder: bool) -> Standing | None:
        """What exists at a final path now; None if nothing does."""
        store = self._outputs_store
        if store is None:
            return super().standing(path, is_folder=is_folder)
        info = self._ask(self.outputs, path)
        if is_folder or (info is not None and info.is_directory):
            found = self._patiently(lambda: store.infos(path))
            start = len(path) + 1
            below = {key[start:]: _standing_file(one) for key, one in found.items() if len(key) > start}
            if below or info is None or info.is_directory:
                return Standing("folder", below) if below else None
        return None if info is None else Standing("file", {"": _standing_file(info)})

    def copies(self, path: str) -> bool:
        """Whether publishing may change the times of a path: a bucket sets the time of an object itself."""
        return self._outputs_store is not None or super().copies(path)

    def publish(
        self,
        root: str,
        paths: Sequence[str],
        files: Collection[str] = (),
        *,
        new: Collection[str] = (),
    ) -> None:
        """Upload staged paths to their final keys, each object as a whole; then delete outdated keys.

        Raises:
            StorageError: When a path is in `LOG`, or the bucket refuses.
        """
        store = self._outputs_store
        if store is None:
            super().publish(root, paths, files, new=new)
            return
        try:
            self._upload(store, root, paths)
        finally:
            self._forget(paths)

    def _forget(self, paths: Sequence[str]) -> None:
        """Discard prefetched information about these paths, which have just been written."""
        for key in list(self._coming):
            if any(_is_about(one, path) for one in (*key[0], *key[1]) for path in paths):
                self._coming.pop(key).cancel()

    def _upload(self, store: RemoteStore, root: str, paths: Sequence[str]) -> None:
        """Upload all paths, then delete the keys of earlier outputs, then the staged files."""
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
        """Keys of an earlier output: old keys in a directory, and a file that is now a directory."""
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
        """Call a repeatable function; while the store is unreachable, wait and try again.

        After one row has waited without success, the next rows do not wait until the store answers again.
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


_Paths = tuple[tuple[str, ...], tuple[str, ...]]
"""The inputs and the outputs of a row."""

_Answers = tuple[float, dict[tuple[str, str], Info | None]]
"""The time at which a store was queried for the paths of a row, and its answer for each."""


def _is_about(path: str, other: str) -> bool:
    """Whether two paths are the same, or one contains the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _impatient(root: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options with few retries in botocore, unless the user sets them: `_patiently` retries instead."""
    if not root.startswith(("s3://", "s3a://")) or "config_kwargs" in options:
        return options
    return {**options, "config_kwargs": {"retries": {"max_attempts": 2, "mode": "standard"}}}


def _is_passing(error: BaseException | None) -> bool:
    """Whether an error is temporary: the store is unreachable or busy."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNOS:
        return True
    return error is not None and any(one in type(error).__name__ for one in _PASSING)


def _version(root: str, info: Info) -> tuple[str, str, int]:
    """The root, etag (or time) and size that identify a version of an object."""
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


def _standing_file(info: Info) -> StandingFile:
    time_ns = info.mtime_ns or 0
    return StandingFile(info.size or 0, time_ns, time_ns)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
