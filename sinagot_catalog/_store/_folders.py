"""What the folders of a tree looked like when they were listed: one that looks the same is not listed again.

Making, removing and renaming what lies right in a folder changes the change time of the folder, which the kernel
sets and nobody else can. So names hold as long as device, inode and change time do, under two conditions. The file
system is one whose times this kernel keeps: those of a server arrive late, or by another clock. And the folder had
lain unchanged for a while when its listing began: the clock of file systems goes by ticks, and what changes within
the tick of the listing would leave the time as it is ("racily clean", as git calls its files then).
"""

from __future__ import annotations

import os
import re
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog._patterns._names import FOLDERS, rows_in
from sinagot_catalog._store._types import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Notes", "Seen", "is_kept_here", "joined"]

# Not overlay (what lies in its lower folders may change unseen), nor what is kept elsewhere or in another process:
# nfs, cifs, 9p, virtiofs, fuse, cluster file systems. What is unknown, or no part of Linux, is listed every time.
_KEPT_BY_THIS_KERNEL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"}
_LOOK = {"dev": pl.UInt32(), "ino": pl.UInt64(), "changed": pl.UInt64()}
_NO_LOOK = (0, 0, 0)
"""Of a folder that is listed every time: no inode has the number 0."""


@dataclass(frozen=True)
class Seen:
    """What a walk found, and what each folder looked like before it was listed.

    Attributes:
        folders: A row per folder entered, in the order of the walk: the columns of `FOLDERS` and of a look.
        names: The names of the files, folder by folder.
    """

    folders: pl.DataFrame
    names: pl.Series

    @property
    def is_of_use(self) -> bool:
        """Whether any folder can be known again."""
        return (self.folders["ino"] > 0).any()

    def is_most(self, positions: Sequence[int]) -> bool:
        """Whether some folders, with the files in them, are more than half of all."""
        files = self.folders["n"].gather(pl.Series(positions, dtype=pl.UInt32)).sum()
        return 2 * (len(positions) + files) > self.folders.height + len(self.names)

    def changed(self, root: str) -> list[int]:
        """The positions of the folders that have to be listed again."""
        try:
            top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return [*range(self.folders.height)]
        try:
            return list(self._changed(top))
        finally:
            os.close(top)

    def _changed(self, top: int) -> Iterator[int]:
        """The loop runs once for every folder of a dataset."""
        look = os.stat
        rows = zip(*(self.folders[name].to_list() for name in ("folder", *_LOOK)), strict=True)
        for position, (folder, dev, ino, changed) in enumerate(rows):
            if ino:
                try:
                    now = look(folder or ".", dir_fd=top)
                except OSError:
                    pass
                else:
                    if now.st_ino == ino and now.st_ctime_ns == changed and now.st_dev == dev:
                        continue
            yield position


class Notes:
    """Takes down what a walk finds in each folder, and what the folder looked like.

    Args:
        settled: For how many seconds a folder must have lain unchanged to be known again.
    """

    def __init__(self, settled: float) -> None:
        self.names: list[str] = []
        self.undecodable = 0
        self._folders: list[str] = []
        self._counts = array("I")
        self._looks = array("Q")
        self._closed = 0
        self._settled = time.clock_gettime_ns(time.CLOCK_REALTIME) - int(settled * 1e9)
        self._is_kept_here: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._folders)

    def close_folder(self, folder: str, look: tuple[int, int, int] | None = None) -> None:
        """Say that the names added since the last call are those of a folder.

        Names lie in one list: a list for each of a hundred thousand folders is what costs time and memory.
        """
        self._folders.append(folder)
        self._counts.append(len(self.names) - self._closed)
        self._closed = len(self.names)
        self._looks.extend(look or _NO_LOOK)

    def look(self, fd: int) -> tuple[int, int, int] | None:
        """What tells that a folder is as it was; None where nothing does. To be taken before it is listed."""
        try:
            now = os.fstat(fd)
        except OSError:
            return None
        if not 0 <= now.st_ctime_ns <= self._settled:
            return None
        if now.st_dev not in self._is_kept_here:
            self._is_kept_here[now.st_dev] = _is_kept(fd)
        return (now.st_dev, now.st_ino, now.st_ctime_ns) if self._is_kept_here[now.st_dev] else None

    def columns(self) -> tuple[pl.DataFrame, pl.Series]:
        """All that was taken down, as the columns of `Seen`."""
        try:
            names = pl.Series("name", self.names, dtype=pl.String)
        except UnicodeEncodeError:
            self._leave_out_undecodable()
            names = pl.Series("name", self.names, dtype=pl.String)
        looks = {name: self._looks[place::3] for place, name in enumerate(_LOOK)}
        columns = {"folder": self._folders, "n": self._counts, **looks}
        return pl.DataFrame(columns, schema={**FOLDERS, **_LOOK}), names

    def _leave_out_undecodable(self) -> None:
        """Take out the names that are no text, which no column can hold; their folders are listed every time."""
        kept, begin = list[str](), 0
        for position, count in enumerate(self._counts):
            added = [name for name in self.names[begin : begin + count] if is_text(name)]
            begin += count
            kept += added
            if len(added) < count:
                self._counts[position] = len(added)
                self._looks[3 * position : 3 * position + 3] = array("Q", _NO_LOOK)
        self.undecodable = len(self.names) - len(kept)
        self.names = kept


def joined(seen: Seen, order: Sequence[int], folders: pl.DataFrame, names: pl.Series) -> Seen:
    """What was seen before and what was found since, as one.

    Args:
        seen: What was seen before.
        order: The folders that there are now: positions in what was seen, and behind those in what was found.
        folders: The columns of what was found.
        names: The names in them.
    """
    every = pl.concat([seen.folders, folders])
    at = pl.Series(order, dtype=pl.UInt32)
    rows, _ = rows_in(every, at)
    return Seen(every.select(pl.all().gather(at)), pl.concat([seen.names, names]).gather(rows))


def is_kept_here(path: str) -> bool:
    """Whether a folder's times are kept by this kernel."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return _is_kept(fd)
    finally:
        os.close(fd)


def _is_kept(fd: int) -> bool:
    try:
        told = re.search(r"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    except OSError:  # not Linux, or nothing is told
        return False
    # the number of the mount and not that of the device, which btrfs makes up for each subvolume
    mount = told and re.search(rf"^{told[1]} .*? - (\S+) ", mounts, re.MULTILINE)
    return bool(mount and mount[1] in _KEPT_BY_THIS_KERNEL)
