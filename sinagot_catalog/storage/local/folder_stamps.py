"""Folder stamps: identify the state of a folder, so that an unchanged folder is not listed again.

Making, removing and renaming an entry of a folder changes the folder's change time, which only the kernel can set.
So the names in a folder are unchanged as long as its device, inode and change time (its stamp) are. This holds
under two conditions. First, this kernel must keep the times of the file system: times of a server arrive late, or
come from another clock. Second, the folder must have been unchanged for a while when its listing began: file
system clocks advance in ticks, and a change within the tick of the listing would not change the time (git calls
such files "racily clean").
"""

from __future__ import annotations

import os
import re
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sinagot_catalog.storage.protocol import is_text

# Not overlay (its lower folders may change unnoticed), and no file system of a server or another process: nfs,
# cifs, 9p, virtiofs, fuse, cluster file systems. Folders of any other file system are listed every time.
_KEPT_BY_THIS_KERNEL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"}
LOOK = ("dev", "ino", "changed")
"""The stamp of a folder: it identifies the folder and its state."""
_NO_LOOK = (0, 0, 0)
"""The stamp of a folder that is listed every time: no inode has the number 0."""


class FolderBatch(NamedTuple):
    """A part of a tree as it was listed, folder by folder.

    Attributes:
        folders: The folders.
        counts: How many files each holds.
        looks: The stamp of each: three numbers (`LOOK`).
        names: The names of the files.
        undecodable: How many names are not UTF-8 and were left out.
    """

    folders: Sequence[str]
    counts: array[int]
    looks: array[int]
    names: Sequence[str]
    undecodable: int = 0


class Notes:
    """Collects the files that a walk finds in each folder, and the folder's stamp.

    Args:
        settled: For how many seconds a folder must have been unchanged to get a stamp.
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
        """Assign the names added since the last call to a folder.

        All names are in one list: a list for each of a hundred thousand folders would cost time and memory.
        """
        self._folders.append(folder)
        self._counts.append(len(self.names) - self._closed)
        self._closed = len(self.names)
        self._looks.extend(look or _NO_LOOK)

    def look(self, fd: int) -> tuple[int, int, int] | None:
        """The stamp of a folder, or None if it cannot have one. Call this before the folder is listed."""
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
        """Everything that was collected."""
        return FolderBatch(self._folders, self._counts, self._looks, self.names)


def decodable(part: FolderBatch) -> FolderBatch:
    """A batch without the names that are not UTF-8, which no column can hold; their folders get no stamp."""
    names, begin = list[str](), 0
    counts, looks = array("I"), array("Q", part.looks)
    for position, count in enumerate(part.counts):
        added = [name for name in part.names[begin : begin + count] if is_text(name)]
        begin += count
        names += added
        counts.append(len(added))
        if len(added) < count:
            looks[3 * position : 3 * position + 3] = array("Q", _NO_LOOK)
    return FolderBatch(part.folders, counts, looks, names, len(part.names) - len(names))


def is_kept_here(path: str) -> bool:
    """Whether this kernel keeps the times of a folder."""
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
        match = re.search(r"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    except OSError:  # not Linux, or the information is not available
        return False
    # By the number of the mount, as btrfs makes up a device number for each subvolume.
    mount = match and re.search(rf"^{match[1]} .*? - (\S+) ", mounts, re.MULTILINE)
    return bool(mount and mount[1] in _KEPT_BY_THIS_KERNEL)
