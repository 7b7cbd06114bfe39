"""The job runner, which processes one row: find inputs, stage, run the script, publish, write the journal.

The order within a row (readers of the journal rely on it):

    all outputs exist, no force      already_done     no event (a half-published row runs again)
    the step of an input failed      blocked          no event (not with `ignore_missing`)
    input missing                    not_available    event `not_available`
    else                             event `start`, then attempts: empty staging, `run()`, check the outputs
      an attempt succeeded           `check()`, then check the final paths: files that the row did not make stay
                                     event `publishing` (several files, a folder), renames, event `done`
                                     (if the parent is gone, the process ends without them)
      the last attempt failed        publish the controls, event `error`
      its process was killed         discard the controls: they may be incomplete
      ended by the user              event `cancelled`

The `ProcessStateGuard` undoes after each attempt what `run()` changed in the process (working directory, umask,
environment). Whatever `run()` raises, `SystemExit` too, is an error of its row only.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH112

import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.errors import PatternError, SelectionError, SinagotError, StorageError, UsageError
from sinagot_catalog.journal import (
    FAILED,
    ForeignFileError,
    JournalWriter,
    Made,
    Port,
    Provenance,
    Result,
    Row,
    RunSpec,
    Stamp,
    StorageOptions,
    Task,
    UnitStepLines,
    UnitStepSpec,
    bounded,
    check_declared,
    journal_path,
)
from sinagot_catalog.patterns import IdPattern, RawFolder, Template
from sinagot_catalog.scripts import (
    DONE_BOUND,
    ERROR_BOUND,
    NoOutput,
    Output,
    ScriptHost,
    ScriptPath,
    ScriptTemplate,
    own_check,
    port_path,
    port_paths,
)
from sinagot_catalog.status import StepStatus
from sinagot_catalog.storage import as_number, fingerprint
from sinagot_catalog.worker.error_text import describe_error, is_plain, note_line, own_traceback
from sinagot_catalog.worker.local_files import LocalFiles, Look, clear_folder
from sinagot_catalog.worker.moved_inputs import InputFile, told_back
from sinagot_catalog.worker.process_state import ProcessStateGuard
from sinagot_catalog.worker.publication import Publication, check_sizes, staged_folders
from sinagot_catalog.worker.row_interrupts import MainInterrupts, RowInterrupts
from sinagot_catalog.worker.script_logger import ScriptLog
from sinagot_catalog.worker.target_folders import parents

if TYPE_CHECKING:
    from sinagot_catalog.journal import JournalUploader

__all__ = ["PREFETCHED_ROWS", "JobRunner", "staging_path"]

PREFETCHED_ROWS = 8
"""How many following rows are announced to the files of a row for prefetching."""
_SHORT = 2_000
_OURS = {__file__, sys.modules[ScriptHost.__module__].__file__}
_RELOAD_AFTER = 0.5
"""Seconds between checks of a script's file for changes."""


def staging_path(log: str, run_id: str, name: str | None = None) -> str:
    """The staging folder of a run, or of one of its processes.

    Example:
        >>> staging_path("/data/LOG", "r1", "w01")
        '/data/LOG/.staging/r1/w01'
    """
    return f"{log}/.staging/{run_id}" + (f"/{name}" if name else "")


class _MissingError(SinagotError):
    """A script returned without writing a declared output."""

    @property
    def error_type(self) -> str:
        return "OutputMissing"


class _Ports:
    """The ports of a step (inputs, outputs or controls): their paths for a row, and how its script sees them."""

    def __init__(self, ports: tuple[Port, ...], *, follow_links: bool = False) -> None:
        self.ports = ports
        self.looks = [
            Look(port.template.is_directory, port.roots, () if follow_links else port.template.varies)
            for port in ports
        ]
        self.are_folders = [port.template.is_directory for port in ports]
        self.labels = [port.label for port in ports]
        self.is_single = self.labels[:1] == [None]
        # An id is always a valid part of a path; other fields are checked for each row.
        is_plain = all(port.template.fields <= {"id"} and not port.template.has_bare_parts for port in ports)
        self._fillers = [_filler(port.template) for port in ports] if is_plain else None

    def fill(self, values: dict[str, str]) -> list[str]:
        """The paths for a record, relative.

        Raises:
            PatternError: When a pattern gives no path for the record.
        """
        if self._fillers is None:
            return [port.template.format(values) for port in self.ports]
        return [filler % values for filler in self._fillers]

    def folders(self) -> set[str] | None:
        """The folders that contain all paths, relative; None if they depend on the record."""
        templates = [port.template for port in self.ports]
        is_flat = all(one.text.rpartition("/")[0] == one.prefix[:-1] for one in templates)
        return {one.prefix[:-1] for one in templates} if is_flat else None

    def shown(self, paths: Sequence[str | None]) -> Any:
        """The value that a script sees: one `Path`, a dict by label, or None."""
        if not paths:
            return None
        if self.is_single:
            return None if paths[0] is None else port_path(paths[0])
        return port_paths(zip(self.labels, paths, strict=True))


