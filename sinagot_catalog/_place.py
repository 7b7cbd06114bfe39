"""Where a job finds its inputs and leaves its outputs, on local disks.

A script writes below a staging folder that is laid out as the outputs folder is. Only when it has returned is
what it wrote moved into place, each path by one rename, so a file at its final path is always whole.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH102, PTH103, PTH104, PTH105, PTH108, PTH112, PTH114, PTH116, PTH119, PTH120, PTH208

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple, TypeAlias

from sinagot_catalog._entries import find_entry, holds_file
from sinagot_catalog.errors import StorageError

__all__ = ["Coming", "LocalPlace", "Look", "Staged", "clear_folder", "clear_staging", "parents"]

_REMEMBERED = 10_000
_BESIDE = ".beside"
"""In a staging folder: what its process hid on other file systems, written down before it is made."""


def clear_folder(path: str) -> None:
    """Remove a folder and all below it, as far as that can be done; links are removed, not followed."""
    shutil.rmtree(path, ignore_errors=True)


def clear_staging(path: str, outputs: str) -> None:
    """Remove a staging folder of a run or of one of its processes, and what that hid beside its targets.

    Args:
        path: The folder.
        outputs: Where the run published to.
    """
    run_id = path.partition("/.staging/")[2].partition("/")[0]
    for noted in (f"{path}/{_BESIDE}", *(f"{path}/{name}/{_BESIDE}" for name in _names(path))):
        for sibling in _noted(noted):
            name = os.path.basename(sibling)
            # The note is a file that anybody may have written: it can name nothing but what is ours.
            if (
                name.startswith(".")
                and name.endswith(".tmp")
                and f".{run_id}." in name
                and ".." not in sibling.split("/")
            ):
                with suppress(OSError):
                    _remove(f"{outputs}/{sibling}")
    clear_folder(path)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _noted(path: str) -> list[str]:
    """The paths in a note, relative to the outputs folder."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return [os.fsdecode(one).lstrip("/") for one in file.read().split(b"\0") if one]
    except OSError:
        return []


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


class Look(NamedTuple):
    """How a path is looked for.

    Attributes:
        is_directory: Whether only a folder counts.
        roots: The roots that it may lie under, in order: `outputs`, `dataset`.
        varies: As of `find_entry`.
    """

    is_directory: bool = False
    roots: tuple[str, ...] = ("outputs", "dataset")
    varies: tuple[bool, ...] = ()


_ANY = Look()

Coming: TypeAlias = tuple[Sequence[str], Sequence[str], Sequence[Look]]
"""Of a row that comes: its inputs, its outputs, and how each input is looked for."""


class Staged(NamedTuple):
    """What lies in a staging folder.

    Attributes:
        paths: All that is to be published, relative.
        files: Those of the units that are plain files: neither links nor folders.
        is_tidy: Whether nothing is left once all is moved.
    """

    paths: list[str]
    files: set[str]
    is_tidy: bool = False


