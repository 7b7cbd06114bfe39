"""Ownership of files: checks whether anybody but the user and root can have written a file that runs.

A file is safe if the user or root owns it and nobody else can write it, and if the same is true of every folder
above it, up to the root of the disk. The check follows every link on the way, hop by hop. In a sticky folder that
root owns, such as `/tmp`, an entry that the user owns is safe. The user's private group counts as the user.
Standard library only.
"""

import os
import stat
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

_MOST_LINKS = 40
_MOST_ENTRIES = 20_000
_ACL = "system.posix_acl_access"


def foreign(path: str) -> str | None:
    """Why others can have written a file, or the entries of a folder; None if only the user and root can.

    For a path that does not exist, the existing folders above it are checked.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> (folder / "own.py").touch(mode=0o600)
        >>> foreign(str(folder / "own.py"))
        >>> (folder / "own.py").chmod(0o666)
        >>> foreign(str(folder / "own.py")).removeprefix(str(folder))
        '/own.py can be written by others'
    """
    at = Path("/")
    fault, links = _fault_of(at, at.stat(), is_last=False), 0
    pending = _parts(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    while pending and fault is None:
        name = pending.pop()
        if name == "..":
            at = at.parent
            continue
        entry = at / name
        try:
            info = entry.lstat()
        except FileNotFoundError:
            return _shared(at, at.stat())  # others may be able to create it
        except OSError as error:
            return f"{entry} cannot be looked at: {error.strerror}"
        if not stat.S_ISLNK(info.st_mode):
            at = entry
            fault = _fault_of(at, info, is_last=not pending)
        elif info.st_uid not in _owners():
            fault = f"the link {entry} belongs to {_name('user', info.st_uid)}"
        elif (links := links + 1) > _MOST_LINKS:
            fault = f"{path} goes through too many links"
        else:
            target = str(entry.readlink())
            at = Path("/") if target.startswith("/") else at
            pending += _parts(target)
    return fault


def foreign_code(folder: str, *, leave_out: Collection[str] = ()) -> str | None:
    """Why others can have written something in a folder of scripts: a script, a helper, a program.

    Args:
        folder: The folder. Scripts can import everything in it, so nobody else may add files to it.
        leave_out: Folders inside it that hold data.
    """
    fault = foreign(folder)
    if fault is not None or not os.path.isdir(folder):  # noqa: PTH112
        return fault
    for count, entry in enumerate(_entries(folder, leave_out, set())):
        if count >= _MOST_ENTRIES:
            return f"{folder} holds too many files to look at the owner of each"
        if entry.is_symlink():
            fault = foreign(entry.path)
        else:
            fault = _fault_of(entry.path, entry.stat(follow_symlinks=False), is_last=True)
        if fault is not None:
            return fault
    return None


def _entries(folder: str, leave_out: Collection[str], seen: set[str]) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder and its subfolders, each folder before its entries; skips names never imported."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        yield entry
        if entry.is_dir() and entry.path not in leave_out:
            yield from _entries(entry.path, leave_out, seen)


def _fault_of(path: Path | str, info: os.stat_result, *, is_last: bool) -> str | None:
    """What is wrong with a single file or folder; in a folder on the way only the next entry matters."""
    if info.st_uid not in _owners():
        return f"{path} belongs to {_name('user', info.st_uid)}"
    if not is_last and info.st_mode & stat.S_ISVTX and info.st_uid == 0:
        return None  # the sticky bit: nobody else can replace an entry that the user or root owns
    return _shared(path, info)


def _shared(path: Path | str, info: os.stat_result) -> str | None:
    if info.st_mode & stat.S_IWOTH:
        return f"{path} can be written by others"
    if info.st_mode & stat.S_IWGRP:
        if not _is_private(info.st_gid):
            return f"{path} can be written by {_name('group', info.st_gid)}"
        if _has_acl(path):  # then the group bits of the mode show the mask of the access control list
            return f"{path} can be written by others through its access control list"
    return None


def _owners() -> tuple[int, int]:
    return 0, os.getuid()


def _parts(path: str) -> list[str]:
    """The parts of a path in reverse order, so that `pop` gives the first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _has_acl(path: Path | str) -> bool:
    try:
        return _ACL in os.listxattr(path)
    except (AttributeError, OSError):  # the system or the disk has no extended attributes
        return False


@lru_cache
def _is_private(gid: int) -> bool:
    """Whether a group belongs to the user or to root alone: it has that user's name and no other member."""
    import grp
    import pwd

    try:
        group = grp.getgrgid(gid)
        owner = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    return owner.pw_uid in _owners() and owner.pw_gid == gid and set(group.gr_mem) <= {group.gr_name}


def _name(kind: str, number: int) -> str:
    """Name a user or a group in messages."""
    import grp
    import pwd

    try:
        name = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except KeyError:
        return f"{kind} {number}"
    return f"{kind} {name}"
