"""Where files lie: find, read and write them. The only module that imports fsspec.

A local folder goes through the operating system, anything else through fsspec. Both give the same answers.
"""

import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sinagot_catalog.errors import NotFoundError, StorageError, did_you_mean

__all__ = ["Found", "LocalStore", "Reach", "RemoteStore", "Stat", "Store", "is_url", "open_store"]

LOG_FOLDER = "LOG"


@dataclass(frozen=True)
class Reach:
    """Which folders a listing enters: those that some pattern goes through.

    Attributes:
        patterns: The parts of each pattern, a literal name or None for a part that varies.
        everything: Enter every folder.
        follow_links: Enter links to folders, and count links to files as files.
    """

    patterns: tuple[tuple[str | None, ...], ...]
    everything: bool = False
    follow_links: bool = False


@dataclass
class Found:
    """What a listing found, as columns: the names of each folder's files, and directories of their own.

    Attributes:
        folders: Folders that hold files, `""` or ending in `/`.
        counts: For each of them how many.
        names: The names of the files, folder by folder.
        directories: Directories that are not empty and stand where a pattern ends.
        unreadable: Folders that could not be listed.
        links: How many links were left out.
        undecodable: How many names are not UTF-8 and were left out.
    """

    folders: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    links: int = 0
    undecodable: int = 0
    _closed: int = 0

    def close_folder(self, folder: str) -> None:
        """Say that the names added since the last call are those of a folder; what is no text is taken out.

        Names lie in one list: a list for each of a hundred thousand folders is what costs time and memory.
        """
        begin = self._closed
        added = self.names[begin:]
        if not _is_text("".join(added)):
            self.names[begin:] = [name for name in added if _is_text(name)]
            self.undecodable += begin + len(added) - len(self.names)
        self._closed = len(self.names)
        if self._closed > begin:
            self.folders.append(folder)
            self.counts.append(self._closed - begin)


@dataclass
class Stat:
    """Sizes, times (ns since 1970) and etags of paths, None for what is absent."""

    size: list[int | None]
    modified: list[int | None]
    etag: list[str | None]


class Store(Protocol):
    """One root, local or remote; every path is relative to it and uses `/`."""

    root: str
    is_local: bool

    def find(self, reach: Reach) -> Found:
        """List names under the folders that `reach` enters; sizes and times are not read."""

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each path."""

    def names(self, folder: str) -> list[str]:
        """Names of the files right in a folder, sorted; an absent folder has none."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right in a folder, sorted; an absent folder has none."""

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is there."""

    def read(self, path: str) -> bytes:
        """Read a whole file."""

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see the old one or the new one."""

    def create(self, path: str, content: bytes) -> bool:
        """Write a whole file only if none is there; of several writers one gets True."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; absent ones are no error."""

    def prune(self, folder: str) -> None:
        """Remove a folder that is empty."""

    def check(self) -> None:
        """Raise a StorageError where the root cannot be listed."""


def is_url(path: str) -> bool:
    """Whether a path names a protocol that is not the local disk.

    Example:
        >>> is_url("s3://lab/data"), is_url("/data"), is_url("file:///data")
        (True, False, False)
    """
    return "://" in path and not path.startswith(("file://", "local://"))


def open_store(root: str, options: dict[str, Any] | None = None) -> Store:
    """Open a root: a folder, or any URL that fsspec knows."""
    if is_url(root):
        return RemoteStore(root, options)
    return LocalStore(root.removeprefix("file://").removeprefix("local://"))


