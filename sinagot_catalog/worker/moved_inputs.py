"""Moved inputs: puts input files back that a script moved into its staging folder before it failed.

A script may move its input to its output. If the row then fails, or its process is killed, the only copy of the
input is in the staging folder, which is about to be cleared. So the inputs of the running row are noted in the
staging folder of its process, and whoever clears that folder puts back the files that are missing. A file is
recognised by its size and its time, which both a rename and `shutil.move` keep. Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH103, PTH104, PTH108, PTH110, PTH119, PTH120

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

from sinagot_catalog.storage import walk
from sinagot_catalog.worker.file_moves import copy, link, remove

__all__ = ["InputFile", "InputNotes", "put_back_inputs", "told_back"]

_NOTE = ".inputs-of-row"
_WIDTH = 12


class InputFile(NamedTuple):
    """One file that a row reads.

    Attributes:
        path: Its full path.
        size: Bytes.
        mtime_ns: When its content was last written.
    """

    path: str
    size: int
    mtime_ns: int


class InputNotes:
    """Notes the inputs of the running row in the staging folder of a process.

    Args:
        staging: The staging folder.
    """

    def __init__(self, staging: str) -> None:
        self._staging = staging
        self._fd = -1

    def write(self, files: Iterable[InputFile]) -> None:
        """Replace the note; the staging folder has to exist."""
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(f"{self._staging}/{_NOTE}", flags, 0o600)
        text = os.fsencode("\0".join(f"{size}\0{mtime}\0{path}" for path, size, mtime in files))
        # The length comes first: the rest of an older, longer note stays in the file.
        os.pwrite(self._fd, f"{len(text):{_WIDTH}d}".encode() + text, 0)

    def close(self) -> None:
        """Close the note."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def put_back_inputs(staging: str, roots: Collection[str]) -> list[str]:
    """Put back the inputs that are missing and that lie in a staging folder.

    Args:
        staging: The staging folder of one process.
        roots: The folders that hold inputs; nothing is put anywhere else.

    Returns:
        The full paths that were put back.
    """
    missing = [
        one for one in _noted(f"{staging}/{_NOTE}") if _is_below(one.path, roots) and not _exists(one.path)
    ]
    if not missing:
        return []
    staged = _Staged(staging)
    back: list[str] = []
    for by_name in (True, False):  # a file that kept its name first
        for one in missing:
            source = None if one.path in back else staged.take(one, by_name=by_name)
            if source is not None:
                with suppress(OSError):
                    _put_back(source, one.path)
                    back.append(one.path)
    return back


class _Staged:
    """The files below a staging folder by size and time, and the links that lead nowhere."""

    def __init__(self, staging: str) -> None:
        self._files = defaultdict[tuple[int, int], list[str]](list)
        self._links: list[str] = []
        for prefix, entry in walk(staging):
            full = f"{staging}/{prefix}{entry.name}"
            with suppress(OSError):
                if entry.is_symlink() and not os.path.exists(full):
                    self._links.append(full)  # a relative link leads nowhere from here
                elif stat.S_ISREG((found := entry.stat()).st_mode):
                    self._files[found.st_size, found.st_mtime_ns].append(full)

    def take(self, one: InputFile, *, by_name: bool) -> str | None:
        """The path of a file that is an input, which is not found again; None if there is none."""
        name = os.path.basename(one.path)
        for alike in (self._files[one.size, one.mtime_ns], self._links):
            for path in alike:
                if not by_name or os.path.basename(path) == name:
                    alike.remove(path)
                    return path
        return None


def told_back(paths: Collection[str]) -> str:
    """The end of the message of a failed row, if inputs were put back.

    Example:
        >>> told_back(["/data/raw/A.jpg", "/data/raw/B.jpg"])
        '; the script had moved its input /data/raw/A.jpg and 1 more: put back, copy an input instead'
        >>> told_back([])
        ''
    """
    if not paths:
        return ""
    others = len(set(paths)) - 1
    more = f" and {others} more" if others else ""
    return f"; the script had moved its input {min(paths)}{more}: put back, copy an input instead"


def _put_back(source: str, target: str) -> None:
    """Move a staged file to the path of an input, if nothing is there.

    Raises:
        OSError: When the disk refuses, or when something is there; the staged file stays.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not link(source, target):  # another file system, or one without hard links
        beside = f"{os.path.dirname(target)}/.{os.getpid()}.back.tmp"
        remove(beside)
        copy(source, beside)
        if not link(beside, target):
            os.rename(beside, target)
        remove(beside)
    os.unlink(source)


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def _is_below(path: str, roots: Collection[str]) -> bool:
    return ".." not in path.split("/") and any(path.startswith(f"{root.rstrip('/')}/") for root in roots)


def _noted(path: str) -> list[InputFile]:
    """The files in a note that this user, or root, wrote."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
                return []
            parts = os.fsdecode(file.read(int(file.read(_WIDTH)))).split("\0")
        triples = zip(parts[::3], parts[1::3], parts[2::3], strict=False)
        return [InputFile(path, int(size), int(mtime)) for size, mtime, path in triples]
    except (OSError, ValueError):
        return []
