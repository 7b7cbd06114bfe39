"""The outputs of a row: checks what its script wrote, and publishes it (see `files.publication`)."""

# A `Path` costs a few microseconds.
# ruff: noqa: PTH112, PTH116

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial

from sinagot_catalog.errors import SinagotError, StorageError
from sinagot_catalog.journal import LATEST, ForeignFileError, Made, Provenance, RunSpec
from sinagot_catalog.patterns import IdPattern, Recordings
from sinagot_catalog.scripts import ScriptTemplate
from sinagot_catalog.worker.files.local_files import LocalFiles
from sinagot_catalog.worker.files.publication import Publication
from sinagot_catalog.worker.prepared_step import RowState, flat_paths

Folders = dict[str, dict[str, tuple[int, int]]]
"""For each path that is a folder, size and time of its files by name."""


class InvalidOutputError(SinagotError):
    """What a script wrote cannot be published."""

    error_type = "OutputInvalid"


class MissingOutputError(SinagotError):
    """A script returned without writing a declared output."""

    error_type = "OutputMissing"


class RowOutputs:
    """Checks and publishes the outputs of rows.

    Args:
        spec: The run.
        files: The files of the run.
        provenance: What rows made before, by their number.
        sync: Makes the journal durable before publishing: on the disk, or in the bucket.
    """

    def __init__(
        self, spec: RunSpec, files: LocalFiles, provenance: Mapping[int, str], sync: Callable[[], None]
    ) -> None:
        self._spec = spec
        self._files = files
        self._staging = files.staging
        self._publisher = files.publisher
        self._provenance = provenance
        self._sync = sync

    @cached_property
    def _recordings(self) -> Recordings:
        return Recordings(self._spec.recordings, IdPattern(self._spec.id_pattern))

    def is_repeated(self, row: RowState) -> bool:
        """Whether the row runs although its outputs exist."""
        return self._spec.force or row.number in self._spec.redo

    def exist(self, row: RowState) -> bool:
        """Whether all outputs of a row exist."""
        has_output = self._files.has_output
        for path, query in zip(row.outputs, row.step.outputs.queries, strict=True):
            if not has_output(path, query):
                return False
        return True

    def find_foreign(self, row: RowState, tried: int) -> str | None:
        """The first declared path in place that no run made, before the script of a row starts.

        A folder with control files is checked when it is published. Notes the outputs that are in place.

        Args:
            row: The row.
            tried: The number of attempts that earlier processes of this run used: these may have made outputs.
        """
        unrecorded = self._spec.unrecorded
        if unrecorded is None:
            return None
        step = row.step
        if len(row.outputs) > 1 or step.declares_folder or self._spec.force:  # else its output is absent
            row.in_place = {path for path in row.outputs if self._files.has_file(path)}
        if tried:
            return None
        period = unrecorded.outputs.get(row.number)
        if period is not None:
            folders = Provenance(self._provenance.get(row.number)).folders
            for path, query in zip(row.outputs, step.outputs.queries, strict=True):
                existing = self._publisher.existing(path, is_folder=query.is_directory)
                # The names in a folder that the row made are known: `check_folder` compares them.
                end = LATEST if path in folders else period[1]
                if existing is not None and not all(
                    file.is_of(period[0], end) for file in existing.files.values()
                ):
                    return path
        for path in row.controls if row.number in unrecorded.controls else ():
            existing = self._publisher.existing(path, is_folder=False)
            if existing is not None and existing.kind != "folder":
                return path
        return None

    def to_publish(self, row: RowState, root: str) -> tuple[list[str], bool]:
        """The paths to publish, declared outputs last; and whether staging is empty after publishing them.

        Raises:
            MissingOutputError: When a declared output is missing.
            InvalidOutputError: When a written path cannot be published.
        """
        step = row.step
        units = {*row.outputs, *row.controls} if row.controls else row.outputs
        written, files, row.left_out, is_tidy = self._staging.list_paths(root, units, step.keep)
        row.files = files
        if step.declares_folder or not files.issuperset(row.outputs):
            self._check_declared(row, root)
        if not files.issuperset(written):
            row.folders = self._staged_folders(root, written, units, checked=row.outputs)
        if self._spec.empty_outputs == "error":
            _check_sizes(root, row.outputs, row.folders)
        if written == row.outputs:
            return written, is_tidy
        declared = set(row.outputs)
        extras = [path for path in written if path not in declared]
        overwritten = set(row.inputs).intersection(extras)
        if overwritten:
            raise SinagotError(f"wrote over its own input {min(overwritten)}: an input is never replaced")
        return extras + row.outputs, is_tidy

    def _staged_folders(
        self, root: str, written: Iterable[str], declared: Collection[str], checked: Collection[str] = ()
    ) -> Folders:
        """Size and time of each file in the declared folders that a script wrote.

        Args:
            root: The staging folder of the row.
            written: The staged paths, relative.
            declared: The paths that outputs and controls declare; only these are checked.
            checked: Those of them that are known to have no fault.

        Raises:
            InvalidOutputError: When a path, or something in a folder, is no regular file or folder.
        """
        folders = {}
        for path in written:
            if path not in declared:
                continue
            fault = None if path in checked else self._staging.find_fault(root, path)
            if fault is not None:
                raise InvalidOutputError(f"{path} {fault}")
            if os.path.isdir(f"{root}/{path}"):
                try:
                    folders[path] = self._staging.files_below(root, path)
                except StorageError as error:
                    raise InvalidOutputError(error.message) from None
        return folders

    def _check_declared(self, row: RowState, root: str) -> None:
        for port, path in zip(row.step.spec.outputs, row.outputs, strict=True):
            fault = self._staging.find_fault(root, path, is_directory=port.template.is_directory)
            if fault is not None:
                if not self.is_repeated(row) and self._files.has_output(path):
                    fault = "was written to its final path: write to self.path.output, which is moved there"
                elif row.script is not None and type(row.script).run is ScriptTemplate.run:
                    methods = [name for name, item in vars(type(row.script)).items() if callable(item)]
                    fault += (
                        f"; class Script has no method run{', only ' if methods else ''}{', '.join(methods)}"
                    )
                raise MissingOutputError(f"wrote no output: {path} {fault}")

    def publish(self, row: RowState, root: str) -> tuple[str, ...]:
        """Move what a row wrote to its final paths; returns the paths that no output declares."""
        paths = row.published
        for path in row.left_out:
            message = f"{path} is not published: it is neither a file nor below a declared folder"
            row.step.lines.write("log", row.record_id, message, level="WARNING")
        if not paths:
            return ()
        if self.is_repeated(row):
            _check_not_inputs(self._spec.outputs, paths, flat_paths(row.full_inputs))
        if self._spec.unrecorded is not None:
            self._check_appeared(row)
        is_plain = len(paths) == 1 and paths == row.outputs and paths[0] in row.files
        is_new = self._spec.unrecorded is not None and not row.in_place
        if is_plain and self._publisher.publish_file(root, paths[0], is_new=is_new):
            return ()
        publication = self._publication(row, root, paths)
        publication.check()
        self._check_recordings(row, publication.new)
        row.is_in_steps = publication.is_in_steps
        publication.run(partial(self._announce, row))
        row.records = publication.record()
        folders = [f"{path}/" for path in publication.folders] if self._spec.remote is not None else []
        return (*paths[: len(paths) - len(row.outputs)], *folders)

    def _check_appeared(self, row: RowState) -> None:
        """Refuse to publish over a file that appeared while the script ran.

        Raises:
            ForeignFileError: When there is one.
        """
        for path in row.outputs:
            if path not in row.in_place and self._files.has_file(path):
                raise ForeignFileError(
                    f"{path} appeared while the script ran, and this row did not make it: nothing was published. "
                    "A script writes to self.path.output; to replace the file, run the row with --force"
                )

    def _check_recordings(self, row: RowState, new: Iterable[str]) -> None:
        """Refuse new files that no output declares, and that would count as raw data of other records.

        Raises:
            InvalidOutputError: When there is one.
        """
        folder = f"{self._spec.outputs}/".removeprefix(f"{self._spec.dataset}/")
        for path in sorted(new):
            record_id = self._recordings.record_of(f"{folder}{path}")
            if record_id not in (None, row.record_id):
                raise InvalidOutputError(
                    f"wrote {path}, which no output declares and which would count as raw data of {record_id}: "
                    "nothing was published. Write to another folder, or declare it as an output"
                )

    def publish_controls(self, row: RowState, root: str) -> list[str]:
        """Publish the controls of a row that failed, as far as possible; returns their paths."""
        written = [path for path in row.controls if self._staging.find_fault(root, path) is None]
        if not written:
            return []
        with suppress(OSError, SinagotError):
            row.folders = self._staged_folders(root, written, written)
            publication = self._publication(row, root, written)
            publication.check()
            # A rename publishes each plain control file whole.
            publication.run(partial(self._announce, row) if publication.folders else lambda *_: None)
            return written
        return []

    def _publication(self, row: RowState, root: str, paths: Sequence[str]) -> Publication:
        declared = {*row.outputs, *row.controls}
        folders = {path: files for path, files in row.folders.items() if path in paths}
        before = Provenance(self._provenance.get(row.number))
        return Publication(self._publisher, self._staging, root, paths, declared, folders, before)

    def _announce(self, row: RowState, paths: Sequence[str], records: Sequence[Made]) -> None:
        """Write the event `publishing` before the first path appears, so that a killed row is known."""
        row.step.lines.write("publishing", row.record_id, paths=paths, made=records)
        self._sync()


