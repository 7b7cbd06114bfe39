"""The local publisher: moves staged outputs to their final paths on local disks, each by one rename.

So a file at its final path is always complete. `publication` defines the protocol of publishing. Standard library
only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH104, PTH108, PTH114

import errno
import itertools
import os
import stat
from collections.abc import Collection, Sequence

from sinagot_catalog.journal import ExistingFile, ExistingPath, ForeignFileError, RunSpec
from sinagot_catalog.storage import sync_one, walk
from sinagot_catalog.worker.files.file_moves import (
    copy,
    exchange,
    link,
    regroup,
    remove,
    rename,
    sync,
)
from sinagot_catalog.worker.files.staging import StagingFolder
from sinagot_catalog.worker.files.target_folders import TargetFolders

_IN_THE_WAY = frozenset((errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST))
"""Errors of a rename if a folder is in its way, or is to take the place of a file."""
_NOT_SIMPLE = _IN_THE_WAY | {errno.ENOENT, errno.EXDEV}
"""The same, also if the folder of the final path is gone, or if the file has to be copied."""


class LocalPublisher:
    """Publishes to a local outputs folder.

    Args:
        spec: The run.
        staging: The staging folder of this process.
    """

    is_file_by_file = False

    def __init__(self, spec: RunSpec, staging: StagingFolder) -> None:
        self._outputs = spec.outputs
        self._staging = staging
        self._run_id = spec.run_id
        self._durable = spec.durable
        self._numbers = itertools.count()
        self._folders = TargetFolders(spec, staging)

    def existing(self, path: str, *, is_folder: bool) -> ExistingPath | None:  # noqa: ARG002 - for buckets
        """What exists at a final path now; None if nothing does. A link is not followed."""
        full = f"{self._outputs}/{path}"
        try:
            info = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(info.st_mode):
            files = {
                prefix + entry.name: _existing_file(entry.stat(follow_symlinks=False))
                for prefix, entry in walk(full)
            }
            return ExistingPath("folder", files)
        kind = {stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(info.st_mode), "other")
        return ExistingPath(kind, {"": _existing_file(info)})  # type: ignore[arg-type]

    def changes_times(self, path: str) -> bool:
        """Whether publishing copies a path to another file system, which may store times less exactly."""
        return self._folders.get(path.rpartition("/")[0]).device != self._staging.stat.st_dev

    def publish_file(self, root: str, path: str, *, is_new: bool) -> bool:
        """Move one plain staged file to its final path by one rename: the fast path of nearly every row."""
        if self._durable:
            return False
        if not self._folders.of_output(path).is_plain:
            return False
        try:
            (os.replace if is_new else rename)(f"{root}/{path}", f"{self._outputs}/{path}")
        except OSError as error:
            if error.errno in _NOT_SIMPLE:
                return False
            raise
        return True

    def publish(self, root: str, paths: Sequence[str], *, new: Collection[str] = ()) -> None:
        """Move staged paths to their final paths, each by one rename.

        Paths that need a copy to another file system are copied first, to a hidden file beside the final path. So
        all renames happen within a short time.
        """
        moves: list[tuple[str, str]] = []
        copies: dict[str, str] = {}
        try:
            for path in paths:
                source = f"{root}/{path}"
                folder = self._folders.of_output(path)
                if (
                    os.path.islink(source)
                    or folder.device != self._staging.stat.st_dev
                    or not regroup(source, folder.group, sets_group=folder.sets_group)
                ):
                    hidden = self._hidden_path(path)
                    copies[hidden] = source
                    copy(source, hidden)
                    source = hidden
                if self._durable:
                    sync(source)
                moves.append((source, path))
            self._move_all(moves, new)
            for source in copies.values():
                remove(source)  # otherwise it would count as an output of the next row
            if self._durable:
                for parent in {path.rpartition("/")[0] for path in paths}:
                    sync_one(f"{self._outputs}/{parent}")
        finally:
            for hidden in copies:
                remove(hidden)

    def _move_all(self, moves: Sequence[tuple[str, str]], new: Collection[str]) -> None:
        """Move all paths, the new ones first; move none if a new path already exists."""
        linked: list[str] = []
        for source, path in moves:
            try:
                if path in new and link(source, f"{self._outputs}/{path}"):
                    linked.append(path)
            except FileExistsError:
                for other in linked:
                    os.unlink(f"{self._outputs}/{other}")
                raise ForeignFileError(
                    f"wrote {path}, which no output declares, and another row wrote it at the same time: "
                    "nothing was published. Write under a name with the record id in it, and join the files, "
                    "in a step with BY or with scan_outputs"
                ) from None
        for source, path in moves:
            if path in linked:
                os.unlink(source)
            else:
                self._move(source, path)

    def _hidden_path(self, path: str, *, is_old: bool = False) -> str:
        """The full path of a hidden file beside a final path, noted in staging so that it is removed in any case.

        Args:
            path: The final path.
            is_old: Whether it is for the old file: `clear_staging` renames it back if no replacement exists.
        """
        folder, _, name = path.rpartition("/")
        short = name.encode("utf-8", "surrogateescape")[:120].decode("utf-8", "surrogateescape")
        end = "old.tmp" if is_old else "tmp"
        number = next(self._numbers)  # long names may have the same beginning
        hidden = f"{folder}/.{short}.{self._run_id}.{os.getpid()}.{number}.{end}"
        self._staging.note(f"{hidden}//{name}" if is_old else hidden)
        full = f"{self._outputs}/{hidden}"
        remove(full)
        return full

    def _move(self, source: str, path: str) -> None:
        target = f"{self._outputs}/{path}"
        try:
            rename(source, target)
        except FileNotFoundError:
            # The folder was removed after it was checked: make it again.
            self._folders.forget()
            self._folders.of_output(path)
            rename(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                # Two mounts of one device: a rename between them is refused, although the device is the same.
                hidden = self._hidden_path(path)
                try:
                    copy(source, hidden)
                    self._move(hidden, path)
                    remove(source)
                finally:
                    remove(hidden)
            elif error.errno in _IN_THE_WAY:
                self._swap(source, path)
            else:
                raise

    def _swap(self, source: str, path: str) -> None:
        """Replace a path when a plain rename cannot, because one of the two is a folder.

        If the system can exchange two names atomically, one of them exists at each moment. Otherwise two renames do
        it, and the old path is kept until the second rename is done.
        """
        target = f"{self._outputs}/{path}"
        if exchange(source, target):
            remove(source)
            return
        # Hidden beside the target: if this process is killed now, `clear_staging` renames it back.
        old = self._hidden_path(path, is_old=True)
        os.rename(target, old)
        try:
            os.rename(source, target)
        except BaseException:
            os.rename(old, target)
            raise
        remove(old)


def _existing_file(info: os.stat_result) -> ExistingFile:
    return ExistingFile(info.st_size, info.st_mtime_ns, max(info.st_mtime_ns, info.st_ctime_ns))
