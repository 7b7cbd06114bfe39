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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog.storage.protocol import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LOOK", "FolderBatch", "Notes", "PackedBatch", "decodable", "is_kept_here", "packed"]

# Not overlay (what lies in its lower folders may change unseen), nor what is kept elsewhere or in another process:
# nfs, cifs, 9p, virtiofs, fuse, cluster file systems. What is unknown, or no part of Linux, is listed every time.
_KEPT_BY_THIS_KERNEL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"}
LOOK = ("dev", "ino", "changed")
"""What tells a folder from another one, and from itself at another time."""
_NO_LOOK = (0, 0, 0)
"""Of a folder that is listed every time: no inode has the number 0."""


class FolderBatch(NamedTuple):
    """A part of a tree as it was found, folder by folder.

    Attributes:
        folders: The folders.
        counts: How many files each holds.
        looks: What each looked like: three numbers (`LOOK`).
        names: The names of the files.
        undecodable: How many names are no text and were left out.
    """

    folders: Sequence[str]
    counts: array[int]
    looks: array[int]
    names: Sequence[str]
    undecodable: int = 0


class PackedBatch(NamedTuple):
    """A `FolderBatch` that travels well: two texts, in which zeros part folders and names, in place of many."""

    folders: str
    counts: array[int]
    looks: array[int]
    names: str
    undecodable: int = 0


class Notes:
    """Takes down what a walk finds in each folder, and what the folder looked like.

    Args:
        settled: For how many seconds a folder must have lain unchanged to be known again.
    """

    def __init__(self, settled: float) -> None:
        self.names: list[str] = []
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

    def taken(self) -> FolderBatch:
        """All that was taken down."""
        return FolderBatch(self._folders, self._counts, self._looks, self.names)


def decodable(part: FolderBatch) -> FolderBatch:
    """A part without the names that are no text, which no column can hold; their folders are listed every time."""
    kept, begin = list[str](), 0
    counts, looks = array("I"), array("Q", part.looks)
    for position, count in enumerate(part.counts):
        added = [name for name in part.names[begin : begin + count] if is_text(name)]
        begin += count
        kept += added
        counts.append(len(added))
        if len(added) < count:
            looks[3 * position : 3 * position + 3] = array("Q", _NO_LOOK)
    return FolderBatch(part.folders, counts, looks, kept, len(part.names) - len(kept))


def packed(part: FolderBatch) -> PackedBatch:
    """A part in the form that travels."""
    try:
        names = "\0".join(part.names)
        names.encode()
    except UnicodeEncodeError:
        part = decodable(part)
        names = "\0".join(part.names)
    return PackedBatch("\0".join(part.folders), part.counts, part.looks, names, part.undecodable)


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
