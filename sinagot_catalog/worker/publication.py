"""The publication of one row: what it wrote is checked, announced, moved into place and recorded.

Nothing is published where a file would be replaced or removed that the row did not make (see `_ownership`).
Standard library only.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from sinagot_catalog.errors import SinagotError, StorageError
from sinagot_catalog.journal import (
    Made,
    Provenance,
    check_file,
    check_folder,
    made_file,
    made_of,
    spelled,
)
from sinagot_catalog.worker.local_files import LocalFiles

__all__ = ["InvalidOutputError", "Publication", "check_sizes", "staged_folders"]


class InvalidOutputError(SinagotError):
    """What a script wrote is not fit to be published."""

    @property
    def error_type(self) -> str:
        """What the report calls it."""
        return "OutputInvalid"


def staged_folders(
    place: LocalFiles, root: str, written: Iterable[str], declared: Collection[str]
) -> dict[str, dict[str, tuple[int, int]]]:
    """Size and time of each file in the staged folders among some paths.

    Args:
        place: Where they go.
        root: The staging folder.
        written: What lies there, relative.
        declared: The paths that outputs and controls declare; only these are looked at.

    Raises:
        InvalidOutputError: When a path, or something in a folder, is no regular file or folder.
    """
    folders = {}
    for path in written:
        if path not in declared:
            continue
        fault = place.check(root, path)
        if fault is not None:
            raise InvalidOutputError(f"{path} {fault}")
        if place.is_folder(root, path):
            try:
                folders[path] = place.staged_files(root, path)
            except StorageError as error:
                raise InvalidOutputError(error.message) from None
    return folders


def check_sizes(
    place: LocalFiles, root: str, outputs: Iterable[str], folders: Mapping[str, Mapping[str, tuple[int, int]]]
) -> None:
    """Refuse outputs without a byte, for `[run] empty_outputs = "error"`.

    Raises:
        InvalidOutputError: When there is one.
    """
    for path in outputs:
        files = folders.get(path)
        size = place.staged_size(root, path) if files is None else sum(one[0] for one in files.values())
        if not size:
            raise InvalidOutputError(f'{path} is empty, and [run] empty_outputs is "error"')


class Publication:
    """What a row is about to publish.

    Args:
        place: Where it goes.
        root: The staging folder.
        paths: What is published, relative, declared outputs last.
        declared: The paths among them that outputs or controls declare.
        files: Those that are known to be plain files.
        folders: Size and time of each file of those that are folders, by its name.
        before: What the row made before.
    """

    def __init__(
        self,
        place: LocalFiles,
        root: str,
        *,
        paths: Sequence[str],
        declared: Collection[str],
        files: Collection[str],
        folders: Mapping[str, Mapping[str, tuple[int, int]]],
        before: Provenance,
    ) -> None:
        self._place = place
        self._root = root
        self.paths = paths
        self.extras = [path for path in paths if path not in declared]
        self._files = files
        self.folders = folders
        self._before = before
        self._new: set[str] = set()

    @property
    def is_in_steps(self) -> bool:
        """Whether several renames or uploads do it, so that it can be found half done."""
        return len(self.paths) > 1 or (self._place.uploads and bool(self.folders))

    def check(self) -> None:
        """Look at the final paths.

        Raises:
            ForeignFileError: When the row did not make what is there.
            StorageError: When the store does not say.
        """
        extras = set(self.extras)
        for path in self.paths:
            standing = self._place.standing(path, is_folder=path in self.folders)
            if path in extras:
                if standing is None:
                    self._new.add(path)
                else:
                    check_file(path, standing, self._before)
            elif standing is not None and (
                standing.kind == "folder" or (path in self.folders and standing.kind != "file")
            ):
                check_folder(path, standing, self._before, self.folders.get(path, ()))

    def run(self, announce: Callable[[Sequence[str], Sequence[Made]], None]) -> None:
        """Announce it where it takes more than one plain file, and move all into place.

        Args:
            announce: Writes down the paths, and what is known of them, before anything appears.

        Raises:
            ForeignFileError: When another row was quicker; nothing is published then.
            StorageError: When a path may not be written.
            OSError: When the disk refuses.
        """
        if len(self.paths) > 1 or self.folders:
            made = []
            for path, files in self.folders.items():
                now = made_of(path, files)
                # Until this is done, what is there may be of any earlier attempt.
                made += [*(one for one in self._before.earlier(path) if one != now), now]
            for path in self.extras:
                stamp = self._place.stamp(self._root, path)
                if stamp is not None:
                    made += [*self._before.earlier(spelled(path)), made_file(spelled(path), stamp)]
            announce(self.paths, made)
        self._place.publish(self._root, self.paths, self._files, new=self._new)

    def record(self) -> list[Made]:
        """What `done` says that the row made: its folders as they are now, and its undeclared files."""
        made = []
        for path, files in self.folders.items():
            standing = self._place.standing(path, is_folder=True) if self._place.copies(path) else None
            if standing is None:
                made.append(made_of(path, files))
            else:
                found = {
                    name: (one.size, one.mtime_ns) for name, one in standing.files.items() if name in files
                }
                made.append(made_of(path, found))
        named = dict.fromkeys([*self.extras, *(self._before.earlier_files() if self.extras else ())])
        return made + [Made(path) for path in named]
