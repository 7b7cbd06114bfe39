"""Moved inputs: puts input files back that a script moved into its staging folder.

A script may move its input to its output. The only copy of the input is then in the staging folder, which is about
to be published or cleared. So the inputs of the running row are noted in the staging folder of its process, and
each function that clears that folder puts back the files that are missing. A file is recognised by its size and
time, which both a rename and `shutil.move` keep. Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH103, PTH104, PTH108, PTH110, PTH119, PTH120

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.storage import walk
from sinagot_catalog.worker.files.file_moves import copy, link, remove

_NOTE = ".inputs-of-row"
_WIDTH = 12


class MovedInputError(SinagotError):
    """A script moved an input away, and succeeded."""

    error_type = "InputMoved"


class InputFile(NamedTuple):
    """One local file that a row reads.

    Attributes:
        path: Its full path.
        size: Bytes.
        mtime_ns: When its content was last written.
        is_output: Whether a step declares the file: another row may replace it.
    """

    path: str
    size: int
    mtime_ns: int
    is_output: bool = False

    def is_unchanged(self) -> bool:
        """Whether the file is as it was."""
        try:
            info = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return False
        return self.is_output or (info.st_size, info.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_gone(self) -> bool:
        """Whether the path is free."""
        return not os.path.lexists(self.path)


class InputNotes:
    """Notes the inputs of the running row in the staging folder of a process.

    Args:
        staging: The staging folder.
    """

    def __init__(self, staging: str) -> None:
        self._staging = staging
        self._fd = -1

    def write(self, files: Sequence[InputFile]) -> None:
        """Replace the note; the staging folder has to exist."""
        if not files and self._fd < 0:
            return
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(f"{self._staging}/{_NOTE}", flags, 0o600)
        text = os.fsencode("\0".join(f"{size}\0{mtime}\0{path}" for path, size, mtime, _ in files))
        # The length comes first: the rest of an older, longer note stays in the file.
        os.pwrite(self._fd, b"%*d" % (_WIDTH, len(text)) + text, 0)

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
        The paths that were put back, relative to their roots.
    """
    missing = [
        (file, name)
        for file in _read_note(f"{staging}/{_NOTE}")
        if (name := relative(file.path, roots)) is not None and file.is_gone()
    ]
    if not missing:
        return []
    staged = _StagedFiles(staging)
    restored: list[str] = []
    for by_name in (True, False):  # a file that kept its name first
        for file, name in missing:
            source = None if name in restored else staged.take(file, by_name=by_name)
            if source is not None:
                with suppress(OSError):
                    _put_back(source, file.path)
                    restored.append(name)
    return restored


class _StagedFiles:
    """The files below a staging folder by size and time, and the links that lead nowhere."""

    def __init__(self, staging: str) -> None:
        self._files = defaultdict[tuple[int, int], list[str]](list)
        self._links: list[str] = []
        for prefix, entry in walk(staging):
            full = f"{staging}/{prefix}{entry.name}"
            with suppress(OSError):
                if entry.is_symlink() and not os.path.exists(full):
                    self._links.append(full)  # a relative link leads nowhere from here
                elif stat.S_ISREG((info := entry.stat()).st_mode):
                    self._files[info.st_size, info.st_mtime_ns].append(full)

    def take(self, file: InputFile, *, by_name: bool) -> str | None:
        """The path of a staged file that is an input, which is not found again; None if there is none."""
        name = os.path.basename(file.path)
        for alike in (self._files[file.size, file.mtime_ns], self._links):
            for path in alike:
                if not by_name or os.path.basename(path) == name:
                    alike.remove(path)
                    return path
        return None


def describe_moved_inputs(paths: Collection[str]) -> str:
    """The end of the message of a failed row, if inputs were put back.

    Example:
        >>> describe_moved_inputs(["raw/A.jpg", "raw/B.jpg"])
        '; the script had moved its input raw/A.jpg and 1 more away: put back. Copy an input instead'
        >>> describe_moved_inputs([])
        ''
    """
    if not paths:
        return ""
    others = len(set(paths)) - 1
    more = f" and {others} more" if others else ""
    return f"; the script had moved its input {min(paths)}{more} away: put back. Copy an input instead"


def _put_back(source: str, target: str) -> None:
    """Move a staged file to the path of an input, if nothing is there.

    Raises:
        OSError: When the disk refuses, or when something is there; the staged file stays.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not link(source, target):  # another file system, or one without hard links
        hidden = f"{os.path.dirname(target)}/.{os.getpid()}.back.tmp"
        remove(hidden)
        copy(source, hidden)
        if not link(hidden, target):
            os.rename(hidden, target)
        remove(hidden)
    os.unlink(source)


def relative(path: str, roots: Collection[str]) -> str | None:
    """A path relative to the root that holds it; None if it leaves all roots."""
    for root in roots:
        start = f"{root.rstrip('/')}/"
        if path.startswith(start) and ".." not in path.split("/"):
            return path.removeprefix(start)
    return None


def _read_note(path: str) -> list[InputFile]:
    """The files in a note that this user, or root, wrote."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_uid not in (os.geteuid(), 0):
                return []
            parts = os.fsdecode(file.read(int(file.read(_WIDTH)))).split("\0")
        triples = zip(parts[::3], parts[1::3], parts[2::3], strict=False)
        return [InputFile(path, int(size), int(mtime)) for size, mtime, path in triples]
    except (OSError, ValueError):
        return []