class LocalPlace:
    """Dataset and outputs on local disks.

    Args:
        dataset: Where inputs lie.
        outputs: Where outputs go; a root of inputs, too.
        log: The `LOG` folder, that no output may reach.
        staging: A folder of this process alone; made when needed.
        run_id: Names what lies hidden beside a target on another file system.
        trusted: Literal folders of the outputs, relative; they may be links out of the outputs folder.
        durable: Bring contents to the disk before they get their names.

    Attributes:
        uploads: Whether a folder is published file by file, not by one rename.
    """

    uploads = False

    def __init__(
        self,
        *,
        dataset: str,
        outputs: str,
        log: str,
        staging: str,
        run_id: str,
        trusted: Iterable[str] = (),
        durable: bool = False,
    ) -> None:
        self.dataset = dataset
        self.data_path = dataset
        self.outputs = outputs
        self.staging = staging
        self._apart = dataset != outputs
        self._log = log
        self._run_id = run_id
        self._trusted = [folder for one in trusted for folder in parents(one)]
        self._durable = durable
        self._devices: dict[str, int] = {}
        self._found_in: dict[str, str] = {}
        self._aside = 0

    # -- looking ------------------------------------------------------------------------------------------

    def expect(
        self,
        inputs: Sequence[str],  # noqa: ARG002 - a bucket is asked for them
        outputs: Sequence[str],  # noqa: ARG002
        looks: Sequence[Look] = (),  # noqa: ARG002
    ) -> None:
        """Hear which paths a row is about to look at: forget those of the last one."""
        self._found_in.clear()

    def foresee(self, made: Iterable[str], rows: Iterable[Coming]) -> None:
        """Hear of the rows that come: nothing to prepare on a disk."""

    def close(self) -> None:
        """End what goes on beside the rows: nothing on a disk."""

    def fetch(self) -> None:
        """Bring the inputs that were found to where scripts can read them: on a disk they are."""

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path."""
        root = self._found_in.get(path, self.dataset) if is_input else self.outputs
        return f"file://{root}/{path}"

    def find_input(self, path: str, look: Look = _ANY) -> tuple[str, os.stat_result | None]:
        """The full path of an input and what it is; None when it is absent. An empty folder is absent."""
        root = self.dataset
        for root in self.roots_of(look):
            found = find_entry(root, path, is_directory=look.is_directory, varies=look.varies)
            if found is not None:
                if self._apart:
                    self._found_in[path] = root
                return f"{root}/{path}", found
        return f"{root}/{path}", None

    def roots_of(self, look: Look) -> list[str]:
        """The roots that an input is looked for under, in order."""
        if not self._apart:
            return [self.dataset]
        return [self.outputs if name == "outputs" else self.dataset for name in look.roots]

    def has_output(self, path: str, look: Look = _ANY) -> bool:
        """Whether an output is in place."""
        return find_entry(self.outputs, path, is_directory=look.is_directory, varies=look.varies) is not None

    def find_output(self, path: str, look: Look = _ANY) -> str | None:
        """The full path of an output that is in place."""
        return f"{self.outputs}/{path}" if self.has_output(path, look) else None

    # -- staging ------------------------------------------------------------------------------------------

    def stage(self, root: str, folders: Iterable[str], made: set[str]) -> None:
        """Make folders below a staging folder.

        Args:
            root: The staging folder.
            folders: Where something is going to be written, relative to the outputs folder.
            made: The folders, relative, that are there already; new ones are added.
        """
        for folder in ("", *folders):
            if folder not in made:
                os.makedirs(f"{root}/{folder}", exist_ok=True)
                made.add("")
                made.update(parents(folder))

    def staged(self, root: str, units: Collection[str], keep: Collection[str]) -> Staged:
        """What was written below a staging folder.

        Args:
            root: The folder.
            units: Paths that are moved as one, folders too.
            keep: Folders, relative, that stay for the next row.
        """
        found = Staged([], set())
        return Staged(found.paths, found.files, _walk(root, "", units, keep, found))

    def check(self, root: str, path: str, *, is_directory: bool = False) -> str | None:
        """What is wrong with a staged output, as the end of a sentence; None when it can be published."""
        full = f"{root}/{path}"
        try:
            found = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return "is missing after run()"
        if stat.S_ISLNK(found.st_mode):
            try:
                found = os.stat(full)
            except OSError:
                return "is a link to nothing"
            if stat.S_ISDIR(found.st_mode):
                return "is a link to a folder: write a folder"
        if stat.S_ISDIR(found.st_mode):
            return None if holds_file(full) else "is an empty folder after run()"
        return "is a file: its pattern ends in '/' and asks for a folder" if is_directory else None

    def is_folder(self, root: str, path: str) -> bool:
        """Whether a staged path is a folder."""
        return os.path.isdir(f"{root}/{path}")

    def clear(self, root: str, keep: Collection[str] = ("",)) -> None:
        """Empty a staging folder but for some of its folders."""
        _empty(root, "", keep)

    # -- publishing ---------------------------------------------------------------------------------------

    def publish(self, root: str, paths: Sequence[str], files: Collection[str] = ()) -> None:
        """Move staged paths into place, each by one rename.

        What has to be copied to another file system is copied first, to a hidden sibling, so that the renames
        follow each other closely.

        Args:
            root: The staging folder.
            paths: What is moved, relative.
            files: Those that are known to be plain files.

        Raises:
            StorageError: When a path would leave the outputs folder, or lie in `LOG`.
            OSError: When the disk refuses.
        """
        if len(paths) == 1 and paths[0] in files and not self._durable:
            path = paths[0]
            folder = path.rpartition("/")[0]
            if self._ensure(folder) == self._device_of_staging():
                self._move(f"{root}/{path}", f"{self.outputs}/{path}", folder)
                return  # that was nearly every row: one plain file, on the file system where it shall be
        self._publish_all(root, paths, files)

    def _publish_all(self, root: str, paths: Sequence[str], files: Collection[str]) -> None:
        moves = []
        hidden = []
        copied = []
        try:
            for path in paths:
                source, target = f"{root}/{path}", f"{self.outputs}/{path}"
                folder, _, name = path.rpartition("/")
                device = self._ensure(folder)
                is_link = path not in files and os.path.islink(source)
                if is_link or device != self._device_of_staging():
                    hidden.append(self._sibling(folder, name, "tmp"))
                    _copy(source, hidden[-1])
                    copied.append(source)
                    source = hidden[-1]
                if self._durable:
                    _sync(source)
                moves.append((source, target, folder))
            for source, target, folder in moves:
                self._move(source, target, folder)
            for source in copied:
                _remove(source)  # or it would be taken for something that the next row wrote
            if self._durable:
                for folder in {folder for _, _, folder in moves}:
                    _sync_one(f"{self.outputs}/{folder}")
        finally:
            for sibling in hidden:
                _remove(sibling)

    def _device_of_staging(self) -> int:
        device = self._devices.get("//staging")
        if device is None:
            device = self._devices["//staging"] = os.stat(self.staging).st_dev
        return device

    def _ensure(self, folder: str) -> int:
        """Make a folder of the outputs and say which device it is on; never through a link that leads out."""
        device = self._devices.get(folder)
        if device is not None:
            return device
        full = f"{self.outputs}/{folder}" if folder else self.outputs
        if folder:
            device = self._ensure(folder.rpartition("/")[0])
            try:
                os.mkdir(full)
            except FileExistsError:
                device = self._checked(folder, full)
            else:
                if self._durable:
                    _sync_one(os.path.dirname(full))
        else:
            with suppress(FileExistsError):
                os.mkdir(full)
            device = os.stat(full).st_dev
        if len(self._devices) >= _REMEMBERED:
            self._devices.clear()
        self._devices[folder] = device
        return device

    def _checked(self, folder: str, full: str) -> int:
        """The device of a folder that was there before us."""
        found = os.stat(full)
        if not stat.S_ISDIR(found.st_mode):
            raise StorageError(f"cannot publish below {folder}: it is a file, not a folder")
        real = os.path.realpath(full)
        log = os.path.realpath(self._log)
        with suppress(FileNotFoundError):
            if os.path.samestat(found, os.stat(log)) or real.startswith(f"{log}/"):
                raise StorageError(
                    f"cannot publish below {folder}: that is the LOG folder, which is never data"
                )
        # The literal folders of patterns may be links to elsewhere; those named after a record may not.
        if os.path.islink(full) and folder not in self._trusted:
            root = os.path.realpath(self.outputs)
            if real != root and not real.startswith(f"{root}/"):
                raise StorageError(f"cannot publish below {folder}: it is a link that leaves the dataset")
        return found.st_dev

    def _sibling(self, folder: str, name: str, end: str) -> str:
        """The hidden name beside a target, noted in staging before it is used: so a dead run's can be cleared."""
        short = name.encode("utf-8", "surrogateescape")[:120].decode("utf-8", "surrogateescape")
        sibling = f"{folder}/.{short}.{self._run_id}.{os.getpid()}.{end}"
        fd = os.open(
            f"{self.staging}/{_BESIDE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
        )
        try:
            os.write(fd, os.fsencode(sibling) + b"\0")
        finally:
            os.close(fd)
        full = f"{self.outputs}/{sibling}"
        _remove(full)
        return full

    def _move(self, source: str, target: str, folder: str) -> None:
        try:
            os.replace(source, target)
        except FileNotFoundError:
            # Somebody removed the folder since we looked.
            self._devices.clear()
            self._ensure(folder)
            os.replace(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                # One device, two mounts.
                sibling = self._sibling(folder, os.path.basename(target), "tmp")
                try:
                    _copy(source, sibling)
                    self._move(sibling, target, folder)
                    _remove(source)
                finally:
                    _remove(sibling)
            elif error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                self._swap(source, target, folder)
            else:
                raise

    def _swap(self, source: str, target: str, folder: str) -> None:
        """Put a path in the place of another where a plain rename cannot: one of them is a folder.

        Where the system can exchange two names at once, there is no moment without the one or the other; else two
        renames do it, and the old one is kept until the second is done.
        """
        if _exchange(source, target):
            _remove(source)
            return
        self._aside += 1
        old = f"{self.staging}/.old{self._aside}"
        try:
            os.rename(target, old)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            old = self._sibling(folder, os.path.basename(target), "old.tmp")
            os.rename(target, old)
        try:
            os.rename(source, target)
        except BaseException:
            os.rename(old, target)
            raise
        _remove(old)


def _copy(source: str, target: str) -> None:
    """Copy a staged path; a link becomes the file that it names."""
    if not os.path.islink(source) and os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copyfile(source, target)


@cache
def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    """The system's call that exchanges two names, where it has one."""
    import ctypes

    system = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            call, swap = system.renamex_np, 2
            return lambda one, other: int(call(one, other, swap))
        call, swap, here = system.renameat2, 2, -100
        return lambda one, other: int(call(here, one, here, other, swap))
    except AttributeError:
        return None


def _exchange(one: str, other: str) -> bool:
    """Exchange two names; says whether that was done."""
    call = _exchange_call()
    return call is not None and call(os.fsencode(one), os.fsencode(other)) == 0


def parents(folder: str) -> list[str]:
    """A folder and all above it, relative.

    Example:
        >>> parents("a/b/")
        ['a', 'a/b']
    """
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _walk(root: str, prefix: str, units: Collection[str], keep: Collection[str], found: Staged) -> bool:
    """Add what lies in a folder; says whether nothing is left of it that no next row needs."""
    is_tidy = True
    try:
        entries = list(os.scandir(f"{root}/{prefix}"))
    except FileNotFoundError:
        return False  # the script took the folder away
    for entry in entries:
        path = prefix + entry.name
        if path in units:
            found.paths.append(path)
            if entry.is_file(follow_symlinks=False):
                found.files.add(path)
                continue
        elif entry.is_dir(follow_symlinks=False):
            is_tidy = _walk(root, f"{path}/", units, keep, found) and path in keep and is_tidy
            continue
        elif entry.is_file():
            found.paths.append(path)
        is_tidy &= not entry.is_symlink()
    return is_tidy


def _empty(root: str, prefix: str, keep: Collection[str]) -> None:
    with suppress(FileNotFoundError), os.scandir(f"{root}/{prefix}") as entries:
        for entry in entries:
            path = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif path in keep:
                _empty(root, f"{path}/", keep)
            else:
                shutil.rmtree(entry.path, ignore_errors=True)


def _sync(path: str) -> None:
    """Bring a file, or all that lies in a folder, to the disk."""
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            for name in names:
                if not os.path.islink(f"{folder}/{name}"):
                    _sync_one(f"{folder}/{name}")
            _sync_one(folder)
    else:
        _sync_one(path)


def _sync_one(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
