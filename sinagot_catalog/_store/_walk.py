"""One pass over a local tree, which lists again only the folders that have changed since the last one."""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from sinagot_catalog._store._folders import Notes, Seen, joined
from sinagot_catalog._store._types import LOG_FOLDER, Found, Reach, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Walk"]


class _Level:
    """The patterns that lead into a folder, and what they say of the folders in it.

    A tree has few levels and many folders: what a level says of a name is worked out once.
    """

    def __init__(self, patterns: Sequence[tuple[str | None, ...]], depth: int, *, everything: bool) -> None:
        self._patterns = [one for one in patterns if len(one) > depth]
        self._depth = depth
        self._everything = everything
        self._below: dict[str | None, tuple[bool, _Level | None]] = {}
        self.names = sorted({name for one in self._patterns if (name := one[depth]) is not None})
        self.is_literal = not everything and all(one[depth] is not None for one in self._patterns)

    def below(self, name: str) -> tuple[bool, _Level | None]:
        """Whether a pattern ends at a folder of this name, and the level in it where a pattern goes on."""
        key = name if name in self.names else None
        if key not in self._below:
            deep = self._depth + 1
            here = [one for one in self._patterns if one[self._depth] in (None, key)]
            ends = any(len(one) == deep for one in here)
            goes_on = self._everything or any(len(one) > deep for one in here)
            level = _Level(here, deep, everything=self._everything) if goes_on else None
            self._below[key] = ends, level
        return self._below[key]


