"""The staging folder of a process: scripts write into it, publishing moves what they wrote to the final paths.

Below it, each step has a folder with the layout of the outputs folder. Local and remote outputs are staged alike,
on a local disk. A note in the folder names the hidden files beside final paths, so that a later run can remove what
a killed process left. Standard library only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH103, PTH104, PTH108, PTH114, PTH115, PTH116, PTH117, PTH119, PTH120, PTH208

import os
import shutil
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import check_links
from sinagot_catalog.storage import walk
from sinagot_catalog.worker.files.file_moves import remove
from sinagot_catalog.worker.files.moved_inputs import put_back_inputs
from sinagot_catalog.worker.files.target_folders import parents

_NOTE = ".beside"
"""A file in the staging folder: names the hidden files beside final paths, written before they are made."""


def staging_path(log: str, run_id: str, name: str | None = None) -> str:
    """The staging folder of a run, or of one of its processes.

    Example:
        >>> staging_path("/data/LOG", "r1", "w01")
        '/data/LOG/.staging/r1/w01'
    """
    return f"{log}/.staging/{run_id}" + (f"/{name}" if name else "")


class StagedPaths(NamedTuple):
    """The contents of a staging folder.

    Attributes:
        paths: The paths to publish, relative.
        files: The declared paths that are plain files: neither links nor folders.
        left_out: What no output declares and is no file: pipes, sockets, links to folders or to nothing.
        is_tidy: Whether the folder is empty after all paths are moved, except for folders that stay.
    """

    paths: list[str]
    files: set[str]
    left_out: list[str]
    is_tidy: bool = False


class StagingFolder:
    """The staging folder of one process. Its methods take the folder of a step in it as `root`.

    Args:
        path: The folder; made when needed.
        log: The `LOG` folder that contains it.
    """

    def __init__(self, path: str, log: str) -> None:
        self.path = path
        self._log = log

    @cached_property
    def stat(self) -> os.stat_result:
        """The device and the group of staged files."""
        return os.stat(self.path)

    def make_folders(self, root: str, folders: Iterable[str], present_folders: set[str]) -> None:
        """Make folders below a staging folder.

        Args:
            root: The staging folder.
            folders: The folders of the paths to be written, relative to the outputs folder.
            present_folders: The folders that already exist, relative; new ones are added.
        """
        if "" not in present_folders:
            check_links(self._log)
        for folder in ("", *folders):
            if folder not in present_folders:
                os.makedirs(f"{root}/{folder}", exist_ok=True)
                present_folders.add("")
                present_folders.update(parents(folder))

    def list_paths(self, root: str, units: Collection[str], keep: Collection[str]) -> StagedPaths:
        """The paths that a script wrote below a staging folder.

        Args:
            root: The folder.
            units: Declared paths: each is moved as a whole, also a folder.
            keep: The folders that stay for the next row, relative.
        """
        staged = StagedPaths([], set(), [])
        is_tidy = _collect(root, "", units, keep, staged)
        return StagedPaths(*staged[:3], is_tidy)

    def find_fault(self, root: str, path: str, *, is_directory: bool = False) -> str | None:
        """The fault of a staged output, as the end of a sentence; None when it can be published."""
        full = f"{root}/{path}"
        try:
            info = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return "is missing after run()"
        if stat.S_ISLNK(info.st_mode):
            try:
                info = os.stat(full)
            except OSError:
                return "is a link to nothing"
            if stat.S_ISDIR(info.st_mode):
                return "is a link to a folder: write a folder"
        if stat.S_ISDIR(info.st_mode):
            return None if _has_entries(full) else "is an empty folder after run()"
        if not stat.S_ISREG(info.st_mode):
            return "is not a regular file or folder"
        return "is a file: its pattern ends in '/' and asks for a folder" if is_directory else None

    def stamp_of(self, root: str, path: str) -> tuple[int, int] | None:
        """Size and time of a staged file; None if it is not a regular file."""
        info = os.lstat(f"{root}/{path}")
        return (info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else None

    def files_below(self, root: str, path: str) -> dict[str, tuple[int, int]]:
        """Size and time of each file in a staged folder, by its name below the folder.

        Raises:
            StorageError: When something in it cannot be published.
        """
        full = f"{root}/{path}"
        files: dict[str, tuple[int, int]] = {}
        real = ""
        for prefix, entry in walk(full):
            name = prefix + entry.name
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(info.st_mode):
                real = real or os.path.realpath(full)
                leads_out = not os.path.realpath(entry.path).startswith(f"{real}/")
                if leads_out or os.path.isabs(os.readlink(entry.path)):
                    raise StorageError(
                        f"{path}/{name} is a link that leads out of the output folder: write a file"
                    )
            elif not stat.S_ISREG(info.st_mode):
                raise StorageError(f"{path}/{name} is not a regular file or folder")
            files[name] = info.st_size, info.st_mtime_ns
        return files

    def clear(self, root: str, keep: Collection[str], prefix: str = "") -> None:
        """Empty a staging folder, or the folder `prefix` in it, except for some folders."""
        with suppress(FileNotFoundError), os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                path = prefix + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                elif path in keep:
                    self.clear(root, keep, f"{path}/")
                else:
                    clear_folder(entry.path)

    def note(self, text: str) -> None:
        """Note a hidden file beside a final path before it is made, for `clear_staging`.

        Args:
            text: Its path below the outputs folder. After `//`, the name to rename it to if nothing has that name.
        """
        fd = os.open(f"{self.path}/{_NOTE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, os.fsencode(text) + b"\0")
        finally:
            os.close(fd)


def clear_folder(path: str) -> None:
    """Remove a folder and everything below it, as far as possible; links are removed, not followed."""
    shutil.rmtree(path, ignore_errors=True)


def clear_staging(path: str, outputs: str, dataset: str) -> list[str]:
    """Remove a staging folder of a run or of one of its processes, and its hidden files beside final paths.

    Inputs that a script moved into it are put back first; see `moved_inputs`.

    Args:
        path: The staging folder.
        outputs: The outputs folder of the run.
        dataset: The dataset folder of the run.

    Returns:
        The relative paths of the inputs that were put back.
    """
    run_id = path.partition("/.staging/")[2].partition("/")[0]
    if os.path.islink(path) or os.path.islink(os.path.dirname(path)):
        return []
    folders = [path, *(f"{path}/{name}" for name in _names(path))]
    restored = [name for folder in folders for name in put_back_inputs(folder, (dataset, outputs))]
    for hidden, _, target in (note.partition("//") for folder in folders for note in _read_notes(folder)):
        name = os.path.basename(hidden)
        is_hidden = name.startswith(".") and name.endswith(".tmp")
        # Other users may have written the note: accept only names that this run can have made.
        if is_hidden and f".{run_id}." in name and ".." not in hidden.split("/"):
            with suppress(OSError):
                _put_back(f"{outputs}/{hidden}", target)
                remove(f"{outputs}/{hidden}")
    clear_folder(path)
    return restored


def _put_back(old: str, name: str) -> None:
    """Rename an output that was moved aside back to its name, if its replacement never arrived."""
    if name in ("", ".", "..") or "/" in name:
        return
    target = f"{os.path.dirname(old)}/{name}"
    if not os.path.lexists(target):
        os.rename(old, target)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_notes(folder: str) -> list[str]:
    """The paths in the note of a staging folder, relative to the outputs folder."""
    try:
        with open(os.open(f"{folder}/{_NOTE}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            return [os.fsdecode(note).lstrip("/") for note in file.read().split(b"\0") if note]
    except OSError:
        return []


def _collect(
    root: str, prefix: str, units: Collection[str], keep: Collection[str], staged: StagedPaths
) -> bool:
    """Add the paths in a folder; returns whether it is empty after they move, except for folders to keep."""
    is_tidy = True
    try:
        entries = list(os.scandir(f"{root}/{prefix}"))
    except FileNotFoundError:
        return False  # the script removed the folder
    for entry in entries:
        path = prefix + entry.name
        if path in units:
            staged.paths.append(path)
            if entry.is_file(follow_symlinks=False):
                staged.files.add(path)
                continue
        elif entry.is_dir(follow_symlinks=False):
            is_tidy = _collect(root, f"{path}/", units, keep, staged) and path in keep and is_tidy
            continue
        elif entry.is_file():
            staged.paths.append(path)
        else:
            staged.left_out.append(path)
            is_tidy = False
        is_tidy &= not entry.is_symlink()
    return is_tidy


def _has_entries(folder: str) -> bool:
    """Whether a folder holds more than folders: a pipe or a link counts here, and is refused by name later."""
    return any(
        names or any(os.path.islink(f"{top}/{name}") for name in folders)
        for top, folders, names in os.walk(folder)
    )
