"""Regular files: reads whole files of bounded size, and refuses anything else.

A read of a pipe or a device in place of a script, a table or a journal file can block forever, and a sparse or
endless file fills the memory. Both raise an `OSError` with one sentence. Standard library only: workers use it.
"""

import errno
import os
import stat

MOST = 1 << 30
_PIECE = 1 << 20
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


class IrregularFileError(OSError):
    """A path is no regular file, or the file is too large."""

    def __init__(self, sentence: str, path: str) -> None:
        super().__init__(errno.EINVAL, sentence, path)


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a regular file for reading; never blocks.

    Raises:
        OSError: When it cannot be opened, or is no regular file.
    """
    path = os.fspath(path)
    _check_kind(os.stat(path).st_mode, path)  # noqa: PTH116 - opening a device may change its state
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_kind(os.fstat(fd).st_mode, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_regular(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: The most bytes that it may have.

    Raises:
        OSError: When it cannot be read, is no regular file, or is larger.
    """
    path = os.fspath(path)
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        if size > most:
            raise IrregularFileError(f"it has {size:,} bytes, and files of at most {most:,} are read", path)
        pieces: list[bytes] = []
        left = most + 1
        while left > 0 and (piece := os.read(fd, min(left, max(size + 1, _PIECE)))):
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(fd)
    if left <= 0:
        raise IrregularFileError(f"it has no end within the {most:,} bytes that are read", path)
    return b"".join(pieces)


def file_stamp(path: str) -> tuple[int, int] | None:
    """Return time and size of a local file, None if it is absent: the value changes when the file is edited."""
    try:
        info = os.stat(path)  # noqa: PTH116 - paths are texts here
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size


def sync_one(path: str) -> None:
    """Sync one file, or the names in one folder, to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_kind(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise IrregularFileError(f"it is {kind}, not a regular file", path)
