"""Input guard: notices when an input changes or disappears while its script runs, and puts a moved input back.

A script may move its input into its output. It would then be published as a result, or deleted with the staging
folder when the script fails. Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH103, PTH116, PTH120

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from sinagot_catalog.errors import SinagotError

__all__ = ["InputGuard", "MovedInputError"]


class MovedInputError(SinagotError):
    """A script moved an input away."""

    @property
    def error_type(self) -> str:
        """The name of this error in the report."""
        return "InputMoved"


class InputGuard:
    """The inputs of a row as they are before its script runs.

    Args:
        inputs: Each input: its path as the user knows it, and its full path.
    """

    def __init__(self, inputs: Iterable[tuple[str, str]]) -> None:
        self._before = [(path, full, _entry(full), _content(full)) for path, full in inputs]

    def put_back(self, staging: str) -> list[str]:
        """Move the inputs back that are gone and that lie in a staging folder now; return their paths."""
        back = []
        for path, full, entry, _ in self._before:
            if entry is None or os.path.lexists(full):
                continue
            moved = next((one for one in _below(staging) if _is_same(entry, one)), None)
            if moved is not None:
                os.makedirs(os.path.dirname(full), exist_ok=True)
                shutil.move(moved, full)
                back.append(path)
        return back

    def changed(self) -> Iterator[str]:
        """A sentence for each input that is gone, and for each file that changed."""
        for path, full, entry, content in self._before:
            if entry is not None and not os.path.lexists(full):
                yield f"its input {path} is gone since run() began"
            elif content is not None and _content(full) != content:
                yield f"its input {path} changed while run() ran: a script must not write to its inputs"


def _entry(path: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.lstat(path)
    return None


def _content(path: str) -> tuple[int, int, int] | None:
    """What changes with the content of a file; None for a folder."""
    with suppress(OSError):
        found = os.stat(path)
        return None if stat.S_ISDIR(found.st_mode) else (found.st_ino, found.st_size, found.st_mtime_ns)
    return None


def _below(folder: str) -> Iterator[str]:
    for top, folders, names in os.walk(folder):
        for name in (*folders, *names):
            yield f"{top}/{name}"


def _is_same(before: os.stat_result, path: str) -> bool:
    """Whether a path is a moved file or folder: also a move to another file system keeps the time."""
    now = _entry(path)
    if now is None or stat.S_IFMT(now.st_mode) != stat.S_IFMT(before.st_mode):
        return False
    is_same_size = stat.S_ISDIR(now.st_mode) or now.st_size == before.st_size
    return is_same_size and now.st_mtime_ns == before.st_mtime_ns