def _check_not_inputs(outputs: str, paths: Iterable[str], inputs: Iterable[str]) -> None:
    """Refuse to replace an input that has a second name: by a mount, or in a folder that ignores case.

    A hard link is a name of its own: replacing it leaves the input as it is.

    Raises:
        StorageError: When a path is one of the inputs.
    """
    full_paths: dict[tuple[int, int], str] = {}
    for full in inputs:
        with suppress(OSError):
            info = os.stat(full)
            full_paths[info.st_dev, info.st_ino] = full
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            info = os.lstat(f"{outputs}/{path}")
            name = full_paths.get((info.st_dev, info.st_ino))
            if name is not None and (info.st_nlink == 1 or stat.S_ISDIR(info.st_mode)):
                raise StorageError(
                    f"cannot publish {path}: it is the input {name} by another name, "
                    "and an input is never replaced"
                )


def _check_sizes(root: str, outputs: Iterable[str], folders: Folders) -> None:
    """Refuse empty outputs, for `[run] empty_outputs = "error"`.

    Raises:
        InvalidOutputError: When an output is empty.
    """
    for path in outputs:
        files = folders.get(path)
        size = os.stat(f"{root}/{path}").st_size if files is None else sum(size for size, _ in files.values())
        if not size:
            raise InvalidOutputError(f'{path} is empty, and [run] empty_outputs is "error"')