class _PreparedStep:
    """A unit step with everything that its rows share, computed once."""

    def __init__(
        self,
        index: int,
        spec: UnitStepSpec,
        lines: UnitStepLines,
        given: dict[str, Any],
        *,
        follow_links: bool,
    ) -> None:
        self.spec = spec
        self.lines = lines
        self.name = f"c{index}"
        self.made: set[str] = set()
        self.script: type[ScriptTemplate] | None = None
        self.importing: AbstractContextManager[None] = nullcontext()
        self.loaded = float("-inf")
        self.keep = {""}
        for port in (*spec.outputs, *spec.controls):
            self.keep.update(parents(port.template.prefix))
        self.inputs = _Ports(spec.inputs, follow_links=follow_links)
        self.outputs = _Ports(spec.outputs, follow_links=follow_links)
        self.controls = _Ports(spec.controls)
        self.wants_folder = any(self.outputs.are_folders)
        self.folders = _Ports(spec.outputs + spec.controls).folders()
        self.unit = {"task": spec.task, "modality": spec.modality, "step_label": spec.step}
        self.given = {**given, "task": spec.task, "modality": spec.modality, "label": spec.step}


class _RowWork:
    """The state of the running row: its relative and full paths, in the order of the ports, and its progress."""

    published: list[str] | None = None
    files: Collection[str] = ()
    in_steps = False
    script: ScriptTemplate | None = None
    attempt = mark = 0
    begun = 0.0

    def __init__(self, row: Row, cell: _PreparedStep, values: dict[str, str]) -> None:
        self.number, _, self.record_id = row
        self.cell = cell
        self.inputs = cell.inputs.fill(values)
        self.outputs = cell.outputs.fill(values)
        self.controls = cell.controls.fill(values) if cell.controls.ports else []
        self.full_inputs: list[str] = []
        self.stamps: list[Stamp | None] = []
        self.missing: list[str] = []
        self.input_files: list[InputFile] = []
        self.put_back: list[str] = []
        self.replaced: set[str] = set()
        self.folders: dict[str, dict[str, tuple[int, int]]] = {}
        self.made: list[Made] = []

    @property
    def half_published(self) -> list[str] | None:
        """The paths that may be half published; later events repeat them, so that the journal keeps them."""
        return self.published if self.in_steps else None


