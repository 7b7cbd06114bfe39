"""The remote publisher: uploads staged outputs to their final keys in a bucket.

A store shows an object only when it is complete. A folder is uploaded object by object: `files.publication`
announces it, so that the row of a killed worker is known to be half published.
"""

# ruff: noqa: PTH108

import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence

from sinagot_catalog.journal import ExistingFile, ExistingPath
from sinagot_catalog.storage import Info, RemoteStore, walk
from sinagot_catalog.worker.buckets.outages import OutageRetry, TransferError


class RemotePublisher:
    """Publishes to a bucket.

    Args:
        store: The bucket.
        retry: Repeats calls while the bucket is unreachable.
        query: The bucket's information about a path before the row ran.
        forget: Called with the paths that were written, successfully or not.
    """

    is_file_by_file = True

    def __init__(
        self,
        store: RemoteStore,
        retry: OutageRetry,
        *,
        query: Callable[[str], Info | None],
        forget: Callable[[Sequence[str]], None],
    ) -> None:
        self._store = store
        self._retry = retry
        self._query = query
        self._forget = forget

    def existing(self, path: str, *, is_folder: bool) -> ExistingPath | None:
        """What exists at a final key, or below it; None if nothing does."""
        info = self._query(path)
        if is_folder or (info is not None and info.is_directory):
            infos = self._retry(lambda: self._store.infos(path))
            start = len(path) + 1
            below = {key[start:]: _existing_file(item) for key, item in infos.items() if len(key) > start}
            if below or info is None or info.is_directory:
                return ExistingPath("folder", below) if below else None
        return None if info is None else ExistingPath("file", {"": _existing_file(info)})

    def changes_times(self, path: str) -> bool:  # noqa: ARG002 - part of the protocol
        """True: a bucket sets the time of an object itself."""
        return True

    def publish_file(self, root: str, path: str, *, is_new: bool) -> bool:  # noqa: ARG002 - part of the protocol
        """False: an upload may replace a folder, which `publish` has to delete."""
        return False

    def publish(
        self,
        root: str,
        paths: Sequence[str],
        *,
        new: Collection[str] = (),  # noqa: ARG002 - a store has no rename that fails if the name is taken
    ) -> None:
        """Upload staged paths; then delete the keys of earlier outputs, then the staged files."""
        try:
            self._upload(root, paths)
        finally:
            self._forget(paths)

    def _upload(self, root: str, paths: Sequence[str]) -> None:
        before = {path: self._query(path) for path in paths}
        folders = {path for path in paths if stat.S_ISDIR(os.lstat(f"{root}/{path}").st_mode)}
        uploads: list[tuple[str, str]] = []
        for path in paths:
            if path.partition("/")[0] == "LOG":
                raise TransferError(f"cannot publish {path}: LOG is never data")
            files = [""]
            if path in folders:
                below = walk(f"{root}/{path}")
                files = [f"/{prefix}{entry.name}" for prefix, entry in below if entry.is_file()]
            uploads += ((f"{root}/{path}{file}", f"{path}{file}") for file in files)
        self._retry(lambda: self._store.each(lambda upload: self._store.put(*upload), uploads))
        keys = {key for _, key in uploads}
        self._retry(lambda: self._store.delete(self._outdated(before, folders, keys)))
        for path in paths:
            if path in folders:
                shutil.rmtree(f"{root}/{path}", ignore_errors=True)  # the row is published all the same
            else:
                os.unlink(f"{root}/{path}")

    def _outdated(
        self, before: Mapping[str, Info | None], folders: Collection[str], new: Collection[str]
    ) -> list[str]:
        """Keys of an earlier output: old keys in a directory, and a file that is now a directory."""
        old = []
        for path, info in before.items():
            if path in folders or (info is not None and info.is_directory):
                old += [key for key in self._store.tree(path) if key not in new]
            if info is not None and not info.is_directory and path not in new:
                old.append(path)
        return old


def _existing_file(info: Info) -> ExistingFile:
    time_ns = info.mtime_ns or 0
    return ExistingFile(info.size or 0, time_ns, time_ns)
