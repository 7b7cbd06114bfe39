"""The files of a row on local disks: finds its inputs, stages and publishes its outputs.

A script writes to a staging folder with the layout of the outputs folder. When the script has returned, each path
moves into place by one rename. So a file at its final path is always complete. `remote_files` does the same for
buckets; `publication` defines the protocol of publishing.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH103, PTH104, PTH105, PTH108, PTH112, PTH114, PTH115, PTH116, PTH117, PTH119, PTH120, PTH208

import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import ForeignFileError, Standing, StandingFile, check_links
from sinagot_catalog.patterns import RawFolder, Template
from sinagot_catalog.storage import find_entry, input_files, walk
from sinagot_catalog.worker.file_moves import copy, exchange, link, regroup, remove, sync, sync_one
from sinagot_catalog.worker.moved_inputs import InputFile, InputNotes, put_back_inputs
from sinagot_catalog.worker.target_folders import TargetFolders, parents

__all__ = ["Coming", "LocalFiles", "Look", "Staged", "clear_folder", "clear_staging"]

_NOT_SIMPLE = frozenset(
    (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EXDEV)
)
"""Errors of a rename if a folder is in its way or is gone, or if the file has to be copied."""

_BESIDE = ".beside"
"""A file in the staging folder: names the hidden files beside final paths, written before they are made."""


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
        The full paths of the inputs that were put back.
    """
    run_id = path.partition("/.staging/")[2].partition("/")[0]
    if os.path.islink(path) or os.path.islink(os.path.dirname(path)):
        return []
    back = []
    for folder in (path, *(f"{path}/{name}" for name in _names(path))):
        back += put_back_inputs(folder, (dataset, outputs))
    for noted in (f"{path}/{_BESIDE}", *(f"{path}/{name}/{_BESIDE}" for name in _names(path))):
        for note in _noted(noted):
            sibling, _, target = note.partition("//")
            name = os.path.basename(sibling)
            # Other users may have written the note: accept only names that this run can have made.
            if (
                name.startswith(".")
                and name.endswith(".tmp")
                and f".{run_id}." in name
                and ".." not in sibling.split("/")
            ):
                with suppress(OSError):
                    _put_back(f"{outputs}/{sibling}", target)
                    remove(f"{outputs}/{sibling}")
    clear_folder(path)
    return back


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


