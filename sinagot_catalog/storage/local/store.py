"""Local store: a folder of this machine, accessed through the operating system."""

from __future__ import annotations

import os
import secrets
from array import array
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.errors import (
    AbsentError,
    NotFoundError,
    StorageError,
    UnwritableError,
    did_you_mean,
    not_written,
)
from sinagot_catalog.storage.local.entry import is_file, walk
from sinagot_catalog.storage.local.file_sizes import ABSENT, look_at, look_at_text
from sinagot_catalog.storage.local.fingerprints import input_files
from sinagot_catalog.storage.local.regular_file import read_regular
from sinagot_catalog.storage.protocol import PATIENCE, SETTLED, Reach, Stat, Store, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.storage.listing import Listing
    from sinagot_catalog.storage.local.folder_cache import FolderSnapshot
    from sinagot_catalog.storage.local.parallel_walk import Future

_PIECE = 256
_INSTEAD = "name another place in workspace.toml"


class LocalStore(Store):
    """A folder of this machine.

    Args:
        root: The folder.
        settled: For how many seconds a folder must have been unchanged before its content is cached.
        patience: After how many seconds a listing is shared with other processes.
    """

    is_local = True

    def __init__(self, root: str, *, settled: float = SETTLED, patience: float = PATIENCE) -> None:
        self.root = os.path.abspath(root)  # noqa: PTH100 - links in the root stay as the user wrote them
        self._settled = settled
        self._patience = patience
        self._last: tuple[Any, FolderSnapshot | None] = None, None

    def __repr__(self) -> str:
        return f"LocalStore({self.root!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the cache."""
        return {**self.__dict__, "_last": (None, None)}

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def check(self) -> None:
        """Raise a NotFoundError if the folder is absent, a StorageError if it cannot be listed."""
        root = Path(self.root)
        try:
            if not root.is_dir():
                parent = root.parent
                near = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
                what = "is not a folder" if root.exists() else "does not exist"
                raise NotFoundError(
                    f"the dataset folder {self.root} {what}{did_you_mean(root.name, near)}",
                    "Set 'dataset' under [path] in workspace.toml, or create the folder.",
                )
            os.scandir(self.root).close()
        except PermissionError as error:
            raise StorageError(f"the dataset folder {self.root} cannot be read: {error.strerror}") from error

    def check_writable(self) -> None:
        """Raise a StorageError if the folder, or the folder in which it would be created, cannot be written."""
        folder = Path(self.root)
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        is_writable = os.access(folder, os.W_OK | os.X_OK)
        if not (folder.is_dir() and is_writable):
            why = "permission denied" if folder.is_dir() else "it is a file, not a folder"
            raise UnwritableError(
                f"the run cannot write to {folder}: {why}",
                "Set [path] outputs and log in workspace.toml to a folder that you may write to.",
            )

    def find(self, reach: Reach) -> Listing:
        """List names with one `scandir` per folder, without a `stat` of a file.

        The first listing has no extra cost. The second listing records the stamps of folders, and later listings
        list only folders with another stamp again. The cache belongs to one user: others may read other folders.
        """
        import polars as pl

        from sinagot_catalog.storage.listing import Listing, without_hidden
        from sinagot_catalog.storage.local.folder_cache import columns, joined
        from sinagot_catalog.storage.local.folder_stamps import is_kept_here
        from sinagot_catalog.storage.local.local_walk import Walk, walk_below
        from sinagot_catalog.storage.local.parallel_walk import HelperPool

        key = reach, os.geteuid(), os.getegid(), tuple(os.getgroups())
        before, seen = self._last
        how: dict[str, Any] = {
            "takes_notes": before == key and is_kept_here(self.root),
            "settled": self._settled,
        }
        walk = Walk(self.root, reach, seen if how["takes_notes"] else None, **how)
        walk.recall()
        with HelperPool(partial(walk_below, self.root, reach, **how), patience=self._patience) as hands:
            walk.go(hands)
        now, undecodable = columns(walk.parts)
        if walk.before is not None:
            now = joined(walk.before, walk.order, now) if now.folders.height else walk.before
        self._last = key, now if now.is_of_use else None
        folders, names = without_hidden(now.folders.select("folder", "n"), now.names)
        directories, empty, unreadable, links, dangling, special = (
            sorted(set(paths)) for paths in walk.found
        )
        return Listing(
            folders,
            names,
            pl.Series("path", directories, dtype=pl.String),
            tuple(unreadable),
            tuple(filter(is_text, links)),
            undecodable,
            tuple(filter(is_text, dangling)),
            tuple(filter(is_text, special)),
            empty=tuple(empty),
        )

    def stat(self, paths: Sequence[str]) -> Stat:
        """Read size and time of each path; local files have no etags."""
        from sinagot_catalog.storage.local.parallel_walk import HelperPool

        sizes, times = array("q"), array("q")
        given: list[Future] = []
        at, end = 0, len(paths)
        with HelperPool(partial(look_at_text, self.root), patience=self._patience) as hands:
            while at < end:
                # Helpers that start now must have more to do than was done until now.
                while end - at > (_PIECE if hands.number else max(_PIECE, at)) and hands.are_free(at):
                    share = max(_PIECE, (end - at) // (2 * hands.number + 2))
                    given.append(hands.give("\0".join(paths[end - share : end])))
                    end -= share
                piece = paths[at : min(at + _PIECE, end)]
                at += len(piece)
                _add(look_at(self.root, piece), sizes, times)
            for job in reversed(given):
                _add(job.result() or look_at_text(self.root, job.work), sizes, times)
        nothing: list[None] = [None] * len(paths)
        if ABSENT not in sizes:
            return Stat(sizes, times, nothing)
        is_there = [size != ABSENT for size in sizes]
        return Stat(_where(is_there, sizes), _where(is_there, times), nothing)

    def entries(self, folder: str, *, is_file: bool) -> list[str]:
        """Names of the files or of the folders directly in a folder, sorted; an absent folder has none."""
        try:
            with os.scandir(self._at(folder)) as entries:
                return sorted(
                    entry.name for entry in entries if entry.is_file() is is_file and is_text(entry.name)
                )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageError(f"{self._at(folder)} cannot be read: {error.strerror}") from error

    def tree(self, folder: str) -> dict[str, int | None]:
        """Every file below a folder with its size."""
        lead = f"{folder}/" if folder else ""
        entries = walk(self._at(folder), on_error=lambda _: None)
        sizes = {f"{lead}{at}{entry.name}": entry.stat().st_size for at, entry in entries if is_file(entry)}
        return dict(sorted(sizes.items()))

    def contents(self, folders: Sequence[str]) -> list[dict[str, tuple[int, int]] | None]:
        """For each folder the size and time of every file below it, by its name; None if it cannot be read."""
        return [self._contents(folder) for folder in folders]

    def _contents(self, folder: str) -> dict[str, tuple[int, int]] | None:
        try:
            return input_files(self._at(folder))
        except OSError:
            return None

    def kinds(self, paths: Sequence[str]) -> list[str | None]:
        """For each path `file`, `directory`, or None if nothing is there."""
        return [_kind(f"{self.root}/{path}") for path in paths]

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder, or anything else that is no regular file."""
        return os.path.exists(self._at(path))  # noqa: PTH110 - called for every row

    def resolve(self, folder: str) -> str:
        """The full path of a folder, with its links resolved."""
        return os.path.realpath(self._at(folder))

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        try:
            return read_regular(self._at(path))
        except OSError as error:
            kind = AbsentError if isinstance(error, FileNotFoundError) else StorageError
            raise kind(f"{self._at(path)} cannot be read: {error.strerror}") from error

    def cloud_options(self) -> dict[str, str] | None:
        """No options: a local folder needs none."""
        return {}

    def write(self, path: str, content: bytes) -> None:
        """Write a hidden temporary file in the same folder, then rename it."""
        target = Path(self._at(path))
        beside = self._beside(target, content)
        try:
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise not_written(target, error, _INSTEAD) from error

    def create(self, path: str, content: bytes) -> bool:
        """Write a hidden temporary file, then link it: the name appears with its whole content or not at all."""
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
        """Always True; on a disk without hard links, `create` itself raises an error."""
        return True

    def _beside(self, target: Path, content: bytes) -> Path:
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            # Create nothing above the root: an unmounted dataset must not be created again, empty.
            Path(self.root).mkdir(exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise not_written(target, error, _INSTEAD) from error
        return beside

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; absent ones are no error."""
        try:
            for path in paths:
                Path(self._at(path)).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename} cannot be deleted: {error.strerror}") from error

    def prune(self, folder: str) -> None:
        """Remove a folder if it is empty."""
        with suppress(OSError):
            Path(self._at(folder)).rmdir()


def _kind(path: str) -> str | None:
    if os.path.isfile(path):  # noqa: PTH113 - called for every output
        return "file"
    return "directory" if os.path.isdir(path) else None  # noqa: PTH112


def _add(part: tuple[array[int], array[int]], sizes: array[int], times: array[int]) -> None:
    sizes.extend(part[0])
    times.extend(part[1])


def _where(is_there: Iterable[bool], numbers: Iterable[int]) -> list[int | None]:
    return [number if there else None for there, number in zip(is_there, numbers, strict=True)]