class LocalStore:
    """A folder of this machine."""

    is_local = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)  # noqa: PTH100 - links in the root stay as the user wrote them

    def __repr__(self) -> str:
        return f"LocalStore({self.root!r})"

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def check(self) -> None:
        """Raise a NotFoundError where the folder is absent, a StorageError where it cannot be listed."""
        root = Path(self.root)
        try:
            if not root.is_dir():
                parent = root.parent
                near = [one.name for one in parent.iterdir() if one.is_dir()] if parent.is_dir() else []
                what = "is not a folder" if root.exists() else "does not exist"
                raise NotFoundError(
                    f"the dataset folder {self.root} {what}{did_you_mean(root.name, near)}",
                    "Set 'dataset' under [path] in workspace.toml, or create the folder.",
                )
            os.scandir(self.root).close()
        except PermissionError as error:
            raise StorageError(f"the dataset folder {self.root} cannot be read: {error.strerror}") from error

    def find(self, reach: Reach) -> Found:
        """List names with one `scandir` per folder, without a `stat`."""
        found = Found()
        _Walk(self.root, reach, found).go()
        return found

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size and time of each path; there are no etags here."""
        sizes: list[int | None] = []
        times: list[int | None] = []
        nothing: list[None] = [None] * len(paths)
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return Stat([*nothing], [*nothing], [*nothing])
        look = os.stat
        for path in paths:
            try:
                one = look(path, dir_fd=root)  # from the root on: the way to it is not walked for every file
            except OSError:
                sizes.append(None)
                times.append(None)
            else:
                sizes.append(one.st_size)
                times.append(one.st_mtime_ns)
        os.close(root)
        return Stat(sizes, times, [*nothing])

    def names(self, folder: str) -> list[str]:
        """Names of the files right in a folder."""
        return self._entries(folder, files=True)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right in a folder."""
        return self._entries(folder, files=False)

    def _entries(self, folder: str, *, files: bool) -> list[str]:
        try:
            with os.scandir(self._at(folder)) as entries:
                return sorted(one.name for one in entries if one.is_file() is files and _is_text(one.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageError(f"{self._at(folder)} cannot be read: {error.strerror}") from error

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is there."""
        return os.path.exists(self._at(path))  # noqa: PTH110 - asked for every row

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        try:
            return Path(self._at(path)).read_bytes()
        except OSError as error:
            raise StorageError(f"{self._at(path)} cannot be read: {error.strerror}") from error

    def write(self, path: str, content: bytes) -> None:
        """Write a hidden sibling, then move it into place."""
        target = Path(self._at(path))
        beside = self._beside(target, content)
        try:
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StorageError(f"{target} cannot be written: {error.strerror}") from error

    def create(self, path: str, content: bytes) -> bool:
        """Write a hidden sibling, then link it: the name appears with its whole content or not at all."""
        target = Path(self._at(path))
        beside = self._beside(target, content)
        try:
            os.link(beside, target)
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(
                f"{target.parent} cannot hold claims: {error.strerror}",
                "Put the journal on a file system with hard links: [path] log in workspace.toml.",
            ) from error
        finally:
            beside.unlink(missing_ok=True)
        return True

    def _beside(self, target: Path, content: bytes) -> Path:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            # Nothing above the root: a dataset that went away must not be made anew, empty.
            Path(self.root).mkdir(exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StorageError(f"{target} cannot be written: {error.strerror}") from error
        return beside

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; absent ones are no error."""
        try:
            for path in paths:
                Path(self._at(path)).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename} cannot be deleted: {error.strerror}") from error

    def prune(self, folder: str) -> None:
        """Remove a folder that is empty."""
        with suppress(OSError):
            Path(self._at(folder)).rmdir()


def _is_text(name: str) -> bool:
    """Whether a name can stand in a column: names that are not UTF-8 hold surrogates."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


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

    def below(self, name: str) -> tuple[bool, "_Level | None"]:
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


class _Walk:
    """One pass over a local tree that enters only where a pattern goes on."""

    def __init__(self, root: str, reach: Reach, found: Found) -> None:
        self.root = root
        self.reach = reach
        self.found = found
        self.entered: set[tuple[int, int]] = set()

    def go(self) -> None:
        """List the root, then what the patterns lead to below it."""
        top = _Level(self.reach.patterns, 0, everything=self.reach.everything)
        todo: list[tuple[_Level, list[str]]] = [(top, [""])]
        while todo:
            level, folders = todo[-1]
            if not folders:
                todo.pop()
                continue
            folder = folders.pop()
            todo += (self._literal if level.is_literal else self._scan)(folder, level)

    def _literal(self, folder: str, level: _Level) -> Iterable[tuple[_Level, list[str]]]:
        """Step into folders that the patterns name; they may be links."""
        folders: list[str] = []
        for name in level.names:
            try:
                mode = os.stat(f"{self.root}/{folder}{name}").st_mode  # noqa: PTH116 - once for every record's folder
            except PermissionError:
                self.found.unreadable.append(folder.rstrip("/"))
                break
            except OSError:
                continue
            (folders if stat.S_ISDIR(mode) else self.found.names).append(name)
        self.found.close_folder(folder)
        return self._below(folder, folders, level)

    def _scan(self, folder: str, level: _Level) -> Iterable[tuple[_Level, list[str]]]:
        """List one folder; the loop runs once for every file of a dataset."""
        names = self.found.names
        folders: list[str] = []
        try:
            with os.scandir(f"{self.root}/{folder}") as entries:
                for one in entries:
                    if one.is_file(follow_symlinks=False):
                        names.append(one.name)
                    elif one.is_dir(follow_symlinks=False):
                        folders.append(one.name)
                    elif one.is_symlink():
                        self._link(one, names, folders)
        except PermissionError:
            self.found.unreadable.append(folder.rstrip("/"))
        except OSError:  # it went away, or is no folder: nothing is there
            pass
        self.found.close_folder(folder)
        return self._below(folder, folders, level) if folders else ()

    def _below(self, folder: str, names: list[str], level: _Level) -> Iterable[tuple[_Level, list[str]]]:
        """Take in the folders of a folder: as what a pattern names, and as what is to be entered."""
        out: dict[_Level, list[str]] = {}
        for name in names:
            if not _is_text(name) or (folder == "" and name == LOG_FOLDER):
                continue
            ends, deeper = level.below(name)
            if ends and self._holds_file(folder + name):
                self.found.directories.append(folder + name)
            if deeper is not None:
                out.setdefault(deeper, []).append(f"{folder}{name}/")
        return out.items()

    def _link(self, entry: os.DirEntry[str], names: list[str], folders: list[str]) -> None:
        """Leave a link out unless links are followed; a loop is entered once."""
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
            except PermissionError:
                self.found.unreadable.append(os.path.relpath(folder, self.root))
            except OSError:
                continue
        return False


class RemoteStore:
    """A root behind any URL that fsspec knows.

    The file system is an instance of our own without a listing cache: a shared one would go on showing what
    another process has since changed.
    """

    is_local = False

    def __init__(self, root: str, options: dict[str, Any] | None = None) -> None:
        import fsspec

        protocol = root.split("://", 1)[0]
        try:
            kind = fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise StorageError(
                f"{root} needs a package that is not installed: {error}",
                "Install the extra of the storage, such as pip install 'sinagot-catalog[s3]'.",
            ) from error
        except ValueError as error:
            raise StorageError(
                f"{root}: no storage is known for {protocol!r}"
                f"{did_you_mean(protocol, fsspec.available_protocols())}"
            ) from error
        self.root = root.rstrip("/")
        self.fs: Any = kind(skip_instance_cache=True, use_listings_cache=False, **(options or {}))
        self.base: str = self.fs._strip_protocol(self.root)  # noqa: SLF001 - fsspec's own way to say it

    def __repr__(self) -> str:
        return f"RemoteStore({self.root!r})"

    def _at(self, path: str) -> str:
        return f"{self.base}/{path}" if path else self.base

    def check(self) -> None:
        """Raise a StorageError where the bucket cannot be reached."""
        try:
            self.fs.ls(self.base, detail=False)
        except FileNotFoundError:
            return  # a prefix without a key is an empty dataset
        except Exception as error:
            raise StorageError(f"{self.root} cannot be listed: {type(error).__name__}: {error}") from error

    def find(self, reach: Reach) -> Found:
        """List keys under the patterns' literal folders; a directory is a common prefix of keys."""
        keys: set[str] = set()
        for prefix in _prefixes(reach):
            try:
                keys.update(self.fs.find(self._at(prefix).rstrip("/")))
            except FileNotFoundError:
                continue
            except Exception as error:
                raise StorageError(f"{self.root}/{prefix} cannot be listed: {error}") from error
        start = len(self.base) + 1
        return _from_keys((key[start:] for key in sorted(keys)), reach)

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size, time and etag of each key."""
        out = Stat([], [], [])
        for path in paths:
            try:
                info = self.fs.info(self._at(path))
            except FileNotFoundError:
                info = {}
            when = next(
                (info[key] for key in ("LastModified", "mtime", "created", "last_modified") if key in info),
                None,
            )
            out.size.append(info.get("size"))
            out.modified.append(int(when.timestamp() * 1e9) if isinstance(when, datetime) else None)
            etag = info.get("ETag") or info.get("etag")
            out.etag.append(etag.strip('"') if isinstance(etag, str) else None)
        return out

    def names(self, folder: str) -> list[str]:
        """Names of the keys right under a prefix."""
        return self._entries(folder, "file")

    def folders(self, folder: str) -> list[str]:
        """Names of the common prefixes right under a prefix."""
        return self._entries(folder, "directory")

    def _entries(self, folder: str, kind: str) -> list[str]:
        try:
            entries = self.fs.ls(self._at(folder.rstrip("/")), detail=True)
        except FileNotFoundError:
            return []
        found = {one["name"].rstrip("/").rsplit("/", 1)[-1] for one in entries if one["type"] == kind}
        return sorted(found - {""})

    def exists(self, path: str) -> bool:
        """Whether a key, or a key below it, is there."""
        return bool(self.fs.exists(self._at(path)))

    def read(self, path: str) -> bytes:
        """Read a whole object."""
        try:
            return bytes(self.fs.cat_file(self._at(path)))
        except Exception as error:
            raise StorageError(f"{self.root}/{path} cannot be read: {type(error).__name__}") from error

    def write(self, path: str, content: bytes) -> None:
        """Put a whole object; stores make it visible at once."""
        self.fs.pipe_file(self._at(path), content)

    def create(self, path: str, content: bytes) -> bool:
        """Put an object only if none is there."""
        try:
            self.fs.pipe_file(self._at(path), content, mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; absent ones are no error."""
        for path in paths:
            try:
                self.fs.rm_file(self._at(path))
            except FileNotFoundError:
                continue

    def prune(self, folder: str) -> None:
        """Nothing: a prefix is there as long as a key is."""


def _prefixes(reach: Reach) -> list[str]:
    """The literal folders that hold every pattern, none inside another."""
    heads = {"" if reach.everything else _literal_head(one) for one in reach.patterns}
    return sorted(one for one in heads if not any(one != other and one.startswith(other) for other in heads))


def _literal_head(pattern: tuple[str | None, ...]) -> str:
    head = ""
    for part in pattern[:-1]:
        if part is None:
            break
        head += part + "/"
    return head


def _from_keys(keys: Iterable[str], reach: Reach) -> Found:
    """Give keys the shape of a walk: keys deeper than any pattern make the directories they lie in."""
    found = Found()
    folders: dict[str, list[str]] = {}
    directories: set[str] = set()
    for key in keys:
        parts = key.split("/")
        if key.endswith("/") or parts[0] == LOG_FOLDER:
            continue
        reached = reach.everything
        for pattern in reach.patterns:
            shared = 0
            while shared < min(len(pattern), len(parts)) and pattern[shared] in (None, parts[shared]):
                shared += 1
            if shared == len(pattern) < len(parts):
                directories.add("/".join(parts[:shared]))
            reached = reached or (len(parts) <= len(pattern) and shared >= len(parts) - 1)
        if reached:
            folders.setdefault("/".join(parts[:-1]) + "/" if len(parts) > 1 else "", []).append(parts[-1])
    for folder, names in folders.items():
        found.names += names
        found.close_folder(folder)
    found.directories = sorted(directories)
    return found