def _noted(path: str) -> list[str]:
    """The paths in a note file, relative to the outputs folder."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            return [os.fsdecode(one).lstrip("/") for one in file.read().split(b"\0") if one]
    except OSError:
        return []


class Look(NamedTuple):
    """How to search for a path.

    Attributes:
        is_directory: Whether only a folder counts.
        roots: The roots to search, in order: `outputs`, `dataset`.
        varies: See `find_entry`.
    """

    is_directory: bool = False
    roots: tuple[str, ...] = ("outputs", "dataset")
    varies: tuple[bool, ...] = ()


_ANY = Look()

Coming: TypeAlias = tuple[Sequence[str], Sequence[str], Sequence[Look]]
"""A following row: its inputs, its outputs, and how to search for each input."""


class Staged(NamedTuple):
    """The contents of a staging folder.

    Attributes:
        paths: The paths to publish, relative.
        files: The declared paths that are plain files: neither links nor folders.
        is_tidy: Whether the folder is empty after all paths are moved, except for folders that stay.
    """

    paths: list[str]
    files: set[str]
    is_tidy: bool = False


class LocalFiles:
    """Dataset and outputs on local disks.

    Args:
        dataset: The dataset folder, a root of inputs.
        outputs: The outputs folder; also a root of inputs.
        log: The `LOG` folder; publishing below it is refused.
        staging: The staging folder of this process; made when needed.
        run_id: The id of the run; part of the names of hidden files beside final paths.
        trusted: Literal folders of the outputs, relative; they may be links, also out of the outputs folder.
        durable: Sync contents to the disk before they get their final names.
        links: The literal folders that were links when the run began, with their targets; None: read them now.
        raw: The patterns of inputs that no step makes.

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
        links: Mapping[str, str] | None = None,
        raw: Iterable[Template] = (),
    ) -> None:
        self.dataset = dataset
        self.data_path = dataset
        self.outputs = outputs
        self.staging = staging
        self._apart = dataset != outputs
        self._log = log
        self._run_id = run_id
        self._durable = durable
        self._staging_stat: os.stat_result | None = None
        self._folders = TargetFolders(
            outputs,
            dataset=dataset,
            log=log,
            staging=self._of_staging,
            trusted=trusted,
            links=links,
            raw=raw,
            durable=durable,
        )
        self._found_in: dict[str, str] = {}
        self._notes = InputNotes(staging)

    # -- finding ------------------------------------------------------------------------------------------

    def prepare(
        self,
        inputs: Sequence[str],  # noqa: ARG002 - `RemoteFiles` uses them
        outputs: Sequence[str],  # noqa: ARG002
        looks: Sequence[Look] = (),  # noqa: ARG002
    ) -> None:
        """Get ready for the paths of the next row: forget those of the last row."""
        self._found_in.clear()

    def prefetch(self, made: Iterable[str], rows: Iterable[Coming]) -> None:
        """Prefetch the inputs of the following rows: a local disk needs nothing."""

    def close(self) -> None:
        """End background work, and close the note of inputs."""
        self._notes.close()

    def fetch(self) -> None:
        """Make the inputs that were found readable for scripts: on a local disk they are."""

    def url_of(self, path: str, *, is_input: bool) -> str:
        """The URL of a path."""
        root = self._found_in.get(path, self.dataset) if is_input else self.outputs
        return f"file://{root}/{path}"

    def find_input(self, path: str, look: Look = _ANY) -> tuple[str, os.stat_result | None]:
        """The full path of an input and its `stat`; None when it is absent. An empty folder is absent."""
        root = self.dataset
        for root in self.roots_of(look):
            found = find_entry(root, path, is_directory=look.is_directory, varies=look.varies)
            if found is not None:
                if self._apart:
                    self._found_in[path] = root
                return f"{root}/{path}", found
        return f"{root}/{path}", None

    def has_own(self, path: str, full: str, raw: RawFolder) -> bool:
        """Whether a folder of raw data holds a file that no step declares.

        Args:
            path: The folder, relative.
            full: Its full path.
            raw: Matches the paths that steps declare.
        """
        with os.scandir(full) as entries:
            for entry in entries:
                inner = f"{path}/{entry.name}"
                is_hidden = entry.name.startswith(".") and entry.name.endswith(".tmp")
                if is_hidden or raw.is_declared(inner):
                    continue
                if not entry.is_dir() or self.has_own(inner, f"{full}/{entry.name}", raw):
                    return True
        return False

    def note_inputs(self, files: Iterable[InputFile]) -> None:
        """Note the input files of the row that is about to run, for `put_back_inputs`."""
        self._notes.write(files)

    def put_back_inputs(self) -> list[str]:
        """Put back the inputs that the script moved into the staging folder; returns their full paths."""
        return put_back_inputs(self.staging, (self.dataset, self.outputs))

    def roots_of(self, look: Look) -> list[str]:
        """The roots in which to search for an input, in order."""
        if not self._apart:
            return [self.dataset]
        return [self.outputs if name == "outputs" else self.dataset for name in look.roots]

    def input_files(self, path: str, full: str) -> dict[str, tuple[int, int]]:  # noqa: ARG002 - for buckets
        """Size and time of each file of a folder that is an input, by its name.

        Args:
            path: The folder, relative.
            full: Its full path.
        """
        return input_files(full)

    def has_output(self, path: str, look: Look = _ANY) -> bool:
        """Whether an output is in place."""
        return find_entry(self.outputs, path, is_directory=look.is_directory, varies=look.varies) is not None

    def has_file(self, path: str) -> bool:
        """Whether a regular file is at an output's path; a link to one counts as the link, which is no data."""
        try:
            return stat.S_ISREG(os.lstat(f"{self.outputs}/{path}").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def find_output(self, path: str, look: Look = _ANY) -> str | None:
        """The full path of an output that is in place."""
        return f"{self.outputs}/{path}" if self.has_output(path, look) else None

    # -- staging ------------------------------------------------------------------------------------------

    def stage(self, root: str, folders: Iterable[str], made: set[str]) -> None:
        """Make folders below a staging folder.

        Args:
            root: The staging folder.
            folders: The folders of the paths to be written, relative to the outputs folder.
            made: The folders that already exist, relative; new ones are added.
        """
        if "" not in made:
            check_links(self._log)
        for folder in ("", *folders):
            if folder not in made:
                os.makedirs(f"{root}/{folder}", exist_ok=True)
                made.add("")
                made.update(parents(folder))

    def staged(self, root: str, units: Collection[str], keep: Collection[str]) -> Staged:
        """The paths that a script wrote below a staging folder.

        Args:
            root: The folder.
            units: Declared paths: each is moved as a whole, also a folder.
            keep: The folders that stay for the next row, relative.
        """
        found = Staged([], set())
        return Staged(found.paths, found.files, _walk(root, "", units, keep, found))

    def check(self, root: str, path: str, *, is_directory: bool = False) -> str | None:
        """The fault of a staged output, as the end of a sentence; None when it can be published."""
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
            return None if _has_entries(full) else "is an empty folder after run()"
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file or folder"
        return "is a file: its pattern ends in '/' and asks for a folder" if is_directory else None

    def is_folder(self, root: str, path: str) -> bool:
        """Whether a staged path is a folder."""
        return os.path.isdir(f"{root}/{path}")

    def staged_size(self, root: str, path: str) -> int:
        """The size of a staged file; a link is followed."""
        return os.stat(f"{root}/{path}").st_size

    def staged_files(self, root: str, path: str) -> dict[str, tuple[int, int]]:
        """Size and time of each file in a staged folder, by its name below the folder.

        Raises:
            StorageError: When something in it cannot be published.
        """
        full = f"{root}/{path}"
        files: dict[str, tuple[int, int]] = {}
        real = ""
        for prefix, entry in walk(full):
            name = prefix + entry.name
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                real = real or os.path.realpath(full)
                leads_out = not os.path.realpath(entry.path).startswith(f"{real}/")
                if leads_out or os.path.isabs(os.readlink(entry.path)):
                    raise StorageError(
                        f"{path}/{name} is a link that leads out of the output folder: write a file"
                    )
            elif not stat.S_ISREG(found.st_mode):
                raise StorageError(f"{path}/{name} is not a regular file or folder")
            files[name] = found.st_size, found.st_mtime_ns
        return files

    def clear(self, root: str, keep: Collection[str] = ("",)) -> None:
        """Empty a staging folder, except for some of its folders."""
        _empty(root, "", keep)

    # -- publishing ---------------------------------------------------------------------------------------

    def standing(self, path: str, *, is_folder: bool) -> Standing | None:  # noqa: ARG002 - part of the protocol
        """What exists at a final path now; None if nothing does. A link is not followed.

        Args:
            path: The path, relative.
            is_folder: Whether a folder is about to replace it.
        """
        full = f"{self.outputs}/{path}"
        try:
            found = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(found.st_mode):
            files = {
                prefix + entry.name: _standing_file(entry.stat(follow_symlinks=False))
                for prefix, entry in walk(full)
            }
            return Standing("folder", files)
        kind = {stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(found.st_mode), "other")
        return Standing(kind, {"": _standing_file(found)})  # type: ignore[arg-type]

    def check_not_inputs(self, paths: Iterable[str], inputs: Iterable[str]) -> None:
        """Refuse to replace an input that has a second name: by a mount, or in a folder that ignores case.

        A hard link is a name of its own: replacing it leaves the input as it is.

        Raises:
            StorageError: When a path is one of the inputs.
        """
        known: dict[tuple[int, int], str] = {}
        for full in inputs:
            with suppress(OSError):
                found = os.stat(full)
                known[found.st_dev, found.st_ino] = full
        for path in paths:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = os.lstat(f"{self.outputs}/{path}")
                name = known.get((found.st_dev, found.st_ino))
                if name is not None and (found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)):
                    raise StorageError(
                        f"cannot publish {path}: it is the input {name} by another name, "
                        "and an input is never replaced"
                    )

    def stamp(self, root: str, path: str) -> tuple[int, int] | None:
        """Size and time of a staged file; None if it is not regular, or if they may change when it is published."""
        found = os.lstat(f"{root}/{path}")
        if not stat.S_ISREG(found.st_mode) or self.copies(path):
            return None
        return found.st_size, found.st_mtime_ns

    def copies(self, path: str) -> bool:
        """Whether publishing copies a path to another file system, which may store times less exactly."""
        return self._folders.get(path.rpartition("/")[0]).device != self._of_staging().st_dev

    def publish_file(self, root: str, path: str) -> bool:
        """Move one plain staged file into place by one rename: the fast path of nearly every row.

        Returns:
            False if the path needs `publish` instead; nothing was done then.

        Raises:
            StorageError: When the path would leave the outputs folder, or lie in `LOG`.
            OSError: When the disk refuses.
        """
        if self._durable:
            return False
        folder = self._folders.get(path.rpartition("/")[0])
        if not folder.is_plain:
            return False
        try:
            os.replace(f"{root}/{path}", f"{self.outputs}/{path}")
        except OSError as error:
            if error.errno in _NOT_SIMPLE:
                return False
            raise
        return True

    def publish(
        self,
        root: str,
        paths: Sequence[str],
        files: Collection[str] = (),
        *,
        new: Collection[str] = (),
    ) -> None:
        """Move staged paths into place, each by one rename.

        Paths that need a copy to another file system are copied first, to a hidden file beside the final path. So
        all renames happen within a short time.

        Args:
            root: The staging folder.
            paths: The paths to move, relative.
            files: The paths that are known to be plain files.
            new: The paths that must replace nothing: if one of them exists by now, nothing is published.

        Raises:
            StorageError: When a path would leave the outputs folder, or lie in `LOG`.
            ForeignFileError: When a new path already exists.
            OSError: When the disk refuses.
        """
        moves = []
        hidden = []
        copied = []
        try:
            for path in paths:
                source, target = f"{root}/{path}", f"{self.outputs}/{path}"
                parent, _, name = path.rpartition("/")
                folder = self._folders.get(parent)
                if not folder.has_own_name:
                    self._folders.check_alias(path, folder)
                is_link = path not in files and os.path.islink(source)
                if (
                    is_link
                    or folder.device != self._of_staging().st_dev
                    or not regroup(source, folder.group, sets_group=folder.sets_group)
                ):
                    hidden.append(self._sibling(parent, name, "tmp"))
                    copy(source, hidden[-1])
                    copied.append(source)
                    source = hidden[-1]
                if self._durable:
                    sync(source)
                moves.append((source, target, parent, path in new))
            self._move_all(moves)
            for source in copied:
                remove(source)  # otherwise it would count as an output of the next row
            if self._durable:
                for parent in {parent for _, _, parent, _ in moves}:
                    sync_one(f"{self.outputs}/{parent}")
        finally:
            for sibling in hidden:
                remove(sibling)

    def _move_all(self, moves: Sequence[tuple[str, str, str, bool]]) -> None:
        """Move all paths, the new ones first; move none if a new path already exists."""
        linked: list[str] = []
        for source, target, _, _ in (one for one in moves if one[3]):
            try:
                if link(source, target):
                    linked.append(target)
            except FileExistsError:
                for one in linked:
                    os.unlink(one)
                path = os.path.relpath(target, self.outputs)
                raise ForeignFileError(
                    f"wrote {path}, which no output declares, and another row wrote it at the same time: "
                    "nothing was published. Write under a name with the record id in it, and join the files "
                    "with scan_outputs"
                ) from None
        for source, target, parent, _ in moves:
            if target in linked:
                os.unlink(source)
            else:
                self._move(source, target, parent)

    def _of_staging(self) -> os.stat_result:
        if self._staging_stat is None:
            self._staging_stat = os.stat(self.staging)
        return self._staging_stat

    def _sibling(self, folder: str, name: str, end: str, *, returns: bool = False) -> str:
        """A hidden name beside a final path, noted in staging before use so that `clear_staging` finds it.

        Args:
            folder: The folder of the final path, relative.
            name: The name of the final path.
            end: The ending of the hidden name.
            returns: Whether `clear_staging` renames the file back if no replacement exists.
        """
        short = name.encode("utf-8", "surrogateescape")[:120].decode("utf-8", "surrogateescape")
        sibling = f"{folder}/.{short}.{self._run_id}.{os.getpid()}.{end}"
        fd = os.open(
            f"{self.staging}/{_BESIDE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
        )
        try:
            os.write(fd, os.fsencode(f"{sibling}//{name}" if returns else sibling) + b"\0")
        finally:
            os.close(fd)
        full = f"{self.outputs}/{sibling}"
        remove(full)
        return full

    def _move(self, source: str, target: str, folder: str) -> None:
        try:
            os.replace(source, target)
        except FileNotFoundError:
            # The folder was removed after it was checked: make it again.
            self._folders.forget()
            self._folders.get(folder)
            os.replace(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                # Two mounts of one device: a rename between them is refused, although the device is the same.
                sibling = self._sibling(folder, os.path.basename(target), "tmp")
                try:
                    copy(source, sibling)
                    self._move(sibling, target, folder)
                    remove(source)
                finally:
                    remove(sibling)
            elif error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                self._swap(source, target, folder)
            else:
                raise

    def _swap(self, source: str, target: str, folder: str) -> None:
        """Replace a path when a plain rename cannot, because one of the two is a folder.

        If the system can exchange two names atomically, one of them exists at each moment. Otherwise two renames do
        it, and the old path is kept until the second rename is done.
        """
        if exchange(source, target):
            remove(source)
            return
        # Hidden beside the target: if this process is killed now, `clear_staging` renames it back.
        old = self._sibling(folder, os.path.basename(target), "old.tmp", returns=True)
        os.rename(target, old)
        try:
            os.rename(source, target)
        except BaseException:
            os.rename(old, target)
            raise
        remove(old)


def _standing_file(found: os.stat_result) -> StandingFile:
    return StandingFile(found.st_size, found.st_mtime_ns, max(found.st_mtime_ns, found.st_ctime_ns))


def _walk(root: str, prefix: str, units: Collection[str], keep: Collection[str], found: Staged) -> bool:
    """Add the paths in a folder; returns whether it is empty after they move, except for folders to keep."""
    is_tidy = True
    try:
        entries = list(os.scandir(f"{root}/{prefix}"))
    except FileNotFoundError:
        return False  # the script removed the folder
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


def _has_entries(folder: str) -> bool:
    """Whether a folder holds more than folders: a pipe or a link counts here, and is refused by name later."""
    return any(
        names or any(os.path.islink(f"{top}/{name}") for name in folders)
        for top, folders, names in os.walk(folder)
    )
