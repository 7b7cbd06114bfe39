"""The publication of one row: checks its final paths, announces them, moves the staged outputs there, records them.

The protocol of publishing, in this order. It is the same for local disks and for buckets: a `Publisher` does the
steps that differ (`LocalPublisher`, `RemotePublisher`).

    stage     The script writes to the staging folder only (see `staging`). So a killed script leaves nothing at a
              final path.
    check     `Publication.check` reads the final paths. It refuses to replace or remove what the row did not make
              (see `journal.output_ownership`); nothing is published then.
    announce  The journal gets `publishing` with all paths, if there are several paths or a folder. A row that is
              killed later is then known to be half published: it runs again, although its outputs may exist.
    move      Each path moves to its final path by one rename, or is uploaded as a whole: no reader sees a part of a
              file. Declared outputs come last: if they all exist, so does everything else that the row wrote.
    record    `done` records the folders as they are now, and the undeclared files. With these records, a later
              attempt may replace them.

A row whose only output is a plain file skips all but the move if one local rename suffices
(`Publisher.publish_file`): the rename itself is atomic, and a declared file always belongs to its row. Standard
library only.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from sinagot_catalog.journal import (
    ExistingPath,
    Made,
    Provenance,
    check_file,
    check_folder,
    made_file,
    made_of,
    spelled,
)
from sinagot_catalog.startup import dataclass
from sinagot_catalog.worker.files.staging import StagingFolder


class Publisher(Protocol):
    """Moves staged paths to their final paths. All paths are relative to the outputs folder.

    Attributes:
        is_file_by_file: Whether a folder is published file by file, not by one rename.
    """

    is_file_by_file: bool

    def existing(self, path: str, *, is_folder: bool) -> ExistingPath | None:
        """What exists at a final path now; None if nothing does.

        Args:
            path: The path.
            is_folder: Whether a folder is about to replace it.
        """

    def changes_times(self, path: str) -> bool:
        """Whether a published file may get another time than the staged file had."""

    def publish_file(self, root: str, path: str, *, is_new: bool) -> bool:
        """Publish one plain file at once, without the other steps of the protocol.

        Args:
            root: The staging folder.
            path: The path.
            is_new: Whether nothing is at its final path.

        Returns:
            False if the path needs `publish` instead; nothing was done then.

        Raises:
            StorageError: When the path would leave the outputs folder, or lie in `LOG`.
            OSError: When the disk refuses.
        """

    def publish(self, root: str, paths: Sequence[str], *, new: Collection[str] = ()) -> None:
        """Publish staged paths.

        Args:
            root: The staging folder.
            paths: The paths.
            new: The paths that must replace nothing. On a local disk, nothing is published if one of them exists by
                now; a bucket cannot test this.

        Raises:
            StorageError: When a path would leave the outputs folder, or lie in `LOG`.
            ForeignFileError: When a new path already exists.
            OSError: When the disk refuses.
        """


@dataclass(frozen=True)
class Publication:
    """The outputs that a row is about to publish.

    Attributes:
        publisher: Moves the paths.
        staging: The staging folder of the process.
        root: The staging folder of the row.
        paths: The paths to publish, relative, declared outputs last.
        declared: The paths that outputs or controls declare.
        folders: For each path that is a folder, size and time of its files by name.
        before: The journal's records of what the row made before.
        new: The paths that no output declares and that nothing has yet; `check` finds them.
    """

    publisher: Publisher
    staging: StagingFolder
    root: str
    paths: Sequence[str]
    declared: Collection[str]
    folders: Mapping[str, Mapping[str, tuple[int, int]]]
    before: Provenance
    new: set[str] = field(default_factory=set)

    @property
    def extras(self) -> list[str]:
        """The paths that no output declares."""
        return [path for path in self.paths if path not in self.declared]

    @property
    def is_in_steps(self) -> bool:
        """Whether publishing takes several renames or uploads, so that a killed row may be half published."""
        return len(self.paths) > 1 or (self.publisher.is_file_by_file and bool(self.folders))

    def check(self) -> None:
        """Check the final paths.

        Raises:
            ForeignFileError: When the row did not make what exists there.
            StorageError: When the store does not answer.
        """
        for path in self.paths:
            existing = self.publisher.existing(path, is_folder=path in self.folders)
            if path not in self.declared:
                if existing is None:
                    self.new.add(path)
                else:
                    check_file(path, existing, self.before)
            elif existing is not None and (
                existing.kind == "folder" or (path in self.folders and existing.kind != "file")
            ):
                check_folder(path, existing, self.before, self.folders.get(path, ()))

    def run(self, announce: Callable[[Sequence[str], Sequence[Made]], None]) -> None:
        """Announce the paths if there is more than one plain file, then move them all.

        Args:
            announce: Writes the paths and their records to the journal before any of them appears.

        Raises:
            ForeignFileError: When another row published a new path first; nothing is published then.
            StorageError: When a path may not be written.
            OSError: When the disk refuses.
        """
        if len(self.paths) > 1 or self.folders:
            announce(self.paths, self._announced())
        self.publisher.publish(self.root, self.paths, new=self.new)

    def _announced(self) -> list[Made]:
        """The records for `publishing`: the row's folders and undeclared files, as before and as they will be."""
        records = []
        for path, files in self.folders.items():
            new = made_of(path, files)
            # Until the rename is done, the folder at the final path may be of any earlier attempt.
            records += [*(old for old in self.before.earlier(path) if old != new), new]
        for path in self.extras:
            stamp = self.staging.stamp_of(self.root, path)
            # A stamp that publishing changes would not prove that the row made the file.
            if stamp is not None and not self.publisher.changes_times(path):
                records += [*self.before.earlier(spelled(path)), made_file(spelled(path), stamp)]
        return records

    def record(self) -> list[Made]:
        """The records for `done`: the row's folders as they are now, and its undeclared files."""
        records = []
        for path, files in self.folders.items():
            existing = None
            if self.publisher.changes_times(path):
                existing = self.publisher.existing(path, is_folder=True)
            if existing is not None:
                # Record the times that the folder has now; leave out files that others added meanwhile.
                files = {  # noqa: PLW2901
                    name: (file.size, file.mtime_ns) for name, file in existing.files.items() if name in files
                }
            records.append(made_of(path, files))
        extras = self.extras
        names = dict.fromkeys([*extras, *(self.before.earlier_files() if extras else ())])
        return records + [Made(path) for path in names]
