"""The local publisher: moves staged outputs to their final paths on local disks, each by one rename.

So a file at its final path is always complete. `publication` defines the protocol of publishing. Standard library
only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH104, PTH108, PTH114, PTH119

import errno
import os
import stat
from collections.abc import Collection, Sequence

from sinagot_catalog.journal import ExistingFile, ExistingPath, ForeignFileError, RunSpec
from sinagot_catalog.storage import walk
from sinagot_catalog.worker.files.file_moves import (
    copy,
    exchange,
    link,
    regroup,
    remove,
    rename,
    sync,
    sync_one,
)
from sinagot_catalog.worker.files.staging import StagingFolder
from sinagot_catalog.worker.files.target_folders import TargetFolders

_NOT_SIMPLE = frozenset(
    (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EXDEV)
)
"""Errors of a rename if a folder is in its way or is gone, or if the file has to be copied."""


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
        self._folders = TargetFolders(spec, staging.stat)

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
        return self._folders.get(path.rpartition("/")[0]).device != self._staging.stat().st_dev

    def publish_file(self, root: str, path: str, *, is_new: bool) -> bool:
        """Move one plain staged file to its final path by one rename: the fast path of nearly every row."""
        if self._durable:
            return False
        folder = self._folders.get(path.rpartition("/")[0])
        if not folder.is_plain:
            return False
        try:
            (os.replace if is_new else rename)(f"{root}/{path}", f"{self._outputs}/{path}")
        except OSError as error:
            if error.errno in _NOT_SIMPLE:
                return False
            raise
        return True

    def publish(
        self, root: str, paths: Sequence[str], files: Collection[str] = (), *, new: Collection[str] = ()
    ) -> None:
        """Move staged paths to their final paths, each by one rename.

        Paths that need a copy to another file system are copied first, to a hidden file beside the final path. So
        all renames happen within a short time.
        """
        moves = []
        hidden = []
        copied = []
        try:
            for path in paths:
                source, target = f"{root}/{path}", f"{self._outputs}/{path}"
                parent, _, name = path.rpartition("/")
                folder = self._folders.get(parent)
                if not folder.has_own_name:
                    self._folders.check_alias(path, folder)
                is_link = path not in files and os.path.islink(source)
                if (
                    is_link
                    or folder.device != self._staging.stat().st_dev
                    or not regroup(source, folder.group, sets_group=folder.sets_group)
                ):
                    hidden.append(self._hidden_path(parent, name, "tmp"))
                    copy(source, hidden[-1])
                    copied.append(source)
                    source = hidden[-1]
                if self._durable:
                    sync(source)
                moves.append((source, target, parent, path in new))
            self._move_all(moves)
            for source in copied:
                remove(source)  # otherwise it would count as an output of the next row
            if self._durable:
                for parent in {parent for _, _, parent, _ in moves}:
                    sync_one(f"{self._outputs}/{parent}")
        finally:
            for path in hidden:
                remove(path)

    def _move_all(self, moves: Sequence[tuple[str, str, str, bool]]) -> None:
        """Move all paths, the new ones first; move none if a new path already exists."""
        linked: list[str] = []
        for source, target, _, is_new in moves:
            if not is_new:
                continue
            try:
                if link(source, target):
                    linked.append(target)
            except FileExistsError:
                for path in linked:
                    os.unlink(path)
                path = os.path.relpath(target, self._outputs)
                raise ForeignFileError(
                    f"wrote {path}, which no output declares, and another row wrote it at the same time: "
                    "nothing was published. Write under a name with the record id in it, and join the files, "
                    "in a step with BY or with scan_outputs"
                ) from None
        for source, target, parent, _ in moves:
            if target in linked:
                os.unlink(source)
            else:
                self._move(source, target, parent)

    def _hidden_path(self, folder: str, name: str, end: str, *, returns: bool = False) -> str:
        """The full path of a hidden file beside a final path, noted in staging so that it is removed in any case.

        Args:
            folder: The folder of the final path, relative.
            name: The name of the final path.
            end: The ending of the hidden name.
            returns: Whether `clear_staging` renames the file back if no replacement exists.
        """
        short = name.encode("utf-8", "surrogateescape")[:120].decode("utf-8", "surrogateescape")
        hidden = f"{folder}/.{short}.{self._run_id}.{os.getpid()}.{end}"
        self._staging.note(f"{hidden}//{name}" if returns else hidden)
        full = f"{self._outputs}/{hidden}"
        remove(full)
        return full

    def _move(self, source: str, target: str, folder: str) -> None:
        try:
            rename(source, target)
        except FileNotFoundError:
            # The folder was removed after it was checked: make it again.
            self._folders.forget()
            self._folders.get(folder)
            rename(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                # Two mounts of one device: a rename between them is refused, although the device is the same.
                hidden = self._hidden_path(folder, os.path.basename(target), "tmp")
                try:
                    copy(source, hidden)
                    self._move(hidden, target, folder)
                    remove(source)
                finally:
                    remove(hidden)
            elif error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                self._swap(source, target, folder)
            else:
                raise

    def _swap(self, source: str, target: str, folder: str) -> None:
        """Replace a path when a plain rename cannot, because one of the two is a folder.

        If the system can exchange two names atomically, one of them exists at each moment. Otherwise two renames do
        it, and the old path is kept until the second rename is done.
        """
        if exchange(source, target):
            remove(source)
            return
        # Hidden beside the target: if this process is killed now, `clear_staging` renames it back.
        old = self._hidden_path(folder, os.path.basename(target), "old.tmp", returns=True)
        os.rename(target, old)
        try:
            os.rename(source, target)
        except BaseException:
            os.rename(old, target)
            raise
        remove(old)


def _existing_file(info: os.stat_result) -> ExistingFile:
    return ExistingFile(info.st_size, info.st_mtime_ns, max(info.st_mtime_ns, info.st_ctime_ns))
