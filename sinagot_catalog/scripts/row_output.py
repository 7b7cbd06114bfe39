"""Row output: records what a row prints, limited to its beginning and its end.

In a worker process, standard output and error are one file. The programs that a script starts write to it, too.
In the main process, output also goes to the user's console. There the library records only what is written through
`sys.stdout` and `sys.stderr`, and what the program of a command step prints.
"""

import os
import sys
from typing import Any, Protocol, Self

DONE_BOUND = 4 * 1024
"""Bytes that are recorded for a row that is done."""
ERROR_BOUND = 16 * 1024
"""Bytes that are recorded for a row that failed."""

_CUT = "\n… cut here …\n"
_ROOM = 64
_FULL = 1 << 19
"""Size above which a worker truncates its file before the next row, and the main process cuts its text."""


class Output(Protocol):
    """The recorded output of a script."""

    def mark(self) -> int:
        """Start a row; returns the offset of its output."""

    def since(self, mark: int, bound: int) -> str | None:
        """The beginning and the end of the output since a mark; None if there is none."""


# -- a worker's file -------------------------------------------------------------------------------------------


class OutputFile:
    """The output of the scripts of a worker: an unnamed file that the worker and its parent share.

    Args:
        fd: The file, opened in append mode.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def mark(self) -> int:
        """The offset of the next output."""
        try:
            # The file is in append mode, so its position does not matter; a seek costs a fifth of an `fstat`.
            size = os.lseek(self.fd, 0, os.SEEK_END)
            if size > _FULL:
                os.ftruncate(self.fd, 0)
                return 0
        except OSError:
            return os.fstat(self.fd).st_size  # a script replaced it by a pipe
        return size

    def since(self, mark: int, bound: int) -> str | None:
        """The beginning and the end of the output since a mark."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001, S112 - a script may have replaced or closed it
                continue
        try:
            if os.lseek(self.fd, 0, os.SEEK_END) == mark:
                return None
            return read_ends(self.fd, mark, bound)
        except OSError:
            return None


def read_ends(fd: int, mark: int, bound: int) -> str | None:
    """The beginning and the end of a file since a mark; None if it is empty there.

    Args:
        fd: The file.
        mark: The offset to begin at; if the file was truncated and is shorter now, the offset is 0.
        bound: How many bytes to read at most.
    """
    size = os.fstat(fd).st_size
    start = mark if mark <= size else 0
    if size - start <= bound - _ROOM:
        text = os.pread(fd, size - start, start).decode("utf-8", "replace")
    else:
        half = (bound - _ROOM) // 2
        ends = os.pread(fd, half, start), os.pread(fd, half, size - half)
        text = _CUT.join(end.decode("utf-8", "replace") for end in ends)
    return text.replace("\0", "") or None


def cut_file(fd: int, mark: int) -> None:
    """Cut the middle out of the output since a mark: only its beginning and its end are ever read."""
    end = os.pread(fd, ERROR_BOUND, max(os.fstat(fd).st_size - ERROR_BOUND, 0))
    os.ftruncate(fd, mark + ERROR_BOUND)
    os.write(fd, end)


# -- the main process ------------------------------------------------------------------------------------------


class MainOutput:
    """The output in the main process: a context in which `sys.stdout` and `sys.stderr` are printed and recorded.

    Where the context is not entered, nothing is recorded.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0
        self._before: tuple[Any, Any] | None = None

    def __enter__(self) -> Self:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (
            None if stream is None else Tee(stream, self._keep) for stream in self._before
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            sys.stdout, sys.stderr = self._before

    def _keep(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)
        if self._size > _FULL:
            whole = "".join(self._texts)
            self._texts = [whole[:ERROR_BOUND], whole[-ERROR_BOUND:]]
            self._size = 2 * ERROR_BOUND

    def mark(self) -> int:
        """Start a row: discard the output of the last one."""
        self._texts, self._size = [], 0
        return 0

    def since(self, mark: int, bound: int) -> str | None:  # noqa: ARG002 part of the protocol
        """The beginning and the end of the row's output."""
        whole = "".join(self._texts)
        if len(whole) <= bound - _ROOM:
            return whole or None
        half = (bound - _ROOM) // 2
        return whole[:half] + _CUT + whole[-half:]


class Tee:
    """A stream that forwards and records what is written; a script cannot close it, because the user owns it."""

    def __init__(self, stream: Any, keep: Any) -> None:
        self._stream = stream
        self._keep = keep

    def write(self, text: str) -> int:
        """Forward and record a text."""
        written: int = self._stream.write(text)
        self._keep(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Forward and record several texts."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Do nothing: the user's program continues to print to the stream."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
