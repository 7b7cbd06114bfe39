"""Local walk: one pass over a local tree, which lists only the folders that changed since the last pass.

A folder cache (`folder_cache`) supplies what the last pass found, and folder stamps (`folder_stamps`) show which
folders changed. In a long first pass, helper processes (`parallel_walk`) list a part of the tree.
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog.storage.local.entry import holds_file, is_absent
from sinagot_catalog.storage.local.folder_stamps import Notes
from sinagot_catalog.storage.protocol import LOG_FOLDER, Level, Reach, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.storage.local.folder_cache import FolderSnapshot
    from sinagot_catalog.storage.local.folder_stamps import FolderBatch
    from sinagot_catalog.storage.local.parallel_walk import Future, HelperPool

_LOOK_UP = 64
"""After this many folders the walk checks whether a helper is free."""
_FEWEST, _LEAST = 16, 4
"""The fewest sibling folders that are shared with a helper, and the fewest that it gets at a time."""


class Findings(NamedTuple):
    """What a walk found besides files.

    Attributes:
        directories: Directories that are not empty and at which a pattern ends.
        empty: Directories that hold no file and at which a pattern ends.
        unreadable: Folders that could not be listed.
        links: Links to folders that were left out.
        dangling: Broken links.
        special: Pipes, sockets and devices, which are never opened.
    """

    directories: list[str]
    empty: list[str]
    unreadable: list[str]
    links: list[str]
    dangling: list[str]
    special: list[str]


class _Rest(NamedTuple):
    """Sibling folders that are still to be entered, the last one first.

    Attributes:
        level: What the patterns say about their content.
        folders: The folders.
        given: The batches that helpers list, in the order in which they were given; they come after the folders.
    """

    level: Level
    folders: list[str]
    given: list[Future]


class Walk:
    """One pass over a local tree that enters only folders to which a pattern leads.

    Folders are entered depth first and in the order of their names. So in the snapshot of the last pass everything
    below a folder follows it: a *span*, which is reused up to the next folder that has changed.

    Args:
        root: The folder at the top.
        reach: Which folders to enter.
        seen: The snapshot of the last walk for the same reach.
        takes_notes: Whether to record the stamps of folders, at a fifth of the cost of listing a small folder.
        settled: For how many seconds a folder must have been unchanged to get a stamp.

    Attributes:
        found: What was found besides the files.
        parts: The folders and their files, in the order of the walk.
        before: The last snapshot, if it is of use.
        order: The position of each folder: in the last snapshot, or, counted on after it, among the listed folders.
    """

    def __init__(
        self,
        root: str,
        reach: Reach,
        seen: FolderSnapshot | None = None,
        *,
        takes_notes: bool,
        settled: float,
    ) -> None:
        self.root = root
        self.reach = reach
        self.found = Findings([], [], [], [], [], [])
        self.parts: list[FolderBatch] = []
        self.before = seen
        self.order = array("I")
        self._top = Level(reach.patterns, everything=reach.everything)
        self._entered: set[tuple[int, int]] = set()
        self._is_odd = False
        """Whether the result for the current folder may change while the folder's stamp does not."""
        self._takes_notes = takes_notes
        self._settled = settled
        self._notes = Notes(settled)
        self._paths: list[str] = []
        self._changed: list[int] = []
        self._spans: dict[str, tuple[int, int]] = {}

    def go(self, hands: HelperPool | None = None) -> None:
        """List the root, then the folders below it to which the patterns lead.

        Args:
            hands: The helpers that may list a part of it.
        """
        # A loop of links is entered once, and only a process that enters every folder can notice it.
        is_shared = self.before is None and not self.reach.follow_links
        self._through([_Rest(self._top, [""], [])], hands if is_shared else None)
        self._close_part()

    def go_below(self, folders: list[str]) -> FolderBatch:
        """List sibling folders, the last one first, and everything below them."""
        self._through([_Rest(self._level(folders[0]), folders, [])], None)
        return self._notes.taken()

    def _through(self, todo: list[_Rest], hands: HelperPool | None) -> None:
        count = 0
        while todo:
            if hands is not None:
                if not count % _LOOK_UP:
                    _share(todo, hands, count)
                count += 1
            level, folders, given = todo[-1]
            if not folders:
                todo.pop()
                self._take_in(given)
                continue
            folder = folders.pop()
            if folder in self._spans:
                todo += self._known(*self._spans.pop(folder))
            else:
                todo += self._list(folder, level)

    def _close_part(self) -> None:
        self.parts.append(self._notes.taken())
        self._notes = Notes(self._settled)

    def _take_in(self, given: list[Future]) -> None:
        """Add what helpers listed; what they could not list is listed here."""
        if not given:
            return
        self._close_part()
        for job in reversed(given):
            told = job.result()
            part, result = told or walk_below(
                self.root, self.reach, job.work, takes_notes=self._takes_notes, settled=self._settled
            )
            self.parts.append(part)
            for paths, further in zip(self.found, result, strict=True):
                paths.extend(further)

    # --- the last snapshot ---------------------------------------------------------------------------------------

    def recall(self) -> None:
        """Find the folders that have changed; if most have, the last snapshot is discarded."""
        if self.before is None:
            return
        count = self.before.folders.height
        self._changed = self.before.changed(self.root)
        if self.before.is_most(self._changed):
            self.before = None
            return
        self._changed.append(count)
        self._paths = self.before.folders["folder"].to_list()
        self._spans[""] = 0, count

    def _known(self, begin: int, end: int) -> Iterable[_Rest]:
        """Reuse a span up to the first folder that has changed, and list that folder.

        The folders after it, and each known folder in it, become separate spans, identified by their first folder.
        """
        first = min(self._changed[bisect_left(self._changed, begin)], end)
        self.order.extend(range(begin, first))
        if first == end:
            return
        folder = self._paths[first]
        behind = self._end(first, end)
        if behind < end:
            self._spans[self._paths[behind]] = behind, end
            yield _Rest(self._top, [self._paths[behind]], [])
        inside = first + 1
        while inside < behind:
            begin, inside = inside, self._end(inside, behind)
            self._spans[self._paths[begin]] = begin, inside
        yield from self._list(folder, self._level(folder))

    def _end(self, position: int, end: int) -> int:
        """The position at which the content of a folder ends."""
        folder = self._paths[position]
        position += 1
        while position < end and self._paths[position].startswith(folder):
            position += 1
        return position

    def _level(self, folder: str) -> Level:
        level = self._top
        for name in folder.split("/")[:-1]:
            _, deeper = level.below(name)
            assert deeper is not None  # noqa: S101 - it was entered before
            level = deeper
        return level

    # --- listing -------------------------------------------------------------------------------------------------

    def _list(self, folder: str, level: Level) -> Iterable[_Rest]:
        """List the entries of a folder, and record the folder's stamp if the entries depend on nothing else."""
        if self.before is not None:
            self.order.append(self.before.folders.height + len(self._notes))
        self._is_odd = False
        path = f"{self.root}/{folder}"
        # Keep the folder open, so that the stamp and the listing are of the same folder.
        fd = self._opened(path) if self._takes_notes else None
        try:
            look = None if fd is None else self._notes.look(fd)
            folders = (self._literal if level.is_literal else self._scan)(folder, path, fd, level)
        finally:
            if fd is not None:
                os.close(fd)
        below = self._below(folder, folders, level) if folders else ()
        self._notes.close_folder(folder, None if self._is_odd else look)
        return below

    def _opened(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None

    def _literal(self, folder: str, path: str, fd: int | None, level: Level) -> list[str]:
        """Check the names that the patterns give literally; these folders may be links."""
        folders: list[str] = []
        above = path if fd is None else ""
        for name in level.names:
            mode = 0
            try:
                mode = os.stat(above + name, dir_fd=fd, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    self._is_odd = True
                    mode = os.stat(above + name, dir_fd=fd).st_mode
            except OSError as error:
                if not is_absent(error):  # no permission, or a lost mount
                    self._unreadable(folder)
                    break
                if stat.S_ISLNK(mode):
                    self.found.dangling.append(folder + name)
                continue
            if stat.S_ISDIR(mode):
                folders.append(name)
            elif stat.S_ISREG(mode):
                self._notes.names.append(name)
            else:
                self._is_odd = True
                self.found.special.append(folder + name)
        return folders

    def _scan(self, folder: str, path: str, fd: int | None, level: Level) -> list[str]:
        """List one folder; the loop runs once for every file of a dataset."""
        names = self._notes.names
        folders: list[str] = []
        try:
            with os.scandir(path if fd is None else fd) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    else:
                        self._other(folder, entry, level, folders)
        except (FileNotFoundError, NotADirectoryError):  # it was removed, or is no folder: nothing is there
            self._is_odd = True
        except OSError:
            self._unreadable(folder)
        return folders

    def _unreadable(self, folder: str) -> None:
        self._is_odd = True
        self.found.unreadable.append(folder.rstrip("/"))

    def _below(self, folder: str, names: list[str], level: Level) -> Iterable[_Rest]:
        """Sort the subfolders of a folder: folders that a pattern names, and folders to enter."""
        out: dict[Level, _Rest] = {}
        # The last is entered first. Disks find folders faster in the order of names than in the order of a hash.
        for name in sorted(names, reverse=True):
            if not is_text(name) or (folder == "" and name == LOG_FOLDER):
                continue
            ends, deeper = level.below(name)
            if ends:
                self._is_odd = True  # files may come and go deep below it without a change of this folder
                holds = holds_file(f"{self.root}/{folder}{name}", self._note_unreadable)
                (self.found.directories if holds else self.found.empty).append(folder + name)
            if deeper is not None:
                if deeper not in out:
                    out[deeper] = _Rest(deeper, [], [])
                out[deeper].folders.append(f"{folder}{name}/")
        return out.values()

    def _other(self, folder: str, entry: os.DirEntry[str], level: Level, folders: list[str]) -> None:
        """Treat a link to a file as a file; enter a link to a folder if a pattern or the config allows it."""
        self._is_odd = True  # its target may appear or vanish without a change of this folder
        try:
            info = entry.stat()
        except OSError as error:
            if not is_absent(error):
                self._unreadable(folder)
            elif entry.is_symlink():
                self.found.dangling.append(folder + entry.name)
            return
        if stat.S_ISREG(info.st_mode):
            self._notes.names.append(entry.name)
        elif not stat.S_ISDIR(info.st_mode):
            self.found.special.append(folder + entry.name)
        elif not self.reach.follow_links:
            if entry.name in level.names:
                folders.append(entry.name)
            else:
                self.found.links.append(folder + entry.name)
        elif (info.st_dev, info.st_ino) not in self._entered:  # a loop is entered once
            self._entered.add((info.st_dev, info.st_ino))
            folders.append(entry.name)

    def _note_unreadable(self, folder: str) -> None:
        self.found.unreadable.append(os.path.relpath(folder, self.root))


def walk_below(
    root: str, reach: Reach, folders: Sequence[str], *, takes_notes: bool, settled: float
) -> tuple[FolderBatch, Findings]:
    """List sibling folders, the last one first, and everything below them.

    Returns:
        The folders and their files, and what else was found.
    """
    walk = Walk(root, reach, takes_notes=takes_notes, settled=settled)
    return walk.go_below([*folders]), walk.found


def _share(todo: list[_Rest], hands: HelperPool, count: int) -> None:
    """Give free helpers a share of the folders that would be entered last."""
    while hands.are_free(count):
        rest = next((batch for batch in todo if len(batch.folders) >= _FEWEST), None)
        if rest is None:
            return
        share = max(_LEAST, len(rest.folders) // (2 * hands.number + 2))
        rest.given.append(hands.give(rest.folders[:share]))
        del rest.folders[:share]