class JobRunner:
    """Runs rows in this process, one after the other.

    Args:
        spec: The run.
        name: The name of this process in the run; its journal file and its staging folder have this name.
        announce: Called with the row, the number of the attempt and the mark of the output when an attempt starts;
            with row -1 when the row has ended.
        output: Records what scripts print.
        console: Also gets what scripts log.
        options: fsspec options by part (`dataset`, `outputs`, `log`), if one of them is in a bucket.
        raising: Raise the script's exception again after the row's event: for a debugger.
        after_run: Called after each script, before publishing; may end the process.
        provenance: What rows made before, by their number; see `journal.ownership`. Used entries are removed.
        interrupts: Tells a script's `KeyboardInterrupt` from the user's.

    Attributes:
        prefetches: Whether the runner can prefetch the inputs of the next rows, if it is given these rows.
    """

    def __init__(
        self,
        spec: RunSpec,
        name: str,
        *,
        announce: Callable[[int, int, int], None] | None = None,
        output: Output | None = None,
        console: logging.Logger | None = None,
        options: StorageOptions | None = None,
        raising: bool = False,
        after_run: Callable[[], None] | None = None,
        provenance: dict[int, str] | None = None,
        interrupts: RowInterrupts | None = None,
    ) -> None:
        self.spec = spec
        self._provenance = {} if provenance is None else provenance
        self._name = name
        self.journal = JournalWriter(
            journal_path(spec.log, spec.run_id, name),
            run_id=spec.run_id,
            claim=spec.claim,
            workspace_version=spec.workspace_version,
        )
        self._after_run = after_run if after_run is not None else _nothing
        self.prefetches = spec.remote is not None
        self._open_place(options or {})
        self._ids = IdPattern(spec.id_pattern)
        self._host = ScriptHost(spec.scripts)
        self._announce = announce if announce is not None else _announce_nothing
        self._output: Output = output if output is not None else NoOutput()
        self._raising = raising
        self._undoing = ProcessStateGuard()
        self._interrupts: RowInterrupts = interrupts if interrupts is not None else MainInterrupts()
        self._log = ScriptLog(logging.DEBUG if spec.debug else spec.log_level.upper(), console)
        given = {
            "data_path": Path(self._place.data_path),
            "status": StepStatus.PROCESSING,
            "logger": self._log.logger,
            "debug": spec.debug,
        }
        self._cells = [
            _PreparedStep(n, cell, self.journal.cell(cell), given, follow_links=spec.follow_links)
            for n, cell in enumerate(spec.cells)
        ]

    def _open_place(self, options: StorageOptions) -> None:
        spec = self.spec
        staging = staging_path(spec.log, spec.run_id, self._name)
        trusted = {port.template.prefix for cell in spec.cells for port in (*cell.outputs, *cell.controls)}
        made = {port.template for cell in spec.cells for port in cell.outputs}
        raw = {port.template for cell in spec.cells for port in cell.inputs} - made
        self._place: LocalFiles
        self._shipper: JournalUploader | None = None
        if spec.remote is None:
            self._place = LocalFiles(
                dataset=spec.dataset,
                outputs=spec.outputs,
                log=spec.log,
                staging=staging,
                run_id=spec.run_id,
                trusted=trusted,
                durable=spec.durable,
                links=spec.links,
                raw=raw,
            )
            return
        from sinagot_catalog.worker.remote_files import RemoteFiles, open_uploader

        fetched = f"{staging_path(spec.remote.spool, spec.run_id, self._name)}/.inputs"
        self._place = RemoteFiles(spec, options, staging=staging, fetched=fetched, trusted=trusted, raw=raw)
        self._shipper = open_uploader(spec, options)

    def run(self, task: Task, coming: Sequence[Task] = ()) -> Iterator[Result]:
        """Run the rows of a task in order; a row is blocked if an earlier row failed to make its input.

        Args:
            task: The rows.
            coming: The tasks that are likely to be next, if the runner prefetches.
        """
        rows, failed, tried = task
        failures = {path: step for row in failed for path, step in self._makes(row)}
        for number, row in enumerate(rows):
            if self.prefetches:
                later = [row for one in coming for row in one[0][:PREFETCHED_ROWS]]
                self._prefetch(row, [*rows[number + 1 : number + 1 + PREFETCHED_ROWS], *later])
            result = self._row(row, failures, tried.get(row[0], 0))
            self._provenance.pop(row[0], None)
            if result.outcome in FAILED:
                failures.update(self._makes(row))
            yield result

    def _prefetch(self, row: Row, later: Sequence[Row]) -> None:
        """Announce the paths that the next rows read and write."""
        paths = []
        for _, index, record_id in later[:PREFETCHED_ROWS]:
            values = self._ids.known_values(record_id)
            if values is not None:
                cell = self._cells[index]
                with suppress(PatternError):
                    paths.append((cell.inputs.fill(values), cell.outputs.fill(values), cell.inputs.looks))
        self._place.prefetch([path for path, _ in self._makes(row)], paths)

    def close(self) -> None:
        """Close the journal and remove this process' staging folder."""
        self.journal.close()
        self._undoing.close()
        self._place.close()
        clear_folder(self._place.staging)

    def _makes(self, row: Row) -> list[tuple[str, str]]:
        """The output paths of a row, each with its step."""
        cell = self._cells[row[1]]
        values = self._ids.known_values(row[2])
        if values is None:
            return []
        try:
            return [(path, cell.spec.step) for path in cell.outputs.fill(values)]
        except PatternError:
            return []  # the row itself reports the error

    # -- one row ------------------------------------------------------------------------------------------

    def _row(self, row: Row, failures: dict[str, str], tried: int) -> Result:
        number, index, record_id = row
        cell = self._cells[index]
        values = self._ids.known_values(record_id)
        try:
            if values is None:
                raise SelectionError(f"{record_id!r} {self._ids.refusal(record_id)}")
            work = _RowWork(row, cell, values)
        except UsageError as error:
            return Result(number, "error", error_type=type(error).__name__, message=str(error))
        try:
            self._place.prepare(work.inputs, work.outputs, cell.inputs.looks)
            if work.outputs and not self._is_again(work) and self._is_done(work):
                return Result(number, "already_done")
            self._look(work)
            if work.missing:
                self._check_dataset()
            if not self.spec.ignore_missing:
                # an existing input may be outdated: the failed step was to replace it
                waits = _maker(work.inputs, failures) if failures else None
                if waits is not None:
                    return Result(number, "blocked", message=f"waits for {waits}, which failed")
                if work.missing:
                    message = f"Input data [{', '.join(work.missing)}] not available"
                    cell.lines.not_available(record_id, message)
                    return Result(number, "not_available", message=bounded(message, _SHORT))
            self._check_declared(work)
            return self._attempts(work, tried)
        except (OSError, ForeignFileError) as error:
            # `_attempts` handles the script's errors; this one is of the journal, of an unreadable folder, or of a
            # file in the way.
            error_type, message = describe_error(error)
            with suppress(OSError):
                cell.lines.error(
                    record_id,
                    message,
                    error_type=error_type,
                    seconds=0.0,
                    attempts=work.attempt,
                    paths=work.half_published,
                )
            return Result(number, "error", 0.0, work.attempt, error_type, bounded(message, _SHORT))

    def _is_again(self, work: _RowWork) -> bool:
        """Whether the row runs although its outputs exist."""
        return self.spec.force or work.number in self.spec.redo

    def _replaces(self, work: _RowWork) -> bool:
        """Whether the row replaces its declared outputs, whoever made them."""
        return (self.spec.force and not self.spec.for_stale) or work.number in self.spec.redo

    def _check_declared(self, work: _RowWork) -> None:
        """Refuse to run if a declared output or control is there that no run made.

        Raises:
            ForeignFileError: When there is one.
        """
        if self._replaces(work):
            return
        declared = [*work.outputs, *work.controls]
        if len(declared) < 2 and not work.cell.wants_folder and not self.spec.force:  # noqa: PLR2004
            return  # its output is not there, or the row would be done
        before: Provenance | None = None
        for path in declared:
            if self._place.has_file(path):
                work.replaced.add(path)
                standing = self._place.standing(path, is_folder=False)
                if before is None:
                    before = Provenance.from_text(self._provenance.get(work.number))
                if standing is not None:
                    check_declared(path, standing, before)

    def _check_appeared(self, work: _RowWork) -> None:
        """Refuse to publish over a file that appeared while the script ran.

        Raises:
            ForeignFileError: When there is one.
        """
        for path in work.outputs:
            if self._place.has_file(path) and path not in work.replaced:
                raise ForeignFileError(
                    f"{path} appeared while the script ran, and this row did not make it: nothing was published. "
                    "A script writes to self.path.output; to replace the file, run the row with --force"
                )

    def _check_dataset(self) -> None:
        """Raise an error if the dataset folder is gone, such as an unmounted disk: that is no missing input."""
        if "://" not in self.spec.dataset and not os.path.isdir(self.spec.dataset):
            raise StorageError(f"the dataset folder {self.spec.dataset} is gone")

    def _is_done(self, work: _RowWork) -> bool:
        for path, look in zip(work.outputs, work.cell.outputs.looks, strict=True):
            if not self._place.has_output(path, look):
                return False
        return True

    def _look(self, work: _RowWork) -> None:
        """Find the inputs, and record their sizes and times before the script reads them."""
        inputs = work.cell.inputs
        for path, port, look in zip(work.inputs, inputs.ports, inputs.looks, strict=True):
            full, found = self._place.find_input(path, look)
            if port.inside and found is not None and not self._has_own(work, port, path, full, found):
                found = None
            work.full_inputs.append(full)
            if found is None:
                work.missing.append(path)
                work.stamps.append(None)
            elif stat.S_ISREG(found.st_mode):
                work.stamps.append((found.st_size, found.st_mtime_ns))
                work.input_files.append(InputFile(full, found.st_size, found.st_mtime_ns))
            else:
                work.stamps.append(self._folder_stamp(work, port, path, full))

    def _has_own(self, work: _RowWork, port: Port, path: str, full: str, found: os.stat_result) -> bool:
        """Whether a folder holds files that no step declares."""
        raw = self._raw_folder(work, port)
        return raw is None or not stat.S_ISDIR(found.st_mode) or self._place.has_own(path, full, raw)

    def _raw_folder(self, work: _RowWork, port: Port) -> RawFolder | None:
        """The matcher for files of a folder that steps declare; None if all its files count."""
        values = self._ids.values(work.record_id) if port.inside else None
        return None if values is None else RawFolder(port.template, port.inside, self._ids, values)

    def _folder_stamp(self, work: _RowWork, port: Port, path: str, full: str) -> Stamp | None:
        """Bytes, number and fingerprint of the files of a folder; None if they cannot be listed."""
        try:
            files = self._place.input_files(path, full)
        except OSError:
            return None  # the script reports what it cannot read
        work.input_files += (InputFile(f"{full}/{name}", *one) for name, one in files.items())
        raw = self._raw_folder(work, port)
        counted = ((name, *one) for name, one in files.items() if raw is None or raw.is_own(f"{path}/{name}"))
        found = fingerprint(counted)
        return found.size, found.n_files, as_number(found.digest)

    # -- attempts -----------------------------------------------------------------------------------------

    def _attempts(self, work: _RowWork, tried: int) -> Result:
        """Repeat attempts until one succeeds or the last one fails; publish; write the final event."""
        cell = work.cell
        root = f"{self._place.staging}/{cell.name}"
        work.attempt = tried + 1
        work.mark = self._output.mark()
        work.begun = time.monotonic()
        is_tidy = False
        self._announce(work.number, work.attempt, work.mark)
        cell.lines.start(work.record_id)
        self._log.point(cell.lines, work.record_id, cell.unit)
        try:
            while True:
                try:
                    self._attempt(work, root)
                    work.published, is_tidy = self._checked(work, root)
                    break
                except BaseException as error:
                    if work.attempt > cell.spec.retries or self._interrupts.is_from_user(error):
                        raise
                    told = f"attempt {work.attempt} of {cell.spec.retries + 1}: {describe_error(error)[1]}"
                    cell.lines.log(work.record_id, told, "WARNING")
                    work.put_back += self._place.put_back_inputs()
                    self._tidy(cell, root)
                    work.attempt += 1
            extras = self._publish(work, root)
            seconds = time.monotonic() - work.begun
            printed = self._output.since(work.mark, DONE_BOUND)
            cell.lines.done(
                work.record_id,
                seconds=seconds,
                attempts=work.attempt,
                inputs=work.stamps,
                made=work.made,
                output=printed,
            )
            return Result(work.number, "done", seconds, work.attempt, extras=extras)
        except BaseException as error:
            is_tidy = False
            if self._interrupts.is_from_user(error):
                self._place.put_back_inputs()
                if work.half_published is None:
                    with suppress(OSError):
                        cell.lines.cancelled(work.record_id)
                raise
            result = self._failed_somehow(work, root, error)
            if self._raising:
                raise
            return result
        finally:
            self._log.rest()
            self._announce(-1, 0, 0)
            if not is_tidy:
                self._tidy(cell, root)

    def _tidy(self, cell: _PreparedStep, root: str) -> None:
        """Empty the staging folder, except for the folders that every row of the step needs."""
        with suppress(OSError):
            self._place.clear(root, cell.keep)
        cell.made.clear()  # the script may have removed shared folders, too

    def _attempt(self, work: _RowWork, root: str) -> None:
        """Run the script once."""
        cell = work.cell
        script = self._load(cell)
        folders = cell.folders
        if folders is None:
            folders = {path.rpartition("/")[0] for path in (*work.outputs, *work.controls)}
        if not cell.made or not folders <= cell.made:
            self._place.stage(root, folders, cell.made)
        self._place.note_inputs(work.input_files)
        self._place.fetch()
        one = script(work.record_id, path=self._script_path(work, root), **cell.given)
        one._urls = partial(self._urls, work)  # noqa: SLF001 - only the job runner sets it
        work.script = one
        # The time limit of the attempt starts here, after the script's imports.
        self._announce(work.number, work.attempt, work.mark)
        try:
            with self._undoing, cell.importing, self._interrupts:
                one.run()
        finally:
            self._after_run()

    def _load(self, cell: _PreparedStep) -> type[ScriptTemplate]:
        if cell.spec.command is not None:
            if cell.script is None:
                from sinagot_catalog.scripts import command_script

                cell.script = command_script(cell.spec.command, self.spec.scripts, self._ids)
            return cell.script
        now = time.monotonic()
        if cell.script is None or now - cell.loaded > _RELOAD_AFTER:
            try:
                with self._interrupts:
                    cell.script = self._host.load(cell.spec.script)
            except BaseException as error:
                note_line(error, cell.spec.script)
                raise
            cell.importing = self._host.importing(cell.spec.script)
            cell.loaded = time.monotonic()
        return cell.script

    def _script_path(self, work: _RowWork, root: str) -> ScriptPath:
        cell = work.cell
        previous = None
        if self.spec.force:
            old = [
                self._place.find_output(path, look)
                for path, look in zip(work.outputs, cell.outputs.looks, strict=True)
            ]
            previous = cell.outputs.shown(old)
        return ScriptPath(
            cell.inputs.shown(work.full_inputs),
            cell.outputs.shown([f"{root}/{path}" for path in work.outputs]),
            cell.controls.shown([f"{root}/{path}" for path in work.controls]) if work.controls else None,
            previous,
        )

    def _urls(self, work: _RowWork) -> ScriptPath:
        """The URLs of a row's paths."""
        cell, url_of = work.cell, self._place.url_of
        inputs = [url_of(path, is_input=True) for path in work.inputs]
        outputs = [url_of(path, is_input=False) for path in work.outputs]
        return ScriptPath(
            _by_label(list(zip(cell.inputs.labels, inputs, strict=True))),
            _by_label(list(zip(cell.outputs.labels, outputs, strict=True))),
        )

    # -- the end of a row ---------------------------------------------------------------------------------

    def _checked(self, work: _RowWork, root: str) -> tuple[list[str], bool]:
        """The same as `_to_publish`, after the script's own `check`."""
        found = self._to_publish(work, root)
        check = None if work.script is None else own_check(work.script)
        if check is None:
            return found
        try:
            with self._undoing, work.cell.importing:
                check()
        finally:
            self._after_run()
        return self._to_publish(work, root)  # `check` may have changed the outputs

    def _to_publish(self, work: _RowWork, root: str) -> tuple[list[str], bool]:
        """The paths to publish, declared outputs last; and whether staging is empty after publishing them.

        Raises:
            _MissingError: When a declared output is missing.
            InvalidOutputError: When a written path cannot be published.
        """
        cell = work.cell
        units = {*work.outputs, *work.controls} if work.controls else work.outputs
        written, files, is_tidy = self._place.staged(root, units, cell.keep)
        work.files = files
        if cell.wants_folder or not files.issuperset(work.outputs):
            self._check(work, root)
        if not files.issuperset(written):
            work.folders = staged_folders(self._place, root, written, units)
        if self.spec.empty_outputs == "error":
            check_sizes(self._place, root, work.outputs, work.folders)
        if written == work.outputs:
            return written, is_tidy
        declared = set(work.outputs)
        extras = [path for path in written if path not in declared]
        overwritten = set(work.inputs).intersection(extras)
        if overwritten:
            raise SinagotError(f"wrote over its own input {min(overwritten)}: an input is never replaced")
        return extras + work.outputs, is_tidy

    def _check(self, work: _RowWork, root: str) -> None:
        """Check each declared output."""
        for port, path in zip(work.cell.spec.outputs, work.outputs, strict=True):
            fault = self._place.check(root, path, is_directory=port.template.is_directory)
            if fault is not None:
                if not self._is_again(work) and self._place.has_output(path):
                    fault = "was written to its final path: write to self.path.output, which is moved there"
                raise _MissingError(f"wrote no output: {path} {fault}")

    def _publish(self, work: _RowWork, root: str) -> tuple[str, ...]:
        """Move what a row wrote into place; returns the paths that no output declares."""
        published = work.published
        if not published:
            return ()
        if self._is_again(work):
            self._place.check_not_inputs(published, work.full_inputs)
        if not self._replaces(work):
            self._check_appeared(work)
        is_plain = len(published) == 1 and published == work.outputs and published[0] in work.files
        if is_plain and self.spec.remote is None and self._place.publish_file(root, published[0]):
            return ()
        publication = self._publication(work, root, published)
        publication.check()
        work.in_steps = publication.is_in_steps
        publication.run(partial(self._announce_paths, work))
        work.made = publication.record()
        folders = [f"{path}/" for path in publication.folders] if self.spec.remote is not None else []
        return (*published[: len(published) - len(work.outputs)], *folders)

    def _publication(self, work: _RowWork, root: str, paths: Sequence[str]) -> Publication:
        return Publication(
            self._place,
            root,
            paths=paths,
            declared={*work.outputs, *work.controls},
            files=work.files,
            folders={path: files for path, files in work.folders.items() if path in paths},
            before=Provenance.from_text(self._provenance.get(work.number)),
        )

    def _announce_paths(self, work: _RowWork, paths: Sequence[str], made: Sequence[Made]) -> None:
        """Write the event `publishing` before the first path appears, so that a killed row is known."""
        work.cell.lines.publishing(work.record_id, paths, made)
        if self.spec.durable:
            self.journal.sync()
        if self._shipper is not None:
            self._shipper.send(self._name)

    def _publish_controls(self, work: _RowWork, root: str) -> list[str]:
        """Publish the controls of a row that failed, as far as possible."""
        written = [path for path in work.controls if self._place.check(root, path) is None]
        if not written:
            return []
        with suppress(OSError, SinagotError):
            work.folders = staged_folders(self._place, root, written, written)
            work.files = ()
            publication = self._publication(work, root, written)
            publication.check()
            # `publishing` records that the row made its controls.
            self._announce_paths(work, written, [])
            publication.run(
                partial(self._announce_paths, work) if publication.folders else _announce_no_paths
            )
            return written
        return []

    def _failed_somehow(self, work: _RowWork, root: str, error: BaseException) -> Result:
        """The same as `_failed`, also for an exception that raises another one when it is formatted."""
        try:
            return self._failed(work, root, error)
        except OSError:
            raise  # the journal cannot be written
        except BaseException as another:
            if self._interrupts.is_from_user(another):
                raise
            return self._failed(work, root, SinagotError("raised an exception that cannot be described"))

    def _failed(self, work: _RowWork, root: str, error: BaseException) -> Result:
        """Publish the controls, write the event, make the result."""
        extras: list[str] = []
        if work.controls and work.published is None:
            extras = self._publish_controls(work, root)
        work.put_back += self._place.put_back_inputs()
        seconds = time.monotonic() - work.begun
        error_type, message = describe_error(error)
        if self.spec.memory_limit is not None and isinstance(error, MemoryError):
            message = f"ran past memory_limit of {self.spec.memory_limit / 2**20:,.0f} MiB"
        message += told_back(work.put_back)
        work.cell.lines.error(
            work.record_id,
            message,
            error_type=error_type,
            seconds=seconds,
            attempts=work.attempt,
            traceback=None if is_plain(error) else own_traceback(error, _OURS),
            output=self._output.since(work.mark, ERROR_BOUND),
            paths=work.half_published,
        )
        short = bounded(message, _SHORT)
        return Result(work.number, "error", seconds, work.attempt, error_type, short, tuple(extras))


def _filler(template: Template) -> str:
    """A template as a `%` format string: the fastest way to fill it, which happens for every row."""
    return "".join(
        value.replace("%", "%%") if kind == "text" else f"%({value})s" for kind, value in template.tokens
    )


def _announce_nothing(row: int, attempt: int, mark: int) -> None:
    """Default of `announce`: no observer."""


def _announce_no_paths(paths: Sequence[str], made: Sequence[Made]) -> None:
    """Skip the event for plain control files: a rename publishes each of them whole."""


def _nothing() -> None:
    """Default of `after_run`: no check."""


def _by_label(ports: list[tuple[str | None, str]]) -> object:
    """One URL for a single port, a dict by label for several, None for none."""
    return ports[0][1] if ports and ports[0][0] is None else dict(ports) or None


def _maker(paths: list[str], failures: dict[str, str]) -> str | None:
    """The failed step that makes one of these paths, a folder that contains it, or a file inside it."""
    for path in paths:
        for made, step in failures.items():
            if path == made or path.startswith(f"{made}/") or made.startswith(f"{path}/"):
                return step
    return None