class Walk:
    """One pass over a local tree that enters only where a pattern goes on.

    Folders are entered depth first and in the order of their names. So what lies below a folder follows it in what
    was seen before: a *span*, which is taken over as it is up to the next folder that has changed.

    Args:
        root: The folder at the top.
        reach: Which folders to enter.
        seen: What the last walk for the same reach saw.
        takes_notes: Whether to note what folders look like, at a fifth of what it costs to list a small one.
        settled: For how many seconds a folder must have lain unchanged to be known again.
    """

    def __init__(
        self, root: str, reach: Reach, seen: Seen | None = None, *, takes_notes: bool, settled: float
    ) -> None:
        self.root = root
        self.reach = reach
        self.found = Found()
        self.top = _Level(reach.patterns, 0, everything=reach.everything)
        self.entered: set[tuple[int, int]] = set()
        self.is_odd = False
        """Whether what is found in the folder at hand may change while the folder itself stays as it is."""
        self.takes_notes = takes_notes
        self.notes = Notes(settled)
        self.before = seen
        self.order = array("I")
        self.paths: list[str] = []
        self.changed: list[int] = []
        self.spans: dict[str, tuple[int, int]] = {}

    def go(self) -> tuple[Found, Seen]:
        """List the root, then what the patterns lead to below it."""
        self._recall()
        todo: list[tuple[_Level, list[str]]] = [(self.top, [""])]
        while todo:
            level, folders = todo[-1]
            if not folders:
                todo.pop()
                continue
            folder = folders.pop()
            if folder in self.spans:
                todo += self._known(*self.spans.pop(folder))
            else:
                todo += self._list(folder, level)
        return self._together()

    def _together(self) -> tuple[Found, Seen]:
        columns, names = self.notes.columns()
        seen = Seen(columns, names)
        if self.before is not None:
            is_same = not len(self.notes)
            seen = self.before if is_same else joined(self.before, self.order, columns, names)
        self.found.folders, self.found.names = seen.folders.select("folder", "n"), seen.names
        self.found.undecodable = self.notes.undecodable
        return self.found, seen

    # --- what was seen before ------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """Look which folders have changed; where most have, what was seen is of no use."""
        if self.before is None:
            return
        count = self.before.folders.height
        self.changed = self.before.changed(self.root)
        if self.before.is_most(self.changed):
            self.before = None
            return
        self.changed.append(count)
        self.paths = self.before.folders["folder"].to_list()
        self.spans[""] = 0, count

    def _known(self, begin: int, end: int) -> Iterable[tuple[_Level, list[str]]]:
        """Take over a span up to the first folder that has changed, and list that one.

        What is behind it, and each folder that was known in it, is a span of its own, told by its first folder.
        """
        first = min(self.changed[bisect_left(self.changed, begin)], end)
        self.order.extend(range(begin, first))
        if first == end:
            return
        folder = self.paths[first]
        behind = self._end(first, end)
        if behind < end:
            self.spans[self.paths[behind]] = behind, end
            yield self.top, [self.paths[behind]]
        inside = first + 1
        while inside < behind:
            begin, inside = inside, self._end(inside, behind)
            self.spans[self.paths[begin]] = begin, inside
        yield from self._list(folder, self._level(folder))

    def _end(self, position: int, end: int) -> int:
        """Where what lies below a folder ends."""
        folder = self.paths[position]
        position += 1
        while position < end and self.paths[position].startswith(folder):
            position += 1
        return position

    def _level(self, folder: str) -> _Level:
        level = self.top
        for name in folder.split("/")[:-1]:
            _, deeper = level.below(name)
            assert deeper is not None  # noqa: S101 - it was entered before
            level = deeper
        return level

    # --- what is listed ------------------------------------------------------------------------------------------

    def _list(self, folder: str, level: _Level) -> Iterable[tuple[_Level, list[str]]]:
        """Look what is right in a folder, and take down what the folder looks like where that tells it all."""
        if self.before is not None:
            self.order.append(self.before.folders.height + len(self.notes))
        self.is_odd = False
        path = f"{self.root}/{folder}"
        # held open, so that what is taken down and what is listed are of the same folder
        fd = self._opened(path) if self.takes_notes else None
        try:
            look = None if fd is None else self.notes.look(fd)
            folders = (self._literal if level.is_literal else self._scan)(folder, path, fd, level)
        finally:
            if fd is not None:
                os.close(fd)
        below = self._below(folder, folders, level) if folders else ()
        self.notes.close_folder(folder, None if self.is_odd else look)
        return below

    def _opened(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None

    def _literal(self, folder: str, path: str, fd: int | None, level: _Level) -> list[str]:
        """Step into folders that the patterns name; they may be links."""
        folders: list[str] = []
        above = path if fd is None else ""
        for name in level.names:
            try:
                mode = os.stat(above + name, dir_fd=fd, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    self.is_odd = True
                    mode = os.stat(above + name, dir_fd=fd).st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:  # no right to look, or a mount that is lost: what is there is not known
                self._unreadable(folder)
                break
            (folders if stat.S_ISDIR(mode) else self.notes.names).append(name)
        return folders

    def _scan(self, folder: str, path: str, fd: int | None, _: _Level) -> list[str]:
        """List one folder; the loop runs once for every file of a dataset."""
        names = self.notes.names
        folders: list[str] = []
        try:
            with os.scandir(path if fd is None else fd) as entries:
                for one in entries:
                    if one.is_file(follow_symlinks=False):
                        names.append(one.name)
                    elif one.is_dir(follow_symlinks=False):
                        folders.append(one.name)
                    elif one.is_symlink():
                        self._link(one, names, folders)
        except (FileNotFoundError, NotADirectoryError):  # it went away, or is no folder: nothing is there
            self.is_odd = True
        except OSError:
            self._unreadable(folder)
        return folders

    def _unreadable(self, folder: str) -> None:
        self.is_odd = True
        self.found.unreadable.append(folder.rstrip("/"))

    def _below(self, folder: str, names: list[str], level: _Level) -> Iterable[tuple[_Level, list[str]]]:
        """Take in the folders of a folder: as what a pattern names, and as what is to be entered."""
        out: dict[_Level, list[str]] = {}
        # the last is entered first; in the order of names, folders are found quicker than in that of a hash
        for name in sorted(names, reverse=True):
            if not is_text(name) or (folder == "" and name == LOG_FOLDER):
                continue
            ends, deeper = level.below(name)
            if ends:
                self.is_odd = True  # it becomes empty or full far below, and this folder stays as it is
                if self._holds_file(folder + name):
                    self.found.directories.append(folder + name)
            if deeper is not None:
                out.setdefault(deeper, []).append(f"{folder}{name}/")
        return out.items()

    def _link(self, entry: os.DirEntry[str], names: list[str], folders: list[str]) -> None:
        """Leave a link out unless links are followed; a loop is entered once."""
        self.is_odd = True  # what it leads to comes and goes, and the folder stays as it is
        if not self.reach.follow_links:
            self.found.links += 1
            return
        try:
            if not entry.is_dir():
                names.append(entry.name) if entry.is_file() else None
                return
            found = entry.stat()
        except OSError:
            return
        if (found.st_dev, found.st_ino) not in self.entered:
            self.entered.add((found.st_dev, found.st_ino))
            folders.append(entry.name)

    def _holds_file(self, path: str) -> bool:
        """Whether any file lies below a directory: an empty one is absent, as in a bucket."""
        todo = [f"{self.root}/{path}"]
        while todo:
            folder = todo.pop()
            try:
                with os.scandir(folder) as entries:
                    for one in entries:
                        if not one.is_dir(follow_symlinks=False):
                            return True
                        todo.append(one.path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                self.found.unreadable.append(os.path.relpath(folder, self.root))
        return False
