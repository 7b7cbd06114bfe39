"""File moves on local disks: staged paths get their final names, mode and group as if written in place.

Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH101, PTH102, PTH105, PTH108, PTH112, PTH114, PTH115, PTH116, PTH211

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from sinagot_catalog.storage import sync_one


def link(source: str, target: str) -> bool:
    """Give a file its final name by a hard link, which fails if the name is taken.

    Returns:
        Whether the link was made; not every file system supports hard links.

    Raises:
        FileExistsError: When the name is taken.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        return False
    return True


def rename(source: str, target: str) -> None:
    """Give a path its final name, in place of what has the name.

    A rename does nothing where both are hard links to one file: then the first name is removed.
    """
    os.replace(source, target)
    if os.path.lexists(source):
        os.unlink(source)


def regroup(path: str, group: int | None, *, sets_group: bool) -> bool:
    """Give a staged path the group that it would have if it were written in place.

    Args:
        path: The path.
        group: The group; None if the path already has it.
        sets_group: Whether new entries of folders inherit the group (set-group-id).

    Returns:
        Whether it worked. A user may not assign a file to every group; a copy made in the folder gets the group.
    """
    is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    if group is None and not (is_folder and sets_group):
        return True
    try:
        _set_group(path, group, sets_group=sets_group)
        for folder, folders, names in os.walk(path) if is_folder else ():
            for name in (*folders, *names):
                _set_group(f"{folder}/{name}", group, sets_group=sets_group)
    except PermissionError:
        return False
    return True


def _set_group(path: str, group: int | None, *, sets_group: bool) -> None:
    """Set the group of one path, and the set-group-id bit of a folder."""
    info = os.lstat(path)
    mode = stat.S_IMODE(info.st_mode)
    wanted = mode
    if stat.S_ISDIR(info.st_mode):
        wanted = mode | stat.S_ISGID if sets_group else mode & ~stat.S_ISGID
    is_given = False
    if group is not None and group != info.st_gid:
        is_given = True
        os.chown(path, -1, group, follow_symlinks=False)  # this clears the special mode bits of files
    if (wanted != mode or (is_given and mode & 0o7000)) and not stat.S_ISLNK(info.st_mode):
        os.chmod(path, wanted)


def copy(source: str, target: str) -> None:
    """Copy a staged path as if it were written in place: mode and times stay, the folder determines the group.

    A symbolic link becomes a copy of the file that it points to.
    """
    if os.path.islink(source):
        shutil.copyfile(source, target)
    elif os.path.isdir(source):
        _copy_folder(source, target)
    else:
        _copy_file(source, target)


def _copy_file(source: str, target: str) -> None:
    info = os.stat(source)
    # No other user can read the file before it has its mode.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    shutil.copyfile(source, target)
    os.chmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def _copy_folder(source: str, target: str) -> None:
    info = os.stat(source)
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), f"{target}/{entry.name}")
            elif entry.is_dir():
                _copy_folder(entry.path, f"{target}/{entry.name}")
            else:
                _copy_file(entry.path, f"{target}/{entry.name}")
    inherited = os.stat(target).st_mode & stat.S_ISGID
    os.chmod(target, stat.S_IMODE(info.st_mode) & ~stat.S_ISGID | inherited)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


@cache
def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    """The system call that exchanges two names; None if the system has none."""
    import ctypes

    system = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            call, swap = system.renamex_np, 2
            return lambda first, second: int(call(first, second, swap))
        call, swap, here = system.renameat2, 2, -100
        return lambda first, second: int(call(here, first, here, second, swap))
    except AttributeError:
        return None


def exchange(first: str, second: str) -> bool:
    """Exchange two names atomically; returns whether it was done."""
    call = _exchange_call()
    return call is not None and call(os.fsencode(first), os.fsencode(second)) == 0


def remove(path: str) -> None:
    """Remove a file or a folder, if it exists."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def sync(path: str) -> None:
    """Sync a file, or a folder with everything in it, to the disk."""
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            for name in names:
                if not os.path.islink(f"{folder}/{name}"):
                    sync_one(f"{folder}/{name}")
            sync_one(folder)
    else:
        sync_one(path)
