"""Globbed files: finds the local files that a pattern with wildcards has for one record. Standard library only.

It goes through the parts of the pattern as a shell does. A link to a file counts as that file; a link to a folder
is followed where the name is literal, else only with `[path] follow_links`.
"""

# A `Path` costs a few microseconds for every file.
# ruff: noqa: PTH116

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from sinagot_catalog.patterns import NAME, WILD, Template, name_regex
from sinagot_catalog.storage.local.entry import holds_file, is_absent

_Parts = tuple[tuple[tuple[str, str], ...], ...]


def find_many(root: str, template: Template, *, follow_links: bool = False) -> dict[str, os.stat_result]:
    """The paths that a pattern has below a root, sorted, each with its `stat`.

    Args:
        root: A local folder.
        template: The pattern, filled for a record; with a final slash its paths are folders that hold a file.
        follow_links: Whether links to folders also count where the name varies.

    Raises:
        OSError: When a folder cannot be read.
    """
    files = {}
    for path in _expand(root, "", tuple(template.parts), follow_links=follow_links):
        with suppress(FileNotFoundError, NotADirectoryError):
            info = os.stat(f"{root}/{path}")
            if template.is_directory:
                is_there = stat.S_ISDIR(info.st_mode) and holds_file(f"{root}/{path}")
            else:
                is_there = stat.S_ISREG(info.st_mode)
            if is_there:
                files[path] = info
    return dict(sorted(files.items()))


def _expand(root: str, folder: str, parts: _Parts, *, follow_links: bool) -> Iterator[str]:
    """The paths of the parts of a pattern below a folder, `""` or ending in `/`."""
    head, others = parts[0], parts[1:]
    if not any(kind in WILD for kind, _ in head):
        path = folder + "".join(value for _, value in head)
        yield from _expand(root, f"{path}/", others, follow_links=follow_links) if others else (path,)
        return
    is_deep = head == (("deep", "**"),)
    if is_deep:
        yield from _expand(root, folder, others or ((("any", "*"),),), follow_links=follow_links)
    names, below = re.compile(NAME if is_deep else name_regex(head)), parts if is_deep else others
    for entry in _entries(f"{root}/{folder}"):
        if names.fullmatch(entry.name) is None or (not folder and entry.name == "LOG"):
            continue
        path = f"{folder}{entry.name}"
        if not below:
            yield path
        elif entry.is_dir(follow_symlinks=follow_links):
            yield from _expand(root, f"{path}/", below, follow_links=follow_links)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder by name; none if it is absent."""
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not is_absent(error):
            raise
