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
        self._before = [(path, full, *_look(full)) for path, full in inputs]

    def settle(self, staging: str) -> tuple[list[str], list[str]]:
        """Move the inputs back that are gone and lie in a staging folder now.

        Args:
            staging: The folder.

        Returns:
            Their paths, and a sentence for each other input that is gone or that changed.
        """
        back: list[str] = []
        told: list[str] = []
        for path, full, entry, content in self._before:
            now = _look(full)
            if entry is None or (now[0] is not None and now[1] == content):
                continue
            moved = (
                None
                if now[0] is not None
                else next((one for one in _below(staging) if _is_same(entry, one)), None)
            )
            if moved is not None:
                os.makedirs(os.path.dirname(full), exist_ok=True)
                shutil.move(moved, full)
                back.append(path)
            elif now[0] is None:
                told.append(f"its input {path} is gone since run() began")
            else:
                told.append(
                    f"its input {path} changed while run() ran: a script must not write to its inputs"
                )
        return back, told


def _look(path: str) -> tuple[os.stat_result | None, tuple[int, int, int] | None]:
    """The entry of a path, and what changes with its content; None for a folder."""
    found = _entry(path)
    target = found
    if found is not None and stat.S_ISLNK(found.st_mode):
        with suppress(OSError):
            target = os.stat(path)
    if target is None or stat.S_ISDIR(target.st_mode):
        return found, None
    return found, (target.st_ino, target.st_size, target.st_mtime_ns)


def _entry(path: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.lstat(path)
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
