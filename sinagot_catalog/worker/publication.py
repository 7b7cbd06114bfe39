"""The publication of one row: checks its staged outputs, announces them, moves them into place, records them.

The protocol of publishing, in this order:

    check     `Publication.check` reads the final paths. It refuses to replace or remove what the row did not make
              (see `journal.ownership`); nothing is published then.
    announce  The journal gets `publishing` with all paths, if there are several paths or a folder. A row that is
              killed later is then known to be half published.
    move      Each path moves into place by one rename, or is uploaded; declared outputs come last.
    record    `done` records the folders as they are now, and the undeclared files.

A row whose only output is a plain file skips all of this if one local rename suffices (`LocalFiles.publish_file`).
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
    """What a script wrote cannot be published."""

    @property
    def error_type(self) -> str:
        """The error type in the report."""
        return "OutputInvalid"


def staged_folders(
    place: LocalFiles, root: str, written: Iterable[str], declared: Collection[str]
) -> dict[str, dict[str, tuple[int, int]]]:
    """Size and time of each file in the declared folders that a script wrote.

    Args:
        place: The files of the row.
        root: The staging folder.
        written: The staged paths, relative.
        declared: The paths that outputs and controls declare; only these are checked.

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
    """Refuse empty outputs, for `[run] empty_outputs = "error"`.

    Raises:
        InvalidOutputError: When an output is empty.
    """
    for path in outputs:
        files = folders.get(path)
        size = place.staged_size(root, path) if files is None else sum(one[0] for one in files.values())
        if not size:
            raise InvalidOutputError(f'{path} is empty, and [run] empty_outputs is "error"')


class Publication:
    """The outputs that a row is about to publish.

    Args:
        place: The files of the row.
        root: The staging folder.
        paths: The paths to publish, relative, declared outputs last.
        declared: The paths that outputs or controls declare.
        files: The paths that are known to be plain files.
        folders: For each path that is a folder, size and time of its files by name.
        before: The journal's records of what the row made before.
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
        """Whether publishing takes several renames or uploads, so that a killed row may be half published."""
        return len(self.paths) > 1 or (self._place.uploads and bool(self.folders))

    def check(self) -> None:
        """Check the final paths.

        Raises:
            ForeignFileError: When the row did not make what exists there.
            StorageError: When the store does not answer.
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
        """Announce the paths if there is more than one plain file, then move all into place.

        Args:
            announce: Writes the paths and their records to the journal before any of them appears.

        Raises:
            ForeignFileError: When another row published a new path first; nothing is published then.
            StorageError: When a path may not be written.
            OSError: When the disk refuses.
        """
        if len(self.paths) > 1 or self.folders:
            made = []
            for path, files in self.folders.items():
                now = made_of(path, files)
                # Until the rename is done, the folder at the final path may be of any earlier attempt.
                made += [*(one for one in self._before.earlier(path) if one != now), now]
            for path in self.extras:
                stamp = self._place.stamp(self._root, path)
                if stamp is not None:
                    made += [*self._before.earlier(spelled(path)), made_file(spelled(path), stamp)]
            announce(self.paths, made)
        self._place.publish(self._root, self.paths, self._files, new=self._new)

    def record(self) -> list[Made]:
        """The records for `done`: the row's folders as they are now, and its undeclared files."""
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
