"""Entries: the rule for what counts as a file or a folder on a local disk, shared by listings and jobs.

A file is a regular file or a link to one. A folder counts if it contains a file at any depth. A link to a folder
is followed if the pattern names that folder; if the name varies, it is followed only with `[path] follow_links`.
Standard library only.
"""

# A `Path` costs a few microseconds for every row.
# ruff: noqa: PTH114, PTH116

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence


def is_absent(error: OSError) -> bool:
    """Whether an error means that nothing is at a path: no entry, a broken link, or a loop of links."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP


def find_entry(
    root: str, path: str, *, is_directory: bool = False, varies: Sequence[bool] = ()
) -> os.stat_result | None:
    """Find a file or a folder below a root; None if nothing there counts.

    Args:
        root: A local folder.
        path: The path below it.
        is_directory: Whether only a folder counts.
        varies: For each part of the pattern whether it varies. Links to folders at such parts do not count.
            Empty: links to folders count everywhere.
    """
    full = f"{root}/{path}"
    try:
        info = os.stat(full)
    except OSError as error:
        if is_absent(error):
            return None
        raise
    is_folder = stat.S_ISDIR(info.st_mode)
    if not is_folder and (is_directory or not stat.S_ISREG(info.st_mode)):
        return None
    if varies and _has_linked_folder(root, path, varies, is_folder=is_folder):
        return None
    return info if not is_folder or holds_file(full) else None


def _has_linked_folder(root: str, path: str, varies: Sequence[bool], *, is_folder: bool) -> bool:
    """Whether a folder of a path is a link and has a name that varies."""
    parts = path.split("/")
    if not is_folder and len(parts) == len(varies) and True not in varies[:-1]:
        return False  # the name of the file alone varies
    return any(
        os.path.islink(f"{root}/{'/'.join(parts[:depth])}")
        for depth in varying_depths(varies, len(parts))
        if is_folder or depth < len(parts)
    )


def varying_depths(varies: Sequence[bool], count: int) -> Iterator[int]:
    """The depths, from 1, of the parts of a path that vary.

    Args:
        varies: For each part of the pattern whether it varies.
        count: How many parts the path has; more than the pattern if a value spans folders.

    Example:
        >>> list(varying_depths([False, True, False], 3)), list(varying_depths([False, True, False], 4))
        ([2], [2, 3])
    """
    if count == len(varies):
        yield from (depth for depth, vary in enumerate(varies, start=1) if vary)
    elif True in varies:
        behind = list(reversed(varies)).index(True)
        yield from range(list(varies).index(True) + 1, count - behind + 1)


def holds_file(folder: str, on_error: Callable[[str], None] | None = None) -> bool:
    """Whether a folder contains a file at any depth; links to folders are not followed.

    Args:
        folder: The folder.
        on_error: Called with each folder that cannot be listed; without it the error is raised.
    """

    def note(error: OSError) -> None:
        if not is_absent(error):
            if on_error is None:
                raise error
            on_error(error.filename)

    return any(is_file(entry) for _, entry in walk(folder, note))


def walk(
    folder: str, on_error: Callable[[OSError], object] | None = None
) -> "Iterator[tuple[str, os.DirEntry[str]]]":
    """All entries below a folder that are no folders, each with the path of its folder, `""` or ending in `/`.

    Args:
        folder: The folder; links to folders are not followed.
        on_error: Called with the error of each folder that cannot be listed; without it the error is raised.
    """
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(f"{folder}/{prefix}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{prefix}{entry.name}/")
                    else:
                        yield prefix, entry
        except OSError as error:
            if on_error is None:
                raise
            on_error(error)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to one."""
    try:
        return entry.is_file()
    except OSError as error:
        if is_absent(error):
            return False
        raise
