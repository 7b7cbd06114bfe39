"""File sizes: reads size and time of many local files. A helper imports little else, and so starts quickly."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence

ABSENT = -1
"""The size of a file that is absent."""


def look_at_text(root: str, paths: str) -> tuple[array[int], array[int]]:
    """Size and time of some paths, which zero characters separate: one text is quicker to send than many."""
    return look_at(root, paths.split("\0"))


def look_at(root: str, paths: Sequence[str]) -> tuple[array[int], array[int]]:
    """Size and time of some paths."""
    sizes, times = array("q"), array("q")
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        nothing = array("q", [ABSENT]) * len(paths)
        return nothing, nothing
    look = os.stat
    try:
        for path in paths:
            try:
                stat = look(path, dir_fd=top)  # quicker than to resolve the root's path for every file
            except (OSError, ValueError):
                sizes.append(ABSENT)
                times.append(0)
            else:
                sizes.append(stat.st_size)
                times.append(stat.st_mtime_ns)
    finally:
        os.close(top)
    return sizes, times
