"""The fetched files of a worker: inputs from buckets in a local folder of bounded size.

The folder has the layout of the dataset, so that files which refer to each other by relative paths work. A file
that is already there in the same version (URL and etag) is not fetched again. When the folder is full, the least
recently used files are removed.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH120

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from sinagot_catalog.config import size_text
from sinagot_catalog.storage import Info, RemoteStore
from sinagot_catalog.worker.buckets.outages import OutageRetry, TransferError
from sinagot_catalog.worker.files.local_files import is_related

Answers = dict[tuple[str, str], Info | None]
"""What the stores answer for paths, by root and path; None if nothing is there."""
_Version = tuple[str, str, int]
"""The root, etag (or time) and size that identify a version of an object."""
_Copy = tuple[int, int, int]
"""The inode, size and time of a fetched copy, which a script may have changed or removed."""


class FetchedFiles:
    """The folder of fetched inputs; the prefetcher's threads use it, too.

    Args:
        folder: The folder; made when needed.
        limit: How many bytes it may hold.
        stores: The buckets, by root.
        retry: Repeats calls while a store is unreachable.

    Attributes:
        wanted: The inputs of the running row by path, each with its root. They stay as long as the row runs.
    """

    def __init__(
        self, folder: str, limit: int, stores: Mapping[str, RemoteStore], retry: OutageRetry
    ) -> None:
        self.folder = folder
        self.wanted: dict[str, tuple[str, Info]] = {}
        self._limit = limit
        self._stores = stores
        self._retry = retry
        self._held: OrderedDict[str, tuple[_Version, _Copy | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._reserved = 0
        self._prefetched: set[str] = set()
        self._part_numbers = itertools.count()
        self._is_closed = threading.Event()

    def close(self) -> None:
        """Discard downloads that complete from now on."""
        self._is_closed.set()

    def holds(self, root: str, path: str, info: Info | None) -> bool:
        """Whether this version of a file is in the folder."""
        held = self._held.get(path)
        return held is not None and info is not None and held[0] == _version(root, info)

    def fetch(self, wait_for_prefetches: Callable[[], object]) -> None:
        """Fetch the wanted inputs that are not in the folder yet; several at once.

        Args:
            wait_for_prefetches: Called if there is no room until running prefetches end.

        Raises:
            StorageError: When an input cannot be fetched, or the inputs together exceed the limit of the folder.
        """
        files: dict[str, tuple[str, Info]] = {}
        for path, (root, info) in self.wanted.items():
            files |= self.list_folder(root, path) if info.is_directory else {path: (root, info)}
        missing = []
        with self._lock:
            for path, (root, info) in files.items():
                if self.holds(root, path, info) and self._held[path][1] == self._copy_of(path):
                    self._held.move_to_end(path)
                else:
                    missing.append(path)
        size = sum(files[path][1].size or 0 for path in missing)
        self._make_room(files, size, wait_for_prefetches)
        try:
            self._retry(lambda: self._each(lambda path: self._get(path, *files[path]), missing))
        finally:
            with self._lock:
                self._reserved -= size

    def prefetch(self, path: str, root: str, info: Info) -> None:
        """Fetch one file if there is room for it and the running script does not read it."""
        size = info.size or 0
        with self._lock:
            used = sum(version[2] for version, _ in self._held.values()) + self._reserved
            if path in {*self._held, *self.wanted, *self._prefetched} or used + size > self._limit:
                return
            self._reserved += size
            self._prefetched.add(path)
        try:
            self._get(path, root, info, is_prefetch=True)
        finally:
            with self._lock:
                self._reserved -= size
                self._prefetched.discard(path)

    def list_folder(self, root: str, path: str) -> dict[str, tuple[str, Info]]:
        """The files of a folder in a bucket; removes fetched files that it no longer has."""
        store = self._stores[root]
        infos = self._retry(lambda: store.infos(path))
        with self._lock:
            for held in [held for held in self._held if held.startswith(f"{path}/") and held not in infos]:
                self._drop(held)
        return {name: (root, info) for name, info in infos.items()}

    def _each(self, do: Callable[[str], None], paths: Collection[str]) -> None:
        """Call a function for several paths in parallel."""
        if paths:
            next(iter(self._stores.values())).each(do, paths)

    def _get(self, path: str, root: str, info: Info, *, is_prefetch: bool = False) -> None:
        """Fetch one file, first to a temporary name that no input can have."""
        if self._is_closed.is_set():
            return
        target = f"{self.folder}/{path}"
        part = f"{self.folder}.parts/{next(self._part_numbers)}"
        os.makedirs(os.path.dirname(part), exist_ok=True)
        try:
            self._stores[root].get(path, part)
            os.chmod(part, 0o444)  # noqa: PTH101 - an input is for reading
            with self._lock:
                # The running script must keep the version that it reads: a prefetched newer version is dropped.
                is_read = is_prefetch and any(is_related(path, wanted) for wanted in list(self.wanted))
                if not (self._is_closed.is_set() or is_read):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.replace(part, target)
                    self._held[path] = _version(root, info), self._copy_of(path)
        finally:
            with suppress(OSError):
                os.unlink(part)  # left over if the download failed or was dropped

    def _make_room(
        self,
        files: Mapping[str, tuple[str, Info]],
        size: int,
        wait_for_prefetches: Callable[[], object],
    ) -> None:
        """Remove the least recently used files, and reserve room for the files to be fetched."""
        needed = sum(info.size or 0 for _, info in files.values())
        if needed > self._limit:
            raise TransferError(
                f"its inputs are {size_text(needed)}, and this worker may keep {size_text(self._limit)}",
                "Raise [run] fetch_limit in workspace.toml, or run fewer workers.",
            )
        if needed + self._reserved > self._limit:
            wait_for_prefetches()
        with self._lock:
            others = [path for path in self._held if path not in files]
            used = sum(self._held[path][0][2] for path in others) + self._reserved
            for path in others:
                if needed + used <= self._limit:
                    break
                used -= self._held[path][0][2]
                self._drop(path)
            self._reserved += size

    def _copy_of(self, path: str) -> _Copy | None:
        with suppress(OSError):
            info = os.stat(f"{self.folder}/{path}")
            return info.st_ino, info.st_size, info.st_mtime_ns
        return None

    def _drop(self, path: str) -> None:
        self._held.pop(path, None)
        with suppress(OSError):
            os.unlink(f"{self.folder}/{path}")


def _version(root: str, info: Info) -> _Version:
    return root, info.etag or str(info.mtime_ns), info.size or 0
