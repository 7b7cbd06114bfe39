"""A folder of this machine, through the operating system."""

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from sinagot_catalog._store._types import LOG_FOLDER, Found, Reach, Stat, is_text
from sinagot_catalog.errors import NotFoundError, StorageError, did_you_mean

__all__ = ["LocalStore"]


class LocalStore:
    """A folder of this machine."""

    is_local = True

    def __init__(self, root: str) -> None:
        self.on_page: Callable[[int], None] | None = None
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

    def check_writable(self) -> None:
        """Raise a StorageError where the folder, or the one that it would be made in, cannot be written."""
        folder = Path(self.root)
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not os.access(folder, os.W_OK):
            raise StorageError(
                f"the run cannot write to {folder}: permission denied",
                "Set [path] outputs and log in workspace.toml to a folder that you may write to.",
            )

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
                return sorted(one.name for one in entries if one.is_file() is files and is_text(one.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageError(f"{self._at(folder)} cannot be read: {error.strerror}") from error

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every file below a folder with its size."""
        top = Path(self._at(folder))
        files = (Path(parent, name) for parent, _, names in os.walk(top) for name in names)
        return {
            one.relative_to(self.root).as_posix(): one.stat().st_size
            for one in sorted(files)
            if one.is_file()
        }

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None where nothing is there."""
        return [_kind(f"{self.root}/{path}") for path in paths]

    def exists(self, path: str) -> bool:
        """Whether a file or a folder is there."""
        return os.path.exists(self._at(path))  # noqa: PTH110 - asked for every row

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        try:
            return Path(self._at(path)).read_bytes()
        except OSError as error:
            raise StorageError(f"{self._at(path)} cannot be read: {error.strerror}") from error

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Read whole files one after the other: a disk is no quicker with several."""
        return [self.read(path) for path in paths]

    def cloud_options(self) -> dict[str, str] | None:
        """On a disk nothing is needed."""
        return {}

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

    def can_create(self, folder: str) -> bool:  # noqa: ARG002 - part of the protocol
        """A disk with hard links does; one without says so when it is tried."""
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


def _kind(path: str) -> str | None:
    if os.path.isfile(path):  # noqa: PTH113 - asked for every output
        return "file"
    return "directory" if os.path.isdir(path) else None  # noqa: PTH112


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
        # the last is entered first; in the order of names, folders are found quicker than in that of a hash
        for name in sorted(names, reverse=True):
            if not is_text(name) or (folder == "" and name == LOG_FOLDER):
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
