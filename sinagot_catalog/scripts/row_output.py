"""What a row prints, kept to a bound: its beginning and its end.

In a worker process standard output and error are one file, which the programs that a script starts write to, too.
In the main process what is printed goes on to the user's console; there only what is written through `sys.stdout`
and `sys.stderr` is kept, and what the program of a command step prints.
"""

import os
import sys
from contextlib import suppress
from typing import Any, Protocol, Self

__all__ = [
    "DONE_BOUND",
    "ERROR_BOUND",
    "MainOutput",
    "NoOutput",
    "Output",
    "OutputFile",
    "Tee",
    "cut_file",
    "read_ends",
]

DONE_BOUND = 4 * 1024
"""Bytes that are kept of a row that is done."""
ERROR_BOUND = 16 * 1024
"""Bytes that are kept of a row that failed."""

_CUT = "\n… cut here …\n"
_ROOM = 64
_FULL = 1 << 19
"""Bytes from which a worker begins its file anew with the next row."""


class Output(Protocol):
    """What a script prints, as far as it is kept."""

    def mark(self) -> int:
        """A row begins: where its first text will stand."""

    def since(self, mark: int, bound: int) -> str | None:
        """The beginning and the end of what was printed since then, None where nothing was."""


class NoOutput:
    """Prints go where the process' prints go: nothing is kept."""

    def mark(self) -> int:
        """Nowhere."""
        return 0

    def since(self, mark: int, bound: int) -> str | None:  # noqa: ARG002 part of the protocol
        """Nothing."""
        return None


# -- a worker's file -------------------------------------------------------------------------------------------


class OutputFile:
    """What the scripts of a worker print: a file without a name that both sides hold.

    Args:
        fd: The file, opened to append.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def mark(self) -> int:
        """Where the next text will stand."""
        try:
            # Where we stand in it does not matter, for it is appended to; and a seek costs a fifth of an `fstat`.
            size = os.lseek(self.fd, 0, os.SEEK_END)
            if size > _FULL:
                os.ftruncate(self.fd, 0)
                return 0
        except OSError:
            return os.fstat(self.fd).st_size  # a script put a pipe in its place
        return size

    def since(self, mark: int, bound: int) -> str | None:
        """The beginning and the end of what was printed since a mark."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        try:
            if os.lseek(self.fd, 0, os.SEEK_END) == mark:
                return None
            return read_ends(self.fd, mark, bound)
        except OSError:
            return None


def read_ends(fd: int, mark: int, bound: int) -> str | None:
    """The beginning and the end of a file since a mark, None where there is nothing.

    Args:
        fd: The file.
        mark: A byte of it; of a file that was cut since and is shorter now, all is read.
        bound: Bytes that are read at most.
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
    """Cut the middle out of what was printed since a mark: more than its ends is never read."""
    end = os.pread(fd, ERROR_BOUND, max(os.fstat(fd).st_size - ERROR_BOUND, 0))
    os.ftruncate(fd, mark + ERROR_BOUND)
    os.write(fd, end)


# -- the main process ------------------------------------------------------------------------------------------


class MainOutput:
    """While it is entered, `sys.stdout` and `sys.stderr` go on to the user's console and are kept."""

    def __init__(self) -> None:
        self._head = self._tail = ""
        self._is_cut = False
        self._before: tuple[Any, Any] | None = None

    def __enter__(self) -> Self:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (None if one is None else Tee(one, self._keep) for one in self._before)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            sys.stdout, sys.stderr = self._before

    def _keep(self, text: str) -> None:
        half = (ERROR_BOUND - _ROOM) // 2
        room = half - len(self._head)
        if room > 0:
            self._head += text[:room]
            text = text[room:]
        if text:
            whole = self._tail + text
            self._tail = whole[-half:]
            self._is_cut |= len(whole) > half

    def mark(self) -> int:
        """A row begins."""
        self._head = self._tail = ""
        self._is_cut = False
        return 0

    def since(self, mark: int, bound: int) -> str | None:  # noqa: ARG002 part of the protocol
        """The beginning and the end of what the row printed."""
        if not self._is_cut and len(self._head) + len(self._tail) <= bound - _ROOM:
            return self._head + self._tail or None
        half = (bound - _ROOM) // 2
        return self._head[:half] + _CUT + (self._head + self._tail)[-half:]


class Tee:
    """A stream that hands on what is written to it, and keeps it; it stays open, as it is not the script's."""

    def __init__(self, stream: Any, keep: Any) -> None:
        self._stream = stream
        self._keep = keep

    def write(self, text: str) -> int:
        """Write and keep a text."""
        written: int = self._stream.write(text)
        self._keep(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Write and keep several texts."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Nothing: the user's program goes on printing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
